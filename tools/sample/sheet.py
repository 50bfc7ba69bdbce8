"""A contact sheet: rows of pictures, one class a row, with its words."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from tools.sample.dice import Dice
from tools.sample.render import SIZE, picture
from vitquant import labels

MARGIN = 110


def draw(wnids: Sequence[str], each: int, seed: int, out: Path, zoom: int = 2) -> None:
    """Draw so many pictures of each class and write them as one image."""
    edge = SIZE * zoom
    sheet = Image.new("RGB", (MARGIN + each * edge, len(wnids) * edge), "white")
    pen = ImageDraw.Draw(sheet)
    for row, wnid in enumerate(wnids):
        pen.text((4, row * edge + edge // 2 - 6), labels.by_wnid(wnid).words.split(",")[0][:18], fill="black")
        for column in range(each):
            drawn = Image.fromarray(picture(wnid, Dice(f"{seed}:sheet:{wnid}:{column}")))
            sheet.paste(
                drawn.resize((edge, edge), Image.Resampling.BICUBIC), (MARGIN + column * edge, row * edge)
            )
    sheet.save(out)
