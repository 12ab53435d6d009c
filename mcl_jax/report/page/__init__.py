"""The page that a run leaves behind, and the one that compares several runs."""

from mcl_jax.report.page.workdir import WorkdirError
from mcl_jax.report.page.write import write_page, write_study_page

__all__ = ["WorkdirError", "write_page", "write_study_page"]
