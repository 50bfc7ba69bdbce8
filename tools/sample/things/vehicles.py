"""Vehicles, facing +x: the camera that sees a thing's front sees their flank."""

import numpy as np

from tools.sample import fields as f
from tools.sample import looks
from tools.sample.dice import Dice
from tools.sample.looks import Look, Paint
from tools.sample.thing import STUDIO, YARD, Part, Thing, draws

Test = looks.Height

GLASS = "#26323c"
VIEWS = (-65, 65)


def _wheels(xs: tuple[float, ...], radius: float, half_track: float, height: float, hub: looks.Colour) -> Part:
    """Tyres with hubs at these places along the vehicle, on both sides."""
    tyre = f.turn(f.cylinder(radius, 0.09, 0.03), "x", 90)
    wheels = f.mirror(f.union(*[f.move(tyre, (x, height, half_track)) for x in xs]), "z")
    centres = np.array(xs, np.float32)[:, None]

    def from_hub(p: np.ndarray) -> np.ndarray:
        return np.sqrt(np.min((p[0] - centres) ** 2, axis=0) + (p[1] - height) ** 2) - radius * 0.55

    return Part(wheels, Look(looks.where(looks.hexed("#17181a"), hub, from_hub), gloss=0.4))


def _windows(low: float, high: float, begin: float, end: float, pitch: float, post: float) -> Test:
    """Negative inside a row of side windows."""

    def inside(p: np.ndarray) -> np.ndarray:
        cell = np.abs(np.mod((p[0] - begin) / pitch, 1) - 0.5) * pitch - (pitch - post) / 2
        row = np.maximum(low - p[1], p[1] - high)
        return np.maximum(np.maximum(cell, row), np.maximum(begin - p[0], p[0] - end))

    return inside


def _at_front(x: float, low: float, high: float, half: float) -> Test:
    """Negative inside a windscreen or rear window beyond x."""
    return lambda p: np.maximum(np.maximum(x - p[0], np.abs(p[2]) - half), np.maximum(low - p[1], p[1] - high))


def _lamps(x: float, y: float, z: float, radius: float) -> f.Field:
    return f.mirror(f.move(f.sphere(radius), (x, y, z)), "z")


@draws("n04146614")
def school_bus(dice: Dice) -> Thing:
    yellow = looks.any_of(dice, "#f2b01a", "#f0a818", "#f4bc2a", spread=0.05)
    long, tall, wide = dice.between(0.78, 0.9), 0.36, 0.34
    black = looks.hexed("#1c1c1e")
    body = f.move(f.box((long, tall, wide), 0.09), (-0.15, 0.12, 0))
    hood = f.move(f.box((0.24, 0.2, wide * 0.88), 0.08), (long + 0.05, -0.07, 0))
    paint: Paint = looks.where(
        yellow, black, lambda p: np.minimum(np.abs(p[1] + 0.02), np.abs(p[1] + 0.14)) - 0.02
    )
    glass = looks.varied(dice, GLASS)
    paint = looks.where(paint, glass, _windows(0.12, 0.34, -long - 0.05, long - 0.25, 0.2, 0.05))
    paint = looks.where(paint, glass, _at_front(long - 0.2, 0.1, 0.36, wide * 0.85))
    paint = looks.where(
        paint,
        glass,
        lambda p: _at_front(long + 0.1, 0.08, 0.36, wide * 0.7)(-p * np.array([[1], [-1], [1]], np.float32)),
    )
    lights = f.union(_lamps(long - 0.16, 0.44, 0.2, 0.05), _lamps(-long - 0.13, 0.42, 0.2, 0.05))
    return Thing(
        [
            Part(body, Look(paint, gloss=0.9, rough=0.15)),
            Part(hood, Look(yellow, gloss=0.9, rough=0.15)),
            Part(f.move(f.box((0.04, 0.06, wide), 0.02), (long + 0.3, -0.26, 0)), Look(black, gloss=0.6)),
            Part(_lamps(long + 0.28, -0.04, 0.2, 0.055), Look(looks.hexed("#f4f0e0"), gloss=1)),
            Part(lights, Look(looks.hexed("#d8281f"), glow=0.4)),
            _wheels((-long * 0.62, long * 0.98), 0.19, wide - 0.04, -0.27, looks.hexed("#c8c8c4")),
        ],
        azimuth=VIEWS,
        elevation=(3, 32),
        tilt=1,
        places=(YARD,),
    )


