"""Studies: several arms, each run with the same seeds, and what their differences are worth.

`arms` says what is compared, `runs` carries it out and goes on where it stopped, `figures` reads
what a run left, `statistics` has the intervals, and `results` puts it all into one value. Nothing
here trains: who carries a study out hands in the functions that do. Importing this loads neither
JAX nor NumPy; `mcl_jax.studies.results` and `mcl_jax.studies.statistics` load NumPy.
"""

from mcl_jax.studies.arms import Arm, changed, parse_arms, with_method
from mcl_jax.studies.runs import PARTS, Run, Study, Trainer, carry_out

__all__ = [
    "PARTS",
    "Arm",
    "Run",
    "Study",
    "Trainer",
    "carry_out",
    "changed",
    "parse_arms",
    "with_method",
]
