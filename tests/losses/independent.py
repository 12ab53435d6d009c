"""Every objective once more, in float64 NumPy, written from the papers' equations alone.

Nothing here is fast and nothing here is shared with the library: sums are loops over networks and
anchors, so that a line can be held against the equation it comes from. A teacher is the argument
``teachers``; a finite difference that leaves it alone is the gradient with the teacher stopped.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

Array = np.ndarray


# --- similarity ---


def log_sum_exp(values: Array) -> float:
    """log of the sum of exponentials of all entries; -inf for none."""
    values = np.asarray(values, np.float64).ravel()
    if values.size == 0:
        return -np.inf
    top = values.max()
    return float(top + np.log(np.sum(np.exp(values - top))))


def log_softmax(values: Array) -> Array:
    """values - log sum exp, over one row."""
    return values - log_sum_exp(values)


def divergence(teacher: Array, student: Array) -> float:
    """KL(softmax(teacher) || softmax(student)), summed over the entries of one row."""
    log_p, log_q = log_softmax(teacher), log_softmax(student)
    return float(np.sum(np.exp(log_p) * (log_p - log_q)))


def l2_normalize(x: Array) -> Array:
    """x / |x| over the last axis; a zero vector stays zero."""
    out = np.zeros_like(x, dtype=np.float64)
    for row in np.ndindex(x.shape[:-1]):
        length = np.sqrt(np.sum(x[row] ** 2))
        out[row] = x[row] / length if length > 0 else 0.0
    return out


def cross_network_logits(queries: Array, keys: Array, temperature: float) -> Array:
    """S[a, b, i, k] = v_a^i . v_b^k / tau; keys [M, K, D], or an anchor's own keys [M, B, K, D]."""
    networks, batch, _ = queries.shape
    out = np.zeros((networks, networks, batch, keys.shape[-2]))
    for a, b, i in rows(out):
        of_anchor = keys[b, i] if keys.ndim == 4 else keys[b]
        out[a, b, i] = of_anchor @ queries[a, i] / temperature
    return out


def rows(array: Array) -> Iterator[tuple[int, ...]]:
    """Indices of the rows of an array: every axis but the last."""
    return iter(np.ndindex(array.shape[:-1]))


def broad(mask: Array | None, like: Array) -> Array:
    """A mask in full; None is every key."""
    return np.broadcast_to(True if mask is None else mask, like.shape)


# --- contrast: MCL, arXiv 2104.12565 ---


def info_nce(
    logits: Array, positives: Array, candidates: Array | None = None, *, numerator: str = "mean_log"
) -> Array:
    """InfoNCE (1807.03748) of every anchor; several positives as SupCon (2004.11362) has them."""
    positives, candidates = broad(positives, logits), broad(candidates, logits)
    out = np.zeros(logits.shape[:-1])
    for row in rows(logits):
        chosen = logits[row][positives[row]]
        if chosen.size == 0:
            continue
        denominator = log_sum_exp(logits[row][candidates[row]])
        if numerator == "mean_log":
            out[row] = -np.mean([value - denominator for value in chosen])
        else:
            out[row] = denominator - log_sum_exp(chosen)
    return out


def mean_over_anchors_with_positives(losses: Array, positives: Array) -> float:
    """Mean of [B] losses over the anchors that have a positive; 0 if none has."""
    has_positive = positives.any(axis=-1)
    return float(np.mean(losses[has_positive])) if has_positive.any() else 0.0


def contrast(
    logits: Array,
    positives: Array,
    candidates: Array | None,
    numerator: str,
    pair_weights: Array | None,
    wanted: Callable[[int, int], bool],
) -> float:
    """Sum over the wanted pairs (a, b) of the mean InfoNCE of a's queries among b's keys."""
    positives, candidates = broad(positives, logits), broad(candidates, logits)
    total = 0.0
    for a, b in np.ndindex(logits.shape[:2]):
        if wanted(a, b):
            losses = info_nce(logits[a, b], positives[a, b], candidates[a, b], numerator=numerator)
            weight = 1.0 if pair_weights is None else float(pair_weights[a, b])
            total += weight * mean_over_anchors_with_positives(losses, positives[a, b])
    return total


def vcl(
    logits: Array,
    positives: Array,
    candidates: Array | None = None,
    *,
    numerator: str = "mean_log",
    pair_weights: Array | None = None,
) -> float:
    """Vanilla contrastive learning, sum over m of L^{m->m} (2104.12565)."""
    return contrast(logits, positives, candidates, numerator, pair_weights, lambda a, b: a == b)


