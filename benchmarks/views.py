"""Two MoCo v2 views of each image on one core: ours, exact and fused, beside Pillow and OpenCV.

    python benchmarks/views.py
    python benchmarks/views.py --side=224 --source=256 --batch=16 --rounds=15
    python benchmarks/views.py --side=224 --source=256 --batch=256 --platform=cuda  # ours on a GPU

Crop (0.2 to 1) and resize, flip, jitter (0.4, 0.4, 0.4, 0.1; p = 0.8), gray (p = 0.2), blur (sigma
0.1 to 2; p = 0.5). All start from the same decoded images and draw anew for every view; ours end as
float32 [B, H, W, 3], theirs as uint8 in one array. Theirs skip what does not fire. Seconds are
processor time of the one core, so that a machine in use disturbs little; on a GPU they are elapsed.
"""

import os
import statistics
import sys
import time

import numpy as np
from absl import app, flags
from pairs import Worker, serve

_SIDE = flags.DEFINE_multi_integer("side", [32, 96, 224], "Pixels of a view.")
_SOURCE = flags.DEFINE_integer("source", None, "Pixels of an image; as a view, 256 for 224.")
_BATCH = flags.DEFINE_integer(
    "batch", None, "Images of a batch; 128 at 32 pixels, 32 at 96, 8 at 224."
)
_BATCHES = flags.DEFINE_integer("batches", 8, "Batches of a step.")
_ROUNDS = flags.DEFINE_integer("rounds", 11, "Rounds of all four.", lower_bound=7)
_CORE = flags.DEFINE_integer("core", None, "The core that all run on; the last one at hand.")
_PLATFORM = flags.DEFINE_string("platform", "cpu", "Where ours runs, for JAX.")
_WORKER = flags.DEFINE_enum("worker", None, ["exact", "fused", "pillow", "opencv"], "Its own use.")

STRENGTHS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
NAMES = ("exact", "fused", "pillow", "opencv")


def photographs(count: int, side: int) -> np.ndarray:
    """Squares [count, side, side, 3] cut out of photographs, uint8."""
    from skimage import data

    random = np.random.default_rng(0)
    wholes = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    squares = []
    for i in range(count):
        whole = wholes[i % len(wholes)]
        top, left = (random.integers(0, x - side + 1) for x in whole.shape[:2])
        squares.append(whole[top : top + side, left : left + side])
    return np.stack(squares)


def draw(random: np.random.Generator, count: int, side: int) -> dict[str, np.ndarray]:
    """What Pillow and OpenCV draw for a batch, all at once."""
    area = side**2 * random.uniform(0.2, 1, (count, 10))
    ratio = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3), (count, 10)))
    widths, heights = (np.rint(np.sqrt(x)).astype(int) for x in (area * ratio, area / ratio))
    fits = (widths <= side) & (heights <= side)
    first = np.arange(count), fits.argmax(1)
    width, height = (np.where(fits.any(1), x[first], side) for x in (widths, heights))
    left, top = (random.integers(0, side - x + 1) for x in (width, height))
    factors = random.uniform(0.6, 1.4, (count, 3))
    return {
        "box": np.stack([left, top, left + width, top + height], axis=1).tolist(),
        "flip": (random.random(count) < 0.5).tolist(),
        "jitter": (random.random(count) < 0.8).tolist(),
        "factors": np.hstack([factors, random.uniform(-0.1, 0.1, (count, 1))]).tolist(),
        "order": np.argsort(random.random((count, 4)), axis=1).tolist(),
        "gray": (random.random(count) < 0.2).tolist(),
        "sigma": np.where(random.random(count) < 0.5, random.uniform(0.1, 2, count), 0).tolist(),
    }


def pillow(images: np.ndarray, side: int):
    """What Pillow starts from, and its view of one."""
    from PIL import Image, ImageEnhance, ImageFilter

    pictures = [Image.fromarray(x) for x in images]
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)

    def turn(view, hue):
        hues, *rest = view.convert("HSV").split()
        shift = round(255 * hue) % 256
        hues = hues.point([(x + shift) % 256 for x in range(256)])
        return Image.merge("HSV", (hues, *rest)).convert("RGB")

    def view(picture, box, flip, jitter, factors, order, gray, sigma):
        view = picture.resize((side, side), Image.Resampling.BILINEAR, box)
        for i in order if jitter else ():
            x = factors[i]
            view = turn(view, x) if i == 3 else enhancers[i](view).enhance(x)
        view = view.convert("L").convert("RGB") if gray else view
        view = view.filter(ImageFilter.GaussianBlur(sigma)) if sigma else view
        return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else view

    return pictures, view


