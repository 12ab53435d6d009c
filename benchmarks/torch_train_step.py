"""Plain PyTorch baseline: a supervised MCL step of M networks, a Python loop over them.

    python benchmarks/torch_train_step.py MODEL M B SIDE DTYPE [eager|compile] [nchw|nhwc]

Forward, losses, backward and SGD, as the authors do it. MODEL is a CIFAR ResNet (resnet20, 32, 56),
a wide ResNet (wrn_16_2 and so on) or one of torchvision's ResNets. It answers every line on
standard input with the seconds of one step, as ``train_step.py`` asks its workers to.
"""

import contextlib
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

MODEL, DTYPE = sys.argv[1], sys.argv[5]
M, B, SIDE = map(int, sys.argv[2:5])
MODE = "compile" if "compile" in sys.argv else "eager"
LAYOUT = torch.channels_last if "nhwc" in sys.argv else torch.contiguous_format
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


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each after a normalisation, and a shortcut."""

    def __init__(self, i, o, s):
        super().__init__()
        self.b1, self.c1 = nn.BatchNorm2d(i), nn.Conv2d(i, o, 3, s, 1, bias=False)
        self.b2, self.c2 = nn.BatchNorm2d(o), nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.skip = nn.Conv2d(i, o, 1, s, bias=False) if i != o else None

    def forward(self, x):
        """[B, i, H, W] to [B, o, H', W']."""
        out = F.relu(self.b1(x))
        shortcut = x if self.skip is None else self.skip(out)
        return shortcut + self.c2(F.relu(self.b2(self.c1(out))))


def stages(block, blocks, widths):
    """Three stages of blocks, the last two halving the sides."""
    layers, i = [], 16
    for k, o in enumerate(widths):
        for b in range(blocks):
            layers.append(block(i, o, 2 if k and b == 0 else 1))
            i = o
    return layers


def body():
    """The encoder, images to features [B, F, 1, 1] or [B, F], and F."""
    stem, family = nn.Conv2d(3, 16, 3, 1, 1, bias=False), MODEL.split("_")
    if family[0] == "wrn":
        blocks, widths = (int(family[1]) - 4) // 6, [int(family[2]) * w for w in (16, 32, 64)]
        end = (nn.BatchNorm2d(widths[2]), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        return nn.Sequential(stem, *stages(WideBlock, blocks, widths), *end), widths[2]
    if MODEL in ("resnet20", "resnet32", "resnet56"):
        start = (stem, nn.BatchNorm2d(16), nn.ReLU())
        layers = stages(Block, (int(MODEL[6:]) - 2) // 6, (16, 32, 64))
        return nn.Sequential(*start, *layers, nn.AdaptiveAvgPool2d(1)), 64
    import torchvision

    network = torchvision.models.get_model(MODEL)
    width, network.fc = network.fc.in_features, nn.Identity()
    return network, width


class Net(nn.Module):
    """An encoder with a classifier and a projection head."""

    def __init__(self):
        super().__init__()
        self.body, width = body()
        self.head = nn.Linear(width, 100)
        self.proj = nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 128))

    def forward(self, x):
        """[B, 3, H, W] to logits [B, 100] and embeddings [B, 128]."""
        f = self.body(x).flatten(1)
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
    x = torch.randn(B, 3, SIDE, SIDE, device=DEVICE).to(memory_format=LAYOUT)
    y = torch.arange(B, device=DEVICE) // 2 % 100
    sgd = {"momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}
    opt = torch.optim.SGD(nets.parameters(), 0.1, **sgd)

    def forward(x):
        return [n(x) for n in nets]

    # Half precision as PyTorch's users have it: weights and losses in float32.
    narrow = contextlib.nullcontext()
    if DTYPE != "float32":
        narrow = torch.autocast(DEVICE, getattr(torch, DTYPE))
    if MODE == "compile":
        forward = torch.compile(forward)
    for _ in sys.stdin:
        start = time.perf_counter()
        opt.zero_grad()
        with narrow:
            outs = forward(x)
        loss_fn([[o.float() for o in out] for out in outs], y).backward()
        opt.step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
