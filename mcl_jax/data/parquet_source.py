"""Images in Parquet files as Hugging Face lays them out: ``{bytes, path}`` and a class label.

The files are read as they are; nothing is looked up on a hub, and no package of theirs is needed.
"""

import json
import os
import pathlib
import threading
from typing import Any, NamedTuple

import numpy as np

from mcl_jax.data import class_names, shards
from mcl_jax.data.dataset import DataError, Source
from mcl_jax.data.decoding import ImageError
from mcl_jax.data.encoded_source import Part, assemble

_LABELS = ("label", "labels", "fine_label")


class _Columns(NamedTuple):
    """Where images and labels lie, and the names of labels if the file has them."""

    image: str
    path: str | None
    label: str
    class_names: tuple[str, ...] | None


class ParquetImages:
    """One column of bytes in Parquet files, read a row group at a time."""

    def __init__(self, files: list[str], groups: np.ndarray, column: str) -> None:
        """Takes the files, their row groups as int64 [G, 3] (file, group, rows), and the column."""
        self._files, self._groups, self._column = files, groups, column
        self._starts = np.concatenate([[0], np.cumsum(groups[:, 2])])
        self._metadata: dict[int, Any] = {}
        self._kept = threading.local()  # the last row group that each thread has read

    def __getstate__(self) -> tuple[list[str], np.ndarray, str]:
        return self._files, self._groups, self._column

    def __setstate__(self, state: tuple[list[str], np.ndarray, str]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _place(self, row: int) -> tuple[int, int]:
        """Returns which row group a row is in, and where in it."""
        group = int(np.searchsorted(self._starts, row, "right")) - 1
        return group, row - int(self._starts[group])

    def read(self, row: int, /) -> bytes:
        """Returns the bytes of one image."""
        group, within = self._place(row)
        if getattr(self._kept, "group", None) != group:
            self._kept.group, self._kept.values = group, self._values(group)
        found = self._kept.values[within].as_py()
        if found is None:
            raise ImageError(self.name(row), "must hold the bytes of an image, got none")
        return found

    def _values(self, group: int) -> Any:
        """Reads the images of one row group, encoded."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        file, number, _ = self._groups[group].tolist()
        try:
            with pq.ParquetFile(self._files[file], metadata=self._metadata.get(file)) as opened:
                self._metadata[file] = opened.metadata  # the footer is parsed once
                read = opened.read_row_group(number, columns=[self._column], use_threads=False)
        except pa.ArrowException as error:
            raise OSError(f"row group {number}: {error}") from error
        values = read.column(0).combine_chunks()
        return values.field(0) if pa.types.is_struct(values.type) else values

    def name(self, row: int, /) -> str:
        """Returns the file and the row in it."""
        group, within = self._place(row)
        file, number, _ = self._groups[group].tolist()
        before = self._groups[(self._groups[:, 0] == file) & (self._groups[:, 1] < number), 2]
        return f"{self._files[file]} row {int(before.sum()) + within}"


def _columns(description: str, file: pathlib.Path, schema: Any) -> _Columns:
    """Finds the image and the label in the types of columns and in what Hugging Face adds."""
    import pyarrow as pa

    held = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = held.get("info", {}).get("features", {})
    images = [
        field.name for field in schema
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
        or (pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
    ]  # fmt: skip
    classes = {
        name: tuple(map(str, feature["names"]))
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
    labels = [name for name in _LABELS if name in schema.names]
    if not labels and len(classes) == 1:
        labels = list(classes)
    if len(images) != 1 or not labels:
        raise DataError(
            f"source {description} must have one column of images (bytes, or a struct of bytes "
            f"and path) and one of labels, named label, got {', '.join(schema.names)} in {file}."
        )
    image, kind = images[0], schema.field(images[0]).type
    if not pa.types.is_struct(kind):
        return _Columns(image, None, labels[0], classes.get(labels[0]))
    path = f"{image}.path" if kind.get_field_index("path") >= 0 else None
    return _Columns(f"{image}.bytes", path, labels[0], classes.get(labels[0]))


class _Rows(NamedTuple):
    """What is read of a split at the start."""

    images: ParquetImages
    labels: np.ndarray
    stems: list[bytes] | None
    columns: _Columns


def _rows(description: str, files: list[pathlib.Path]) -> _Rows:
    """Reads labels, paths and where row groups lie, and no image."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    groups, labels, paths = [], [], []
    columns: _Columns | None = None
    for number, file in enumerate(files):
        try:
            with pq.ParquetFile(file) as opened:
                own = _columns(description, file, opened.schema_arrow)
                if columns not in (None, own):
                    raise DataError(
                        f"source {description} must have the same columns in every file, got "
                        f"others in {file}."
                    )
                columns, meta = own, opened.metadata
                groups += [
                    (number, group, meta.row_group(group).num_rows)
                    for group in range(meta.num_row_groups)
                ]
                wanted = [name for name in (own.label, own.path) if name]
                table = opened.read(columns=wanted)
        except DataError:
            raise
        except (OSError, ValueError, pa.ArrowException) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise DataError(f"{file} cannot be read as a Parquet file: {reason}.") from error
        labels.append(_labels(description, file, table.column(own.label)))
        if own.path:
            field = table.column(own.path.rpartition(".")[0]).combine_chunks().field(0)
            paths += field.to_pylist()
    if columns is None:
        raise DataError(f"source {description} must hold files, got none.")
    if len({held.dtype.kind for held in labels}) > 1:
        raise DataError(
            f"source {description} must have labels of one kind, got names in some files and "
            f"numbers in others, such as {files[0]}."
        )
    stems = None
    if paths and all(paths):
        stems = [os.fsencode(os.path.splitext(os.path.basename(path))[0]) for path in paths]
    images = ParquetImages([str(file) for file in files], np.array(groups), columns.image)
    return _Rows(images, np.concatenate(labels), stems, columns)


def _labels(description: str, file: pathlib.Path, column: Any) -> np.ndarray:
    """Returns the labels of a file, whole numbers or strings."""
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    whole = pa.types.is_integer(kind)
    named = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if column.null_count == len(column):
        return np.full([len(column)], -1)
    if column.null_count or not (whole or named or pa.types.is_string_view(kind)):
        got = f"{column.null_count} empty ones" if column.null_count else f"the type {column.type}"
        raise DataError(
            f"source {description} must have a whole number or a name as label in every row, got "
            f"{got} in {file}."
        )
    held = column.to_pylist()
    # What 64 bits cannot hold is no class either.
    return np.array([min(x, 1 << 62) for x in held], np.int64) if whole else np.array(held, np.str_)


def _unlabelled(labels: np.ndarray) -> bool:
    """Whether a split, such as ImageNet's test images, has no labels at all."""
    return len(labels) > 0 and labels.dtype.kind != "U" and bool((labels < 0).all())


def load(path: str, *, memory_limit: int, corrupt: str) -> Source:
    """Reads Parquet files whose names begin with ``train`` and ``test`` or ``validation``.

    Args:
        path: the folder of the files, or one above it.
        memory_limit: bytes of decoded images above which they stream.
        corrupt: ``"stop"`` at an image that cannot be decoded, or ``"skip"`` it.

    Raises:
        DataError: there are no such files, or a file has no images and labels.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise DataError(
            f"source parquet:{path} wants pyarrow, which is not installed: pip install pyarrow."
        ) from error
    description = f"parquet:{path}"
    _, files = shards.find("parquet", path)
    found = {name: _rows(description, held) for name, held in files.items()}
    labelled = {name: held for name, held in found.items() if not _unlabelled(held.labels)}
    rows = shards.choose("parquet", path, labelled)
    given = {name: held.labels for name, held in rows.items()}
    classes, labels = class_names.resolve(description, given, rows["train"].columns.class_names)
    parts = {name: Part(labels[name], held.images, held.stems) for name, held in rows.items()}
    return assemble(
        description, parts, classes, f"The Parquet files in {path}.",
        memory_limit=memory_limit, corrupt=corrupt,
    )  # fmt: skip
