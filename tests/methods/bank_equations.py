"""Contrast with banks in float64 NumPy, from the papers' equations, and what tests share."""

import functools

import equations
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tiny

from mcl_jax import cohort, data, methods
from mcl_jax.axes import Axes
from mcl_jax.data import Batch
from mcl_jax.methods import Setting
from mcl_jax.training.state import Stream, stream


def moved(bank, index, embeddings, momentum):
    """norm(momentum row + (1 - momentum) z) for the rows of a batch."""
    bank = bank.copy()
    row = momentum * bank[:, index] + (1 - momentum) * embeddings
    bank[:, index] = row / np.linalg.norm(row, axis=-1, keepdims=True)
    return bank


def neighbours(clusters, row, combine="union"):
    """The rows that share a cluster [H, N] with a row: [N]."""
    same = clusters == clusters[:, row : row + 1]
    return same.any(axis=0) if combine == "union" else same.all(axis=0)


def region(scores, own, kind, outer, inner, close):
    """The rows of a region of scores [N], in the order of the bank."""
    others = np.delete(np.arange(len(scores)), own)
    if kind == "all":
        return others
    kept = others[equations.ring(scores[others], outer, inner if kind == "ring" else 0.0)]
    return np.sort(kept[~close[kept]] if kind == "cave" else kept)


def in_pairs(networks, hard, soft):
    """Sums of hard(a, b) over networks and over pairs, and the same of soft logits(a, b)."""
    terms = dict.fromkeys(("vcl", "soft_vcl", "icl", "soft_icl"), 0.0)
    for a in range(networks):
        for b in range(networks):
            terms["vcl" if a == b else "icl"] += hard(a, b)
            if a != b:
                terms["soft_vcl"] += equations.divergence(soft(b, b), soft(a, a), 3.0)
                terms["soft_icl"] += equations.divergence(soft(b, a), soft(a, b), 3.0)
    return terms


def discrimination_terms(
    queries,
    bank,
    index,
    temperature,
    *,
    kind="all",
    outer=1.0,
    inner=0.0,
    clusters=None,
    drawn=None,
):
    """Of instance discrimination; ``drawn`` are random numbers [B, K], or None for all rows."""
    networks, rows = len(queries), bank.shape[1]
    scores = {(a, b): queries[a] @ bank[b].T for a in range(networks) for b in range(networks)}

    def hard(a, b):
        values = []
        for i, own in enumerate(index):
            close = None if clusters is None else neighbours(clusters[b], own)
            chosen = region(scores[a, b][i], own, kind, outer, inner, close)
            if drawn is not None and len(chosen):
                chosen = chosen[drawn[i] % len(chosen)]
            logits = scores[a, b][i, np.append(chosen, own).astype(int)] / temperature
            values.append(equations.log_sum_exp(logits) - logits[-1])
        return np.mean(values)

    def soft(a, b):
        logits = scores[a, b] / temperature
        if drawn is None:
            return logits
        others = np.array([np.delete(np.arange(rows), own) for own in index])
        chosen = np.take_along_axis(others, (drawn % (rows - 1)).astype(int), axis=1)
        columns = np.concatenate([np.asarray(index)[:, None], chosen], axis=1)
        return np.take_along_axis(logits, columns, axis=1)

    return in_pairs(networks, hard, soft)


def aggregation_terms(queries, bank, index, temperature, background, clusters, warm):
    """Of local aggregation."""
    networks, rows = len(queries), bank.shape[1]

    def hard(a, b):
        scores, values = queries[a] @ bank[b].T, []
        for i, own in enumerate(index):
            others = np.delete(np.arange(rows), own)
            near = others if warm else others[np.argsort(-scores[i, others])[: background - 1]]
            close = [] if warm else near[neighbours(clusters[b], own)[near]]
            sets = (scores[i, np.append(x, own).astype(int)] / temperature for x in (near, close))
            all_of_them, positive = (equations.log_sum_exp(x) for x in sets)
            values.append(all_of_them - positive)
        return np.mean(values)

    return in_pairs(networks, hard, lambda a, b: queries[a] @ bank[b].T / temperature)


def embedder(config, run):
    """(params, batch statistics, step) to the embeddings, the rows and the key of the draws."""
    images = run.dataset.train.images
    statistics = (float((images / 255).mean()),), (float((images / 255).std()),)
    setting = Setting(
        4, *statistics, Axes(), 1, optax.sgd(0.1), (8, 8, 1), labels=run.dataset.train.labels
    )
    made = methods.create(config, setting)

    @jax.jit
    def embed(params, batch_stats, step):
        key = jax.random.key(config.seed)
        rows = data.draw(run.sampler, stream(key, Stream.DATA), step)
        of_step = jax.random.fold_in(stream(key, Stream.STEP), step)
        for_views, for_draws = jax.random.split(of_step)
        batch = Batch(jnp.asarray(images)[rows], rows, rows, jnp.arange(len(rows)))
        extras = {"batch_stats": batch_stats, "views": {}}
        outputs, _ = made.embed(params, extras, batch, for_views, True)
        return outputs.embeddings, rows, for_draws

    return embed


@functools.cache
def objective_of(method, networks=2, batch=6, rows=20, dim=5, channels=1, **changes):
    """A method under no axis, its objective to be compiled once, and data drawn at random.

    These are embeddings [M, B, D], banks [M, 64, D] and a batch.
    """
    config = tiny.config(method, method__networks=networks, method__embedding_dim=dim, **changes)
    labels = np.zeros(rows, np.int32)
    statistics = (0.5,) * channels, (0.2,) * channels
    setting = Setting(
        4,
        *statistics,
        Axes(),
        1,
        optax.sgd(0.1),
        (8, 8, channels),
        steps_per_epoch=3,
        labels=labels,
    )
    made = methods.create(config, setting)
    rng = np.random.default_rng(0)
    queries, bank = rng.normal(size=(networks, batch, dim)), rng.normal(size=(networks, 64, dim))
    queries, bank = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (queries, bank))
    index = np.arange(batch, dtype=np.int32) * 3 % rows
    seen = Batch(None, index, index, np.arange(batch, dtype=np.int32))
    return made, jax.jit(made.objective), queries, bank, seen


def step(objective, queries, bank, batch, **extras):
    """Loss, state and metrics of a step in float64."""
    with jax.enable_x64(True):
        outputs = cohort.Output((), jnp.asarray(queries), jnp.zeros((len(queries), 1, 1)))
        state = {"bank": jnp.asarray(bank), "annealing": ()} | extras
        return jax.device_get(objective(outputs, state, batch, jax.random.key(3)))