def icl(
    logits: Array,
    positives: Array,
    candidates: Array | None = None,
    *,
    numerator: str = "mean_log",
    pair_weights: Array | None = None,
) -> float:
    """Interactive contrastive learning, sum over a != b of L^{a->b} (2104.12565)."""
    return contrast(logits, positives, candidates, numerator, pair_weights, lambda a, b: a != b)


def mimicry(
    logits: Array,
    candidates: Array | None,
    soft_temperature: float,
    pair_weights: Array | None,
    teachers: Array | None,
    pair: Callable[[int, int], tuple[tuple[int, int], tuple[int, int]]],
) -> float:
    """Sum over a != b of T^2 mean_i KL(teacher / T || student / T), the student's candidates."""
    teachers = logits if teachers is None else teachers
    candidates = broad(candidates, logits)
    networks, batch = logits.shape[0], logits.shape[2]
    total = 0.0
    for a, b in np.ndindex(networks, networks):
        if a == b:
            continue
        teacher, student = pair(a, b)
        values = []
        for i in range(batch):
            keep = candidates[student][i]
            values.append(
                divergence(
                    teachers[teacher][i][keep] / soft_temperature,
                    logits[student][i][keep] / soft_temperature,
                )
            )
        weight = 1.0 if pair_weights is None else float(pair_weights[a, b])
        total += weight * soft_temperature**2 * float(np.mean(values))
    return total


def soft_vcl(
    logits: Array,
    candidates: Array | None = None,
    *,
    soft_temperature: float = 3.0,
    pair_weights: Array | None = None,
    teachers: Array | None = None,
) -> float:
    """Soft VCL (2104.12565): KL(p_b || p_a), p_m the distribution of m over m's own keys."""
    return mimicry(
        logits, candidates, soft_temperature, pair_weights, teachers, lambda a, b: ((b, b), (a, a))
    )


def soft_icl(
    logits: Array,
    candidates: Array | None = None,
    *,
    soft_temperature: float = 3.0,
    pair_weights: Array | None = None,
    teachers: Array | None = None,
) -> float:
    """Soft ICL (2104.12565): KL(q_{b->a} || q_{a->b})."""
    return mimicry(
        logits, candidates, soft_temperature, pair_weights, teachers, lambda a, b: ((b, a), (a, b))
    )


class Terms(NamedTuple):
    """The four terms, in the order of the library's."""

    vcl: float
    soft_vcl: float
    icl: float
    soft_icl: float


def all_logits(
    queries: Array, keys: Array, temperature: float, own_keys: Array | None = None
) -> Array:
    """Logits of the keys; own keys stand in front, as in MoCo (1911.05722)."""
    logits = cross_network_logits(queries, keys, temperature)
    if own_keys is None:
        return logits
    own = cross_network_logits(queries, own_keys[:, :, None, :], temperature)
    return np.concatenate([own, logits], axis=-1)


def mcl_terms(
    queries: Array,
    keys: Array,
    positives: Array | None = None,
    candidates: Array | None = None,
    *,
    own_keys: Array | None = None,
    soft_candidates: Array | None = None,
    temperature: float,
    soft_temperature: float = 3.0,
    numerator: str = "mean_log",
    pair_weights: Array | None = None,
    teachers: Array | None = None,
) -> Terms:
    """The four terms of MCL (2104.12565); masks describe the keys, an own key is in all of them."""
    logits = all_logits(queries, keys, temperature, own_keys)
    own = 0 if own_keys is None else 1

    def in_full(mask: Array | None) -> Array:
        full = np.ones(logits.shape, bool)
        full[..., own:] = True if mask is None else mask
        return full

    here = in_full(np.zeros((), bool) if positives is None else positives)
    hard, soft = in_full(candidates), in_full(soft_candidates)
    form, weights, heat = numerator, pair_weights, soft_temperature
    return Terms(
        vcl(logits, here, hard, numerator=form, pair_weights=weights),
        soft_vcl(logits, soft, soft_temperature=heat, pair_weights=weights, teachers=teachers),
        icl(logits, here, hard, numerator=form, pair_weights=weights),
        soft_icl(logits, soft, soft_temperature=heat, pair_weights=weights, teachers=teachers),
    )


# --- class logits ---


def logit_distillation(
    logits: Array,
    *,
    soft_temperature: float = 3.0,
    students: str = "all",
    teachers: Array | None = None,
) -> float:
    """T^2 KL(mean of the networks' logits || a student's), summed over the students."""
    mean_logits = np.mean(logits if teachers is None else teachers, axis=0)
    chosen = range(len(logits)) if students == "all" else [len(logits) - 1]
    return sum(
        soft_temperature**2
        * float(
            np.mean(
                [
                    divergence(t / soft_temperature, s / soft_temperature)
                    for t, s in zip(mean_logits, logits[m], strict=True)
                ]
            )
        )
        for m in chosen
    )