@draws("n03796401")
def moving_van(dice: Dice) -> Thing:
    box_tone = looks.any_of(dice, "#f0efea", "#f0efea", "#e8782a", "#f0c42f", "#3f7ab8", "#d8dce0")
    cab_tone = box_tone if dice.chance(0.5) else looks.any_of(dice, "#c8302a", "#f0efea", "#2f5fa8", "#3a3c40")
    stripe = looks.any_of(dice, "#c8302a", "#2f5fa8", "#f08a2a", "#2f8a4a")
    long, tall, wide = dice.between(0.6, 0.74), dice.between(0.44, 0.52), 0.38
    load = f.move(f.box((long, tall, wide), 0.03), (-0.32, 0.2, 0))
    design = dice.one_of(["stripe", "slant", "sign", "plain"])
    paint: looks.Colour | Paint = box_tone
    if design == "stripe":
        paint = looks.where(box_tone, stripe, lambda p: np.abs(p[1] - 0.1) - 0.09)
    elif design == "slant":
        paint = looks.where(box_tone, stripe, lambda p: np.abs(p[0] + 0.4 - 0.6 * p[1]) - 0.14)
    elif design == "sign":
        paint = looks.where(
            box_tone, stripe, lambda p: np.maximum(np.abs(p[0] + 0.3) - 0.36, np.abs(p[1] - 0.3) - 0.09)
        )
    front = long - 0.32
    cab = f.blend(
        0.05,
        f.move(f.box((0.27, 0.3, wide * 0.92), 0.07), (front + 0.3, 0.02, 0)),
        f.move(f.box((0.2, 0.16, wide * 0.9), 0.06), (front + 0.46, -0.14, 0)),
    )
    glass = looks.varied(dice, GLASS)
    cab_paint = looks.where(cab_tone, glass, _windows(0.04, 0.24, front + 0.16, front + 0.44, 0.28, 0.04))
    cab_paint = looks.where(cab_paint, glass, _at_front(front + 0.5, 0.05, 0.27, wide * 0.78))
    return Thing(
        [
            Part(load, Look(paint, gloss=0.5, rough=0.3)),
            Part(cab, Look(cab_paint, gloss=0.9, rough=0.15)),
            Part(
                f.move(
                    f.box(((front + long) / 2 + 0.4, 0.05, wide * 0.7)), ((front - long) / 2 + 0.1, -0.28, 0)
                ),
                Look(looks.hexed("#2a2a2c")),
            ),
            Part(_lamps(front + 0.65, -0.12, 0.25, 0.05), Look(looks.hexed("#f4f0e0"), gloss=1)),
            _wheels((-0.6, front + 0.34), 0.18, wide - 0.05, -0.3, looks.hexed("#b0b2b4")),
        ],
        azimuth=VIEWS,
        elevation=(3, 30),
        tilt=1,
        places=(YARD,),
    )


