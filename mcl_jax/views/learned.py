"""Learned views: what an invertible function makes of each pixel, told apart by channels.

What Makes for Good Views, arXiv 2005.10243: a generator g maps the three numbers of a pixel to
three others, ``y = g(x)``, and one network sees the first channel of y, another the other two. A
generator is a chain of couplings, each of which moves some channels by a function of the rest and
is undone by the same function:

    additive    y_a = x_a + t(x_b)                  log abs(det J) = 0
    affine      y_a = x_a exp(s(x_b)) + t(x_b)      log abs(det J) = sum s(x_b)

The function is two convolutions of 1 x 1 pixels, ``W2 ReLU(W1 x + b1) + b2``; a ReLU stands before
the first one too, but for the first coupling. ``W2`` and ``b2`` start at 0, so that a new generator
is the identity, and views start as the channels themselves. In rgb, coupling i moves channel i mod
3; in spaces of one light and two colour channels (lab, ydbdr, yiq, ycbcr), and in hsv, the first
moves by the other two and these by the first, in turn. ``two_way`` has two additive couplings a
block, ``y_a = x_a + F(x_b), y_b = x_b + G(y_a)``, of the first channel and the rest and of the
first two channels and the last, in turn.

The authors have not published their code. Fragments of it that were once public hold additive
couplings alone, with weights drawn as all layers'; the affine form, and the start at the identity,
are this library's.
"""

import dataclasses
import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mcl_jax import atomic
from mcl_jax.views.colour_spaces import SPACES
from mcl_jax.views.pixels import check_whole

COUPLINGS = ("additive", "affine", "two_way")

_CHANNELS = 3
_DAMAGE: tuple[type[Exception], ...] = (
    *(KeyError, TypeError, ValueError, EOFError, NotImplementedError),
    *(zlib.error, zipfile.BadZipFile),
)
_LIGHT, _COLOURS = (0,), (1, 2)
_LARGEST = 1.0  # of a log scale: a coupling stretches by e at most


class Coupling(NamedTuple):
    """Which channels move by which.

    Attributes:
        moves: channels that are changed.
        reads: the others, which they are changed by.
        activated: whether a ReLU stands before the first convolution.
    """

    moves: tuple[int, ...]
    reads: tuple[int, ...]
    activated: bool


