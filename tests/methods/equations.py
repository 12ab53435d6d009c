"""The terms of mutual contrast in float64 NumPy, written from the papers' equations."""

import numpy as np


def log_sum_exp(x):
    largest = x.max(axis=-1, keepdims=True)
    return (largest + np.log(np.exp(x - largest).sum(axis=-1, keepdims=True)))[..., 0]


def ring(scores, outer, inner):
    """The columns of a row of scores whose ranks lie in the ring."""
    count = max(1, int(np.floor(outer * len(scores) + 1e-6)))
    dropped = min(int(np.floor(inner * count + 1e-6)), count - 1)
    return np.argsort(-scores, kind="stable")[dropped:count]


def divergence(teacher, student, T):
    """T^2 KL(teacher || student), mean over the rows of logits [B, K]."""
    p, q = (x / T - log_sum_exp(x / T)[:, None] for x in (teacher, student))
    return T**2 * np.mean(np.sum(np.exp(p) * (p - q), axis=-1))


def contrast(own, others, kept):
    """Mean of -log(exp(own) / sum over own and those of the others [B, K] that are kept)."""
    rows = [
        log_sum_exp(np.append(row[columns], mine)) - mine
        for mine, row, columns in zip(own, others, kept, strict=True)
    ]
    return np.mean(rows)


def mcl_terms(queries, own, keys, temperature, T, outer=1.0, inner=0.0):
    """The four terms of queries [M, B, D] with keys of their own [M, B, D] and others [M, K, D]."""
    networks = range(len(queries))
    terms = dict.fromkeys(("vcl", "soft_vcl", "icl", "soft_icl"), 0.0)
    logits = {}
    for a in networks:
        for b in networks:
            mine = np.sum(queries[a] * own[b], axis=-1) / temperature
            others = queries[a] @ keys[b].T / temperature
            kept = [ring(row, outer, inner) for row in others]
            terms["vcl" if a == b else "icl"] += contrast(mine, others, kept)
            logits[a, b] = np.concatenate([mine[:, None], others], axis=1)
    for a in networks:
        for b in networks:
            if a != b:
                terms["soft_vcl"] += divergence(logits[b, b], logits[a, a], T)
                terms["soft_icl"] += divergence(logits[b, a], logits[a, b], T)
    return terms
