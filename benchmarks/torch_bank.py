"""Plain PyTorch baseline: the four terms against keys drawn from banks, and the banks' update.

    python benchmarks/torch_bank.py M N B K

A set of K negatives for each anchor, gathered anew for each pair of networks and again within each
network, as the authors have it; forward, backward to the queries, and the rows of the batch moved.
It answers lines on standard input as `pairs.serve` does.
"""

import itertools
import sys

import torch
import torch.nn.functional as F
from pairs import serve

M, N, B, K = map(int, sys.argv[1:])
D, TEMPERATURE, SOFT_TEMPERATURE, MOMENTUM = 128, 0.07, 3, 0.5


def kl(student, teacher):
    """T^2 KL(teacher || student), the teacher stopped."""
    return (
        F.kl_div(
            F.log_softmax(student / SOFT_TEMPERATURE, 1),
            F.softmax(teacher.detach() / SOFT_TEMPERATURE, 1),
            reduction="batchmean",
        )
        * SOFT_TEMPERATURE**2
    )


def contrast(logits, positives):
    """InfoNCE with the first columns positive."""
    return -torch.log_softmax(logits, 1)[:, :positives].mean()


def terms(queries, banks, rows):
    """The weighed terms; ``rows`` are the own one, a positive and the negatives."""

    def logits(a, b, rows):
        keys = banks[b].index_select(0, rows.reshape(-1)).view(*rows.shape, D)
        return torch.bmm(keys, queries[a][:, :, None])[:, :, 0] / TEMPERATURE

    own = [logits(a, a, rows[:, 1:].contiguous()) for a in range(M)]
    loss = sum(0.1 * contrast(x, 1) for x in own)
    for a, b in itertools.combinations(range(M), 2):
        x, y = logits(a, b, rows), logits(b, a, rows)
        loss = loss + 0.1 * (contrast(x, 2) + contrast(y, 2)) + kl(x, y) + kl(y, x)
        loss = loss + kl(own[a], own[b]) + kl(own[b], own[a])
    return loss


def main():
    """Serves steps that meet other rows each time."""
    banks = [F.normalize(torch.randn(N, D), dim=1) for _ in range(M)]
    queries = [F.normalize(torch.randn(B, D), dim=1).requires_grad_() for _ in range(M)]
    batches = itertools.cycle([torch.randint(N, (B, 2 + K)) for _ in range(4)])

    def step():
        rows = next(batches)
        terms(queries, banks, rows).backward()
        with torch.no_grad():
            for bank, query in zip(banks, queries, strict=True):
                moved = MOMENTUM * bank[rows[:, 0]] + (1 - MOMENTUM) * query
                bank.index_copy_(0, rows[:, 0], F.normalize(moved, dim=1))
                query.grad = None

    serve(step)


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