@draws("n03977966")
def police_van(dice: Dice) -> Thing:
    base, band = dice.one_of(
        [
            ("#f0f0ee", "#1f3f8f"),
            ("#f0f0ee", "#2f5fc0"),
            ("#1c1c20", "#f0f0ee"),
            ("#2f6a3f", "#f0f0ee"),
            ("#1f3a7a", "#f0c42f"),
        ]
    )
    white, blue = looks.varied(dice, base, 0.04), looks.varied(dice, band, 0.06)
    wide = 0.36
    body = f.extrude(
        [(-0.95, -0.32), (0.98, -0.32), (1.0, -0.05), (0.72, 0.05), (0.44, 0.42), (-0.95, 0.45)],
        wide - 0.05,
        0.05,
    )
    kind = dice.one_of(["band", "checks", "halves"])
    paint: Paint = looks.where(white, blue, lambda p: np.abs(p[1] + 0.08) - 0.09)
    if kind == "checks":
        squares = looks.mix(
            blue, looks.hexed("#f0d02f"), lambda p: 20 * np.sin(18 * p[0]) * np.sin(30 * p[1] + 2.2)
        )
        paint = looks.where(white, squares, lambda p: np.abs(p[1] + 0.08) - 0.11)
    elif kind == "halves":
        paint = looks.where(white, blue, lambda p: p[1] + 0.02)
    glass = looks.varied(dice, GLASS)
    paint = looks.where(paint, glass, _windows(0.1, 0.33, -0.75, 0.5, dice.between(0.36, 0.44), 0.07))
    screen = lambda p: np.maximum(
        np.abs(p[2]) - wide * 0.8, np.maximum(0.08 - p[1], np.maximum(p[1] - 0.4, 0.62 - p[0] - 0.55 * p[1]))
    )
    paint = looks.where(paint, glass, screen)
    bar = f.move(f.box((0.08, 0.05, 0.24), 0.03), (0.2, 0.51, 0))
    lit = (
        looks.mix(looks.hexed("#2f6ff0"), looks.hexed("#f02a24"), lambda p: 40 * p[2])
        if dice.chance(0.5)
        else looks.hexed("#2f6ff0")
    )
    return Thing(
        [
            Part(body, Look(paint, gloss=0.9, rough=0.15)),
            Part(bar, Look(lit, glow=dice.between(0.5, 1.5), gloss=1)),
            Part(_lamps(0.98, -0.1, 0.25, 0.06), Look(looks.hexed("#f4f0e0"), gloss=1)),
            _wheels((-0.58, 0.62), 0.18, wide - 0.05, -0.34, looks.hexed("#9a9c9e")),
        ],
        azimuth=VIEWS,
        elevation=(3, 32),
        tilt=1,
        places=(YARD,),
    )


@draws("n04285008")
def sports_car(dice: Dice) -> Thing:
    tone = looks.any_of(
        dice, "#c81f1c", "#e0b81f", "#1f4fa8", "#1c1c1f", "#d8dadc", "#e8641f", "#2f8a4a", "#f0f0ee"
    )
    low = f.extrude(
        [(-1.05, -0.22), (1.08, -0.24), (1.1, -0.1), (0.55, 0.04), (-0.95, 0.1), (-1.08, 0.06)], 0.36, 0.06
    )
    roof = f.extrude([(-0.75, 0.06), (0.42, 0.02), (0.05, 0.27), (-0.4, 0.27)], 0.26, 0.06)
    stripe = looks.any_of(dice, "#f4f4f2", "#1c1c1f", "#f4f4f2")
    paint: looks.Colour | Paint = tone
    if dice.chance(0.35):
        paint = looks.where(tone, stripe, lambda p: np.abs(np.abs(p[2]) - 0.08) - 0.035)
    glass = looks.varied(dice, GLASS, 0.05)
    top = looks.where(glass, tone, lambda p: 0.265 - p[1])
    top = looks.where(top, tone, lambda p: np.abs(p[0] + 0.25) - 0.035)
    parts = [
        Part(low, Look(paint, gloss=1.2, rough=0.08)),
        Part(_lamps(1.0, -0.06, 0.28, 0.06), Look(looks.hexed("#f4f4ea"), gloss=1)),
        Part(
            f.mirror(f.move(f.box((0.03, 0.04, 0.09), 0.02), (-1.1, 0.02, 0.27)), "z"),
            Look(looks.hexed("#c01f1c"), glow=0.5),
        ),
        _wheels((-0.66, 0.66), 0.2, 0.36, -0.22, looks.any_of(dice, "#c8cacc", "#3a3c40")),
    ]
    if dice.chance(0.75):
        parts.append(Part(roof, Look(top, gloss=1.2, rough=0.06)))
    else:  # open
        seats = f.mirror(f.move(f.box((0.06, 0.14, 0.1), 0.05), (-0.28, 0.15, 0.16)), "z")
        screen = f.move(f.turn(f.box((0.015, 0.13, 0.3)), "z", 40), (0.22, 0.14, 0))
        parts.append(Part(seats, Look(looks.any_of(dice, "#2a1f1a", "#8a5a3a"))))
        parts.append(Part(screen, Look(looks.hexed("#b8ccd4"), gloss=1, clear=0.6)))
    if dice.chance(0.4):
        wing = f.union(
            f.move(f.box((0.1, 0.015, 0.36), 0.01), (-0.98, 0.26, 0)),
            f.mirror(f.move(f.box((0.03, 0.08, 0.02)), (-0.98, 0.18, 0.25)), "z"),
        )
        parts.append(Part(wing, Look(tone, gloss=1)))
    return Thing(parts, azimuth=VIEWS, elevation=(3, 35), tilt=1, places=(YARD, YARD, STUDIO))


