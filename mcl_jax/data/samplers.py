"""Which rows make the batch of a step: pure functions of (key, step), inside ``jit`` too.

A sampler is a pytree, so its tables are arguments of a compiled function, not constants in it.
Nothing is remembered between steps: the batch of step s is the same whatever was drawn before.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from mcl_jax.data.dataset import DataError
from mcl_jax.data.stratified import rows_by_class


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["table", "counts"],
    meta_fields=["batch_size", "images_per_class", "num_rows"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class PerClass:
    """Batches of some classes and as many images of each; made by ``per_class``.

    Attributes:
        table: int32 [C, L], the rows of each class, padded with zeros.
        counts: int32 [C], how many of them are real.
        batch_size: B.
        images_per_class: m, of which a batch has B / m classes.
        num_rows: N.
    """

    table: jax.Array
    counts: jax.Array
    batch_size: int
    images_per_class: int
    num_rows: int

    def __call__(self, key: jax.Array, step: jax.Array | int) -> jax.Array:
        """Returns the rows of a step, int32 [B], those of a class next to each other."""
        class_key, row_key = jax.random.split(jax.random.fold_in(key, step))
        chosen = jax.random.permutation(class_key, self.table.shape[0])
        chosen = chosen[: self.batch_size // self.images_per_class]
        places = _distinct(row_key, self.counts[chosen], self.images_per_class)
        return jnp.take_along_axis(self.table[chosen], places, axis=1).reshape(-1)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=[],
    meta_fields=["num_rows", "batch_size"],
)
@dataclasses.dataclass(frozen=True)
class Shuffled:
    """Every row once an epoch, in a new order each; made by ``shuffled``.

    Attributes:
        num_rows: N.
        batch_size: B; the last rows of an epoch that fill no batch are left out.
    """

    num_rows: int
    batch_size: int

    def order(self, key: jax.Array, epoch: jax.Array | int) -> jax.Array:
        """Returns the order of all rows in an epoch, int32 [N]."""
        rows = jnp.arange(self.num_rows, dtype=jnp.int32)
        return jax.random.permutation(jax.random.fold_in(key, epoch), rows)

    def __call__(self, key: jax.Array, step: jax.Array | int) -> jax.Array:
        """Returns the rows of a step, int32 [B]."""
        epoch, within = jnp.divmod(jnp.asarray(step), steps_per_epoch(self))
        start = within * self.batch_size
        return jax.lax.dynamic_slice(self.order(key, epoch), (start,), (self.batch_size,))


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["rows"],
    meta_fields=["every", "labelled"],
)
@dataclasses.dataclass(frozen=True, eq=False)
class PartlyLabelled:
    """Batches of rows of all and of rows whose labels count; made by ``partly_labelled``.

    Attributes:
        rows: int32 [S], whose labels count.
        every: draws from all rows.
        labelled: draws places in ``rows``.
    """

    rows: jax.Array
    every: Shuffled
    labelled: Shuffled

    @property
    def batch_size(self) -> int:
        """B, both kinds of rows."""
        return self.every.batch_size + self.labelled.batch_size

    @property
    def num_rows(self) -> int:
        """N."""
        return self.every.num_rows

    def __call__(self, key: jax.Array, step: jax.Array | int) -> jax.Array:
        """Returns the rows of a step, int32 [B], in runs of `labelled_run`."""
        every_key, labelled_key = jax.random.split(key)
        every = self.every(every_key, step)
        labelled = self.rows[self.labelled(labelled_key, step)]
        runs = self.batch_size // labelled_run(self.batch_size, self.labelled.batch_size)[0]
        parts = [every.reshape(runs, -1), labelled.reshape(runs, -1)]
        return jnp.concatenate(parts, axis=1).reshape(-1)


Sampler = PerClass | Shuffled | PartlyLabelled


@functools.partial(jax.jit, static_argnames="draws")
def _distinct(key: jax.Array, counts: jax.Array, draws: int) -> jax.Array:
    """Draws ``draws`` distinct numbers below each of ``counts`` [n], uniformly: int32 [n, draws].

    Floyd's algorithm: the cost does not depend on the counts.
    """

    def draw(step: jax.Array, drawn: jax.Array) -> jax.Array:
        last = counts - draws + step
        number = jax.random.randint(
            jax.random.fold_in(key, step), counts.shape, 0, last + 1, dtype=jnp.int32
        )
        taken = (drawn == number[:, None]).any(axis=1)
        return drawn.at[:, step].set(jnp.where(taken, last, number))

    empty = jnp.full([len(counts), draws], -1, jnp.int32)
    return jax.lax.fori_loop(0, draws, draw, empty)


def per_class(
    labels: np.ndarray, *, batch_size: int, images_per_class: int, num_classes: int
) -> PerClass:
    """Makes batches of ``batch_size / images_per_class`` classes, as many images of each.

    Classes are drawn without replacement, and so are the rows of a class.

    Args:
        labels: integers [N].
        batch_size: B.
        images_per_class: m, at least 2: a single image of a class would have no positive.
        num_classes: C.

    Returns:
        A sampler; ``sampler(key, step)`` is int32 [B], the rows of a class next to each other.

    Raises:
        DataError: sizes do not go together, or a class has fewer than m rows.

    Example:
        >>> sampler = per_class(np.arange(20) % 5, batch_size=4, images_per_class=2, num_classes=5)
        >>> sampler(jax.random.key(0), 7).shape, steps_per_epoch(sampler)
        ((4,), 5)
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels must be integers [N], got {labels.dtype} of {labels.shape}.")
    if images_per_class < 2:
        raise DataError(
            f"images_per_class must be at least 2, or no image has a positive, got "
            f"{images_per_class}."
        )
    if batch_size < 1 or batch_size % images_per_class:
        raise DataError(
            f"batch_size must be a multiple of images_per_class={images_per_class}, got "
            f"{batch_size}."
        )
    if batch_size // images_per_class > num_classes:
        raise DataError(
            f"batch_size={batch_size} with images_per_class={images_per_class} wants "
            f"{batch_size // images_per_class} classes in a batch, but there are {num_classes}; "
            f"the largest that fits is batch_size={num_classes * images_per_class}."
        )
    groups = rows_by_class(labels, num_classes)
    counts = np.array([len(rows) for rows in groups], np.int32)
    if counts.min() < images_per_class:
        raise DataError(
            f"images_per_class must be at most the rows of the smallest class, got "
            f"{images_per_class} where class {counts.argmin()} has {counts.min()}."
        )
    table = np.zeros([num_classes, counts.max()], np.int32)
    for row, group in zip(table, groups, strict=True):
        row[: len(group)] = group
    return PerClass(
        jnp.asarray(table), jnp.asarray(counts), batch_size, images_per_class, len(labels)
    )


