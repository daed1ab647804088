"""Reading one image: formats, modes, orientation, size; a file that cannot be decoded raises a DataError."""

import io

import numpy as np
import pytest
from PIL import Image

from flaxcnn.data import DataError, decode_image, read_image
from flaxcnn.data.image import encode_png

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "gif", "jpg", "ppm"])
def test_formats(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(PIXELS).save(path, **({"lossless": True} if suffix == "webp" else {}))
    image = read_image(path, (6, 5, 3))
    assert image.dtype == np.uint8
    if suffix in ("gif", "jpg"):
        assert image.shape == (6, 5, 3)
    else:
        np.testing.assert_array_equal(image, PIXELS)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_round_trip(channels):
    image = np.random.default_rng(channels).integers(0, 256, (4, 7, channels)).astype(np.uint8)
    np.testing.assert_array_equal(decode_image(encode_png(image), (4, 7, channels), "it"), image)


def test_grey_and_colour(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "colour.png")
    expected = np.rint(PIXELS @ np.array([0.299, 0.587, 0.114]))
    grey = read_image(tmp_path / "colour.png", (6, 5, 1))
    assert np.abs(grey[..., 0] - expected).max() <= 1
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "grey.png")
    colour = read_image(str(tmp_path / "grey.png"), (6, 5, 3))
    np.testing.assert_array_equal(colour, np.repeat(PIXELS[..., :1], 3, axis=2))


def test_palette_and_bilevel(tmp_path):
    Image.fromarray(PIXELS).quantize(4).save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png", (6, 5, 3)).shape == (6, 5, 3)
    Image.fromarray(PIXELS[..., 0] > 127).save(tmp_path / "bilevel.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "bilevel.png", (6, 5, 1))[..., 0], 255 * (PIXELS[..., 0] > 127)
    )


def opaque_modes():
    """Give images of every mode without transparent pixels."""
    colour = Image.fromarray(PIXELS)
    grey = colour.convert("L")
    alpha = Image.new("L", colour.size, 255)
    return {
        "palette.png": colour.quantize(16),
        "web.gif": colour.convert("P", palette=Image.Palette.WEB),
        "cmyk.tiff": colour.convert("CMYK"),
        "cmyk.jpg": colour.convert("CMYK"),
        "grey-alpha.png": Image.merge("LA", (grey, alpha)),
        "alpha.png": Image.merge("RGBA", (*colour.split(), alpha)),
        "bilevel.png": colour.convert("1"),
        "bilevel.tiff": colour.convert("1"),
        "ycbcr.jpg": colour,
    }


@pytest.mark.parametrize("name", opaque_modes())
@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_every_mode_is_what_pillow_converts_it_to(tmp_path, name, channels, mode):
    opaque_modes()[name].save(tmp_path / name)
    with Image.open(tmp_path / name) as opened:
        expected = np.asarray(opened.convert(mode)).reshape(6, 5, channels)
    np.testing.assert_array_equal(read_image(tmp_path / name, (6, 5, channels)), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_show_white_and_not_their_hidden_colour(tmp_path, mode):
    """Pillow drops the alpha channel, and black comes out."""
    alpha = np.arange(0, 240, 8, dtype=np.uint8).reshape(6, 5)
    if mode == "P":
        image = Image.fromarray(PIXELS).quantize(8)
        image.save(tmp_path / "clear.png", transparency=bytes([0, 255, 128, 255, 255, 255, 255, 255]))
    else:
        alpha[0] = 0
        image = Image.fromarray(PIXELS).convert("L" if mode == "LA" else "RGB")
        image.putalpha(Image.fromarray(alpha))
        image.save(tmp_path / "clear.png")
    with Image.open(tmp_path / "clear.png") as opened:
        pixels = np.asarray(opened.convert("RGBA")).astype(np.float64)
    share = pixels[..., 3:] / 255
    expected = pixels[..., :3] * share + 255 * (1 - share)
    read = read_image(tmp_path / "clear.png", (6, 5, 3))
    assert (pixels[..., 3] == 0).any()
    assert (read[pixels[..., 3] == 0] == 255).all()
    np.testing.assert_allclose(read, expected, atol=1)
    # Asked for with its alpha channel, an image stays as it is.
    np.testing.assert_array_equal(read_image(tmp_path / "clear.png", (6, 5, 4)), pixels)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_of_an_animation_the_first_frame_is_read(tmp_path, suffix):
    frames = [Image.new("RGB", (5, 6), colour) for colour in ("white", "black")]
    frames[0].save(tmp_path / f"moving.{suffix}", save_all=True, append_images=frames[1:])
    assert (read_image(tmp_path / f"moving.{suffix}", (6, 5, 3)) == 255).all()


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_every_orientation_is_turned_upright(tmp_path, value, suffix):
    exif = Image.Exif()
    exif[0x0112] = value
    pixels = np.zeros((32, 16, 3), np.uint8)
    pixels[:16, :8], pixels[16:, 8:] = 255, 128
    Image.fromarray(pixels).save(
        tmp_path / f"it.{suffix}", exif=exif, **({"quality": 95} if suffix == "jpg" else {})
    )
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: np.rot90(pixels, 2).transpose(1, 0, 2),
        8: np.rot90(pixels, 1),
    }[value]
    np.testing.assert_allclose(read_image(tmp_path / f"it.{suffix}", turned.shape), turned, atol=3)


def test_the_scale_of_16_bits_is_that_of_the_training(tmp_path):
    Image.fromarray(np.array([[0, 100, 200, 400]], np.uint16)).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png", (1, 4, 1), max_value=200).ravel().tolist() == [0, 128, 255, 255]
    assert read_image(tmp_path / "deep.png", (1, 4, 1)).ravel().tolist() == [0, 0, 1, 2]


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    deep = (PIXELS[..., 0].astype(np.uint16)) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png", (6, 5, 1))[..., 0], PIXELS[..., 0])


def test_orientation_of_a_photograph_is_followed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to view
    Image.fromarray(PIXELS).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png", (5, 6, 3)), np.rot90(PIXELS, -1))


def test_resize_is_pillows_antialiased_bilinear(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "image.png")
    expected = Image.fromarray(PIXELS).resize((3, 2), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(read_image(tmp_path / "image.png", (2, 3, 3)), np.asarray(expected))


def png_bytes():
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an image",
        png_bytes()[:200],
        png_bytes()[:30],
        png_bytes()[:60] + bytes(900),
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_undecodable(tmp_path, content):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be decoded as an image") as caught:
        read_image(path, (6, 5, 3))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "BytesIO" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match=r"gone.png cannot be read"):
        read_image(tmp_path / "gone.png", (6, 5, 3))
    with pytest.raises(DataError, match=r"cannot be read"):
        read_image(tmp_path, (6, 5, 3))


def test_refused_requests(tmp_path):
    with pytest.raises(DataError, match=r"1 to 4 channels, but 5 were asked for"):
        decode_image(png_bytes(), (6, 5, 5), "it")
    with pytest.raises(DataError, match=r"it is 40 x 40 pixels, but 6 x 5 are expected"):
        decode_image(png_bytes(), (6, 5, 3), "it", resize=False)
    Image.fromarray(np.full((2, 2), 0.5, np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(DataError, match=r"not 8 or 16 bits deep"):
        read_image(tmp_path / "float.tiff", (2, 2, 1))
