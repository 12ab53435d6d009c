"""One training step of PyContrast's seven presets in float64 NumPy, gradients by hand.

An independent statement of InsDis, CMC, MoCo, PIRL, MoCov2, CMCv2 and InfoMin (arXiv 2005.10243)
on a tiny encoder, for tests to compare with. The interface is one function,

    result = step(preset, networks, batch, hyper, ema_first=..., jigsaw_across=...)

- ``preset``: an entry of ``PRESETS``, or ``dataclasses.replace`` of one (such as CMC with jigsaw).
- ``networks``: one ``Network`` (parameters, velocity, memory) for ``modal="RGB"``, two for CMC.
- ``batch``: ``Batch``, images [B, H, W, 3] already augmented and normalised. With CMC the first
  network sees channel 0 and the second channels 1 and 2, of views and patches alike.
- ``result``: ``Result`` with the loss, the gradients and the networks after the step.
  No argument is changed in place.

Parameters are a flat dict for each network; ``shapes`` lists names and shapes. Kernels are
[in, out] and act as x @ w + b. With c channels, F features and D output dimensions:

    encoder  f = ReLU(mean_{H, W}(x) @ encoder.w + encoder.b)               c -> F
    linear   z = L2(f @ head.1.w + head.1.b)                                F -> D
    mlp      z = L2(ReLU(f @ head.1.w + head.1.b) @ head.2.w + head.2.b)    F -> F -> D
    jigsaw   the same encoder on each patch, ``jigsaw.1`` (and ``jigsaw.2``) as the head but without
             L2, out[i] = in[perm[i]], nine patches side by side, ``jigsaw.out`` 9 D -> D, L2

Every loss is a mean over the batch of softmax cross-entropies with the positive in front, summed
over the networks; a jigsaw preset takes (1 - beta) L + beta L_jigsaw. Keys, banks and queues are
constants for the gradient. With CMC the query of network a meets the targets of network 1 - a.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]
Parameters = dict[str, Floats]
Targets = tuple[Floats, Floats]

PATCHES = 9
CHANNELS = {"RGB": (slice(0, 3),), "CMC": (slice(0, 1), slice(1, 3))}


@dataclass(frozen=True)
class Preset:
    """What distinguishes the presets of the training step; augmentations are not part of it."""

    modal: Literal["RGB", "CMC"]
    jigsaw: bool
    memory: Literal["bank", "queue"]
    head: Literal["linear", "mlp"]
    temperature: float


PRESETS = {
    "InsDis": Preset("RGB", False, "bank", "linear", 0.07),
    "CMC": Preset("CMC", False, "bank", "linear", 0.07),
    "MoCo": Preset("RGB", False, "queue", "linear", 0.07),
    "PIRL": Preset("RGB", True, "bank", "linear", 0.07),
    "MoCov2": Preset("RGB", False, "queue", "mlp", 0.2),
    "CMCv2": Preset("CMC", False, "queue", "mlp", 0.2),
    "InfoMin": Preset("RGB", True, "queue", "mlp", 0.15),
}


@dataclass(frozen=True)
class Hyper:
    """Numbers every preset shares, with PyContrast's defaults."""

    bank_momentum: float = 0.5
    alpha: float = 0.999
    beta: float = 0.5
    learning_rate: float = 0.03
    momentum: float = 0.9
    weight_decay: float = 1e-4


