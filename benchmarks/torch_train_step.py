"""Plain PyTorch baseline: a supervised MCL step of M CIFAR ResNets, a Python loop over networks.

    python benchmarks/torch_train_step.py M B BLOCKS_PER_STAGE [eager|compile] [nchw|nhwc]

Forward, losses, backward and SGD, as the authors do it; ResNet-32 has 5 blocks a stage. It answers
every line on standard input with the seconds of one step, as ``train_step.py`` asks its workers to.
"""

import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

M, B, N = map(int, sys.argv[1:4])
MODE = sys.argv[4] if len(sys.argv) > 4 else "eager"
LAYOUT = torch.channels_last if "nhwc" in sys.argv[5:] else torch.contiguous_format
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, i, o, s):
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o)
        self.c2, self.b2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        shortcut = (nn.Conv2d(i, o, 1, s, bias=False), nn.BatchNorm2d(o))
        self.skip = nn.Sequential(*shortcut) if (i, s) != (o, 1) else nn.Identity()

    def forward(self, x):
        """[B, i, H, W] to [B, o, H', W']."""
        return F.relu(self.skip(x) + self.b2(self.c2(F.relu(self.b1(self.c1(x))))))


class Net(nn.Module):
    """A CIFAR ResNet with a classifier and a projection head."""

    def __init__(self):
        super().__init__()
        layers, i = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()], 16
        for k, o in enumerate((16, 32, 64)):
            for b in range(N):
                layers.append(Block(i, o, 2 if k and b == 0 else 1))
                i = o
        self.body, self.head = nn.Sequential(*layers), nn.Linear(64, 100)
        self.proj = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128))

    def forward(self, x):
        """[B, 3, 32, 32] to logits [B, 100] and embeddings [B, 128]."""
        f = self.body(x).mean((2, 3))
        return self.head(f), F.normalize(self.proj(f), dim=1)


def kl(s, t, temperature=3.0):
    """T^2 KL(softmax(t / T) || softmax(s / T)), the teacher t stopped."""
    student = F.log_softmax(s / temperature, 1)
    teacher = F.softmax(t.detach() / temperature, 1)
    return F.kl_div(student, teacher, reduction="batchmean") * temperature * temperature


def loss_fn(outs, y, tau=0.1):
    """Cross-entropies and the four terms with the authors' weights."""
    z = [o[1] for o in outs]
    same = y[:, None] == y[None]
    off = ~torch.eye(len(y), dtype=torch.bool, device=y.device)
    pos = (same & off).float()

    def nce(x):
        logp = x - torch.logsumexp(x.masked_fill(~off, float("-inf")), 1, keepdim=True)
        return -((pos * logp).sum(1) / pos.sum(1).clamp(min=1)).mean()

    s = [[a @ b.T / tau for b in z] for a in z]
    total = sum(F.cross_entropy(o[0], y) for o in outs)
    for a in range(M):
        total = total + 0.1 * nce(s[a][a])
        for b in range(M):
            if a != b:
                soft = kl(s[a][a], s[b][b]) + kl(s[a][b], s[b][a])
                total = total + soft + 0.1 * nce(s[a][b])
    return total


def main():
    """Builds the networks and times a step for every line read."""
    nets = nn.ModuleList([Net() for _ in range(M)]).to(DEVICE, memory_format=LAYOUT)
    x = torch.randn(B, 3, 32, 32, device=DEVICE).to(memory_format=LAYOUT)
    y = torch.arange(B, device=DEVICE) // 2 % 100
    sgd = {"momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
    opt = torch.optim.SGD(nets.parameters(), 0.1, **sgd)

    def forward(x):
        return [n(x) for n in nets]

    if MODE == "compile":
        forward = torch.compile(forward)
    for _ in sys.stdin:
        start = time.perf_counter()
        opt.zero_grad()
        loss_fn(forward(x), y).backward()
        opt.step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
