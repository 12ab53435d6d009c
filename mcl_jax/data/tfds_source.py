"""Data sets that TensorFlow Datasets has prepared, read without TensorFlow, never downloaded.

Everything is decided from the files on disk before ``tensorflow_datasets`` is imported: looking
a missing data set up on the network costs minutes where there is none.
"""

import io
import json
import math
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mcl_jax.data.dataset import DataError, Source, Split

DEFAULT_MEMORY_LIMIT = 2 << 30
_CHUNK = 1024
_THREADS = 8
_MODES = {1: "L", 3: "RGB"}


class _Name(NamedTuple):
    """``dataset[/config][:version]`` taken apart."""

    dataset: str
    config: str | None
    version: str | None


def _parse(name: str) -> _Name:
    """Takes a TFDS name apart, or says how one is written."""
    found = re.fullmatch(r"(\w+)(?:/([^:/]+))?(?::(\d+\.\d+\.\d+))?", name)
    if found is None:
        raise DataError(f"tfds: wants a name such as cifar100 or name/config:1.0.0, got {name!r}.")
    return _Name(*found.groups())


def how_to_prepare(name: str, data_dir: str | None) -> str:
    """Returns the commands that prepare a data set in the format that is read here."""
    where = f", data_dir='{data_dir}'" if data_dir is not None else ""
    return (
        "pip install 'mcl_jax[tf]' once, then python -c \"import tensorflow_datasets as tfds; "
        f"tfds.builder('{name}', file_format='array_record'{where}).download_and_prepare()\""
    )


def _root(data_dir: str | None) -> Any:
    """Returns the folder of prepared data sets, as TFDS chooses it."""
    try:
        from etils import epath
    except ImportError as error:
        raise DataError(
            "the data set 'tfds:' wants tensorflow-datasets, which is not installed: "
            "pip install tensorflow-datasets."
        ) from error
    default = os.path.join("~", "tensorflow_datasets")
    return epath.Path(data_dir or os.environ.get("TFDS_DATA_DIR") or default).expanduser()


def _versions(folder: Any) -> list[Any]:
    """Returns the prepared versions in a folder, oldest first."""
    if not folder.is_dir():
        return []
    found = [
        (tuple(int(number) for number in child.name.split(".")), child)
        for child in folder.iterdir()
        if re.fullmatch(r"\d+\.\d+\.\d+", child.name) and (child / "dataset_info.json").exists()
    ]
    return [child for _, child in sorted(found, key=lambda pair: pair[0])]


def find(name: str, data_dir: str | None) -> Any:
    """Finds the folder of a prepared data set without touching the network.

    Args:
        name: ``dataset``, ``dataset/config`` or either with ``:version``; the newest version
            and the only configuration are taken where the name does not say.
        data_dir: the folder of prepared data sets; None is ``$TFDS_DATA_DIR`` or
            ``~/tensorflow_datasets``.

    Raises:
        DataError: it is not prepared there, or the configuration is not clear.
    """
    parsed, root = _parse(name), _root(data_dir)
    folder = root / parsed.dataset
    if parsed.config is not None:
        found = _versions(folder / parsed.config)
    else:
        found = _versions(folder)
        if not found and folder.is_dir():
            configs = sorted(child.name for child in folder.iterdir() if _versions(child))
            if len(configs) > 1:
                raise DataError(
                    f"tfds:{name} must name one of its configurations {', '.join(configs)}: "
                    f"tfds:{parsed.dataset}/{configs[0]}."
                )
            found = _versions(folder / configs[0]) if configs else []
    if parsed.version is not None:
        found = [child for child in found if child.name == parsed.version]
    if not found:
        raise DataError(
            f"tfds:{name} is not prepared in {root}, and nothing is downloaded here; prepare it "
            f"with: {how_to_prepare(name, data_dir)}"
        )
    return found[-1]


def check_format(folder: Any, name: str, data_dir: str | None) -> None:
    """Raises DataError unless the folder holds ArrayRecord files."""
    try:
        held = json.loads((folder / "dataset_info.json").read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"tfds:{name}: cannot read {folder}/dataset_info.json: {error}") from error
    stored = held.get("fileFormat", "tfrecord")
    if stored == "array_record":
        return
    reason = (
        "which TFDS writes with rows missing"
        if stored == "parquet"
        else ("which cannot be read by row")
    )
    raise DataError(
        f"tfds:{name} in {folder} must be in the format array_record, got {stored}, {reason}; "
        f"move that folder away and prepare it again with: {how_to_prepare(name, data_dir)}"
    )


class DecodedRows:
    """The images of a TFDS data source, decoded by Pillow when they are asked for.

    Grey files in a colour data set, of which ImageNet has many, become colour here; TFDS's own
    decoder without TensorFlow returns them as [H, W].
    """

    def __init__(self, source: Any, key: str, mode: str) -> None:
        self._source, self._key, self._mode = source, key, mode

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, row: int, /) -> np.ndarray:
        with Image.open(io.BytesIO(self._source[int(row)][self._key])) as opened:
            pixels = np.asarray(opened.convert(self._mode))
        return pixels if pixels.ndim == 3 else pixels[:, :, None]