@dataclass(frozen=True)
class Network:
    """One network with what it remembers.

    Attributes:
        params: trained parameters, the names and shapes of ``shapes``.
        velocity: SGD's velocity, as ``params``.
        memory: bank [N, D] or queue [K, D], unit rows.
        negatives: bank presets: [B, K] rows of THIS network's bank, used as drawn.
        pointer: queue presets: the row the next key goes to.
        key_params: queue presets: the momentum parameters. The encoder and the head are needed;
            jigsaw parameters may be there or not, and move if they are.
    """

    params: Parameters
    velocity: Parameters
    memory: Floats
    negatives: Ints | None = None
    pointer: int = 0
    key_params: Parameters | None = None


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        view: [B, H, W, 3], the only view of a bank preset, the query's of a queue preset.
        rows: [B] the images' rows of the bank, each once; a queue preset does not read it.
        key_view: [B, H, W, 3], queue presets.
        patches: [B, 9, h, w, 3], jigsaw presets.
        permutations: jigsaw presets: for each network, [B, 9] with out[i] = in[perm[i]].
    """

    view: Floats
    rows: Ints | None = None
    key_view: Floats | None = None
    patches: Floats | None = None
    permutations: Sequence[Ints] | None = None


@dataclass(frozen=True)
class Result:
    """One step's outcome.

    Attributes:
        loss: the loss before the step.
        main: its part without jigsaw, a sum over networks, unweighted.
        jigsaw: its jigsaw part, a sum over networks, unweighted; 0 without jigsaw.
        gradients: for each network, of the loss and without weight decay.
        networks: after the step; ``negatives`` stays as given.
    """

    loss: float
    main: float
    jigsaw: float
    gradients: list[Parameters]
    networks: list[Network]


def shapes(preset: Preset, network: int, features: int, dim: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of each parameter of one network (0, or 0 and 1 with CMC)."""
    span = CHANNELS[preset.modal][network]
    layers = {"encoder": (span.stop - span.start, features)}
    for branch in ("head", "jigsaw") if preset.jigsaw else ("head",):
        if preset.head == "linear":
            layers[f"{branch}.1"] = (features, dim)
        else:
            layers[f"{branch}.1"] = (features, features)
            layers[f"{branch}.2"] = (features, dim)
    if preset.jigsaw:
        layers["jigsaw.out"] = (PATCHES * dim, dim)
    result: dict[str, tuple[int, ...]] = {}
    for name, (inputs, outputs) in layers.items():
        result[f"{name}.w"] = (inputs, outputs)
        result[f"{name}.b"] = (outputs,)
    return result


def _dense(params: Parameters, name: str, x: Floats) -> Floats:
    return x @ params[f"{name}.w"] + params[f"{name}.b"]


def _dense_back(
    params: Parameters, grads: Parameters, name: str, x: Floats, grad: Floats
) -> Floats:
    """Add the layer's gradients to ``grads``; return the gradient of its input."""
    flat = grad.reshape(-1, grad.shape[-1])
    grads[f"{name}.w"] += x.reshape(-1, x.shape[-1]).T @ flat
    grads[f"{name}.b"] += flat.sum(axis=0)
    return grad @ params[f"{name}.w"].T


def _relu(x: Floats) -> Floats:
    return np.maximum(x, 0.0)


def _normalise(x: Floats) -> Floats:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _normalise_back(x: Floats, grad: Floats) -> Floats:
    unit = _normalise(x)
    along = (grad * unit).sum(axis=-1, keepdims=True)
    return (grad - along * unit) / np.linalg.norm(x, axis=-1, keepdims=True)


def _encode(params: Parameters, images: Floats) -> Floats:
    """Images [..., H, W, c] to features [..., F]."""
    return _relu(_dense(params, "encoder", images.mean(axis=(-3, -2))))


def _encode_back(params: Parameters, grads: Parameters, images: Floats, grad: Floats) -> None:
    pooled = images.mean(axis=(-3, -2))
    grad = grad * (_dense(params, "encoder", pooled) > 0)
    _dense_back(params, grads, "encoder", pooled, grad)


def _project(params: Parameters, branch: str, features: Floats) -> Floats:
    """Features [..., F] to [..., D], linear or mlp as the parameters say, not normalised."""
    first = _dense(params, f"{branch}.1", features)
    if f"{branch}.2.w" not in params:
        return first
    return _dense(params, f"{branch}.2", _relu(first))


def _project_back(
    params: Parameters, grads: Parameters, branch: str, features: Floats, grad: Floats
) -> Floats:
    if f"{branch}.2.w" in params:
        first = _dense(params, f"{branch}.1", features)
        grad = _dense_back(params, grads, f"{branch}.2", _relu(first), grad) * (first > 0)
    return _dense_back(params, grads, f"{branch}.1", features, grad)


def _embed(params: Parameters, images: Floats) -> Floats:
    """Unit embeddings [B, D] of images [B, H, W, c]."""
    return _normalise(_project(params, "head", _encode(params, images)))


