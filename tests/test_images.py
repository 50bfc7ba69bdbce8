"""Every kind of picture decodes to what a person would see, or says why it cannot."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitquant import images
from vitquant.errors import InputError
from vitquant.images import enlarged_png, open_rgb

WHITE = (255, 255, 255)


def gradient(width: int = 24, height: int = 16) -> Image.Image:
    """An RGB picture with no symmetry, in which every turn and every channel shows."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 10, y * 15, (x * y) % 256], axis=-1).astype(np.uint8))


def grey() -> Image.Image:
    return gradient().convert("L")


def encoded(image: Image.Image, format: str, **options: object) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer


def same(first: Image.Image, second: Image.Image) -> bool:
    return first.mode == second.mode and np.array_equal(np.asarray(first), np.asarray(second))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_ordinary_jpeg_is_what_imagefolder_loads(mode: str, tmp_path: Path) -> None:
    file = tmp_path / "ordinary.JPEG"
    gradient().convert(mode).save(file, quality=80)
    assert same(open_rgb(file), Image.open(file).convert("RGB"))


def test_tiny_imagenet_is_read_as_imagefolder_reads_it(tiny_imagenet: Path) -> None:
    files = sorted((tiny_imagenet / "tiny-imagenet" / "val").glob("*/*"))
    grey_ones = 0
    for file in files[::20]:
        with Image.open(file) as image:
            grey_ones += image.mode == "L"
            assert same(open_rgb(file), image.convert("RGB")), file
    assert grey_ones > 0, "the sample of pictures should have greyscale ones"


def test_sixteen_bit_greyscale_is_scaled_and_not_clipped() -> None:
    deep = Image.fromarray(np.asarray(grey()).astype(np.uint16) * 257)
    for format in ("PNG", "TIFF", "PPM"):
        stored = encoded(deep, format)
        assert Image.open(stored).mode.startswith("I")
        assert same(open_rgb(stored), grey().convert("RGB")), format


def test_floating_point_greyscale_goes_from_black_to_white() -> None:
    values = np.linspace(-3, 7, 256, dtype=np.float32).reshape(16, 16)
    shown = np.asarray(open_rgb(encoded(Image.fromarray(values), "TIFF")))[..., 0]
    assert (shown.min(), shown.max()) == (0, 255)
    assert (np.diff(shown.ravel().astype(int)) >= 0).all()


def test_floating_point_that_is_not_a_number_is_no_reason_to_fail() -> None:
    values = np.array([[np.nan, np.inf], [0.0, 1.0]], dtype=np.float32)
    assert np.asarray(open_rgb(encoded(Image.fromarray(values), "TIFF")))[1, 1, 0] == 255


def test_one_bit_pictures_are_black_and_white() -> None:
    bits = grey().point(lambda value: 255 * (value > 100)).convert("1")
    assert same(open_rgb(encoded(bits, "PNG")), bits.convert("RGB"))


def test_cmyk_jpegs_have_the_colours_of_the_rgb_picture() -> None:
    flat = Image.new("RGB", (16, 16), (200, 40, 90))
    shown = np.asarray(open_rgb(encoded(flat.convert("CMYK"), "JPEG", quality=95))).astype(int)
    assert np.abs(shown - (200, 40, 90)).max() <= 6


def test_palette_pictures_have_the_palettes_colours() -> None:
    flat = gradient().quantize(16)
    assert same(open_rgb(encoded(flat, "PNG")), flat.convert("RGB"))


def half_transparent(mode: str) -> Image.Image:
    """Left half opaque and dark, right half wholly transparent with black beneath."""
    image = Image.new("RGBA", (16, 8), (0, 0, 0, 0))
    image.paste((40, 40, 40, 255), (0, 0, 8, 8))
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_are_white(mode: str) -> None:
    shown = open_rgb(encoded(half_transparent(mode), "PNG"))
    assert shown.mode == "RGB"
    assert shown.getpixel((2, 2)) == (40, 40, 40)
    assert shown.getpixel((12, 2)) == WHITE


