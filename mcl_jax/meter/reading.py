"""A reading of the meter: bounds with what they depend on."""

import math
from typing import Any, NamedTuple

Both = tuple[float, float]


class Reading(NamedTuple):
    """Bounds on the mutual information of two views, in nats, of held-out rows.

    Pairs of numbers are of both directions: second views as keys of the first, and the other way
    round. Each is a lower bound in expectation, but for Donsker and Varadhan's, which is one as
    rows go to infinity. InfoNCE's cannot exceed ``most``.

    Attributes:
        info_nce: of `mutual_information.info_nce`.
        donsker_varadhan: of `mutual_information.donsker_varadhan`.
        nwj: of `mutual_information.nwj`.
        candidates: K, the positive counted.
        critic: what it is.
        parameters: of the critic.
        steps: it was fitted for.
        batch_size: of these.
        rows: held out, each read on.
        draws: of views of each row.
    """

    info_nce: Both
    donsker_varadhan: Both
    nwj: Both
    candidates: int
    critic: str
    parameters: int
    steps: int
    batch_size: int
    rows: int
    draws: int

    @property
    def bound(self) -> float:
        """InfoNCE's, mean of both directions."""
        return sum(self.info_nce) / 2

    @property
    def most(self) -> float:
        """Log K, above which InfoNCE reads nothing."""
        return math.log(self.candidates)

    def as_dict(self) -> dict[str, Any]:
        """All numbers and words by name, for JSON."""
        found = {x: list(y) if isinstance(y, tuple) else y for x, y in self._asdict().items()}
        return {"bound": self.bound, "most": self.most, **found}

    def words(self) -> str:
        """The reading in a sentence, never without K and the critic.

        Example:
            >>> both = (1.0, 2.0)
            >>> Reading(both, both, both, 8, "two encoders", 90, 10, 8, 16, 1).words()[:56]
            'InfoNCE 1.50 nats (1.00 and 2.00; at most log 8 = 2.08),'
        """
        info_nce, varadhan, nwj = (
            f"{there:.2f} and {back:.2f}"
            for there, back in (self.info_nce, self.donsker_varadhan, self.nwj)
        )
        return (
            f"InfoNCE {self.bound:.2f} nats ({info_nce}; at most log {self.candidates} = "
            f"{self.most:.2f}), Donsker-Varadhan {varadhan}, NWJ {nwj}; critic: {self.critic}, "
            f"{self.parameters:,} parameters, {self.steps} steps of {self.batch_size} rows; read "
            f"on {self.rows} rows held out."
        )