def shuffled(num_rows: int, batch_size: int) -> Shuffled:
    """Makes batches in which every row comes once an epoch, in a new order each epoch.

    Args:
        num_rows: N.
        batch_size: B; the last rows of an epoch that fill no batch are left out.

    Returns:
        A sampler; ``sampler(key, step)`` is int32 [B].

    Raises:
        DataError: the batch is empty or larger than the rows there are.

    Example:
        >>> sampler = shuffled(10, 4)
        >>> sampler(jax.random.key(0), 3).shape, steps_per_epoch(sampler)
        ((4,), 2)
    """
    if not 1 <= batch_size <= num_rows:
        raise DataError(f"batch_size must be 1 to the {num_rows} rows there are, got {batch_size}.")
    return Shuffled(num_rows, batch_size)


def partly_labelled(
    rows: np.ndarray, num_rows: int, *, batch_size: int, labelled_batch: int
) -> PartlyLabelled:
    """Makes batches of rows of all, as `shuffled` does, and of rows whose labels count.

    Each kind comes in an order of its own, new each time that all of its rows have come. In a batch
    they lie in runs of the same pattern, as `labelled_run` tells, so that parts of a batch hold as
    many of each.

    Args:
        rows: integers [S], the rows whose labels count.
        num_rows: N, of all.
        batch_size: B, both together.
        labelled_batch: of these, how many are of ``rows``.

    Returns:
        A sampler; ``sampler(key, step)`` is int32 [B].

    Raises:
        DataError: either kind is none of a batch, or more than there are.

    Example:
        >>> sampler = partly_labelled(np.array([7, 9]), 10, batch_size=6, labelled_batch=2)
        >>> rows = sampler(jax.random.key(0), 3)
        >>> sorted(rows[jnp.array([2, 5])].tolist()), steps_per_epoch(sampler)
        ([7, 9], 2)
    """
    if not 1 <= labelled_batch < batch_size:
        raise DataError(
            f"labelled_batch must be 1 to {batch_size - 1}, a part of the batch, got "
            f"{labelled_batch}."
        )
    if labelled_batch > len(rows):
        raise DataError(
            f"labelled_batch must be at most the {len(rows)} labelled rows, got {labelled_batch}."
        )
    every = shuffled(num_rows, batch_size - labelled_batch)
    labelled = shuffled(len(rows), labelled_batch)
    return PartlyLabelled(jnp.asarray(rows, jnp.int32), every, labelled)


def labelled_run(batch_size: int, labelled_batch: int) -> tuple[int, int]:
    """How a batch of `partly_labelled` lies: runs of so many rows, the last few of each labelled.

    Example:
        >>> labelled_run(192, 64)
        (3, 1)
    """
    runs = math.gcd(batch_size, labelled_batch)
    return batch_size // runs, labelled_batch // runs


def draw(sampler: Sampler, key: jax.Array, step: jax.Array | int) -> jax.Array:
    """Returns the rows of a step, int32 [B]: ``sampler(key, step)`` as a function."""
    return sampler(key, step)


def steps_per_epoch(sampler: Sampler) -> int:
    """Returns how many whole batches the rows make, at least 1."""
    sampler = sampler.every if isinstance(sampler, PartlyLabelled) else sampler
    return max(1, sampler.num_rows // sampler.batch_size)
