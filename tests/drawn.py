"""Pictures that the tests draw themselves, and stored answers to them: a small dataset without a download."""

import math
import random
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from vitquant import accuracy, database, gallery, predictions
from vitquant.gallery import AnswerSet, Subject
from vitquant.predictions import Prediction

MODEL = "dinov2_vits14_reg_lc"
DATASET = "tiny-imagenet"
EDGE = 64

CLASSES, PER_CLASS, MEASURED = 5, 8, 30
"""What the fixture two_variants draws, and how many of it are answered."""
SUBJECT = Subject(MODEL, "random", DATASET, 70)
_FINE = 4  # drawn so many times larger, then made smaller, for smooth edges

Draw = ImageDraw.ImageDraw


def _lemon(d: Draw) -> None:
    d.polygon([(26, 128), (60, 100), (60, 156)], fill="#e8c81e")
    d.polygon([(230, 128), (196, 100), (196, 156)], fill="#e8c81e")
    d.ellipse((44, 68, 212, 188), fill="#f4d92e")
    d.ellipse((76, 84, 132, 116), fill="#fbeb7c")


def _orange(d: Draw) -> None:
    d.ellipse((48, 52, 208, 212), fill="#ee8a1d")
    d.ellipse((80, 76, 128, 118), fill="#f8b35c")
    d.polygon([(128, 56), (170, 22), (186, 50)], fill="#3f8f3a")


def _banana(d: Draw) -> None:
    d.arc((30, -60, 226, 196), 20, 160, fill="#f0cf2b", width=52)
    d.ellipse((30, 60, 52, 92), fill="#6b4c1b")


def _pizza(d: Draw) -> None:
    d.pieslice((30, -110, 226, 220), 60, 120, fill="#c98a3e")
    d.pieslice((44, -110, 212, 196), 60, 120, fill="#f3cf6c")
    for x, y in ((116, 96), (146, 130), (112, 156)):
        d.ellipse((x - 16, y - 16, x + 16, y + 16), fill="#c33b2c")


def _school_bus(d: Draw) -> None:
    d.rounded_rectangle((24, 72, 232, 188), 16, fill="#f2b41b")
    for x in (40, 88, 136, 184):
        d.rounded_rectangle((x, 88, x + 34, 124), 4, fill="#bfe0ef")
    d.rectangle((24, 140, 232, 150), fill="#2b2b2b")
    for x in (72, 184):
        d.ellipse((x - 26, 164, x + 26, 216), fill="#2b2b2b")
        d.ellipse((x - 11, 179, x + 11, 201), fill="#b9b9b9")


def _balloon(d: Draw) -> None:
    d.line((128, 178, 112, 250), fill="#5b5b5b", width=5)
    d.ellipse((60, 18, 196, 178), fill="#d8344a")
    d.polygon([(128, 172), (114, 192), (142, 192)], fill="#d8344a")
    d.ellipse((84, 42, 120, 84), fill="#f08c98")


def _umbrella(d: Draw) -> None:
    d.line((128, 120, 128, 216), fill="#5a3d26", width=9)
    d.arc((128, 192, 164, 236), 0, 180, fill="#5a3d26", width=9)
    d.pieslice((24, 40, 232, 240), 180, 360, fill="#3d6fc4")
    d.pieslice((90, 40, 166, 240), 180, 360, fill="#7fa6e6")


def _mushroom(d: Draw) -> None:
    d.rounded_rectangle((98, 128, 158, 228), 22, fill="#efe3cf")
    d.pieslice((36, 40, 220, 240), 180, 360, fill="#b3372b")
    for x, y, r in ((84, 104, 14), (128, 76, 16), (170, 110, 13)):
        d.ellipse((x - r, y - r, x + r, y + r), fill="#f6ece0")


def _candle(d: Draw) -> None:
    d.rounded_rectangle((98, 104, 158, 232), 10, fill="#e9dfcb")
    d.line((128, 104, 128, 82), fill="#333333", width=5)
    d.polygon([(128, 20), (104, 66), (128, 90), (152, 66)], fill="#f59a23")
    d.polygon([(128, 44), (116, 68), (128, 84), (140, 68)], fill="#fde27b")


def _traffic_light(d: Draw) -> None:
    d.rounded_rectangle((84, 16, 172, 240), 22, fill="#2d3238")
    for y, colour in ((56, "#e0402f"), (128, "#f0b429"), (200, "#36b25a")):
        d.ellipse((100, y - 28, 156, y + 28), fill=colour)


def _starfish(d: Draw) -> None:
    points = []
    for k in range(10):
        radius, angle = (112, 46)[k % 2], math.pi * (k / 5 - 0.5)
        points.append((128 + radius * math.cos(angle), 132 + radius * math.sin(angle)))
    d.polygon(points, fill="#e0764a")
    d.ellipse((112, 116, 144, 148), fill="#f0a27f")


