import struct

import numpy as np
import pytest
from tensorflow_datasets.proto import tf_example_pb2

from mcl_jax.data import tf_example


def test_what_protocol_buffers_write_is_read():
    rng = np.random.default_rng(0)
    numbers = [0, -1, 127, 128, 2**63 - 1, -(2**63), *rng.integers(-(2**62), 2**62, 20).tolist()]
    blobs = [rng.bytes(size) for size in (0, 1, 127, 128, 20_000)]
    message = tf_example_pb2.Example()
    feature = message.features.feature
    feature["numbers"].int64_list.value.extend(numbers)
    feature["blobs"].bytes_list.value.extend(blobs)
    feature["floats"].float_list.value.extend([0.5, 1])
    feature["empty/é"].int64_list.SetInParent()
    found = tf_example.parse(message.SerializeToString())
    assert found == {"numbers": numbers, "blobs": blobs, "floats": [], "empty/é": []}


def test_numbers_one_a_field_and_unknown_fields_are_read():
    values = (
        b"\x08\x07" + b"\x15" + struct.pack("<f", 1) + b"\x19" + struct.pack("<d", 1) + b"\x08\x05"
    )
    feature = b"\x1a" + bytes([len(values)]) + values
    entry = b"\x0a\x01x\x12" + bytes([len(feature)]) + feature
    features = b"\x0a" + bytes([len(entry)]) + entry
    assert tf_example._integers(memoryview(b"\x08" + b"\xff" * 10 + b"\x01")) == [-1]  # 71 bits
    assert tf_example._integers(memoryview(b"\x08\x07\x08\x05")) == [7, 5]
    assert set(tf_example.parse(b"\x0a" + bytes([len(features)]) + features)) == {"x"}


@pytest.mark.parametrize(
    "record", [b"\x0a", b"\x0a\x05a", b"\x0b", b"\x0a\x02\x0a\x00", b"\xff", b"\x08\x01"]
)
def test_other_bytes_are_refused(record):
    with pytest.raises(ValueError, match=r"no tf\.train.Example: "):
        tf_example.parse(record)