def opencv(images: np.ndarray, side: int):
    """What OpenCV starts from, and its view of one."""
    import cv2

    cv2.setNumThreads(1)
    values = np.arange(256, dtype=np.float32)

    def gray_of(view):
        return cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)

    def blend(view, i, x):
        if i == 2:
            gray = cv2.cvtColor(gray_of(view), cv2.COLOR_GRAY2RGB)
            return cv2.addWeighted(view, x, gray, 1 - x, 0)
        offset = (1 - x) * cv2.mean(gray_of(view))[0] if i == 1 else 0
        return cv2.LUT(view, np.clip(np.rint(x * values + offset), 0, 255).astype(np.uint8))

    def turn(view, hue):
        hsv = cv2.cvtColor(view, cv2.COLOR_RGB2HSV)
        table = ((np.arange(256) + round(180 * hue)) % 180).astype(np.uint8)
        hsv[..., 0] = cv2.LUT(hsv[..., 0], table)
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)

    def view(image, box, flip, jitter, factors, order, gray, sigma):
        left, top, right, bottom = box
        view = cv2.resize(image[top:bottom, left:right], (side, side))
        for i in order if jitter else ():
            view = turn(view, factors[i]) if i == 3 else blend(view, i, factors[i])
        view = cv2.cvtColor(gray_of(view), cv2.COLOR_GRAY2RGB) if gray else view
        view = cv2.GaussianBlur(view, (0, 0), sigma) if sigma else view
        return cv2.flip(view, 1) if flip else view

    return list(images), view


def theirs(library, images: np.ndarray, side: int):
    """A batch: two views of every image, in one array."""
    sources, view = library(images, side)
    random = np.random.default_rng(1)

    def batch():
        views = np.empty((2, len(images), side, side, 3), np.uint8)
        for half in views:
            drawn = draw(random, len(images), images.shape[1])
            for row, source, *parameters in zip(half, sources, *drawn.values(), strict=True):
                row[...] = view(source, *parameters)
        return views

    return batch


def ours(is_fused: bool, images: np.ndarray, side: int):
    """A batch: two views of every image in one jitted call, one after the other."""
    import jax

    from mcl_jax import views
    from mcl_jax.views.draws import chances

    height, width = images.shape[1:3]

    def exact(keys, images):
        x = views.random_resized_crop(keys[:, 0], images / np.float32(255), side, scale=(0.2, 1))
        x = views.colour_jitter(keys[:, 1], x, **STRENGTHS, probability=0.8)
        x = views.random_grayscale(keys[:, 2], x, 0.2)
        x = views.random_gaussian_blur(keys[:, 3], x)
        return views.flip_horizontally(keys[:, 4], x)

    def fused(keys, images):
        return views.fused(
            images,
            size=side,
            boxes=views.draw_crops(keys[:, 0], height, width, scale=(0.2, 1)),
            jitter=views.draw_jitter(keys[:, 1], **STRENGTHS, probability=0.8),
            gray=chances(keys[:, 2], 0.2),
            sigma=views.draw_blur(keys[:, 3]),
            flipped=chances(keys[:, 4], 0.5),
        )

    @jax.jit
    def two_crops(key, images):
        keys = jax.random.split(key, (2, len(images), 5))
        return jax.lax.map(lambda half: (fused if is_fused else exact)(half, images), keys)

    images, key = jax.device_put(images), jax.random.key(0)
    steps = iter(range(sys.maxsize))
    fold_in = jax.jit(jax.random.fold_in)
    return lambda: jax.block_until_ready(two_crops(fold_in(key, next(steps)), images))


def shape_of(side: int) -> tuple[int, int]:
    """Images of a batch, and their pixels."""
    batch = _BATCH.value or {32: 128, 96: 32}.get(side, 8)
    return batch, _SOURCE.value or (256 if side == 224 else side)


def work(name: str) -> None:
    """A worker that does a step for every line it is sent."""
    core = _CORE.value if _CORE.value is not None else max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    os.environ["JAX_PLATFORMS"] = _PLATFORM.value
    (side,) = _SIDE.value
    images = photographs(*shape_of(side))
    if name in ("exact", "fused"):
        batch = ours(name == "fused", images, side)
    else:
        batch = theirs({"pillow": pillow, "opencv": opencv}[name], images, side)
    is_device = name in ("exact", "fused") and _PLATFORM.value != "cpu"

    def step():
        for _ in range(_BATCHES.value):
            batch()

    serve(step, time.perf_counter if is_device else time.process_time)


def report(side: int) -> None:
    """All four in turn, then what each does in a second and how they compare."""
    batch, source = shape_of(side)
    passed_on = [x for x in sys.argv[1:] if not x.startswith("--side")]
    workers = {
        name: Worker(sys.executable, __file__, *passed_on, f"--side={side}", f"--worker={name}")
        for name in NAMES
    }
    for worker in workers.values():
        worker.warm_up(1)
    times = np.array([[x.step() for x in workers.values()] for _ in range(_ROUNDS.value)])
    for worker in workers.values():
        worker.close()
    speeds = np.median(batch * _BATCHES.value / times, axis=0)
    listed = ", ".join(f"{name} {speed:.0f}" for name, speed in zip(NAMES, speeds, strict=True))
    print(f"{side} pixels of {source}, batches of {batch}, {len(times)} rounds; {listed} images/s")
    by_name = dict(zip(NAMES, times.T, strict=True))
    for own in ("exact", "fused"):
        for name in ("pillow", "opencv"):
            ratios = by_name[name] / by_name[own]
            print(
                f"    {own} is {statistics.median(ratios):.2f} times as fast as {name}, "
                f"{min(ratios):.2f} to {max(ratios):.2f}",
                flush=True,
            )


def main(_) -> None:
    """A worker's part, or the whole."""
    if _WORKER.value:
        work(_WORKER.value)
        return
    for side in _SIDE.value:
        report(side)


if __name__ == "__main__":
    app.run(main)
