"""One training step of global-local multi-network contrastive learning, in NumPy.

A float64 NumPy transcription from the equations of arXiv 2306.15930 ("Multi-network Contrastive
Learning Based on Global and Local Representations"), written without the library, to serve as an
independent reference. The encoder is a toy: a linear map of each pixel, ReLU, and the mean over
all pixels. Gradients are backpropagated by hand.
"""

from itertools import combinations
from typing import Any

import numpy as np

Array = np.ndarray
Tree = dict[str, Any]

EPSILON = 1e-5
DECAY = 0.9

# The layers of each perceptron: linear map, batch normalisation (if any), whether a ReLU follows.
HEAD = (("linear1", "bn1", True), ("linear2", "bn2", True), ("linear3", "bn3", False))
PREDICTOR = (("linear1", "bn1", True), ("linear2", None, False))


def copy_tree(tree: Tree) -> Tree:
    """A copy of a nested dict of arrays, in float64."""
    return {
        key: copy_tree(value) if isinstance(value, dict) else np.array(value, dtype=np.float64)
        for key, value in tree.items()
    }


def add_trees(left: Tree, right: Tree) -> Tree:
    """The sum, leaf by leaf, of two nested dicts of arrays."""
    return {
        key: add_trees(value, right[key]) if isinstance(value, dict) else value + right[key]
        for key, value in left.items()
    }


def move_towards(momentum: Tree, online: Tree, ema: float) -> Tree:
    """The exponential moving average ema m + (1 - ema) online, over the leaves of `momentum`."""
    return {
        key: move_towards(value, online[key], ema)
        if isinstance(value, dict)
        else ema * value + (1.0 - ema) * online[key]
        for key, value in momentum.items()
    }


def encode(images: Array, encoder: Tree) -> tuple[Array, Array]:
    """Features [B, F] of images [B, H, W, c], and the values before the ReLU."""
    before = images @ encoder["kernel"] + encoder["bias"]
    return np.maximum(before, 0.0).mean(axis=(1, 2)), before


def encode_backward(images: Array, before: Array, d_features: Array) -> Tree:
    """Gradients of the encoder's parameters."""
    pixels = images.shape[1] * images.shape[2]
    d_before = (before > 0.0) * d_features[:, None, None, :] / pixels
    return {
        "kernel": np.einsum("bhwc,bhwf->cf", images, d_before),
        "bias": d_before.sum(axis=(0, 1, 2)),
    }


def normalise_batch(x: Array, bn: Tree, stats: Tree) -> tuple[Array, Tree, tuple[Array, Array]]:
    """Training-mode batch normalisation: output, moved running statistics, tape."""
    rows = x.shape[0]
    mean, variance = x.mean(axis=0), x.var(axis=0)
    inverse = 1.0 / np.sqrt(variance + EPSILON)
    unit = (x - mean) * inverse
    moved = {
        "mean": DECAY * stats["mean"] + (1.0 - DECAY) * mean,
        "var": DECAY * stats["var"] + (1.0 - DECAY) * variance * rows / (rows - 1),
    }
    return unit * bn["scale"] + bn["bias"], moved, (unit, inverse)


def normalise_batch_backward(
    tape: tuple[Array, Array], bn: Tree, d_out: Array
) -> tuple[Array, Tree]:
    """Gradients of batch normalisation's input and of its parameters."""
    unit, inverse = tape
    d_unit = d_out * bn["scale"]
    d_in = inverse * (d_unit - d_unit.mean(axis=0) - unit * (d_unit * unit).mean(axis=0))
    return d_in, {"scale": (d_out * unit).sum(axis=0), "bias": d_out.sum(axis=0)}


def perceptron(
    plan: tuple, x: Array, params: Tree, stats: Tree
) -> tuple[Array, Tree, list[tuple[Array, Any, Array]]]:
    """Output of a head or predictor, its moved running statistics, and its tape."""
    moved, tape = dict(stats), []
    for linear, bn, rectified in plan:
        entered, bn_tape = x, None
        x = x @ params[linear]["kernel"]
        if "bias" in params[linear]:
            x = x + params[linear]["bias"]
        if bn is not None:
            x, moved[bn], bn_tape = normalise_batch(x, params[bn], stats[bn])
        tape.append((entered, bn_tape, x))
        if rectified:
            x = np.maximum(x, 0.0)
    return x, moved, tape


