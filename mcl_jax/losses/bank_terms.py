"""The four terms of mutual contrastive learning with keys that each anchor draws from banks."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mcl_jax.losses import checks, drawn
from mcl_jax.losses.bounded_terms import (
    check_axes,
    constant,
    joined_over_devices,
    terms_of_statistics,
)
from mcl_jax.losses.reduction import MCLTerms
from mcl_jax.losses.similarity import check_embeddings

# What "auto" aims at: numbers of the keys that are met at once, of all networks together. On a CPU
# they stay in its caches; others want to be kept busy.
_AUTO_NUMBERS = {"cpu": 2**21}
_AUTO_ELSEWHERE = 2**27


def bank_terms(
    queries: jax.Array,
    bank: jax.Array,
    rows: jax.Array,
    positives: jax.Array,
    candidates: jax.Array | None = None,
    *,
    soft_candidates: jax.Array | None = None,
    temperature: float | jax.Array,
    soft_temperature: float | jax.Array | None = 3.0,
    pair_weights: jax.Array | None = None,
    axis_name: str | None = None,
    bank_axis_name: str | None = None,
    chunk_size: int | str = "auto",
) -> MCLTerms:
    """VCL, soft VCL, ICL and soft ICL of queries with rows of banks, a set for each anchor.

    Computes `mcl_terms` of ``keys = bank[:, rows]`` without ever holding these keys, which are
    M B K D numbers: those of an anchor are gathered once for all pairs of networks, a few anchors
    at a time, and give values and gradients in one pass.

    Gradients flow to queries and temperatures but ``soft_temperature``; banks are constants.
    Derivatives exist in reverse mode and of the first order alone.

    Args:
        queries: [M, B, D], unit vectors.
        bank: [M, N, D], as `memory.init_bank` makes it.
        rows: [B, K], the rows of the bank that each anchor meets, integer. A row may come twice.
        positives: bool over an anchor's keys, broadcast to [2, B, K]: [0] within a network, which
            VCL takes, [1] across networks, which ICL takes.
        candidates: the same; None means every key.
        soft_candidates: the same, for soft VCL and soft ICL.
        temperature: of the logits, above 0.
        soft_temperature: T of the soft terms, above 0; None leaves them out (they are 0 and cost
            nothing).
        pair_weights: [M, M]; entry [a, b] weighs what network a learns from network b.
        axis_name: mapped axis that the anchors are split over, or None. All arguments but a bank,
            which is whole, are then the device's own.
        bank_axis_name: mapped axis that the bank is split over, or None. Each device then holds
            the rows [M, N / devices, D]; ``rows`` count those of all, and are, as queries, masks
            and results, the same on all devices of that axis. Each device meets the keys that it
            holds. Where anchors are split over the same axis, gather them (`axes.gather`) and leave
            ``axis_name`` out.
        chunk_size: keys that are met at once, of one anchor or of several; "auto" chooses.

    Returns:
        MCLTerms of scalars; float32 for bfloat16 and float16 inputs.

    Raises:
        TypeError: an input is not floating, ``rows`` are not integer, or a mask is not boolean.
        ValueError: shapes do not fit together; a temperature is not above 0; an axis is unknown, or
            both are one; ``chunk_size`` is neither "auto" nor a whole number above 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from mcl_jax import memory
        >>> bank = memory.init_bank(jax.random.key(0), 2, 100, 16)
        >>> rows = jnp.array([[0, 3, 7, 7], [1, 2, 50, 99]])  # two anchors, the first key positive
        >>> terms = bank_terms(bank[:, :2], bank, rows, jnp.arange(4) < 1, temperature=0.07)
        >>> terms.vcl.shape
        ()

    Mutual Contrastive Learning, arXiv 2104.12565. The authors' code gathers the keys anew for each
    pair of networks, and again within each.
    """
    dtype = check_embeddings(queries, bank, temperature)
    checks.rank(bank, 3, "bank", "[M, N, D]")
    keys = _keys(queries, rows, positives, candidates, soft_candidates)
    chunk_size, expected = _chunk_size(chunk_size, bank), rows.shape[1]
    if bank_axis_name is not None:
        check_axes(axis_name, bank_axis_name, "bank_axis_name")
        keys = _held(keys, bank.shape[1], bank_axis_name)
        # Of rows drawn at random hardly any anchor has more on one device.
        mean = expected / lax.axis_size(bank_axis_name)
        expected = min(expected, math.ceil(mean + 4 * math.sqrt(mean)))
    soft = soft_temperature is not None and queries.shape[0] > 1
    soft_temperature = 1.0 if soft_temperature is None else soft_temperature
    checks.positive_number(soft_temperature, "soft_temperature")
    T = constant(jnp.asarray(soft_temperature, dtype))
    plan = drawn.Plan(*_shares(chunk_size, expected), soft)
    fixed = drawn.Fixed(lax.stop_gradient(jnp.asarray(bank)), 1 / T, keys)
    found = drawn.statistics(plan, queries, 1 / jnp.asarray(temperature, dtype), fixed)
    found = joined_over_devices(found, False, bank_axis_name)
    return terms_of_statistics(found, T, False, pair_weights, axis_name, bank_axis_name)


def _keys(
    queries: jax.Array,
    rows: jax.Array,
    positives: jax.Array,
    candidates: jax.Array | None,
    soft_candidates: jax.Array | None,
) -> drawn.Keys:
    """The rows and their masks, anchors first.

    Raises:
        TypeError, ValueError: a dtype or a shape is not as `bank_terms` has it.
    """
    checks.integer(rows, "rows")
    anchors = queries.shape[1]
    if jnp.ndim(rows) != 2 or rows.shape[0] != anchors:
        raise ValueError(
            f"rows must be [B, K] with B = {anchors}, that of queries, got shape {jnp.shape(rows)}."
        )

    def anchors_first(mask: jax.Array | None, name: str) -> jax.Array:
        mask = jnp.ones((1, 1), bool) if mask is None else mask
        checks.mask_fits(mask, (2, *rows.shape), name)
        kinds = jnp.shape(mask)[0] if jnp.ndim(mask) == 3 else 1
        return jnp.swapaxes(jnp.broadcast_to(mask, (kinds, *rows.shape)), 0, 1)

    if positives is None:
        checks.mask_fits(positives, (), "positives")
    return drawn.Keys(
        jnp.asarray(rows, jnp.int32),
        jnp.full(anchors, rows.shape[1], jnp.int32),
        anchors_first(positives, "positives"),
        anchors_first(candidates, "candidates"),
        anchors_first(soft_candidates, "soft_candidates"),
    )


def _chunk_size(chunk_size: int | str, bank: jax.Array) -> int:
    """Keys that are met at once.

    Raises:
        ValueError: ``chunk_size`` is neither ``"auto"`` nor a whole number above 0.
    """
    if isinstance(chunk_size, str) and chunk_size == "auto":
        numbers = _AUTO_NUMBERS.get(jax.default_backend(), _AUTO_ELSEWHERE)
        return max(1, numbers // (bank.shape[0] * bank.shape[2]))
    is_number = isinstance(chunk_size, int | np.integer) and not isinstance(chunk_size, bool)
    if not is_number or int(chunk_size) < 1:
        raise ValueError(
            f'chunk_size must be "auto" or a whole number above 0, got {chunk_size!r}.'
        )
    return int(chunk_size)


def _shares(chunk_size: int, number: int) -> tuple[int, int]:
    """How many anchors are met at once, and how many of each one's ``number`` keys."""
    parts = max(1, -(-number // chunk_size))
    return max(1, chunk_size // max(1, number)), max(1, -(-number // parts))


def _held(keys: drawn.Keys, rows: int, axis_name: str) -> drawn.Keys:
    """The keys that this device holds, of ``rows`` a device, put in front of the others."""
    places = keys.rows - rows * lax.axis_index(axis_name)
    held = (places >= 0) & (places < rows)
    order = jnp.argsort(~held, axis=-1, stable=True)
    masks = (
        jnp.take_along_axis(mask, order[:, None], axis=-1)
        for mask in (keys.positives, keys.candidates, keys.soft_candidates)
    )
    number = jnp.sum(held, axis=-1, dtype=jnp.int32)
    return drawn.Keys(jnp.take_along_axis(places, order, axis=-1), number, *masks)