def deep_mutual(
    logits: Array, *, soft_temperature: float = 1.0, teachers: Array | None = None
) -> float:
    """Deep Mutual Learning (1706.00384): sum over ordered pairs of T^2 KL(p_b || p_a)."""
    teachers = logits if teachers is None else teachers
    networks, batch, _ = logits.shape
    total = 0.0
    for a, b in np.ndindex(networks, networks):
        if a != b:
            values = [
                divergence(teachers[b, i] / soft_temperature, logits[a, i] / soft_temperature)
                for i in range(batch)
            ]
            total += soft_temperature**2 * float(np.mean(values))
    return total


# --- other objectives ---


def supcon(embeddings: Array, labels: Array, *, temperature: float, form: str = "out") -> float:
    """SupCon (2004.11362) equations 2 and 3, averaged over the anchors with a positive."""
    views = embeddings.shape[0]
    z = embeddings.reshape(-1, embeddings.shape[-1])
    y = np.tile(labels, views)
    values = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        chosen = [p for p in others if y[p] == y[i]]
        if not chosen:
            continue
        denominator = sum(np.exp(z[i] @ z[a] / temperature) for a in others)
        ratios = [np.exp(z[i] @ z[p] / temperature) / denominator for p in chosen]
        values.append(-np.mean(np.log(ratios)) if form == "out" else -np.log(np.mean(ratios)))
    return float(np.mean(values)) if values else 0.0


def nt_xent(first: Array, second: Array, *, temperature: float) -> float:
    """SimCLR (2002.05709) equation 1, averaged over the 2B anchors."""
    z = np.concatenate([first, second])
    batch = len(first)
    values = []
    for i in range(2 * batch):
        scores = z @ z[i] / temperature
        partner = (i + batch) % (2 * batch)
        values.append(log_sum_exp(np.delete(scores, i)) - scores[partner])
    return float(np.mean(values))


def instance_discrimination(
    queries: Array, bank: Array, index: Array, *, temperature: float
) -> float:
    """Non-parametric softmax over all rows of the bank (1805.01978) equation 2."""
    scores = queries @ bank.T / temperature
    return float(np.mean([log_sum_exp(scores[i]) - scores[i, index[i]] for i in range(len(index))]))


def nce(positive: Array, negatives: Array, log_partition: float, num_rows: int) -> Array:
    """NCE (1805.01978): h = P / (P + K/N), the loss -log h(+) - sum log(1 - h(-))."""
    noise = negatives.shape[-1] / num_rows
    out = np.zeros(positive.shape)
    for i in np.ndindex(positive.shape):
        h_data = np.exp(positive[i] - log_partition) / (np.exp(positive[i] - log_partition) + noise)
        p_noise = np.exp(negatives[i] - log_partition)
        out[i] = -np.log(h_data) - np.sum(np.log(1.0 - p_noise / (p_noise + noise)))
    return out


def nce_gradient(
    positive: Array, negatives: Array, log_partition: float, num_rows: int
) -> tuple[Array, Array]:
    """Derivatives of :func:`nce` by hand: -(1 - h) for the positive, h for a negative."""
    noise = negatives.shape[-1] / num_rows
    p_data, p_noise = np.exp(positive - log_partition), np.exp(negatives - log_partition)
    return -noise / (p_data + noise), p_noise / (p_noise + noise)


def running_log_partition(batches: list[Array], num_rows: int, *, momentum: float = 0.99) -> float:
    """log of N times the mean of exp(logit): plain at first, exponential after 1/(1 - momentum)."""
    mean = 0.0
    for number, logits in enumerate(batches, start=1):
        weight = max(1.0 / number, 1.0 - momentum)
        mean = (1.0 - weight) * mean + weight * float(np.mean(np.exp(logits)))
    return float(np.log(num_rows) + np.log(mean))


def close_neighbours(assignments: Array, key_assignments: Array, combine: str = "union") -> Array:
    """Keys in the anchor's cluster, in any or in every clustering (1903.12355)."""
    runs, batch = assignments.shape
    out = np.zeros((batch, key_assignments.shape[1]), bool)
    for i, k in np.ndindex(out.shape):
        together = [assignments[h, i] == key_assignments[h, k] for h in range(runs)]
        out[i, k] = any(together) if combine == "union" else all(together)
    return out