def test_half_transparent_is_half_white() -> None:
    veil = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert open_rgb(encoded(veil, "PNG")).getpixel((1, 1)) == pytest.approx((127, 127, 127), abs=1)


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_palettes_transparent_colour_is_white(format: str) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0, 40, 40, 40])
    image.paste(1, (0, 0, 4, 8))
    shown = open_rgb(encoded(image, format, transparency=0))
    assert (shown.getpixel((1, 1)), shown.getpixel((6, 1))) == ((40, 40, 40), WHITE)


@pytest.mark.parametrize(
    ("mode", "colour", "transparent"),
    [("L", 7, 7), ("RGB", (7, 8, 9), (7, 8, 9)), ("I;16", 1800, 1800)],
)
def test_one_colour_declared_transparent_is_white(mode: str, colour: object, transparent: object) -> None:
    image = Image.new(mode, (4, 4), 0)
    image.putpixel((2, 2), colour)
    shown = open_rgb(encoded(image, "PNG", transparency=transparent))
    assert (shown.getpixel((2, 2)), shown.getpixel((0, 0))) == (WHITE, (0, 0, 0))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_camera_gives_an_upright_picture(orientation: int, format: str) -> None:
    as_the_sensor_saw_it = {  # EXIF's eight, as what must be done to the upright picture
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    upright = gradient()
    stored = upright if as_the_sensor_saw_it is None else upright.transpose(as_the_sensor_saw_it)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    lossless |= {"lossless": True} if format == "WEBP" else {}
    shown = open_rgb(encoded(stored, format, exif=exif, **lossless))
    assert shown.size == upright.size
    difference = np.abs(np.asarray(shown).astype(int) - np.asarray(upright).astype(int))
    assert difference.mean() < (8 if format == "JPEG" else 0.001)
    assert not shown.getexif(), "who shows or saves it must not turn it again"


def test_damaged_exif_does_not_hide_the_picture() -> None:
    stored = encoded(gradient(), "JPEG", exif=b"Exif\0\0not a TIFF header at all")
    assert same(open_rgb(stored), Image.open(stored).convert("RGB"))


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    for format in ("GIF", "PNG"):
        stored = encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=100)
        assert Image.open(stored).n_frames == 3
        assert open_rgb(stored).getpixel((4, 4)) == (255, 0, 0)


def test_an_open_stream_stays_open_and_may_have_been_read_before() -> None:
    stored = encoded(gradient(), "PNG")
    stored.read()
    assert same(open_rgb(stored), gradient())
    assert not stored.closed


def refused(source: Path | io.BytesIO) -> str:
    with pytest.raises(InputError) as caught:
        open_rgb(source)
    return str(caught.value)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_file_cut_short_is_refused_by_name(format: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    content = encoded(Image.fromarray(noise), format).getvalue()
    for share in (0.1, 0.5, 0.9):
        file = tmp_path / f"cut.{format}"
        file.write_bytes(content[: int(len(content) * share)])
        assert str(file) in refused(file)


def test_what_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    text = tmp_path / "letter.jpg"
    text.write_text("Dear reader, this is not a picture.")
    assert refused(text).startswith(f"{text} is not a picture in a format")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    assert "is an empty file" in refused(empty)
    assert "is an empty file" in refused(io.BytesIO())
    assert "is a folder" in refused(tmp_path)
    assert refused(tmp_path / "absent.jpg").startswith("There is no file")


def test_postscript_is_refused_without_starting_its_interpreter(tmp_path: Path) -> None:
    file = tmp_path / "picture.eps"
    gradient().save(file)
    assert "is not a picture in a format" in refused(file)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be this large and has almost no data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("edge", [10_000, 60_000], ids=["Pillow warns", "Pillow refuses"])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(edge: int) -> None:
    assert edge * edge > images.MAX_PIXELS
    assert "is too large to decode" in refused(io.BytesIO(png_header(edge, edge)))


def test_an_enlarged_picture_keeps_its_pixels_crisp() -> None:
    small = gradient(8, 4)
    large = Image.open(io.BytesIO(enlarged_png(small, 32)))
    assert large.format == "PNG"
    assert large.size == (32, 16)
    assert np.array_equal(np.asarray(large), np.asarray(small).repeat(4, axis=0).repeat(4, axis=1))


def test_a_large_picture_is_shrunk_to_fit() -> None:
    assert Image.open(io.BytesIO(enlarged_png(gradient(400, 2), 40))).size == (40, 1)
