import gzip
import hashlib
import importlib.resources
import lzma
import struct

import numpy as np
import pytest

from mcl_jax import data
from mcl_jax.data import fashion_mnist
from mcl_jax.data.embedded import cut_fashion_mnist


def write_idx(path, array: np.ndarray) -> None:
    head = struct.pack(f">I{array.ndim}I", 0x800 | array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))


def write_source(folder, per_class: int = 3) -> None:
    for part, seed in (("train", 0), ("t10k", 1)):
        rng = np.random.default_rng(seed)
        labels = rng.permutation(np.repeat(np.arange(10, dtype=np.uint8), per_class))
        images = rng.integers(0, 256, [len(labels), 28, 28], np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)


def test_the_asset_is_the_pinned_one_and_small():
    asset = importlib.resources.files("mcl_jax.data.embedded").joinpath(fashion_mnist.ASSET)
    content = asset.read_bytes()
    assert hashlib.sha256(content).hexdigest() == fashion_mnist.SHA256
    assert len(content) < 5_000_000


def test_the_sums_are_recorded_beside_the_asset():
    folder = importlib.resources.files("mcl_jax.data.embedded")
    assert fashion_mnist.SHA256 in folder.joinpath("README.md").read_text()
    assert "Zalando SE" in folder.joinpath("FASHION_MNIST_LICENSE").read_text()


def test_every_class_is_there_as_often_and_any_first_rows_are_balanced():
    source = fashion_mnist.load()
    assert source.train.images.shape == (10_000, 28, 28, 1)
    assert source.test.images.shape == (2_000, 28, 28, 1)
    assert set(np.bincount(source.train.labels)) == {1000}
    assert set(np.bincount(source.test.labels[:50])) == {5}
    # Trousers are darker at the sides than bags: labels belong to the images.
    sides = source.train.images[:, :, :4].mean((1, 2, 3))
    assert sides[source.train.labels == 1].mean() < sides[source.train.labels == 8].mean() / 2


def test_a_changed_asset_is_refused():
    with pytest.raises(data.DataError, match=r"must have the sha256 d07c014c0dd7.*install"):
        fashion_mnist.unpack(b"something else")


def test_cut_takes_the_first_of_each_class_in_file_order(tmp_path):
    write_source(tmp_path)
    output = tmp_path / "out.xz"
    packed, content = cut_fashion_mnist.cut(tmp_path, output, train_per_class=2, test_per_class=1)
    unpacked = lzma.decompress(output.read_bytes())
    assert packed == hashlib.sha256(output.read_bytes()).hexdigest()
    assert content == hashlib.sha256(unpacked).hexdigest()
    cut = np.frombuffer(unpacked, np.uint8).reshape(30, 28, 28)
    images = cut_fashion_mnist.read_idx(tmp_path, "train-images-idx3-ubyte")
    labels = cut_fashion_mnist.read_idx(tmp_path, "train-labels-idx1-ubyte")
    np.testing.assert_array_equal(cut[6:8], images[labels == 3][:2])


def test_cut_names_a_missing_file(tmp_path):
    with pytest.raises(data.DataError, match="idx_folder must hold train-images-idx3-ubyte or"):
        cut_fashion_mnist.cut(tmp_path, tmp_path / "out.xz")


def test_cut_names_a_class_with_too_few_images(tmp_path):
    write_source(tmp_path)
    with pytest.raises(data.DataError, match="class 0 must have 4 images, got 3"):
        cut_fashion_mnist.cut(tmp_path, tmp_path / "out.xz", train_per_class=4)


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x01\0\0\0\x05ab", b"not an idx file"])
def test_cut_names_a_file_that_is_not_idx(tmp_path, content):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(data.DataError, match="train-images-idx3-ubyte must be an idx file"):
        cut_fashion_mnist.cut(tmp_path, tmp_path / "out.xz")


def test_the_command_writes_sums_and_answers_bad_input_with_one_line(tmp_path, capsys, monkeypatch):
    assert cut_fashion_mnist.main([]) == 1
    assert "usage" in capsys.readouterr().err
    assert cut_fashion_mnist.main([str(tmp_path), str(tmp_path / "out.xz")]) == 1
    assert "idx_folder" in capsys.readouterr().err
    monkeypatch.setattr(cut_fashion_mnist, "cut", lambda folder, output: ("one", "two"))
    assert cut_fashion_mnist.main([str(tmp_path), str(tmp_path / "out.xz")]) == 0
    assert capsys.readouterr().out == "file    one\ncontent two\n"