def _analog_clock(d: Draw) -> None:
    d.ellipse((28, 28, 228, 228), fill="#39424e")
    d.ellipse((44, 44, 212, 212), fill="#f5f2ea")
    d.line((128, 128, 128, 68), fill="#222222", width=9)
    d.line((128, 128, 174, 148), fill="#222222", width=9)
    d.ellipse((118, 118, 138, 138), fill="#c33b2c")


DRAWINGS = {
    "n07749582": _lemon,
    "n07747607": _orange,
    "n07753592": _banana,
    "n07873807": _pizza,
    "n04146614": _school_bus,
    "n02782093": _balloon,
    "n04507155": _umbrella,
    "n07734744": _mushroom,
    "n02948072": _candle,
    "n06874185": _traffic_light,
    "n02317335": _starfish,
    "n02708093": _analog_clock,
}
"""How each class is drawn on 256 x 256, by wnid."""


def draw(wnid: str, number: int) -> Image.Image:
    """One picture of a class, 64 x 64 RGB: always the same for the same number."""
    rng = random.Random(f"{wnid} {number}")
    size = EDGE * _FINE
    top, bottom = ([rng.randint(90, 245) for _ in range(3)] for _ in range(2))
    picture = Image.new("RGB", (1, size))
    for y in range(size):
        share = y / size
        mixed = tuple(round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))
        picture.putpixel((0, y), mixed)
    picture = picture.resize((size, size))
    drawing = Image.new("RGBA", (size, size))
    DRAWINGS[wnid](ImageDraw.Draw(drawing))
    drawing = drawing.rotate(rng.uniform(-25, 25), Image.Resampling.BICUBIC)
    scale = rng.uniform(0.6, 0.95)
    drawing = drawing.resize((round(size * scale), round(size * scale)))
    place = (rng.randint(0, size - drawing.width), rng.randint(0, size - drawing.height))
    shadow = Image.new("RGBA", drawing.size)
    shadow.putalpha(drawing.getchannel("A").filter(ImageFilter.GaussianBlur(8)).point(lambda a: a // 3))
    picture.paste(shadow, (place[0] + 8, place[1] + 10), shadow)
    picture.paste(drawing, place, drawing)
    return picture.resize((EDGE, EDGE), Image.Resampling.LANCZOS)


def draw_split(root: Path, per_class: int, *, first: int = 0, classes: int = len(DRAWINGS)) -> None:
    """Fill a folder with pictures in ImageFolder's layout: <root>/<wnid>/<number>.png."""
    for wnid in list(DRAWINGS)[:classes]:
        folder = root / wnid
        folder.mkdir(parents=True)
        for number in range(first, first + per_class):
            draw(wnid, number).save(folder / f"{number:03}.png")


def store_answers(
    wrong: Mapping[str, set[int]], *, limit: int | None = None, weights: str = "random", image_size: int = 70
) -> accuracy.Plan:
    """Store what each variant answers under today's identity, as the accuracy pass would, without torch.

    wrong: by variant, the positions (places in the evaluation order) it gets wrong; wrong answers are the
    next class of the 1000, right ones get 0.9 of the probability.
    """
    import numpy as np

    with database.opened() as db:
        plan = accuracy.plan(
            db,
            model=MODEL,
            weights_source=weights,
            dataset_name=DATASET,
            variants=list(wrong),
            image_size=image_size,
        )
        answers = {
            series.id: [
                _prediction(plan.example(position).class_index, position, is_wrong=position in wrong[name])
                for position in range(plan.count(limit))
            ]
            for name, series in plan.series.items()
            if name in wrong
        }
        fp32 = plan.series["fp32"].id
        logits = np.zeros(1000, dtype="<f4")
        answers = {
            series_id: [
                Prediction(**{**vars(p), "logits": logits if series_id == fp32 else None}) for p in given
            ]
            for series_id, given in answers.items()
        }
        predictions.add_predictions(db, answers)
        return plan


def _prediction(true_class: int, position: int, *, is_wrong: bool) -> Prediction:
    others = [(true_class + k) % 1000 for k in range(1, 5)]
    indices = [others[0], true_class, *others[1:]] if is_wrong else [true_class, *others]
    return Prediction(
        position=position,
        indices=tuple(indices),
        probabilities=(0.9, 0.05, 0.02, 0.01, 0.005),
        true_rank=2 if is_wrong else 1,
        true_probability=0.05 if is_wrong else 0.9,
        kl_nats=0.5 if is_wrong else 0.0,
    )


def only_set(db: sqlite3.Connection) -> AnswerSet:
    """The one set of answers to SUBJECT."""
    [answers] = gallery.answer_sets(db, SUBJECT)
    return answers