def perceptron_backward(plan: tuple, tape: list, params: Tree, d_out: Array) -> tuple[Array, Tree]:
    """Gradients of a head's or predictor's input and of its parameters."""
    gradients: Tree = {}
    for (linear, bn, rectified), (entered, bn_tape, before) in zip(
        reversed(plan), reversed(tape), strict=True
    ):
        if rectified:
            d_out = d_out * (before > 0.0)
        if bn is not None:
            d_out, gradients[bn] = normalise_batch_backward(bn_tape, params[bn], d_out)
        gradients[linear] = {"kernel": entered.T @ d_out}
        if "bias" in params[linear]:
            gradients[linear]["bias"] = d_out.sum(axis=0)
        d_out = d_out @ params[linear]["kernel"].T
    return d_out, gradients


def predict(images: Array, params: Tree, stats: Tree) -> tuple[Array, Tree, tuple]:
    """The online pass p = q(g(f(x))): output, moved running statistics, tape."""
    features, before = encode(images, params["encoder"])
    hidden, head_stats, head_tape = perceptron(HEAD, features, params["head"], stats["head"])
    out, predictor_stats, predictor_tape = perceptron(
        PREDICTOR, hidden, params["predictor"], stats["predictor"]
    )
    moved = {**stats, "head": head_stats, "predictor": predictor_stats}
    return out, moved, (images, before, head_tape, predictor_tape)


def predict_backward(tape: tuple, params: Tree, d_out: Array) -> Tree:
    """Gradients of all online parameters through one online pass."""
    images, before, head_tape, predictor_tape = tape
    d_hidden, predictor = perceptron_backward(PREDICTOR, predictor_tape, params["predictor"], d_out)
    d_features, head = perceptron_backward(HEAD, head_tape, params["head"], d_hidden)
    encoder = encode_backward(images, before, d_features)
    return {"encoder": encoder, "head": head, "predictor": predictor}


def project(images: Array, params: Tree, stats: Tree) -> tuple[Array, Tree]:
    """The pass g(f(x)) without a gradient: output and moved running statistics."""
    features, _ = encode(images, params["encoder"])
    out, head_stats, _ = perceptron(HEAD, features, params["head"], stats["head"])
    return out, {**stats, "head": head_stats}


def project_parts(images: Array, params: Tree, stats: Tree) -> tuple[Array, Tree]:
    """The stop-gradient pass: k [6, B, D] from pairs of quarters, moved running statistics."""
    batch, height, width, _ = images.shape
    if height % 2 or width % 2:
        raise ValueError("an image is split into four equal quarters: its sides must be even")
    rows, columns = height // 2, width // 2
    quarters = [
        images[:, top : top + rows, left : left + columns]
        for top in (0, rows)
        for left in (0, columns)
    ]
    features, _ = encode(np.concatenate(quarters), params["encoder"])
    features = features.reshape(4, batch, -1)
    pairs = [(features[a] + features[b]) / 2.0 for a, b in combinations(range(4), 2)]
    out, head_stats, _ = perceptron(HEAD, np.concatenate(pairs), params["head"], stats["head"])
    return out.reshape(6, batch, -1), {**stats, "head": head_stats}


def unit_length(x: Array) -> Array:
    """Vectors divided by their L2 norms."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def unit_length_backward(x: Array, d_unit: Array) -> Array:
    """Gradient of x from that of x / ||x||."""
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    unit = x / norm
    return (d_unit - unit * (unit * d_unit).sum(axis=-1, keepdims=True)) / norm


def cross_entropy(logits: Array, targets: Array) -> tuple[float, Array]:
    """Mean cross entropy of rows of logits with target columns, and the logits' gradient."""
    rows = np.arange(len(logits))
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    totals = exponentials.sum(axis=1)
    loss = float(np.mean(np.log(totals) - shifted[rows, targets]))
    d_logits = exponentials / totals[:, None]
    d_logits[rows, targets] -= 1.0
    return loss, d_logits / len(logits)


