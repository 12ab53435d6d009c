"""The meter: how much two views share, in nats, read on rows that nothing was fitted on.

`measure` fits two small critics to pairs of views and reads bounds on the mutual information of the
views on held-out rows. A reading is of a critic: it comes with the number of candidates, which it
cannot exceed the logarithm of, and with what the critic is. `shortcut` says where colours alone
tell most of it.
"""

from mcl_jax.meter.colours import histograms, shortcut
from mcl_jax.meter.drawing import Pair
from mcl_jax.meter.measure import Settings, measure
from mcl_jax.meter.reading import Reading

__all__ = ["Pair", "Reading", "Settings", "histograms", "measure", "shortcut"]
