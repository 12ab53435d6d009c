"""Plain PyTorch baseline: the four terms of M networks, forward and backward, all logits at hand.

    python benchmarks/torch_losses.py queue M B K
    python benchmarks/torch_losses.py batch M B

``queue``: own keys and a queue of K keys, as the authors have it. ``batch``: the keys are the
embeddings of the batch, two rows of a class, and get gradients too. It answers lines on standard
input as `pairs.serve` does.
"""

import sys

import torch
import torch.nn.functional as F
from pairs import serve

FORM = sys.argv[1]
M, B, *REST = map(int, sys.argv[2:])
D, TEMPERATURE, SOFT_TEMPERATURE = 128, 0.07, 3


def unit(*shape):
    """Random unit vectors."""
    return F.normalize(torch.randn(*shape), dim=-1)


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


def total(logits, contrast):
    """The weighed terms, from logits of a pair of networks and the contrast of a matrix of them."""
    own = [logits(a, a) for a in range(M)]
    loss = sum(0.1 * contrast(x) for x in own)
    loss = loss + sum(kl(own[a], own[b]) for a in range(M) for b in range(M) if a != b)
    for a in range(M):
        for b in range(a + 1, M):
            x, y = logits(a, b), logits(b, a)
            loss = loss + 0.1 * (contrast(x) + contrast(y)) + kl(x, y) + kl(y, x)
    return loss


def queue():
    """A step with queues."""
    queries = [unit(B, D).requires_grad_() for _ in range(M)]
    own, keys = [unit(B, D) for _ in range(M)], [unit(REST[0], D) for _ in range(M)]
    first = torch.zeros(B, dtype=torch.long)

    def logits(a, b):
        mine = (queries[a] * own[b]).sum(1, keepdim=True)
        return torch.cat([mine, queries[a] @ keys[b].T], 1) / TEMPERATURE

    return lambda: total(logits, lambda x: F.cross_entropy(x, first)).backward()


def batch():
    """A step within the batch: one other row of the class, all other rows candidates."""
    queries = [unit(B, D).requires_grad_() for _ in range(M)]
    self = torch.eye(B, dtype=torch.bool)
    other = torch.arange(B) ^ 1

    def contrast(x):
        return F.cross_entropy(x.masked_fill(self, -torch.inf), other)

    return lambda: total(lambda a, b: queries[a] @ queries[b].T / TEMPERATURE, contrast).backward()


if __name__ == "__main__":
    torch.manual_seed(0)
    serve({"queue": queue, "batch": batch}[FORM]())
