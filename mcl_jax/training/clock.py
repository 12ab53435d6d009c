"""The time that a run takes."""

import time


class Clock:
    """Seconds of the run, earlier parts of it included, and the speed of its training alone."""

    def __init__(self, began: float, earlier: float) -> None:
        """Starts at `time.perf_counter` ``began``, ``earlier`` seconds into the run."""
        self._began, self._earlier = began, earlier
        self._mark = began
        self._recent: float | None = None
        self._trained, self._images = 0.0, 0

    def seconds(self) -> float:
        """Seconds of the whole run until now."""
        return self._earlier + time.perf_counter() - self._began

    def resume(self) -> None:
        """Goes on after something that is not training."""
        self._mark = time.perf_counter()

    def lap(self, images: int) -> None:
        """Counts ``images`` trained on since the last call."""
        now = time.perf_counter()
        self._recent = images / (now - self._mark)
        self._trained, self._images = self._trained + now - self._mark, self._images + images
        self._mark = now

    def recent(self) -> float | None:
        """Images/s of the last lap; None before there was one."""
        return self._recent and round(self._recent, 1)

    def images_per_second(self) -> float | None:
        """Mean speed since the step was compiled; None if this process trained no further."""
        return self._images / self._trained if self._images else None