@dataclasses.dataclass(frozen=True)
class Generator:
    """An invertible function of a pixel's three numbers; its parameters are values beside it.

    Attributes:
        space: colour space of the pixels, a name of `SPACES`.
        coupling: a name of `COUPLINGS`.
        blocks: how many, at least 1.
        hidden: numbers between the two convolutions, at least 1.

    Raises:
        ValueError: a name is unknown or a number too small.

    Example:
        >>> import jax
        >>> generator = Generator("ydbdr")
        >>> params = generator.init(jax.random.key(0))
        >>> pixels = jax.random.normal(jax.random.key(1), (2, 4, 4, 3))
        >>> bool((generator.forward(params, pixels) == pixels).all())
        True
    """

    space: str = "rgb"
    coupling: str = "additive"
    blocks: int = 4
    hidden: int = 8

    def __post_init__(self) -> None:
        for name, value, known in (
            ("space", self.space, tuple(SPACES)),
            ("coupling", self.coupling, COUPLINGS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.")
        check_whole("blocks", self.blocks, 1)
        check_whole("hidden", self.hidden, 1)

    @property
    def couplings(self) -> tuple[Coupling, ...]:
        """In their order; two a block where they are two-way."""
        moved: list[tuple[int, ...]] = []
        for block in range(self.blocks):
            if self.coupling == "two_way":
                moved += [_LIGHT, _COLOURS] if block % 2 == 0 else [(0, 1), (2,)]
            elif self.space == "rgb":
                moved.append((block % _CHANNELS,))
            else:
                moved.append(_LIGHT if block % 2 == 0 else _COLOURS)
        block = 2 if self.coupling == "two_way" else 1
        return tuple(Coupling(x, _others(x), place >= block) for place, x in enumerate(moved))

    def init(self, key: jax.Array) -> tuple[dict[str, jax.Array], ...]:
        """Parameters of the identity, whose gradient is not 0.

        Args:
            key: JAX random key; coupling i draws from ``fold_in(key, i)``.

        Returns:
            For each coupling float32 ``w1`` [reads, hidden], ``b1`` [hidden], ``w2``
            [hidden, outputs] and ``b2`` [outputs]; an affine one has two outputs a channel that it
            moves, an additive one has one.
        """
        outputs = 2 if self.coupling == "affine" else 1
        return tuple(
            _init(jax.random.fold_in(key, i), len(x.reads), self.hidden, outputs * len(x.moves))
            for i, x in enumerate(self.couplings)
        )

    def forward(self, params: Any, pixels: jax.Array) -> jax.Array:
        """What the generator makes of pixels.

        Args:
            params: as `init` has them.
            pixels: [..., 3], floating, normalised.

        Returns:
            [..., 3], dtype of ``pixels``.

        Raises:
            ValueError: pixels have not three channels.
        """
        return self._moved(params, pixels)[0]

    def log_determinant(self, params: Any, pixels: jax.Array) -> jax.Array:
        """Logarithm of the determinant of the Jacobian at each pixel: [..., 3] to [...].

        That of an image is the sum over its pixels. Exactly 0 but for affine couplings.

        Args:
            params: as `init` has them.
            pixels: [..., 3], floating, normalised.

        Raises:
            ValueError: pixels have not three channels.
        """
        return self._moved(params, pixels)[1]

    def inverse(self, params: Any, outputs: jax.Array) -> jax.Array:
        """The pixels that `forward` makes ``outputs`` of.

        Args:
            params: as `init` has them.
            outputs: [..., 3], floating.

        Returns:
            [..., 3], dtype of ``outputs``.

        Raises:
            ValueError: outputs have not three channels.
        """
        _check(params, outputs, len(self.couplings))
        values = outputs
        for coupling, one in reversed(list(zip(self.couplings, params, strict=True))):
            log_scale, shift = self._functions(one, coupling, values)
            moved = values[..., list(coupling.moves)] - shift
            values = _put(
                values, coupling, moved if log_scale is None else moved / jnp.exp(log_scale)
            )
        return values

    def _moved(self, params: Any, pixels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Outputs and log-determinants."""
        _check(params, pixels, len(self.couplings))
        values, total = pixels, jnp.zeros(pixels.shape[:-1], pixels.dtype)
        for coupling, one in zip(self.couplings, params, strict=True):
            log_scale, shift = self._functions(one, coupling, values)
            moved = values[..., list(coupling.moves)]
            if log_scale is not None:
                moved = moved * jnp.exp(log_scale)
                total = total + log_scale.sum(axis=-1)
            values = _put(values, coupling, moved + shift)
        return values, total

    def _functions(
        self, params: Any, coupling: Coupling, values: jax.Array
    ) -> tuple[jax.Array | None, jax.Array]:
        """Log scale, or None, and shift of a coupling: [..., moves]."""
        read = values[..., list(coupling.reads)]
        read = jax.nn.relu(read) if coupling.activated else read
        found = _linear(
            jax.nn.relu(_linear(read, params["w1"], params["b1"])), params["w2"], params["b2"]
        )
        if self.coupling != "affine":
            return None, found
        raw, shift = jnp.split(found, 2, axis=-1)
        return _LARGEST * jnp.tanh(raw), shift


class LearnedViews(NamedTuple):
    """Generators that were learned, and what is needed to show their channels to networks.

    Attributes:
        generator: of all of them.
        params: of one generator, which halves of the networks see the first channel and the other
            two of; or of one for each network.
        mean: [3], of the channels that pixels were normalised by.
        std: [3].
        networks: M that they were learned with.
        channels: so many first ones each network sees of its own generator; 0 where it is one for
            all, and halves see the first channel and the rest.
    """

    generator: Generator
    params: tuple[Any, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    networks: int
    channels: int = 0

    @property
    def parts(self) -> int:
        """How many different things networks see: two, or one each."""
        return self.networks if self.channels else 2

    def part(self, params: Any, number: int, pixels: jax.Array) -> jax.Array:
        """What those networks see which see this part.

        Args:
            params: those of `params`, or others of the same shapes.
            number: of the part, from 0.
            pixels: [..., 3], normalised by ``mean`` and ``std``.

        Returns:
            [..., 1] or [..., 2].
        """
        if self.channels:
            return self.generator.forward(params[number], pixels)[..., : self.channels]
        made = self.generator.forward(params[0], pixels)
        return made[..., 1:] if number else made[..., :1]


def arrays(learned: LearnedViews) -> dict[str, np.ndarray]:
    """Learned views as arrays by names, which `load` takes."""
    generator = learned.generator
    found: dict[str, Any] = {
        **dataclasses.asdict(generator),
        "mean": learned.mean,
        "std": learned.std,
        "networks": learned.networks,
        "channels": learned.channels,
        "generators": len(learned.params),
    }
    for number, params in enumerate(learned.params):
        for place, one in enumerate(params):
            found |= {f"{number}/{place}/{name}": leaf for name, leaf in one.items()}
    return {name: np.asarray(value) for name, value in found.items()}


def save(path: str | os.PathLike[str], learned: LearnedViews) -> None:
    """Writes learned views to one npz file, whole or not at all.

    Args:
        path: the file, ending in ``.npz``.
        learned: what is written.
    """
    with atomic.open_to_replace(path, "wb") as file:
        np.savez(file, **arrays(learned))  # type: ignore[arg-type]


def load(path: str | os.PathLike[str]) -> LearnedViews:
    """Reads learned views from a file of `save`.

    Args:
        path: the file.

    Returns:
        What was saved, to the last bit.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds something else.
    """
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return _of_arrays({name: file[name] for name in file.files})
    except _DAMAGE as error:
        raise ValueError(f"{path} holds no learned views.") from error


def _of_arrays(found: Mapping[str, np.ndarray]) -> LearnedViews:
    """The inverse of `arrays`."""
    generator = Generator(
        str(found["space"]), str(found["coupling"]), int(found["blocks"]), int(found["hidden"])
    )
    names = ("w1", "b1", "w2", "b2")
    like = jax.eval_shape(generator.init, jax.eval_shape(lambda: jax.random.key(0)))
    params = tuple(
        tuple(
            {name: jnp.asarray(found[f"{number}/{place}/{name}"]) for name in names}
            for place in range(len(like))
        )
        for number in range(int(found["generators"]))
    )
    for one in params:
        if jax.tree.map(jnp.shape, one) != jax.tree.map(jnp.shape, like):
            raise ValueError("shapes are others")
    return LearnedViews(
        generator,
        params,
        tuple(found["mean"].tolist()),
        tuple(found["std"].tolist()),
        int(found["networks"]),
        int(found["channels"]),
    )


def _others(channels: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(channel for channel in range(_CHANNELS) if channel not in channels)


def _init(key: jax.Array, reads: int, hidden: int, outputs: int) -> dict[str, jax.Array]:
    """Two layers, the first drawn as PyTorch's, the second 0."""
    kernel, bias = jax.random.split(key)
    bound = 1 / math.sqrt(reads)
    return {
        "w1": jax.random.uniform(kernel, (reads, hidden), minval=-bound, maxval=bound),
        "b1": jax.random.uniform(bias, (hidden,), minval=-bound, maxval=bound),
        "w2": jnp.zeros((hidden, outputs)),
        "b2": jnp.zeros((outputs,)),
    }


def _linear(values: jax.Array, weights: jax.Array, bias: jax.Array) -> jax.Array:
    """A convolution of 1 x 1; in full precision, or accelerators would not undo it to 1e-5."""
    dtype = values.dtype
    made = jnp.matmul(values, weights.astype(dtype), precision=lax.Precision.HIGHEST)
    return made + bias.astype(dtype)


def _put(values: jax.Array, coupling: Coupling, moved: jax.Array) -> jax.Array:
    """The values with other numbers in the channels that a coupling moves."""
    return jnp.stack(
        [
            moved[..., coupling.moves.index(c)] if c in coupling.moves else values[..., c]
            for c in range(_CHANNELS)
        ],
        axis=-1,
    )


def _check(params: Any, pixels: jax.Array, couplings: int) -> None:
    if pixels.ndim < 1 or pixels.shape[-1] != _CHANNELS:
        raise ValueError(f"pixels must be [..., {_CHANNELS}], got shape {pixels.shape}.")
    if not jnp.issubdtype(pixels.dtype, jnp.floating):
        raise TypeError(f"pixels must be floating, got {pixels.dtype}.")
    if len(params) != couplings:
        raise ValueError(f"params must be of {couplings} couplings, got {len(params)}.")