@draws("n03393912")
def freight_car(dice: Dice) -> Thing:
    tone = looks.any_of(dice, "#8a3a24", "#6a4a34", "#3f6a4a", "#2f5a8a", "#c8a23a", "#7a7e82", "#a85a2a")
    seed = dice.seed()
    worn = looks.mottled(tone, tone * np.float32(0.6), 0.4, seed, 1.5)
    ribs = looks.mix(worn, tone * np.float32(0.4), lambda p: 1.2 * np.abs(np.sin(16 * p[0])) ** 12)
    kind = dice.one_of(["box", "box", "tank", "hopper"])
    parts: list[Part] = []
    if kind == "box":
        door = looks.where(
            ribs, tone * np.float32(0.75), lambda p: np.maximum(np.abs(p[0]) - 0.24, np.abs(p[1] - 0.15) - 0.36)
        )
        mark = looks.where(
            door,
            looks.hexed("#f0eee6"),
            lambda p: np.maximum(np.abs(p[0] + 0.65) - 0.2, np.abs(p[1] - 0.3) - 0.05),
        )
        body = f.union(
            f.move(f.box((1.08, 0.4, 0.33), 0.02), (0, 0.15, 0)),
            f.move(f.box((1.1, 0.03, 0.36), 0.02), (0, 0.56, 0)),
        )
        parts.append(Part(body, Look(mark, gloss=0.2)))
    elif kind == "tank":
        body = f.move(f.turn(f.cylinder(0.36, 1.0, 0.15), "z", 90), (0, 0.15, 0))
        dome = f.move(f.cylinder(0.13, 0.08, 0.03), (0, 0.55, 0))
        banded = looks.where(
            worn, looks.any_of(dice, "#f0eee6", "#d8a82a", "#1c1c1e"), lambda p: np.abs(p[0]) - 0.12
        )
        parts.append(Part(f.union(body, dome), Look(banded, gloss=0.6, rough=0.3)))
    else:
        body = f.extrude(
            [(-1.05, 0.5), (1.05, 0.5), (1.05, 0.1), (0.75, -0.2), (-0.75, -0.2), (-1.05, 0.1)], 0.33, 0.01
        )
        parts.append(Part(f.cut(body, f.move(f.box((0.98, 0.2, 0.27)), (0, 0.5, 0))), Look(ribs, gloss=0.2)))
        load = looks.any_of(dice, "#2a2826", "#8a7a5a", "#c8a86a")
        heap = f.move(f.ellipsoid((0.98, 0.16, 0.28)), (0, 0.42, 0))
        parts.append(
            Part(
                heap,
                Look(
                    looks.mottled(load, load * np.float32(0.5), 0.1, seed, 3),
                    bump=looks.uneven(0.08, 0.08, seed),
                ),
            )
        )
    dark = Look(looks.hexed("#2a2a2c"), gloss=0.2)
    frame = f.union(
        f.move(f.box((1.12, 0.05, 0.3)), (0, -0.28, 0)),
        f.mirror(f.move(f.box((0.06, 0.04, 0.04)), (1.16, -0.28, 0))),
    )
    parts.append(Part(frame, dark))
    parts.append(_wheels((-0.85, -0.5, 0.5, 0.85), 0.14, 0.24, -0.42, looks.hexed("#5a5a5c")))
    rails = f.mirror(f.move(f.box((1.8, 0.03, 0.03)), (0, -0.59, 0.24)), "z")
    if dice.chance(0.7):
        parts.append(Part(rails, Look(looks.hexed("#6a6a6e"), metal=0.7, rough=0.3)))
    return Thing(parts, azimuth=(-55, 55), elevation=(2, 30), tilt=0.5, places=(YARD,))
