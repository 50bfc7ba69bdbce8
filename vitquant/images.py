"""Picture files to RGB as a person would see them, and small pictures to PNG for pages. Imports no torch."""

import io
import warnings
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError

from vitquant.errors import InputError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""torchvision ImageFolder's, so that a folder has the same pictures in the same order for both."""

# Pillow would try some forty formats, and start Ghostscript for one of them; people have these.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")

MAX_PIXELS = 89_478_485
"""Pillow's own bound (a quarter of a GiB of RGB): more than any camera's, less than a bomb's."""

# Pillow warns on stderr of a picture above the bound; here it is refused with a sentence.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def is_picture(filename: str) -> bool:
    """Whether ImageFolder would take a file of this name for a picture."""
    return filename.lower().endswith(EXTENSIONS)


def open_rgb(source: Path | BinaryIO, name: str | None = None) -> Image.Image:
    """The picture in mode RGB, upright, in memory; the file is closed again, an open stream is left open.

    For an ordinary RGB or greyscale picture exactly Image.open(source).convert("RGB"), as ImageFolder
    loads it. Transparent parts become white, 16-bit greyscale keeps its high byte, the camera's
    orientation is applied, an animation gives its first frame; colour profiles are ignored.

    name: what the messages call the picture, else the file's path or the stream's own name.
    Raises InputError where there is no picture to be had.
    """
    name = name or str(source if isinstance(source, Path) else getattr(source, "name", "The file"))
    try:
        with Image.open(source, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            image.load()
            upright = _UPRIGHT.get(_orientation(image))
            rgb = _rgb(image)
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
        raise InputError(_why_not(source, name, error)) from error
    # A page or a later save would turn the picture once more if it kept what the camera wrote.
    rgb.info.clear()
    return rgb.transpose(upright) if upright is not None else rgb


def is_animated(source: BinaryIO) -> bool:
    """Whether a picture that open_rgb has read is the first of several."""
    source.seek(0)
    with Image.open(source, formats=FORMATS) as image:
        return getattr(image, "n_frames", 1) > 1


def shrunk_png(image: Image.Image, edge: int) -> bytes:
    """A PNG of the picture, made smaller (averaging) where its longer side is more than `edge` pixels."""
    small = image.copy()
    small.thumbnail((edge, edge), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG")
    return buffer.getvalue()


def enlarged_png(image: Image.Image, edge: int) -> bytes:
    """A PNG whose longer side is `edge` pixels: enlarged without smoothing, so that each pixel stays crisp."""
    scale = edge / max(image.size)
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    # Leaving pixels out would make a shrunk picture noise, so the other way round they are averaged.
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    buffer = io.BytesIO()
    image.resize(size, method).save(buffer, format="PNG")
    return buffer.getvalue()


def _rgb(image: Image.Image) -> Image.Image:
    """A loaded image of any mode as a new RGB image."""
    if image.mode.startswith(("I", "F")):
        return _high_depth_grey(image).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _high_depth_grey(image: Image.Image) -> Image.Image:
    """Greyscale of 16 or 32 bits in mode L. (Pillow's convert would clip all above 255 to white.)"""
    import numpy as np

    values = np.asarray(image)
    if image.mode.startswith("I;16") or image.format in ("PNG", "PPM"):
        # The high byte, as Pillow itself reads 16-bit colour. PNG and PPM have no more than 16 bits.
        grey = (values.astype(np.uint32) >> 8).clip(0, 255)
    else:
        # 32-bit integers and floats have no agreed white, so viewers stretch them, from darkest to brightest.
        finite = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
        low, high = finite.min(), finite.max()
        grey = (finite - low) * (255 / (high - low or 1))
    result = Image.fromarray(grey.astype(np.uint8))
    see_through = image.info.get("transparency")
    if isinstance(see_through, int):  # a PNG may declare one grey value to be transparent
        result.paste(255, mask=Image.fromarray(values == see_through))
    return result


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 (upright) where there is none that can be read."""
    try:
        orientation: Any = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged metadata is no reason to refuse a picture that decodes
        return 1
    return orientation if isinstance(orientation, int) else 1


def _why_not(source: Path | BinaryIO, name: str, error: Exception) -> str:
    """The sentence for a picture that could not be read."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning | MemoryError):
        return f"{name} is too large to decode (more than {MAX_PIXELS // 10**6} megapixels): make it smaller."
    if isinstance(error, FileNotFoundError):
        return f"There is no file {name}: check the path."
    if isinstance(error, IsADirectoryError):
        return f"{name} is a folder, not a picture: name a file in it."
    if isinstance(error, PermissionError):
        return f"{name} may not be read: check its permissions."
    if _is_empty(source):
        return f"{name} is an empty file, not a picture: copy or download it again."
    # KeyError: Pillow before 11.3 does not know the last of FORMATS.
    if isinstance(error, UnidentifiedImageError | KeyError):
        return f"{name} is not a picture in a format that can be read here ({', '.join(FORMATS)}): convert it."
    return f"{name} is damaged or cut short ({error}): copy or download it again."


def _is_empty(source: Path | BinaryIO) -> bool:
    if isinstance(source, Path):
        return source.stat().st_size == 0
    return source.seek(0, io.SEEK_END) == 0
