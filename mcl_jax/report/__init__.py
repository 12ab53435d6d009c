"""What a run shows: on the terminal and in the files of its workdir."""

from mcl_jax.atomic import write_json
from mcl_jax.report.log import MetricsLog
from mcl_jax.report.progress import Progress
from mcl_jax.report.table import closing_table

__all__ = ["MetricsLog", "Progress", "closing_table", "write_json"]
