"""Crops of photographs: 32 x 32 colour, the label is the photograph a crop comes from.

The pictures lie in the wheels of scikit-image and scikit-learn. Each is scaled to a long side of
640, its 64-pixel cells are dealt to training, validation and test, and crops never leave a
cell, so no two splits share a pixel. ``photographs:64`` has crops of 64 x 64, from cells of 128,
for views that want room: they are from fewer places, and differ less. Crops without content (a
standard deviation below 10) are dropped. What is learned here is telling scenes and textures apart,
not recognising objects, and colour alone goes a long way: ``colour_histogram`` is the baseline to
print beside every figure.

Pixels are a function of the pictures (whose bytes are pinned) and of Pillow's decoder.
"""

import hashlib
import importlib.util
import io
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from mcl_jax.data.dataset import DataError, Source, Split

LONG_SIDE = 640
CROP = 32
LARGE_CROP = 64
FLAT = 10.0
TEST_CELLS = 0.2
VALIDATION_CELLS = 0.1
TRAIN_PER_CLASS = 500
VALIDATION_PER_CLASS = 60
TEST_PER_CLASS = 120


class Picture(NamedTuple):
    """A picture in a wheel: file, source and licence as its package states them, sha256."""

    name: str
    package: str
    file: str
    source: str
    licence: str
    sha256: str