def local_aggregation(logits: Array, close: Array, background: Array) -> Array:
    """Local aggregation (1903.12355): -log P(C and B) / P(B)."""
    close, background = broad(close, logits), broad(background, logits)
    out = np.zeros(logits.shape[:-1])
    for row in rows(logits):
        out[row] = log_sum_exp(logits[row][background[row]]) - log_sum_exp(
            logits[row][background[row] & close[row]]
        )
    return out


def decoupled(
    logits: Array, positives: Array, candidates: Array | None = None, *, numerator: str = "mean_log"
) -> Array:
    """Decoupled contrastive learning (2110.06848): the positives leave the denominator."""
    positives = broad(positives, logits)
    return info_nce(logits, positives, broad(candidates, logits) & ~positives, numerator=numerator)


def debiased(
    logits: Array,
    positives: Array,
    candidates: Array | None = None,
    *,
    class_prior: float,
    temperature: float,
) -> Array:
    """Debiased contrastive loss (2007.00224) equations 7 and 8, averaged over the positives."""
    positives = broad(positives, logits)
    negatives = broad(candidates, logits) & ~positives
    out = np.zeros(logits.shape[:-1])
    for row in rows(logits):
        v, u = np.exp(logits[row][positives[row]]), np.exp(logits[row][negatives[row]])
        if v.size == 0:
            continue
        if u.size == 0:
            n_times_g = 0.0
        else:
            estimate = (np.mean(u) - class_prior * np.mean(v)) / (1.0 - class_prior)
            n_times_g = u.size * max(estimate, np.exp(-1.0 / temperature))
        out[row] = np.mean([-np.log(value / (value + n_times_g)) for value in v])
    return out


def cmc(
    queries: Array,
    keys: Array,
    positives: Array | None = None,
    candidates: Array | None = None,
    *,
    own_keys: Array | None = None,
    temperature: float,
    numerator: str = "mean_log",
) -> float:
    """CMC (1906.05849): the first view's queries among the second's keys, plus the reverse."""
    total = 0.0
    for a, b in ((0, 1), (1, 0)):
        logits = queries[a] @ keys[b].T / temperature
        here = np.zeros(logits.shape, bool) if positives is None else broad(positives, logits)
        there = broad(candidates, logits)
        if own_keys is not None:
            own = np.sum(queries[a] * own_keys[b], axis=-1, keepdims=True) / temperature
            logits = np.concatenate([own, logits], axis=-1)
            here, there = (
                np.concatenate([np.ones(own.shape, bool), mask], axis=-1) for mask in (here, there)
            )
        total += mean_over_anchors_with_positives(
            info_nce(logits, here, there, numerator=numerator), here
        )
    return total


def cosine_regression(predictions: Array, targets: Array) -> Array:
    """BYOL (2006.07733) equation 2: |p/|p| - t/|t||^2."""
    return np.sum((l2_normalize(predictions) - l2_normalize(targets)) ** 2, axis=-1)


# --- regions: 2005.13149 and 2010.02037 ---


def ring(scores: Array, outer: float, inner: float, *, pool: Array | None = None) -> Array:
    """Ranks [floor(inner c), c) of the pool, c = max(1, floor(outer n)); at least one stays."""
    pool = broad(pool, scores)
    out = np.zeros(scores.shape, bool)
    for row in rows(scores):
        keys = [k for k in range(scores.shape[-1]) if pool[row][k]]
        if not keys:
            continue
        keys.sort(key=lambda k: (-scores[row][k], k))
        count = max(1, int(np.floor(outer * len(keys) + 1e-6)))
        dropped = min(int(np.floor(inner * count + 1e-6)), count - 1)
        out[row][keys[dropped:count]] = True
    return out


def ball(scores: Array, outer: float, *, pool: Array | None = None) -> Array:
    """The ranks [0, max(1, floor(outer n))) of the pool."""
    return ring(scores, outer, 0.0, pool=pool)


def cave(scores: Array, outer: float, neighbours: Array, *, pool: Array | None = None) -> Array:
    """The ball without the close neighbours."""
    return ball(scores, outer, pool=pool) & ~broad(neighbours, scores)


def neighbour_views(scores: Array, own: Array, inner: float, *, pool: Array | None = None) -> Array:
    """Own row and the nearest: the positives of a neighbour-view numerator."""
    return broad(own, scores) | ball(scores, inner, pool=pool)


# --- memory ---


def update_bank(bank: Array, index: Array, embeddings: Array, momentum: float) -> Array:
    """M_i <- normalised m M_i + (1 - m) z, M_i as it was before: the last occurrence stands."""
    out = bank.copy()
    for m in range(len(bank)):
        for position, row in enumerate(index):
            out[m, row] = l2_normalize(
                momentum * bank[m, row] + (1.0 - momentum) * embeddings[m, position]
            )
    return out


