"""What a run shows: on the terminal and in the files of its workdir."""

from mcl_jax.atomic import write_json
from mcl_jax.report.events import last_start
from mcl_jax.report.log import MetricsLog
from mcl_jax.report.page import write_page, write_study_page
from mcl_jax.report.progress import Progress
from mcl_jax.report.recorder import Recorder, SilentRecorder
from mcl_jax.report.table import closing_table
from mcl_jax.report.weights_and_biases import ReportError

__all__ = [
    "MetricsLog",
    "Progress",
    "Recorder",
    "ReportError",
    "SilentRecorder",
    "closing_table",
    "last_start",
    "write_json",
    "write_page",
    "write_study_page",
]
