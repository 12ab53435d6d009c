"""Which keys are negatives at a step: the region that a configuration names, and its annealing.

Conditional Negative Sampling, arXiv 2010.02037: negatives from a ball or a ring of ranks around the
anchor, whose outer fraction may fall from all keys while training goes on. The state of that lies
in ``extras["annealing"]``: nothing where the fraction is constant, the number of steps where it
follows a schedule, and `annealing.Adaptive` where it follows the loss.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mcl_jax import annealing, regions
from mcl_jax.annealing import Adaptive, Schedule
from mcl_jax.config import ConfigError
from mcl_jax.losses import ScoreBounds
from mcl_jax.methods.method import Setting

State = Any  # (), or int32 [], or Adaptive
_WINDOW = 10  # losses that the adaptive fraction remembers, as the authors'


class Region(NamedTuple):
    """A region of keys around each anchor.

    Attributes:
        kind: ``"all"``, ``"ball"``, ``"ring"`` or ``"cave"``.
        end: the outer fraction at the end of annealing.
        inner: share of the outer ones that a ring drops; 0 of any other.
        schedule: the outer fraction of a step, or None where it is constant or adaptive.
        adaptive: whether it follows the loss.
    """

    kind: str
    end: float = 1.0
    inner: float = 0.0
    schedule: Schedule | None = None
    adaptive: bool = False

    def init(self) -> State:
        """What is kept in ``extras["annealing"]``."""
        if self.adaptive:
            return annealing.init_adaptive(_WINDOW)
        return jnp.zeros((), jnp.int32) if self.schedule else ()

    def outer(self, state: State) -> float | jax.Array:
        """The outer fraction of this step: a number, or float32 [] where it changes."""
        if isinstance(state, Adaptive):
            return state.fraction
        return self.schedule(state) if self.schedule else self.end

    def after(self, state: State, loss: jax.Array) -> State:
        """The state of the next step; ``loss`` [] is the same on all devices."""
        if isinstance(state, Adaptive):
            return annealing.update_adaptive(state, jax.lax.stop_gradient(loss), low=self.end)
        return state + 1 if self.schedule else state

    def metrics(self, state: State) -> dict[str, jax.Array]:
        """The outer fraction, where it changes."""
        changes = self.schedule or self.adaptive
        return {"outer": jnp.asarray(self.outer(state))} if changes else {}

    def bounds(
        self,
        state: State,
        queries: jax.Array,
        keys: jax.Array,
        *,
        pool: jax.Array | None = None,
        keys_axis_name: str | None = None,
    ) -> ScoreBounds | None:
        """What `losses.mcl_terms` takes as its ``region``; None where all keys are negatives.

        Arguments are those of `regions.score_bounds`; of a cave this is the ball, to be cut with
        ``~neighbours``.
        """
        if self.kind == "all":
            return None
        return regions.score_bounds(
            queries, keys, self.outer(state), self.inner, pool=pool, keys_axis_name=keys_axis_name
        )


def region(config: ConfigDict, setting: Setting) -> Region:
    """The region of ``config.method``.

    Args:
        config: of the run.
        setting: of which steps an epoch are read, for annealing.

    Raises:
        ConfigError: an annealing by stairs has fewer steps than stairs.
    """
    options = config.method
    if options.region == "all":
        return Region("all")
    inner = options.inner if options.region == "ring" else 0.0
    plain = Region(options.region, options.outer, inner)
    kind, end = options.annealing, options.outer
    if kind in ("constant", "adaptive"):
        return plain._replace(adaptive=kind == "adaptive")
    if kind == "exponential":
        return plain._replace(schedule=annealing.exponential(end=end))
    steps = max(1, round(options.annealing_epochs * setting.steps_per_epoch))
    try:
        make = annealing.linear if kind == "linear" else annealing.step
        return plain._replace(schedule=make(steps, end=end))
    except ValueError as error:
        raise ConfigError(
            f"method.annealing {kind} wants more method.annealing_epochs: {error}"
        ) from error