def _embed_back(params: Parameters, grads: Parameters, images: Floats, grad: Floats) -> None:
    features = _encode(params, images)
    grad = _normalise_back(_project(params, "head", features), grad)
    _encode_back(params, grads, images, _project_back(params, grads, "head", features, grad))


def _shuffled(params: Parameters, patches: Floats, permutation: Ints) -> tuple[Floats, Floats]:
    """Features [B, 9, F] of the patches, and their permuted concatenation [B, 9 D]."""
    features = _encode(params, patches)
    each = _project(params, "jigsaw", features)
    permuted = np.take_along_axis(each, permutation[:, :, None], axis=1)
    return features, permuted.reshape(len(permuted), -1)


def _solve(params: Parameters, patches: Floats, permutation: Ints) -> Floats:
    """Unit jigsaw embeddings [B, D] of patches [B, 9, h, w, c]."""
    _, together = _shuffled(params, patches, permutation)
    return _normalise(_dense(params, "jigsaw.out", together))


def _solve_back(
    params: Parameters, grads: Parameters, patches: Floats, permutation: Ints, grad: Floats
) -> None:
    features, together = _shuffled(params, patches, permutation)
    grad = _normalise_back(_dense(params, "jigsaw.out", together), grad)
    grad = _dense_back(params, grads, "jigsaw.out", together, grad)
    permuted = grad.reshape(len(grad), PATCHES, -1)
    each = np.zeros_like(permuted)
    np.put_along_axis(each, permutation[:, :, None], permuted, axis=1)
    _encode_back(params, grads, patches, _project_back(params, grads, "jigsaw", features, each))


def contrast(query: Floats, targets: Targets, temperature: float) -> tuple[float, Floats]:
    """Mean cross-entropy of the positive in front of the negatives, and the query's gradient.

    Args:
        query: [B, D].
        targets: positives [B, D], and negatives [B, K, D] or, shared by all queries, [K, D].
        temperature: divides the logits.
    """
    positives, negatives = targets
    shared = np.broadcast_to(negatives, (len(query), *negatives.shape[-2:]))
    candidates = np.concatenate([positives[:, None], shared], axis=1)
    logits = np.einsum("bd,bkd->bk", query, candidates) / temperature
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    error = shifted / shifted.sum(axis=1, keepdims=True)
    loss = np.log(shifted.sum(axis=1)) + logits.max(axis=1) - logits[:, 0]
    error[:, 0] -= 1.0
    grad = np.einsum("bk,bkd->bd", error, candidates) / (temperature * len(query))
    return float(loss.mean()), grad


def _exact(params: Parameters) -> Parameters:
    return {name: np.array(value, np.float64) for name, value in params.items()}


def _moved(key_params: Parameters, params: Parameters, alpha: float) -> Parameters:
    return {k: alpha * key_params[k] + (1.0 - alpha) * params[k] for k in key_params}


def _checked(preset: Preset, networks: Sequence[Network], batch: Batch) -> list[Network]:
    """The networks in float64, after checking that everything the preset needs is there."""
    if len(networks) != len(CHANNELS[preset.modal]):
        raise ValueError(f"networks: got {len(networks)} for modal {preset.modal}")
    if preset.jigsaw and (batch.patches is None or batch.permutations is None):
        raise ValueError("batch: a jigsaw preset needs patches and permutations")
    if (batch.rows if preset.memory == "bank" else batch.key_view) is None:
        raise ValueError("batch: a bank preset needs rows, a queue preset key_view")
    result = []
    for index, network in enumerate(networks):
        params = _exact(network.params)
        features, dim = params["encoder.b"].size, network.memory.shape[1]
        wanted = shapes(preset, index, features, dim)
        for given in (params, network.velocity):
            if {name: np.shape(value) for name, value in given.items()} != wanted:
                raise ValueError(f"networks[{index}]: parameters and velocity must be {wanted}")
        keys = None if network.key_params is None else _exact(network.key_params)
        if (network.negatives if preset.memory == "bank" else keys) is None:
            raise ValueError(f"networks[{index}]: negatives (bank) or key_params (queue) missing")
        memory = np.array(network.memory, np.float64)
        velocity = _exact(network.velocity)
        result.append(
            replace(network, params=params, velocity=velocity, memory=memory, key_params=keys)
        )
    return result