def enqueue(queue: Array, cursor: int, keys: Array) -> tuple[Array, int]:
    """First in, first out (1911.05722), one key after another."""
    out, size = queue.copy(), queue.shape[1]
    for position in range(keys.shape[1]):
        out[:, (cursor + position) % size] = keys[:, position]
    return out, (cursor + keys.shape[1]) % size


# --- mutual information: InfoNCE 1807.03748, VINCE 2005.13149, bounds 1905.06922 ---


def joint_and_marginal(scores: Array) -> tuple[Array, Array]:
    """The diagonal, and every row without it."""
    batch = scores.shape[-1]
    joint, marginal = np.zeros(scores.shape[:-1]), np.zeros((*scores.shape[:-1], batch - 1))
    for row in rows(scores):
        joint[row], marginal[row] = scores[row][row[-1]], np.delete(scores[row], row[-1])
    return joint, marginal


def per_batch(reading: Callable[[Array, Array], float], joint: Array, marginal: Array) -> Array:
    """A reading of [B] and [B, K] for every leading index."""
    out = np.zeros(joint.shape[:-1])
    for lead in np.ndindex(out.shape):
        out[lead] = reading(joint[lead], marginal[lead])
    return out


def info_nce_reading(joint: Array, marginal: Array) -> Array:
    """E[f - log mean over the K + 1 candidates of e^f] (1807.03748)."""

    def reading(f: Array, g: Array) -> float:
        return float(
            np.mean([f[i] - np.log(np.mean(np.exp([f[i], *g[i]]))) for i in range(len(f))])
        )

    return per_batch(reading, joint, marginal)


def donsker_varadhan(joint: Array, marginal: Array) -> Array:
    """E_joint[f] - log E_marginal[e^f]."""
    return per_batch(lambda f, g: float(np.mean(f) - np.log(np.mean(np.exp(g)))), joint, marginal)


def nwj(joint: Array, marginal: Array) -> Array:
    """E_joint[f] - E_marginal[e^(f - 1)]."""
    return per_batch(lambda f, g: float(np.mean(f) - np.mean(np.exp(g - 1.0))), joint, marginal)


def pairwise_bounds(queries: Array, keys: Array, *, temperature: float) -> Array:
    """log B - InfoNCE of network a's queries among network b's keys, for every ordered pair."""
    networks, batch, _ = queries.shape
    out = np.zeros((networks, networks))
    for a, b in np.ndindex(networks, networks):
        out[a, b] = np.log(batch) - np.mean(
            info_nce(queries[a] @ keys[b].T / temperature, np.eye(batch, dtype=bool))
        )
    return out


# --- geometry ---


def alignment(x: Array, y: Array, alpha: float = 2.0) -> Array:
    """E |x - y|^alpha (2005.10242)."""
    return np.mean(np.sqrt(np.sum((x - y) ** 2, axis=-1)) ** alpha, axis=-1)


def uniformity(x: Array, t: float = 2.0) -> Array:
    """log of the mean over pairs of different points of e^(-t |x_i - x_j|^2) (2005.10242)."""
    out = np.zeros(x.shape[:-2])
    for lead in np.ndindex(out.shape):
        points = x[lead]
        values = [
            np.exp(-t * np.sum((points[i] - points[j]) ** 2))
            for i in range(len(points))
            for j in range(i + 1, len(points))
        ]
        out[lead] = np.log(np.mean(values))
    return out


def effective_rank(x: Array, epsilon: float = 0.0) -> float:
    """RankMe (2210.02885): e to the entropy of the singular values over their sum."""
    singular = np.linalg.svd(x, compute_uv=False)
    p = singular / np.sum(singular) + epsilon
    p = p[p > 0]
    return float(np.exp(-np.sum(p * np.log(p))))


def linear_cka(x: Array, y: Array) -> float:
    """Linear CKA (1905.00414), from centred Gram matrices."""
    centre = np.eye(len(x)) - 1.0 / len(x)
    k, l = (centre @ z @ z.T @ centre for z in (x, y))  # noqa: E741
    return float(np.sum(k * l) / np.sqrt(np.sum(k * k) * np.sum(l * l)))


# --- derivatives ---


def gradient(function: Callable[[Array], float], x: Array, step: float = 1e-4) -> Array:
    """Central differences of fourth order."""
    out = np.zeros_like(x)
    for position in np.ndindex(x.shape):
        values = []
        for offset in (-2, -1, 1, 2):
            moved = x.copy()
            moved[position] += offset * step
            values.append(function(moved))
        out[position] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    return out
