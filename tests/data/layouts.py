"""The same few images in every layout that is read: what a test needs, and no more."""

import io
import json
import pathlib
import struct
import tarfile
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

CLASSES = ("ant", "bee", "cat")


class Item(NamedTuple):
    """An image with the name of its file, without ending."""

    stem: str
    label: int
    pixels: np.ndarray

    @property
    def png(self) -> bytes:
        return png(self.pixels)


def png(pixels: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels).save(held, "png")
    return held.getvalue()


def images(rows: int, seed: int, size: int = 8) -> list[Item]:
    """Colour noise, labels going round the classes."""
    rng = np.random.default_rng(seed)
    return [
        Item(f"{seed}_{row:03}", row % 3, rng.integers(0, 256, [size, size, 3], np.uint8))
        for row in range(rows)
    ]


SPLITS = {"train": images(24, 1), "test": images(9, 2)}


def folder(root: pathlib.Path, splits=SPLITS) -> str:
    for split, items in splits.items():
        for item in items:
            place = root / split / CLASSES[item.label]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{item.stem}.png").write_bytes(item.png)
    return f"folder:{root}"


def features(names=CLASSES) -> dict[bytes, bytes]:
    """What Hugging Face adds to a schema."""
    label = {"names": list(names), "_type": "ClassLabel"}
    held = {"info": {"features": {"image": {"_type": "Image"}, "label": label}}}
    return {b"huggingface": json.dumps(held).encode()}


def parquet(root: pathlib.Path, splits=SPLITS, shards: int = 2) -> str:
    (root / "data").mkdir(parents=True)
    for split, items in splits.items():
        # Another order than that of the other layouts.
        for shard in range(shards):
            held = items[::-1][shard::shards]
            image = [{"bytes": item.png, "path": f"{item.stem}.png"} for item in held]
            table = pa.table({"image": image, "label": [item.label for item in held]})
            file = root / "data" / f"{split}-{shard:05}-of-{shards:05}.parquet"
            pq.write_table(table.replace_schema_metadata(features()), file, row_group_size=2)
    return f"parquet:{root}"


def npz(root: pathlib.Path, splits=SPLITS) -> str:
    root.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split, items in splits.items():
        arrays[f"{split}_images"] = np.stack([item.pixels for item in items[::-1]])
        arrays[f"{split}_labels"] = np.array([item.label for item in items[::-1]])
    np.savez(root / "set.npz", class_names=np.array(CLASSES), **arrays)
    return f"npz:{root / 'set.npz'}"


def add(opened: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    opened.addfile(member, io.BytesIO(content))


def tar(root: pathlib.Path, splits=SPLITS, shards: int = 2) -> str:
    root.mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    for split, items in splits.items():
        for shard in range(shards):
            with tarfile.open(root / f"{split}-{shard:06}.tar", "w") as opened:
                for item in items[shard::shards]:
                    add(opened, f"{item.stem}.cls", str(item.label).encode())
                    add(opened, f"{item.stem}.png", item.png)
    return f"tar:{root}"


class SameImages(tfds.core.GeneratorBasedBuilder):
    """The images as TFDS prepares them."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        held = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=CLASSES),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(held))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(items) for split, items in SPLITS.items()}

    def _generate_examples(self, items):
        for item in items:
            name = f"{item.stem}.png"
            yield name, {"image": item.png, "label": item.label, "file_name": name}


def array_record(root: pathlib.Path) -> str:
    SameImages(data_dir=str(root), file_format="array_record").download_and_prepare()
    return "tfds:same_images"


def masked_crc(content: bytes) -> int:
    """CRC-32C as TFRecord files mask it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def framed(record: bytes) -> bytes:
    """A record of a TFRecord file."""
    length = struct.pack("<Q", len(record))
    checks = (struct.pack("<I", masked_crc(held)) for held in (length, record))
    return length + next(checks) + record + next(checks)


def example(item: Item) -> bytes:
    """A serialized ``tf.train.Example``."""
    held = tf_example_pb2.Example()
    feature = held.features.feature
    feature["label"].int64_list.value.append(item.label)
    feature["image"].bytes_list.value.append(item.png)
    feature["file_name"].bytes_list.value.append(f"{item.stem}.png".encode())
    return held.SerializeToString()


def tfrecord(root: pathlib.Path, splits=SPLITS, shards: int = 3) -> str:
    """What TFDS with TensorFlow leaves: two files of JSON and shards of records."""
    place = root / "same_images" / "1.0.0"
    place.mkdir(parents=True)
    SameImages(data_dir=str(root)).info.features.save_config(str(place))
    described = []
    for split, items in splits.items():
        lengths = []
        for shard in range(shards):
            held = items[shard::shards]
            lengths.append(str(len(held)))
            name = f"same_images-{split}.tfrecord-{shard:05}-of-{shards:05}"
            (place / name).write_bytes(b"".join(framed(example(item)) for item in held))
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        described.append({"name": split, "shardLengths": lengths, "filepathTemplate": template})
    info = {"name": "same_images", "version": "1.0.0", "fileFormat": "tfrecord"}
    (place / "dataset_info.json").write_text(json.dumps({**info, "splits": described}))
    return "tfds:same_images"