PICTURES = (
    Picture(
        "astronaut",
        "skimage",
        "data/astronaut.png",
        "NASA Great Images, Eileen Collins, https://flic.kr/p/r9qvLn",
        "public domain",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    ),
    Picture(
        "brick",
        "skimage",
        "data/brick.png",
        "CC0Textures, https://cc0textures.com/view.php?tex=Bricks25",
        "CC0",
        "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    ),
    Picture(
        "camera",
        "skimage",
        "data/camera.png",
        "Lav Varshney",
        "CC0",
        "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    ),
    Picture(
        "chelsea",
        "skimage",
        "data/chelsea.png",
        "Stefan van der Walt",
        "CC0",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    ),
    Picture(
        "coffee",
        "skimage",
        "data/coffee.png",
        "Rachel Michetti, courtesy of Pikolo Espresso Bar",
        "CC0",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    ),
    Picture(
        "coins",
        "skimage",
        "data/coins.png",
        "Brooklyn Museum, https://www.brooklynmuseum.org/opencollection/archives/image/51611",
        "no known copyright restrictions",
        "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
    ),
    Picture(
        "grass",
        "skimage",
        "data/grass.png",
        "linolafett, https://www.deviantart.com/linolafett/art/Grass-01-434853879",
        "CC0",
        "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    ),
    Picture(
        "gravel",
        "skimage",
        "data/gravel.png",
        "CC0Textures, https://cc0textures.com/view.php?tex=Gravel04",
        "CC0",
        "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    ),
    Picture(
        "hubble_deep_field",
        "skimage",
        "data/hubble_deep_field.jpg",
        "NASA, http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
        "public domain",
        "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
    ),
    Picture(
        "immunohistochemistry",
        "skimage",
        "data/ihc.png",
        "Center for Microscopy And Molecular Imaging (CMMI)",
        "no known copyright restrictions",
        "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
    ),
    Picture(
        "retina",
        "skimage",
        "data/retina.jpg",
        "https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg",
        "CC0",
        "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
    ),
    Picture(
        "rocket",
        "skimage",
        "data/rocket.jpg",
        "SpaceX, https://www.flickr.com/photos/spacexphotos/16511594820/",
        "public domain",
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    ),
    Picture(
        "china",
        "sklearn",
        "datasets/images/china.jpg",
        "danielbuechele, https://www.flickr.com/photos/danielbuechele/6061409035/",
        "CC BY 2.0",
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    ),
    Picture(
        "flower",
        "sklearn",
        "datasets/images/flower.jpg",
        "vultilion, https://www.flickr.com/photos/vultilion/6056698931/",
        "CC BY 2.0",
        "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    ),
)
NOTICE = (
    "Crops (scaled to a long side of 640 pixels) of pictures bundled with scikit-image and "
    "scikit-learn. "
    + "; ".join(f"{picture.name}: {picture.source} ({picture.licence})" for picture in PICTURES)
    + "."
)


def read(picture: Picture) -> np.ndarray:
    """Returns the picture, scaled to a long side of 640: uint8 [H, W, 3].

    The file is found without importing its package.

    Raises:
        DataError: the package or the file is missing, or the file is not the pinned one.
    """
    package = {"skimage": "scikit-image", "sklearn": "scikit-learn"}[picture.package]
    spec = importlib.util.find_spec(picture.package)
    if spec is None or spec.origin is None:
        raise DataError(
            f"the data set 'photographs' wants {package}, which is not installed: "
            f"pip install {package}."
        )
    try:
        content = pathlib.Path(spec.origin).parent.joinpath(picture.file).read_bytes()
    except OSError as error:
        raise DataError(
            f"the data set 'photographs' wants {picture.file} of {package}, which this version "
            f"of it does not bring: install another version of {package}."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != picture.sha256:
        raise DataError(
            f"{picture.file} of {package} must have the sha256 {picture.sha256[:12]}..., got "
            f"{found[:12]}...: install another version of {package}."
        )
    with Image.open(io.BytesIO(content)) as opened:
        scale = LONG_SIDE / max(opened.size)
        size = (round(opened.width * scale), round(opened.height * scale))
        return np.asarray(opened.convert("RGB").resize(size, Image.Resampling.BICUBIC))


def cells(image: np.ndarray, side: int = CROP) -> np.ndarray:
    """Returns the corners (top, left) [n, 2] of the cells, two crops a side, that have content."""
    grey, cell = image.mean(-1), 2 * side
    corners = [
        (top, left)
        for top in range(0, image.shape[0] - cell + 1, cell)
        for left in range(0, image.shape[1] - cell + 1, cell)
        if grey[top : top + cell, left : left + cell].std() >= FLAT
    ]
    return np.array(corners, np.int64).reshape(-1, 2)


def deal(corners: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Deals cells [n, 2] to training, validation and test; no cell goes to two."""
    shuffled = rng.permutation(corners)
    test = round(TEST_CELLS * len(shuffled))
    validation = round(VALIDATION_CELLS * len(shuffled))
    return (
        shuffled[test + validation :],
        shuffled[test : test + validation],
        shuffled[:test],
    )


def crops(
    image: np.ndarray,
    corners: np.ndarray,
    count: int,
    rng: np.random.Generator,
    side: int = CROP,
) -> np.ndarray:
    """Draws crops inside cells, without replacement, and drops flat ones.

    Args:
        image: [H, W, 3].
        corners: cells [n, 2] to draw from.
        count: how many crops to return.
        rng: decides which.
        side: of a crop, half of that of a cell.

    Returns:
        uint8 [count, side, side, 3].

    Raises:
        DataError: the cells have too few crops with content.
    """
    steps = side + 1
    found = []
    for place in rng.permutation(len(corners) * steps * steps):
        cell, within = divmod(int(place), steps * steps)
        top, left = corners[cell] + divmod(within, steps)
        crop = image[top : top + side, left : left + side]
        if crop.mean(-1).std() >= FLAT:
            found.append(crop)
            if len(found) == count:
                return np.stack(found)
    raise DataError(f"a picture must have {count} crops with content, got {len(found)}.")


def load(side: int = CROP) -> Source:
    """Returns crops of the photographs; no two splits share a pixel.

    Args:
        side: of a crop, 32 or 64.

    Returns:
        500 training, 60 validation and 120 test crops [side, side, 3] of each photograph.

    Raises:
        DataError: a picture is missing or is not the pinned one.
    """
    sizes = (TRAIN_PER_CLASS, VALIDATION_PER_CLASS, TEST_PER_CLASS)
    parts: tuple[list[np.ndarray], ...] = ([], [], [])
    for label, picture in enumerate(PICTURES):
        image, rng = read(picture), np.random.default_rng(label)
        dealt = deal(cells(image, side), rng)
        for part, corners, count in zip(parts, dealt, sizes, strict=True):
            part.append(crops(image, corners, count, rng, side))
    train, validation, test = (_round_robin(part) for part in parts)
    return Source(
        train=train,
        validation=validation,
        test=test,
        class_names=tuple(picture.name for picture in PICTURES),
        notice=NOTICE,
    )


def _round_robin(part: list[np.ndarray]) -> Split:
    """Returns rows that go round the classes, so that any first rows are balanced."""
    images = np.stack(part, axis=1)
    images = images.reshape(-1, *images.shape[2:])
    labels = np.tile(np.arange(len(part), dtype=np.int32), len(part[0]))
    return Split(labels, images=images)


def colour_histogram(images: np.ndarray, *, levels: int = 4) -> np.ndarray:
    """Computes how often each colour occurs in an image, all channels jointly.

    Args:
        images: uint8 [N, H, W, c].
        levels: equal ranges of values a channel.

    Returns:
        float32 [N, levels ** c], the fraction of pixels in each bin; a row sums to 1.

    Raises:
        DataError: ``images`` are not uint8 [N, H, W, c], or ``levels`` is not 1 to 256.

    Example:
        >>> colour_histogram(np.zeros([2, 8, 8, 3], np.uint8)).shape
        (2, 64)
    """
    if images.ndim != 4 or images.dtype != np.uint8:
        raise DataError(
            f"images must be uint8 [N, H, W, c], got {images.dtype} of shape {images.shape}."
        )
    if not 1 <= levels <= 256:
        raise DataError(f"levels must be 1 to 256, got {levels}.")
    rows, channels = len(images), images.shape[-1]
    bins = levels**channels
    pixels = images.reshape(rows, -1, channels).astype(np.int64) * levels // 256
    colour = pixels @ (levels ** np.arange(channels))
    counts = np.bincount((colour + bins * np.arange(rows)[:, None]).ravel(), minlength=rows * bins)
    return (counts.reshape(rows, bins) / max(1, colour.shape[1])).astype(np.float32)
