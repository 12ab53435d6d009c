import io
import pickle

import numpy as np
import pytest
from PIL import Image

from mcl_jax.data.decoding import ImageError, decode, header

NOISE = np.random.default_rng(0).integers(0, 256, [40, 30, 4], np.uint8)
WHOLE = Image.fromarray(NOISE[:, :, :3])
OPAQUE = np.where(np.arange(4) == 3, 255, NOISE).astype(np.uint8)
PALETTE = WHOLE.convert("P")
SIXTEEN = Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(40, 30))


def encoded(image: Image.Image, kind: str = "png", **options) -> bytes:
    held = io.BytesIO()
    image.save(held, kind, **options)
    return held.getvalue()


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (WHOLE, "png"),
        (Image.fromarray(OPAQUE), "png"),
        (WHOLE.convert("P"), "png"),
        (WHOLE.convert("P"), "gif"),
        (WHOLE.convert("CMYK"), "jpeg"),
        (WHOLE.convert("L"), "png"),
        (WHOLE.convert("LA"), "png"),
        (WHOLE.convert("1"), "png"),
    ],
)
def test_images_of_other_kinds_become_colour(image, kind):
    content = encoded(image, kind)
    pixels = decode(content, 3, "one")
    assert (pixels.dtype, pixels.shape) == (np.uint8, (40, 30, 3))
    wanted = Image.open(io.BytesIO(content)).convert("RGB")
    np.testing.assert_array_equal(pixels, np.asarray(wanted))
    gray = image.mode in ("L", "LA", "1")
    assert header(content, "one") == (40, 30, gray)
    if gray:
        np.testing.assert_array_equal(decode(content, 1, "one"), pixels[:, :, :1])


@pytest.mark.parametrize(
    ("content", "channels", "message"),
    [
        (b"", 3, "a.jpg cannot be decoded: it is empty"),
        (b"text", 3, "a.jpg cannot be decoded: it is no image that Pillow knows"),
        (encoded(WHOLE, "jpeg")[:-300], 3, "a.jpg cannot be decoded: image file is truncated"),
        (encoded(WHOLE)[:-300], 3, "a.jpg cannot be decoded: "),
        (encoded(WHOLE)[:45], 3, "a.jpg cannot be decoded: "),
        (encoded(Image.fromarray(NOISE)), 3, "a.jpg must be opaque, got an image that is transpar"),
        (encoded(PALETTE, transparency=PALETTE.getpixel((3, 3))), 3, "a.jpg must be opaque"),
        (encoded(SIXTEEN), 3, "a.jpg must have 8 bits a channel, got Pillow's mode I;16"),
        (encoded(SIXTEEN), 1, "a.jpg must have 8 bits a channel, got Pillow's mode I;16"),
        (encoded(WHOLE), 1, "a.jpg must be gray as the others, got Pillow's mode RGB"),
    ],
)
def test_what_cannot_be_taken_is_named_with_the_reason(content, channels, message):
    with pytest.raises(ImageError) as raised:
        decode(content, channels, "a.jpg")
    assert str(raised.value).startswith(message)
    assert str(raised.value).endswith("; corrupt=skip goes on without it.")
    again = pickle.loads(pickle.dumps(raised.value))  # as worker processes send it
    assert (str(again), again.problem) == (str(raised.value), raised.value.problem)


def test_what_has_no_header_is_named():
    with pytest.raises(ImageError, match=r"a\.png cannot be decoded: it is no image"):
        header(b"text", "a.png")