class _Keys(NamedTuple):
    """Where images and labels lie in an example, and how they are."""

    image: str
    label: str
    shape: tuple[int | None, ...]
    mode: str
    class_names: tuple[str, ...]


def _keys(builder: Any, name: str) -> _Keys:
    """Finds the image and the label of an example, or says what is missing."""
    import tensorflow_datasets as tfds

    features = dict(builder.info.features.items())
    image, label = (builder.info.supervised_keys or ("image", "label"))[:2]
    if not isinstance(image, str) or not isinstance(label, str):
        image, label = "image", "label"
    if not isinstance(features.get(image), tfds.features.Image) or not isinstance(
        features.get(label), tfds.features.ClassLabel
    ):
        raise DataError(
            f"tfds:{name} must have an image and one class label, got the features "
            f"{', '.join(sorted(features))}."
        )
    shape = tuple(features[image].shape)
    if features[image].np_dtype != np.uint8 or shape[-1] not in _MODES:
        raise DataError(
            f"tfds:{name} must have uint8 images of 1 or 3 channels, got "
            f"{np.dtype(features[image].np_dtype)} of shape {shape}."
        )
    names = tuple(str(class_name) for class_name in features[label].names)
    return _Keys(image, label, shape, _MODES[shape[-1]], names)


def _labels(source: Any, key: str) -> np.ndarray:
    """Reads every label once, without decoding an image: int32 [N]."""
    labels = np.empty([len(source)], np.int32)

    def read_from(start: int) -> None:
        for row in range(start, min(start + _CHUNK, len(source))):
            labels[row] = source[row][key]

    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(read_from, range(0, len(source), _CHUNK)):
            pass
    return labels


def _split_names(names: Iterable[str], name: str) -> tuple[str, str]:
    """Returns the names of the training and the test split.

    A labelled test split is not everywhere: ImageNet's ``validation`` stands in for it, whose
    own ``test`` has no labels.
    """
    held = set(names)
    for test in ("validation", "test") if name.startswith("imagenet") else ("test", "validation"):
        if "train" in held and test in held:
            return "train", test
    raise DataError(
        f"tfds:{name} must have the splits train and test, or train and validation, got "
        f"{', '.join(sorted(held)) or 'none'}."
    )


def read(
    builder: Any, name: str, *, memory_limit: int, splits: tuple[str, str] | None = None
) -> Source:
    """Reads a TFDS builder whose data set is prepared.

    Args:
        builder: a ``tfds.core.DatasetBuilder``.
        name: how the caller knows it.
        memory_limit: bytes of images, both splits together, above which they are streamed.
        splits: names of the training and the test split, or None to find them.

    Returns:
        Both splits, in memory where images have one size and fit, else streamed.

    Raises:
        DataError: the data set has no uint8 image, no class label, or no such splits.
    """
    import tensorflow_datasets as tfds

    keys = _keys(builder, name)
    parts = []
    for part in splits or _split_names(builder.info.splits, name):
        decoders = {keys.image: tfds.decode.SkipDecoding()}
        source = builder.as_data_source(split=part, decoders=decoders)
        rows = DecodedRows(source, keys.image, keys.mode)
        parts.append(Split(_labels(source, keys.label), rows=rows))
    shape = tuple(length for length in keys.shape if length is not None)
    fits = math.prod(shape) * sum(len(part) for part in parts) <= memory_limit
    if len(shape) == len(keys.shape) and fits:
        parts = [_in_memory(part, shape) for part in parts]
    notice = (
        f"TensorFlow Datasets {builder.info.full_name}, {builder.info.homepage or 'no homepage'}. "
        f"Licence: {builder.info.redistribution_info.license or 'see the homepage'}."
    )
    return Source(parts[0], parts[1], keys.class_names, notice)


def _in_memory(split: Split, shape: tuple[int, ...]) -> Split:
    """Decodes every image once."""
    images = np.empty((len(split), *shape), np.uint8)
    for row in range(len(split)):
        images[row] = split.image(row)
    return Split(split.labels, images=images)


def load(
    name: str, *, data_dir: str | None = None, memory_limit: int = DEFAULT_MEMORY_LIMIT
) -> Source:
    """Reads a data set that TFDS has prepared in the ArrayRecord format.

    Args:
        name: a TFDS name: ``cifar100``, ``name/config``, ``name:1.0.0``.
        data_dir: the folder of prepared data sets; None is ``$TFDS_DATA_DIR`` or
            ``~/tensorflow_datasets``.
        memory_limit: bytes of images above which they are streamed.

    Raises:
        DataError: it is not prepared there, is in another format, or has no image and label.
    """
    folder = find(name, data_dir)
    check_format(folder, name, data_dir)
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DataError(
            f"the data set 'tfds:{name}' wants tensorflow-datasets and importlib-resources, of "
            f"which one is not installed: pip install tensorflow-datasets importlib_resources."
        ) from error
    builder = tfds.builder_from_directory(str(folder))
    return read(builder, name, memory_limit=memory_limit)
