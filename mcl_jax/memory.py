"""Keys kept from earlier batches: a queue and a bank, as values that are passed in and returned.

Their rows may be split over the devices of a mapped axis, each holding a stretch of them in the
order of the devices. The number of rows is then a multiple of the number of devices: of a bank,
round N up and never index, draw or pool the rows that are too many.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mcl_jax.axes import positions
from mcl_jax.losses import checks, l2_normalize


class Queue(NamedTuple):
    """The newest keys of every network, first in first out.

    Attributes:
        keys: [M, K, D], unit vectors, unless whoever fills it says otherwise.
        cursor: [], int32, the place of the next key, which holds the oldest.
    """

    keys: jax.Array
    cursor: jax.Array


def init_queue(key: jax.Array, networks: int, size: int, dim: int) -> Queue:
    """A queue of random unit vectors, uniform on the sphere.

    Args:
        key: a JAX random key.
        networks: M.
        size: K, number of keys.
        dim: D.

    Returns:
        Queue of keys [M, K, D], float32, and a cursor of 0.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax
        >>> init_queue(jax.random.key(0), 2, 64, 16).keys.shape
        (2, 64, 16)
    """
    _check_sizes(networks=networks, size=size, dim=dim)
    return Queue(_unit_vectors(key, (networks, size, dim)), jnp.zeros((), jnp.int32))


def enqueue(queue: Queue, keys: jax.Array, *, axis_name: str | None = None) -> Queue:
    """Replaces the oldest keys by those of a batch.

    Row i of the batch goes to place ``(cursor + i) mod K``; of a batch larger than the queue the
    last K rows stay. Gradients do not flow into the queue.

    Args:
        queue: Queue of keys [M, K, D].
        keys: [M, B, D], as they are to be kept; B may be any size.
        axis_name: mapped axis that the queue is split over, or None. Each device then holds the
            keys [M, K / devices, D] and the cursor of the whole queue; ``keys`` are the whole
            batch, the same on all devices.

    Returns:
        Queue with the cursor moved on by B (mod K).

    Raises:
        TypeError: ``keys`` is not floating.
        ValueError: ``keys`` is not [M, B, D] with the queue's M and D.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> queue = init_queue(jax.random.key(0), 1, 4, 2)
        >>> int(enqueue(queue, jnp.ones((1, 3, 2))).cursor)
        3
    """
    networks, held, dim = queue.keys.shape
    size = held if axis_name is None else held * lax.axis_size(checks.mapped_axis(axis_name))
    checks.as_floating(keys, "keys")
    if jnp.ndim(keys) != 3 or (keys.shape[0], keys.shape[2]) != (networks, dim):
        raise ValueError(
            f"keys must be [M, B, D] with M = {networks} and D = {dim}, got shape "
            f"{jnp.shape(keys)}."
        )
    batch = keys.shape[1]
    kept = min(batch, size)
    places = _held_places((queue.cursor + jnp.arange(batch - kept, batch)) % size, held, axis_name)
    newest = lax.stop_gradient(keys[:, batch - kept :]).astype(queue.keys.dtype)
    return Queue(
        queue.keys.at[:, places].set(newest, unique_indices=True, mode="drop"),
        (queue.cursor + batch).astype(jnp.int32) % size,
    )


def nearest(queue: Queue, queries: jax.Array) -> jax.Array:
    """The key of each network's own queue that is most like each of its queries.

    Computes ``keys[a, argmax_k cos(queries[a, i], keys[a, k])]``, of equals the first.

    Args:
        queue: Queue of keys [M, K, D], of any length.
        queries: [M, B, D], floating, of any length.

    Returns:
        [M, B, D], as they lie in the queue. No gradient flows.

    Raises:
        TypeError: ``queries`` are not floating.
        ValueError: ``queries`` are not [M, B, D] with the queue's M and D.

    Example:
        >>> import jax.numpy as jnp
        >>> queue = Queue(jnp.array([[[2.0, 0.0], [0.0, 3.0]]]), jnp.zeros((), jnp.int32))
        >>> nearest(queue, jnp.array([[[0.1, 0.2]]])).tolist()
        [[[0.0, 3.0]]]

    NNCLR, arXiv 2104.14548.
    """
    networks, _, dim = queue.keys.shape
    checks.as_floating(queries, "queries")
    if jnp.ndim(queries) != 3 or (queries.shape[0], queries.shape[2]) != (networks, dim):
        raise ValueError(
            f"queries must be [M, B, D] with M = {networks} and D = {dim}, got shape "
            f"{jnp.shape(queries)}."
        )
    keys, queries = lax.stop_gradient((queue.keys, queries))
    cosines = jnp.einsum(
        "aid,akd->aik",
        queries,
        l2_normalize(keys).astype(queries.dtype),
        precision=lax.Precision.HIGHEST,
    )
    return jnp.take_along_axis(keys, jnp.argmax(cosines, axis=-1)[..., None], axis=1)


def init_bank(key: jax.Array, networks: int, rows: int, dim: int) -> jax.Array:
    """A bank of random unit vectors, one for each row of the data set and each network.

    Args:
        key: a JAX random key.
        networks: M.
        rows: N.
        dim: D.

    Returns:
        [M, N, D], float32.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax
        >>> init_bank(jax.random.key(0), 2, 100, 16).shape
        (2, 100, 16)

    The authors draw from a cube, so that only the mean squared length is 1.
    """
    _check_sizes(networks=networks, rows=rows, dim=dim)
    return _unit_vectors(key, (networks, rows, dim))


def update_bank(
    bank: jax.Array,
    index: jax.Array,
    embeddings: jax.Array,
    momentum: float | jax.Array,
    *,
    axis_name: str | None = None,
) -> jax.Array:
    """Moves the rows of a batch towards its embeddings.

    Computes ``bank[:, index] = l2_normalize(momentum bank[:, index] + (1 - momentum) embeddings)``.
    Of a row that stands twice in the batch the last occurrence counts. Gradients do not flow into
    the bank.

    Args:
        bank: [M, N, D].
        index: [B], rows of the bank, integer, from 0.
        embeddings: [M, B, D], unit vectors.
        momentum: a scalar in [0, 1]; 0 replaces the rows.
        axis_name: mapped axis that the bank is split over, or None. Each device then holds the
            rows [M, N / devices, D]; ``index`` counts the rows of all and, like ``embeddings``,
            is the whole batch's, the same on all devices.

    Returns:
        [M, N, D], or this device's part of it.

    Raises:
        TypeError: ``index`` is not integer, or ``embeddings`` is not floating.
        ValueError: shapes do not fit together, or ``momentum`` is not a scalar in [0, 1].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> bank = init_bank(jax.random.key(0), 1, 4, 2)
        >>> update_bank(bank, jnp.array([1]), jnp.array([[[0.0, 1.0]]]), 0.0)[0, 1].tolist()
        [0.0, 1.0]
    """
    checks.rank(bank, 3, "bank", "[M, N, D]")
    checks.as_floating(embeddings, "embeddings")
    networks, rows, dim = bank.shape
    checks.integer(index, "index")
    if jnp.shape(embeddings) != (networks, *jnp.shape(index), dim) or jnp.ndim(index) != 1:
        raise ValueError(
            f"index must be [B] and embeddings [M, B, D] with M = {networks} and D = {dim}, got "
            f"shapes {jnp.shape(index)} and {jnp.shape(embeddings)}."
        )
    checks.share(momentum, "momentum")
    order = jnp.arange(index.shape[0])
    repeated_later = jnp.any((index[:, None] == index) & (order[:, None] < order), axis=1)
    held = _held_places(index, rows, axis_name)
    moved = l2_normalize(
        momentum * bank.at[:, held].get(mode="clip")
        + (1 - momentum) * lax.stop_gradient(embeddings).astype(bank.dtype)
    )
    # Rows outside the bank are dropped: where repeated writes meet, which one wins is undefined.
    places = jnp.where(repeated_later, rows + order, held)
    return bank.at[:, places].set(moved.astype(bank.dtype), unique_indices=True, mode="drop")


def read_rows(bank: jax.Array, index: jax.Array, *, axis_name: str | None = None) -> jax.Array:
    """Rows of a bank or of a queue's keys, wherever they are held.

    Computes ``bank[:, index]``. Gradients do not flow into the bank.

    Args:
        bank: [M, N, D].
        index: [...], rows of the bank, integer.
        axis_name: mapped axis that the bank is split over, or None. Each device then holds the
            rows [M, N / devices, D]; ``index`` counts the rows of all and is the same on all
            devices. A device that wants rows of its own gathers the index first (`axes.gather`)
            and takes its part of what is read.

    Returns:
        [M, ..., D], the same on all devices.

    Raises:
        TypeError: ``index`` is not integer.
        ValueError: ``bank`` is not [M, N, D].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> bank = init_bank(jax.random.key(0), 2, 100, 16)
        >>> read_rows(bank, jnp.array([[3, 7, 7]])).shape
        (2, 1, 3, 16)
    """
    checks.rank(bank, 3, "bank", "[M, N, D]")
    checks.integer(index, "index")
    bank, index = lax.stop_gradient(bank), jnp.asarray(index)
    if axis_name is None:
        return bank[:, index]
    rows = bank.shape[1]
    places = _held_places(index.reshape(-1), rows, axis_name)
    taken = jnp.where((places < rows)[:, None], bank.at[:, places].get(mode="clip"), 0)
    return lax.psum(taken, axis_name).reshape(bank.shape[0], *index.shape, bank.shape[2])


class RowsByClass(NamedTuple):
    """The rows of a data set, those of a class side by side.

    Attributes:
        rows: [N], int32.
        labels: [N], integer, the class of each, ascending.
    """

    rows: jax.Array
    labels: jax.Array


class Draw(NamedTuple):
    """Rows drawn as keys.

    Attributes:
        rows: [K], int32, shared by the batch, or [B, K], a set for each anchor.
        candidates: [B, K], bool, which of them the anchor may take.
    """

    rows: jax.Array
    candidates: jax.Array


def draw_uniform(
    key: jax.Array, rows: int, shape: int | tuple[int, ...], *, own: jax.Array | None = None
) -> jax.Array:
    """Rows drawn uniformly, with replacement.

    Args:
        key: a JAX random key; the same on all devices for rows that they share, folded with the
            position on the axis for rows of each device's own anchors.
        rows: N, rows to draw from.
        shape: K, rows shared by the batch, or (B, K), as the authors have it, a set for each
            anchor.
        own: [B], each anchor's own row, which is left out of its set; integer. None leaves out
            none. Of shared rows, mask the own one with `losses.not_self`.

    Returns:
        int32 of ``shape``.

    Raises:
        TypeError: ``own`` is not integer.
        ValueError: ``rows`` is below 1, or with ``own`` below 2; ``shape`` is not (B, K) with
            ``own``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> draw_uniform(jax.random.key(0), 2, (2, 3), own=jnp.array([0, 1])).tolist()
        [[1, 1, 1], [0, 0, 0]]

    The authors' code leaves the own row in, so that it can be drawn as a negative of itself.
    """
    shape = (shape,) if isinstance(shape, int) else shape
    _check_sizes(rows=rows)
    if own is None:
        return jax.random.randint(key, shape, 0, rows, jnp.int32)
    checks.integer(own, "own")
    if jnp.ndim(own) != 1 or len(shape) != 2 or shape[0] != own.shape[0]:
        raise ValueError(
            f"shape must be (B, K) for own [B] of shape {jnp.shape(own)}, got {shape}."
        )
    if rows < 2:
        raise ValueError(f"rows must be at least 2 for one's own to be left out, got {rows}.")
    drawn = jax.random.randint(key, shape, 0, rows - 1, jnp.int32)
    return drawn + (drawn >= own[:, None])


def sort_by_class(row_labels: jax.Array) -> RowsByClass:
    """Puts the rows of a class side by side, once and for all draws.

    Args:
        row_labels: [N], the class of every row, integer.

    Returns:
        RowsByClass of [N].

    Raises:
        TypeError: ``row_labels`` is not integer.
        ValueError: ``row_labels`` is not [N], N at least 1.

    Example:
        >>> import jax.numpy as jnp
        >>> sort_by_class(jnp.array([1, 0, 1])).rows.tolist()
        [1, 0, 2]
    """
    checks.integer(row_labels, "row_labels")
    checks.rank(row_labels, 1, "row_labels", "[N]")
    _check_sizes(N=row_labels.shape[0])
    rows = jnp.argsort(row_labels, stable=True).astype(jnp.int32)
    return RowsByClass(rows, jnp.asarray(row_labels)[rows])


def draw_other_classes(
    key: jax.Array,
    labels: jax.Array,
    classes: RowsByClass,
    number: int,
    *,
    shared: bool = False,
) -> Draw:
    """Rows of other classes than the anchor's, drawn uniformly, with replacement.

    Args:
        key: a JAX random key, as in `draw_uniform`.
        labels: [B], the anchors' classes, integer.
        classes: RowsByClass of [N], from `sort_by_class`.
        number: K.
        shared: whether all anchors get the same rows, drawn from all; an anchor's candidates are
            then those of other classes, which may be fewer than K.

    Returns:
        Draw of K rows. Unless rows are shared every row is a candidate, but for an anchor whose
        class all rows have (where that is traced): it has no candidate.

    Raises:
        TypeError: ``labels`` is not integer.
        ValueError: ``labels`` is not [B]; ``number`` is below 1; all rows have an anchor's class.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> classes = sort_by_class(jnp.array([1, 0, 1]))
        >>> draw_other_classes(jax.random.key(0), jnp.array([1, 1]), classes, 3).rows.tolist()
        [[1, 1, 1], [1, 1, 1]]

    A loss of such keys is no reading of mutual information: they are not drawn from all rows.
    """
    checks.integer(labels, "labels")
    checks.rank(labels, 1, "labels", "[B]")
    _check_sizes(number=number)
    labels = jnp.asarray(labels)
    rows = classes.rows.shape[0]
    first = jnp.searchsorted(classes.labels, labels)
    same = jnp.searchsorted(classes.labels, labels, side="right") - first
    _refuse_without_others(same, labels, rows)
    if shared:
        places = draw_uniform(key, rows, number)
    else:
        shape = (labels.shape[0], number)
        places = jax.random.randint(key, shape, 0, jnp.maximum(rows - same, 1)[:, None])
        # The rows of the anchor's class are stepped over.
        places += jnp.where(places >= first[:, None], same[:, None], 0)
        places = jnp.minimum(places, rows - 1)
    return Draw(classes.rows[places], classes.labels[places] != labels[:, None])


def draw_same_class(
    key: jax.Array, labels: jax.Array, own: jax.Array, classes: RowsByClass, number: int
) -> Draw:
    """Other rows of the anchor's class, drawn uniformly, with replacement.

    Args:
        key: a JAX random key, as in `draw_uniform`.
        labels: [B], the anchors' classes, integer.
        own: [B], the anchors' own rows, integer.
        classes: RowsByClass of [N], from `sort_by_class`.
        number: P.

    Returns:
        Draw of [B, P]. An anchor whose class has no other row has no candidate.

    Raises:
        TypeError: ``labels`` or ``own`` is not integer.
        ValueError: ``labels`` and ``own`` are not [B]; ``number`` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> classes = sort_by_class(jnp.array([1, 0, 1]))
        >>> labels, own = jnp.array([1, 0]), jnp.array([2, 1])
        >>> draw = draw_same_class(jax.random.key(0), labels, own, classes, 2)
        >>> draw.rows[0].tolist(), draw.candidates.tolist()
        ([0, 0], [[True, True], [False, False]])

    The authors' code draws from all rows of the class, the anchor's own included, without
    replacement.
    """
    for array, name in ((labels, "labels"), (own, "own")):
        checks.integer(array, name)
        checks.rank(array, 1, name, "[B]")
    if jnp.shape(labels) != jnp.shape(own):
        raise ValueError(
            f"own must be of shape {jnp.shape(labels)}, that of labels, got {jnp.shape(own)}."
        )
    _check_sizes(number=number)
    labels, own = jnp.asarray(labels), jnp.asarray(own)
    first = jnp.searchsorted(classes.labels, labels)
    others = jnp.searchsorted(classes.labels, labels, side="right") - first - 1
    shape = (labels.shape[0], number)
    places = jax.random.randint(key, shape, 0, jnp.maximum(others, 1)[:, None]) + first[:, None]
    # Rows of a class are in order: from the anchor's own on, the next one is taken.
    places += classes.rows[places] >= own[:, None]
    places = jnp.minimum(places, classes.rows.shape[0] - 1)
    return Draw(classes.rows[places], jnp.broadcast_to((others > 0)[:, None], shape))


def _refuse_without_others(same: jax.Array, labels: jax.Array, rows: int) -> None:
    """Raises ValueError if all rows have the class of an anchor."""
    if isinstance(same, jax.core.Tracer):
        return
    alone = np.flatnonzero(same == rows)
    if alone.size:
        raise ValueError(
            f"classes must have a row of another class than every anchor's, got {rows} rows of "
            f"class {labels[alone[0]]} alone, that of anchor {alone[0]}."
        )


def _held_places(places: jax.Array, held: int, axis_name: str | None) -> jax.Array:
    """Where this device holds the rows ``places`` [B]; past the end, each elsewhere, if not."""
    if axis_name is None:
        return places
    local = places - positions(held, checks.mapped_axis(axis_name))[0]
    return jnp.where((local >= 0) & (local < held), local, held + jnp.arange(places.shape[0]))


def _unit_vectors(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return l2_normalize(jax.random.normal(key, shape, jnp.float32))


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}.")
