"""Data sets that TensorFlow Datasets has prepared, read without TensorFlow, never downloaded.

Everything is decided from the files on disk before ``tensorflow_datasets`` is imported: looking
a missing data set up on the network costs minutes where there is none.
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np

from mcl_jax.data import index_cache, split_names, tf_example, tfrecord
from mcl_jax.data.class_names import narrowed
from mcl_jax.data.dataset import UNLABELLED, DataError, Source
from mcl_jax.data.decoding import ImageError
from mcl_jax.data.encoded_source import DEFAULT_MEMORY_LIMIT, Part, assemble

_CHUNK = 1024
_THREADS = 8
_UNREAD = {"parquet": "which TFDS writes with rows missing"}
# Features that hold the name of an image's file.
_FILE_NAMES = ("file_name", "filename", "image/filename")


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
    """Returns the commands that prepare a data set in a format that is read here."""
    where = f", data_dir='{data_dir}'" if data_dir else ""
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


def check_format(folder: Any, name: str, data_dir: str | None) -> str:
    """Returns ``array_record`` or ``tfrecord``, which the folder holds.

    Raises:
        DataError: it holds files of another format, or does not say what it holds.
    """
    try:
        held = json.loads((folder / "dataset_info.json").read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"tfds:{name}: cannot read {folder}/dataset_info.json: {error}") from error
    stored = held.get("fileFormat", "tfrecord")
    if stored in ("array_record", "tfrecord"):
        return stored
    raise DataError(
        f"tfds:{name} in {folder} must be in the format array_record or tfrecord, got {stored}, "
        f"{_UNREAD.get(stored, 'which cannot be read by row')}; move that folder away and prepare "
        f"it again with: {how_to_prepare(name, data_dir)}"
    )


class Records(Protocol):
    """Random access to serialized examples."""

    def __len__(self) -> int:
        """Returns the number of examples."""

    def __getitem__(self, row: int, /) -> bytes | memoryview:
        """Returns one ``tf.train.Example``."""


class RecordImages:
    """The images of serialized examples."""

    def __init__(self, records: Records, key: str, where: str) -> None:
        """Takes the examples, the feature that holds the image, and what they are called."""
        self._records, self._key, self._where = records, key, where

    def __len__(self) -> int:
        return len(self._records)

    def read(self, row: int, /) -> bytes:
        """Returns the bytes of one image."""
        try:
            return bytes(_first(tf_example.parse(self._records[row]), self._key))
        except (ValueError, RuntimeError) as error:
            raise ImageError(self.name(row), f"cannot be read: {error}") from error

    def name(self, row: int, /) -> str:
        """Returns the split and the row in it."""
        return f"{self._where} row {row}"


class _Keys(NamedTuple):
    """Where images and labels lie in an example, and how they are."""

    image: str
    label: str
    file_name: str | None
    channels: int
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
    if features[image].np_dtype != np.uint8 or shape[-1] not in (1, 3):
        raise DataError(
            f"tfds:{name} must have uint8 images of 1 or 3 channels, got "
            f"{np.dtype(features[image].np_dtype)} of shape {shape}."
        )
    file_name = next((held for held in _FILE_NAMES if held in features), None)
    names = tuple(str(class_name) for class_name in features[label].names)
    return _Keys(image, label, file_name, shape[-1], names)


def _first(example: dict[str, tf_example.Values], key: str) -> memoryview | int:
    """Returns the one value of a feature, or raises ValueError."""
    values = example.get(key)
    if not values:
        raise ValueError(f"the example has no {key}")
    return values[0]


def _entry(record: bytes | memoryview, keys: _Keys, name: str) -> tuple[int, bytes]:
    """Returns the label and the name of the file of one example, without its image."""
    try:
        example = tf_example.parse(record)
        label = int(_first(example, keys.label))
        path = bytes(_first(example, keys.file_name)) if keys.file_name is not None else b""
    except ValueError as error:
        raise DataError(f"{name} has no label to read: {error}.") from error
    return label, os.path.splitext(os.path.basename(path))[0]


def _arrays(entries: list[tuple[int, bytes]]) -> dict[str, np.ndarray]:
    """Returns labels and stems as arrays."""
    labels = np.array([label for label, _ in entries], np.int64)
    return {"labels": narrowed(labels), "stems": np.array([stem for _, stem in entries], np.bytes_)}


def _walk(instructions: list[Any], keys: _Keys, where: str) -> dict[str, np.ndarray]:
    """Finds the examples in TFRecord files, and their labels."""
    places: list[tuple[int, int, int]] = []
    entries: list[tuple[int, bytes]] = []
    for number, wanted in enumerate(instructions):
        for start, view in tfrecord.walk(wanted):
            places.append((number, start, len(view)))
            entries.append(_entry(view, keys, f"{where} row {len(entries)}"))
    return {"places": np.array(places, np.int64).reshape(-1, 3), **_arrays(entries)}


def _read_all(records: Records, keys: _Keys, where: str) -> dict[str, np.ndarray]:
    """Reads the labels of ArrayRecord files, which takes reading all of them."""

    def entry(row: int) -> tuple[int, bytes]:
        try:
            record = records[row]
        except RuntimeError as error:  # so ArrayRecord tells of files that are missing or damaged
            reason = " ".join(str(error).split()).rstrip(".")
            raise DataError(f"{where} row {row} cannot be read: {reason}.") from error
        return _entry(record, keys, f"{where} row {row}")

    def entries(start: int) -> list[tuple[int, bytes]]:
        return [entry(row) for row in range(start, min(start + _CHUNK, len(records)))]

    with ThreadPoolExecutor(_THREADS) as pool:
        chunks = list(pool.map(entries, range(0, len(records), _CHUNK)))
    return _arrays([entry for chunk in chunks for entry in chunk])


def _part(builder: Any, split: str, stored: str, keys: _Keys, name: str) -> Part:
    """Reads where the examples of a split are and what their labels are."""
    import tensorflow_datasets as tfds

    known = split in builder.info.splits
    instructions = builder.info.splits[split].file_instructions if known else []
    paths = [str(wanted.filename) for wanted in instructions]
    kind, where = f"{stored} {keys}", f"tfds:{name} {split}"
    records: Records
    if stored == "tfrecord":
        held = index_cache.cached(kind, paths, lambda: _walk(instructions, keys, where))
        records = tfrecord.TFRecords(paths, held["places"])
    else:
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        records = builder.as_data_source(split=split, deserialize_method=raw)
        held = index_cache.cached(kind, paths, lambda: _read_all(records, keys, where))
    stems = held["stems"] if keys.file_name is not None else None
    return Part(held["labels"], RecordImages(records, keys.image, where), stems)


def choose_splits(names: Iterable[str], name: str) -> dict[str, str]:
    """Returns the splits that are ``train``, ``test`` and, where there are all, ``validation``.

    ImageNet's ``validation`` stands in for its ``test``, which has no labels.

    Args:
        names: the splits there are.
        name: the data set.

    Raises:
        DataError: there is nothing to train or nothing to test on.
    """
    known = ("train", "test", "validation")
    found: dict[str, str] = {held: held for held in names if held in known}
    if name.startswith("imagenet") and "validation" in found:
        found.pop("test", None)
    return split_names.choose(f"tfds:{name}", found, "as TFDS calls them")


def unlabelled_split(names: Iterable[str], name: str) -> str:
    """Returns the split of images without labels.

    Args:
        names: the splits there are.
        name: the data set.

    Raises:
        DataError: there is none.
    """
    there = list(names)
    for known in ("unlabelled", "unlabeled", "unsupervised"):
        if known in there:
            return known
    raise DataError(
        f"unlabelled wants a split unlabelled in tfds:{name}, which has {', '.join(there)}."
    )


def read(
    builder: Any,
    name: str,
    *,
    memory_limit: int,
    corrupt: str = "stop",
    stored: str = "array_record",
    splits: dict[str, str] | None = None,
    unlabelled: bool = False,
) -> Source:
    """Reads a TFDS builder whose data set is prepared.

    Args:
        builder: a ``tfds.core.DatasetBuilder``.
        name: how the caller knows it.
        memory_limit: bytes of decoded images above which they stream.
        corrupt: ``"stop"`` at an image that cannot be decoded, or ``"skip"`` it.
        stored: ``array_record`` or ``tfrecord``.
        splits: which splits are ``train``, ``test`` and maybe ``validation``, or None to find
            them.
        unlabelled: also reads the split of images without labels.

    Returns:
        The splits, in memory where images have one size and fit, else streamed.

    Raises:
        DataError: the data set has no uint8 image, no class label, or no such splits.
    """
    keys = _keys(builder, name)
    parts = {
        part: _part(builder, split, stored, keys, name)
        for part, split in (splits or choose_splits(builder.info.splits, name)).items()
    }
    if unlabelled:
        split = unlabelled_split(builder.info.splits, name)
        part = _part(builder, split, stored, keys, name)
        blank = np.full_like(part.labels, UNLABELLED)
        parts["unlabelled"] = dataclasses.replace(part, labels=blank)
    notice = (
        f"TensorFlow Datasets {builder.info.full_name}, {builder.info.homepage or 'no homepage'}. "
        f"Licence: {builder.info.redistribution_info.license or 'see the homepage'}."
    )
    return assemble(
        f"tfds:{name}", parts, keys.class_names, notice,
        memory_limit=memory_limit, corrupt=corrupt, channels=keys.channels,
    )  # fmt: skip


def load(
    name: str,
    *,
    data_dir: str | None = None,
    memory_limit: int = DEFAULT_MEMORY_LIMIT,
    corrupt: str = "stop",
    unlabelled: bool = False,
) -> Source:
    """Reads a data set that TFDS has prepared as ArrayRecord or TFRecord files.

    Args:
        name: a TFDS name: ``cifar100``, ``name/config``, ``name:1.0.0``.
        data_dir: the folder of prepared data sets; None is ``$TFDS_DATA_DIR`` or
            ``~/tensorflow_datasets``.
        memory_limit: bytes of decoded images above which they stream.
        corrupt: ``"stop"`` at an image that cannot be decoded, or ``"skip"`` it.
        unlabelled: also reads its split of images without labels.

    Raises:
        DataError: it is not prepared there, is in another format, or has no image and label.
    """
    folder = find(name, data_dir)
    stored = check_format(folder, name, data_dir)
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DataError(
            f"the data set 'tfds:{name}' wants tensorflow-datasets and importlib-resources, of "
            f"which one is not installed: pip install tensorflow-datasets importlib_resources."
        ) from error
    try:
        builder = tfds.builder_from_directory(str(folder))
    except (OSError, ValueError, LookupError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"tfds:{name} in {folder} cannot be read by TFDS: {reason}.") from error
    return read(
        builder,
        name,
        memory_limit=memory_limit,
        corrupt=corrupt,
        stored=stored,
        unlabelled=unlabelled,
    )