def local_term(p: Array, k: Array, temperature: float) -> tuple[float, Array]:
    """Sum over the pairs c of CE(p . k_c / T, diagonal), and its gradient in p."""
    query, keys = unit_length(p), unit_length(k)
    total, d_query = 0.0, np.zeros_like(p)
    for key in keys:
        loss, d_logits = cross_entropy(query @ key.T / temperature, np.arange(len(query)))
        total += loss
        d_query += d_logits @ key / temperature
    return total, unit_length_backward(p, d_query)


def nt_xent(fixed: Array, p: Array, temperature: float) -> tuple[float, Array]:
    """SimCLR's loss of two sets of N vectors over all 2N anchors, and its gradient in p."""
    count = len(p)
    vectors = unit_length(np.concatenate([fixed, p]))
    logits = vectors @ vectors.T / temperature
    np.fill_diagonal(logits, -np.inf)
    loss, d_logits = cross_entropy(logits, (np.arange(2 * count) + count) % (2 * count))
    d_vectors = (d_logits + d_logits.T) @ vectors / temperature
    return loss, unit_length_backward(p, d_vectors[count:])


def nearest(rows: Array, bank: Array) -> Array:
    """For each row, the row of the bank with the highest cosine."""
    return bank[np.argmax(unit_length(rows) @ unit_length(bank).T, axis=1)]


def enqueue(bank: Array, cursor: int, rows: Array) -> tuple[Array, int]:
    """The bank with row i written at (cursor + i) mod K, and the new cursor."""
    bank = bank.copy()
    for offset, row in enumerate(rows):
        bank[(cursor + offset) % len(bank)] = row
    return bank, (cursor + len(rows)) % len(bank)


def step(
    params: Tree,
    stats: Tree,
    momentum: Tree,
    momentum_stats: Tree,
    bank: Array,
    cursor: int,
    views: tuple[Array, Array, Array],
    *,
    local_weight: float,
    global_weight: float,
    temperature: float,
    ema: float,
    local_gradient: bool = True,
) -> Tree:
    """Losses, gradients and new state of one training step; the inputs are left as they are."""
    params, stats = copy_tree(params), copy_tree(stats)
    momentum, momentum_stats = copy_tree(momentum), copy_tree(momentum_stats)
    bank = np.array(bank, dtype=np.float64)
    x1, x2, x3 = (np.asarray(view, dtype=np.float64) for view in views)

    momentum = move_towards(momentum, params, ema)

    p1, stats, tape1 = predict(x1, params, stats)
    p2, stats, tape2 = predict(x2, params, stats)
    p3, stats, tape3 = predict(x3, params, stats)

    k1, stats = project_parts(x1, params, stats)
    k2, stats = project_parts(x2, params, stats)

    j1, momentum_stats = project(x1, momentum, momentum_stats)
    j3, momentum_stats = project(x3, momentum, momentum_stats)
    near1, near3 = nearest(j1, bank), nearest(j3, bank)

    local2, d_local2 = local_term(p2, k1, temperature)
    local1, d_local1 = local_term(p1, k2, temperature)
    terms = len(k1) + len(k2)
    local_loss = (local2 + local1) / terms
    global1, d_global1 = nt_xent(near3, p1, temperature)
    global3, d_global3 = nt_xent(near1, p3, temperature)
    global_loss = 0.5 * global1 + 0.5 * global3

    local_scale = local_weight / terms if local_gradient else 0.0
    global_scale = 0.5 * global_weight
    gradients = predict_backward(tape1, params, local_scale * d_local1 + global_scale * d_global1)
    gradients = add_trees(gradients, predict_backward(tape2, params, local_scale * d_local2))
    gradients = add_trees(gradients, predict_backward(tape3, params, global_scale * d_global3))

    bank, cursor = enqueue(bank, int(cursor), j3)
    return {
        "local_loss": local_loss,
        "global_loss": global_loss,
        "loss": local_weight * local_loss + global_weight * global_loss,
        "gradients": gradients,
        "stats": stats,
        "momentum": momentum,
        "momentum_stats": momentum_stats,
        "bank": bank,
        "cursor": cursor,
    }