def _parts(preset: Preset, images: Floats | None) -> list[Floats]:
    """What each network sees of images [..., 3]."""
    exact = np.asarray(images, np.float64)
    return [exact[..., span] for span in CHANNELS[preset.modal]]


def _optimised(network: Network, grads: Parameters, hyper: Hyper) -> Network:
    """SGD: g + wd p, v = mu v + g, p - lr v, for every parameter."""
    velocity = {
        name: hyper.momentum * network.velocity[name] + grads[name] + hyper.weight_decay * value
        for name, value in network.params.items()
    }
    params = {
        name: value - hyper.learning_rate * velocity[name] for name, value in network.params.items()
    }
    return replace(network, params=params, velocity=velocity)


def _enqueued(network: Network, keys: Floats) -> Network:
    size = len(network.memory)
    memory = network.memory.copy()
    for offset, key in enumerate(keys):
        memory[(network.pointer + offset) % size] = key
    return replace(network, memory=memory, pointer=(network.pointer + len(keys)) % size)


def _rewritten(network: Network, rows: Ints, queries: Floats, momentum: float) -> Network:
    memory = network.memory.copy()
    memory[rows] = _normalise(momentum * memory[rows] + (1.0 - momentum) * queries)
    return replace(network, memory=memory)


def step(
    preset: Preset,
    networks: Sequence[Network],
    batch: Batch,
    hyper: Hyper,
    *,
    ema_first: bool = False,
    jigsaw_across: bool = True,
) -> Result:
    """One training step.

    Args:
        preset: which method.
        networks: one, or two with CMC.
        batch: the images.
        hyper: the numbers.
        ema_first: queue presets: move the momentum parameters before the keys are computed, towards
            the parameters given; otherwise after the optimiser's step, towards the new ones. Either
            way they move once.
        jigsaw_across: CMC with jigsaw: the jigsaw query of a network meets the other network's
            targets, as its main query does; otherwise its own network's (PyContrast's trainers).
            Without effect on RGB.
    """
    networks = _checked(preset, networks, batch)
    if preset.memory == "queue" and ema_first:
        networks = [
            replace(n, key_params=_moved(n.key_params or {}, n.params, hyper.alpha))
            for n in networks
        ]
    views = _parts(preset, batch.view)
    queries = [_embed(n.params, x) for n, x in zip(networks, views, strict=True)]
    rows = np.asarray(batch.rows if preset.memory == "bank" else [], np.int_)
    targets: list[Targets]
    if preset.memory == "bank":
        targets = [(n.memory[rows], n.memory[np.asarray(n.negatives)]) for n in networks]
    else:
        seen = zip(networks, _parts(preset, batch.key_view), strict=True)
        targets = [(_embed(n.key_params or {}, x), n.memory) for n, x in seen]

    weight = hyper.beta if preset.jigsaw else 0.0
    main, gradients = 0.0, []
    for index, network in enumerate(networks):
        grads = {name: np.zeros_like(value) for name, value in network.params.items()}
        across = targets[len(networks) - 1 - index]
        loss, grad = contrast(queries[index], across, preset.temperature)
        main += loss
        _embed_back(network.params, grads, views[index], (1.0 - weight) * grad)
        gradients.append(grads)
    jigsaw = 0.0
    if preset.jigsaw:
        patches = _parts(preset, batch.patches)
        for index, (network, grads) in enumerate(zip(networks, gradients, strict=True)):
            permutation = np.asarray((batch.permutations or ())[index])
            met = targets[len(networks) - 1 - index if jigsaw_across else index]
            query = _solve(network.params, patches[index], permutation)
            loss, grad = contrast(query, met, preset.temperature)
            jigsaw += loss
            _solve_back(network.params, grads, patches[index], permutation, weight * grad)

    after = [_optimised(n, g, hyper) for n, g in zip(networks, gradients, strict=True)]
    for index, network in enumerate(after):
        if preset.memory == "bank":
            after[index] = _rewritten(network, rows, queries[index], hyper.bank_momentum)
            continue
        if not ema_first:
            moved = _moved(network.key_params or {}, network.params, hyper.alpha)
            network = replace(network, key_params=moved)
        after[index] = _enqueued(network, targets[index][0])
    return Result((1.0 - weight) * main + weight * jigsaw, main, jigsaw, gradients, after)
