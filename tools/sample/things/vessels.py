"""Bottles, jugs and other vessels."""

from dataclasses import replace

import numpy as np

from tools.sample import fields as f
from tools.sample import looks
from tools.sample.dice import Dice
from tools.sample.looks import Look
from tools.sample.thing import ROOM, STUDIO, YARD, Part, Thing, draws

HALF = np.float32(0.5)


def _bottle(body: float, neck: float, shoulder: tuple[float, float], top: float) -> f.Field:
    """A bottle from y = -1 to top: widths of body and neck, and where the shoulder begins and ends."""
    low, high = shoulder
    middle = (body * 0.72 + neck * 0.28, (low * 0.45 + high * 0.55))
    return f.rounded(
        f.lathe(
            [
                (0, -0.97),
                (body - 0.05, -0.97),
                (body - 0.03, low),
                middle,
                (neck - 0.03, high),
                (neck - 0.03, top),
                (0, top),
            ]
        ),
        0.03,
    )


def _label(dice: Dice, base: looks.Colour | looks.Paint, low: float, high: float, *tones: str) -> looks.Paint:
    """A paper label around a vessel, with a band and a mark on it."""
    paper, ink = (
        looks.any_of(dice, *tones, spread=0.06),
        looks.any_of(dice, "#b0281f", "#1f4a8a", "#2a2a2a", "#1f6a3a"),
    )
    middle, half = (low + high) / 2, (high - low) / 2
    label = looks.where(paper, ink, lambda p: np.abs(p[1] - middle) - half * 0.22)
    if dice.chance(0.5):
        label = looks.where(
            paper,
            ink,
            lambda p: f.length((np.mod(looks.turn_of(p) * 3, 1) - HALF) * 0.7, p[1] - middle) - half * 0.6,
        )
    return looks.where(base, label, lambda p: np.abs(p[1] - middle) - half)


@draws("n02823428")
def beer_bottle(dice: Dice) -> Thing:
    glass = looks.any_of(dice, "#5a2f10", "#6a3a14", "#3f200a", "#2f5a2a", "#24481f")
    top = dice.between(0.95, 1.1)
    body, neck = dice.between(0.29, 0.34), dice.between(0.105, 0.125)
    shape = _bottle(body, neck, (dice.between(-0.05, 0.1), dice.between(0.4, 0.5)), top)
    paint: looks.Colour | looks.Paint = glass
    if dice.chance(0.85):
        paint = _label(dice, glass, -0.65, -0.12, "#f0e8d0", "#e8d9a8", "#f4f4f0", "#d8b34a")
    if dice.chance(0.5):
        paint = looks.where(
            paint, looks.any_of(dice, "#e8d9a8", "#d0a83a"), lambda p: np.abs(p[1] - 0.62) - 0.1
        )
    cap = f.move(f.cylinder(neck + 0.03, 0.05, 0.02), (0, top + 0.03, 0))
    parts = [Part(shape, Look(paint, gloss=1, rough=0.08, soft=0.3))]
    if dice.chance(0.75):
        parts.append(Part(cap, Look(looks.any_of(dice, "#c8a83a", "#b8bcc0", "#a82a20"), metal=0.7, rough=0.3)))
    return Thing(
        parts, elevation=(0, 35), tilt=95 if dice.chance(0.15) else 6, places=(ROOM, ROOM, STUDIO, YARD)
    )


@draws("n03983396")
def pop_bottle(dice: Dice) -> Thing:
    drink = looks.any_of(dice, "#3a1408", "#e8701a", "#6aa83a", "#f0d84a", "#b8281f", "#dceef4")
    top = dice.between(0.8, 0.95)
    body, neck = dice.between(0.35, 0.42), dice.between(0.11, 0.14)
    waist = dice.between(0, 0.05)
    shape = _bottle(body, neck, (dice.between(0.1, 0.25), dice.between(0.62, 0.7)), top)
    shape = f.displaced(shape, lambda p: -waist * np.exp(-30 * (p[1] + 0.15) ** 2), 0.85)
    brand = looks.any_of(dice, "#c81f1f", "#1f4fb0", "#1f8a3f", "#f08a1a", "#f0f0f0", spread=0.05)
    band = looks.where(
        brand,
        looks.hexed("#f6f6f2"),
        lambda p: np.abs(p[1] + 0.12 - 0.07 * np.sin(9 * np.arctan2(p[2], p[0]) / 3)) - 0.05,
    )
    paint = looks.where(drink, band, lambda p: np.abs(p[1] + 0.12) - 0.22)
    empty = looks.hexed("#dfe8ea")
    paint = looks.where(paint, empty, lambda p: 0.62 - p[1])
    cap = f.move(f.cylinder(neck + 0.04, 0.075, 0.015), (0, top + 0.05, 0))
    return Thing(
        [
            Part(shape, Look(paint, gloss=1, rough=0.1, soft=0.5)),
            Part(cap, Look(looks.any_of(dice, "#d02a20", "#f4f4f0", "#1f5fb0", "#2a9a4a"), gloss=0.5)),
        ],
        elevation=(0, 35),
        tilt=95 if dice.chance(0.12) else 5,
        places=(ROOM, STUDIO, YARD),
    )


@draws("n04560804")
def water_jug(dice: Dice) -> Thing:
    if dice.chance(0.45):  # a large bottle for a cooler, or to carry
        tone = looks.any_of(dice, "#7ab8dc", "#a8d4e8", "#5a9ac8")
        body = dice.between(0.5, 0.58)
        shape = _bottle(body, 0.16, (0.3, 0.66), 0.92)
        ribs = f.displaced(shape, lambda p: 0.022 * np.sign(np.sin(16 * p[1])) * (p[1] < 0.3), 0.8)
        parts = [
            Part(ribs, Look(tone, gloss=1, rough=0.1, clear=0.55)),
            Part(
                f.move(f.cylinder(body - 0.06, 0.5, 0.05), (0, -0.42, 0)),
                Look(tone * np.float32(0.9), soft=0.5),
            ),
            Part(
                f.move(f.cylinder(0.19, 0.08, 0.03), (0, 0.98, 0)),
                Look(looks.any_of(dice, "#2f6fc0", "#f0f0f0")),
            ),
        ]
        return Thing(parts, elevation=(0, 35), tilt=4, places=(ROOM, STUDIO, YARD))
    glass = dice.chance(0.5)
    tone = (
        looks.any_of(dice, "#e4f0f2", "#d8ecf0")
        if glass
        else looks.any_of(dice, "#f0ece0", "#4a7aa8", "#a85a3a", "#7a8a5a", "#e0c890")
    )
    belly, mouth = dice.between(0.55, 0.66), dice.between(0.36, 0.46)
    outer = f.rounded(
        f.lathe(
            [(0, -0.85), (belly * 0.75, -0.85), (belly, -0.3), (mouth * 0.85, 0.5), (mouth, 0.82), (0, 0.82)]
        ),
        0.03,
    )
    spout = f.move(f.turn(f.cone(0.1, 0.2, 0.16), "z", 40), (-mouth * 0.95, 0.74, 0))
    hollow = f.lathe([(0, 0.0), (mouth * 0.75, 0.0), (mouth * 0.76, 0.5), (mouth * 0.92, 1.0), (0, 1.0)])
    jug = f.cut(f.blend(0.1, outer, spout), hollow)
    handle = f.rope(
        [(mouth * 0.8, 0.62, 0), (0.95, 0.5, 0), (0.98, 0.1, 0), (belly * 0.9, -0.3, 0)], 0.075, 0.1
    )
    parts = [Part(f.union(jug, handle), Look(tone, gloss=1, rough=0.08, clear=0.65 if glass else 0))]
    if glass:
        water = f.lathe([(0, -0.78), (belly * 0.68, -0.78), (belly * 0.9, -0.3), (belly * 0.75, 0.1), (0, 0.1)])
        parts.append(Part(water, Look(looks.varied(dice, "#9fd0e0"), gloss=1, rough=0.05, clear=0.4)))
    return Thing(parts, azimuth=(-60, 60), elevation=(5, 40), tilt=4, places=(ROOM, STUDIO))


@draws("n03937543")
def pill_bottle(dice: Dice) -> Thing:
    amber = looks.any_of(dice, "#d8701a", "#e8842a", "#c25a14")
    white = dice.chance(0.3)
    tone = looks.hexed("#f0f0ec") if white else amber
    wide, tall = dice.between(0.42, 0.56), dice.between(0.6, 0.75)
    paint = looks.where(tone, looks.hexed("#f6f4ee"), lambda p: np.abs(p[1] + 0.12) - tall * 0.52)
    lines = looks.striped(looks.hexed("#f6f4ee"), looks.hexed("#55585c"), looks.axis_of("y"), 0.13, 0.3)
    paint = looks.where(
        paint,
        lines,
        lambda p: np.maximum(np.abs(p[1] + 0.12) - tall * 0.4, np.abs(looks.turn_of(p) - 0.25) - 0.12),
    )
    lid = f.displaced(
        f.move(f.cylinder(wide + 0.06, 0.17, 0.03), (0, tall + 0.08, 0)),
        lambda p: 0.012 * np.sin(36 * np.arctan2(p[2], p[0])) * (f.length(p[0], p[2]) > wide * 0.9),
        0.8,
    )
    parts = [
        Part(f.move(f.cylinder(wide, tall, 0.05), (0, -0.1, 0)), Look(paint, gloss=0.9, rough=0.15, soft=0.4)),
        Part(lid, Look(looks.hexed("#f2f2f0"), gloss=0.5)),
    ]
    if dice.chance(0.5):
        for i in range(3):
            pill = f.move(
                f.turn(f.capsule((-0.09, 0, 0), (0.09, 0, 0), 0.07), "y", dice.between(0, 180)),
                (dice.between(-0.7, 0.7), -tall - 0.03, 0.72 + 0.15 * i),
            )
            parts.append(
                Part(pill, Look(looks.any_of(dice, "#f4f4f0", "#d83a2a", "#3a7ad0", "#f0c83a"), gloss=0.8))
            )
    return Thing(parts, azimuth=(-60, 60), elevation=(8, 40), tilt=4, places=(ROOM, ROOM, STUDIO))


@draws("n02815834")
def beaker(dice: Dice) -> Thing:
    glass = looks.hexed("#e6f2f4")
    wide, tall = dice.between(0.5, 0.64), dice.between(0.72, 0.9)
    marks = looks.where(
        glass,
        looks.hexed("#f8f8f8") * np.float32(0.9) if dice.chance(0.5) else looks.hexed("#3a5a6a"),
        lambda p: np.maximum(
            np.abs(np.mod(p[1] * 5, 1) - HALF) * 0.2 - 0.022,
            np.maximum(np.abs(looks.turn_of(p) - 0.25) - 0.07, p[1] - 0.4),
        ),
    )
    wall = f.cut(f.cylinder(wide, tall, 0.06), f.move(f.cylinder(wide - 0.05, tall), (0, 0.07, 0)))
    lip = f.move(f.torus(wide, 0.045), (0, tall, 0))
    spout = f.move(f.sphere(0.13), (wide, tall, 0))
    level = dice.between(-0.3, 0.35)
    height = (level + tall - 0.07) / 2
    liquid = f.move(f.cylinder(wide - 0.055, height), (0, level - height, 0))
    parts = [
        Part(f.union(wall, lip, spout), Look(marks, gloss=1, rough=0.05, clear=0.8)),
    ]
    if dice.chance(0.9):
        tone = looks.any_of(dice, "#2a7ad8", "#3ab86a", "#d83a5a", "#f0c83a", "#8a4ac8", "#dff0f4", "#f07a2a")
        parts.append(Part(liquid, Look(tone, gloss=1, rough=0.05, clear=0.3, soft=0.5)))
    return Thing(parts, azimuth=(-80, 80), elevation=(5, 35), tilt=2, places=(ROOM, STUDIO))


@draws("n04398044")
def teapot(dice: Dice) -> Thing:
    china = looks.any_of(
        dice, "#f0ece2", "#3f6a9a", "#a83a30", "#4a7a5a", "#2f2f33", "#d8a83a", "#8a5a3c", "#b8c4c8"
    )
    paint: looks.Colour | looks.Paint = china
    if dice.chance(0.5):
        other = looks.any_of(dice, "#f4f0e6", "#c9a23a", "#2f4f8a", "#c85a6a")
        paint = dice.one_of(
            [
                looks.where(china, other, lambda p: np.abs(p[1] - 0.05) - 0.1),
                looks.mix(china, other, lambda p: 8 * (0.32 - looks.spots(p, 0.32, 4))),
                looks.where(china, other, lambda p: 0.36 - p[1]),
            ]
        )
    metal = 0.9 if dice.chance(0.15) else 0.0
    look = Look(paint, gloss=1, rough=0.12, metal=metal)
    squash = dice.between(0.5, 0.68)
    body = f.ellipsoid((0.68, squash, 0.68))
    foot = f.move(f.cylinder(0.36, 0.05), (0, -squash, 0))
    spout = f.rope(
        [(-0.5, -0.15, 0), (-0.82, 0.05, 0), (-1.08, dice.between(0.35, 0.5), 0)], [0.2, 0.13, 0.085], 0.12
    )
    lid = f.move(f.ellipsoid((0.36, 0.12, 0.36)), (0, squash - 0.03, 0))
    knob = f.move(f.sphere(dice.between(0.07, 0.11)), (0, squash + 0.15, 0))
    if dice.chance(0.75):
        handle = f.cut(f.move(f.turn(f.torus(0.36, 0.065), "x", 90), (0.68, 0.05, 0)), body)
    else:
        handle = f.both(
            f.move(f.turn(f.torus(0.6, 0.055), "x", 90), (0, squash * 0.55, 0)), f.half_space((0, -1, 0), -0.3)
        )
    return Thing(
        [
            Part(f.union(f.blend(0.1, body, spout), foot, lid, handle), look),
            Part(knob, Look(china if dice.chance(0.6) else looks.hexed("#c9a23a"), gloss=1)),
        ],
        azimuth=(-60, 60) if dice.chance(0.5) else (120, 240),
        elevation=(5, 40),
        tilt=3,
        places=(ROOM, ROOM, STUDIO),
    )


@draws("n02795169")
def barrel(dice: Dice) -> Thing:
    tones = dice.one_of(
        [("#6a4424", "#a8743f"), ("#5a3a20", "#8a5f38"), ("#8a6a48", "#b8946a"), ("#4a3426", "#7a5a40")]
    )
    staves = dice.whole(12, 18)
    wood = looks.wooden(looks.varied(dice, tones[0]), looks.varied(dice, tones[1]), dice.seed(), "y", 0.2)
    gaps = looks.where(
        wood,
        looks.hexed("#2a1c10"),
        lambda p: np.abs(np.mod(looks.turn_of(p) * staves, 1) - HALF) * 0.35 - 0.02,
    )
    tall, end, belly = dice.between(0.78, 0.92), dice.between(0.48, 0.56), dice.between(0.62, 0.72)
    curve = lambda y: end + (belly - end) * (1 - (y / tall) ** 2)
    shape = f.both(
        lambda p: (f.length(p[0], p[2]) - curve(p[1])) * np.float32(0.9),
        lambda p: np.abs(p[1]) - np.float32(tall),
    )
    lids = f.mirror(f.move(f.cylinder(end - 0.06, 0.06), (0, tall, 0)), "y")
    shape = f.cut(shape, lids)
    hoop_look = Look(looks.any_of(dice, "#5a5c60", "#3a3a3c", "#8a5a34", "#8f9498"), metal=0.7, rough=0.4)
    parts = [Part(shape, Look(gaps, gloss=0.25))]
    for y in (0.35 * tall, 0.8 * tall):
        hoop = f.mirror(f.move(f.cylinder(curve(y) + 0.025, 0.045, 0.01), (0, y, 0)), "y")
        parts.append(Part(hoop, hoop_look))
    lying = dice.chance(0.3)
    if lying:
        parts = [Part(f.turn(part.field, "z", 90), _turned(part.look)) for part in parts]
    return Thing(
        parts,
        elevation=(5, 45),
        tilt=3,
        places=(YARD, YARD, ROOM, STUDIO),
        azimuth=(20, 75) if lying else (0, 360),
    )


def _turned(look: Look) -> Look:
    """The look of what was modelled upright and then laid on its side."""
    if not callable(look.colour):
        return look
    paint = look.colour
    return replace(look, colour=lambda p: paint(np.stack([p[1], -p[0], p[2]])))


@draws("n02909870")
def bucket(dice: Dice) -> Thing:
    metal = dice.chance(0.4)
    tone = (
        looks.any_of(dice, "#b8bec4", "#9aa2a8")
        if metal
        else looks.any_of(dice, "#c22f28", "#2f6fb8", "#e8c22f", "#3f8f4a", "#e8e8e4", "#5a5f66")
    )
    if dice.chance(0.2):
        metal, tone = False, looks.varied(dice, "#8a6038")
    base, top, tall = dice.between(0.4, 0.5), dice.between(0.6, 0.7), dice.between(0.55, 0.68)
    body = f.cut(f.cone(base, top, tall, 0.03), f.move(f.cone(base - 0.05, top - 0.05, tall), (0, 0.08, 0)))
    rim = f.move(f.torus(top, 0.045), (0, tall, 0))
    ring = f.move(f.torus(base + (top - base) * 0.7 + 0.01, 0.03), (0, tall * 0.4, 0))
    look = Look(tone, gloss=0.7, rough=0.3, metal=0.8 if metal else 0)
    parts = [Part(f.union(body, rim, ring), look)]
    angle = dice.one_of([0.0, 75.0, 110.0])
    bail = f.both(f.turn(f.torus(top, 0.03), "x", 90), f.half_space((0, -1, 0), 0))
    bail = f.move(f.turn(bail, "x", angle * 0.55), (0, tall, 0))
    parts.append(Part(bail, Look(looks.hexed("#9a9ea4"), metal=0.8, rough=0.3)))
    if dice.chance(0.4):
        fill = looks.any_of(dice, "#7fb8d0", "#d8bf8c", "#4a3422", "#e8e4dc")
        inside = f.move(f.cylinder(base + (top - base) * 0.75 - 0.05, 0.02), (0, tall * 0.6, 0))
        parts.append(
            Part(inside, Look(looks.mottled(fill, fill * np.float32(0.7), 0.2, dice.seed()), gloss=0.5))
        )
    return Thing(parts, elevation=(12, 50), tilt=4, places=(YARD, ROOM, STUDIO))


@draws("n03400231")
def frying_pan(dice: Dice) -> Thing:
    iron = looks.any_of(dice, "#26272a", "#35373a", "#1c1d1f", "#8f9499")
    bowl = f.cut(f.cone(0.56, 0.68, 0.1, 0.02), f.move(f.cone(0.54, 0.66, 0.1), (0, 0.05, 0)))
    tilt = dice.between(5, 18)
    handle = f.turn(f.move(f.box((0.42, 0.045, 0.085), 0.04), (1.02, 0.06, 0)), "z", tilt * 0.5)
    grip = looks.any_of(dice, "#1e1e20", "#6a4426", "#2a2a2c", "#a82a20")
    parts = [
        Part(bowl, Look(iron, gloss=0.8, rough=0.3, metal=0.4)),
        Part(handle, Look(grip, gloss=0.5)),
    ]
    inside = dice.one_of(["egg", "none", "none", "sausages"])
    if inside == "egg":
        white = f.move(f.ellipsoid((dice.between(0.26, 0.34), 0.03, 0.3)), (0.05, -0.03, 0.04))
        yolk = f.move(f.ellipsoid((0.12, 0.08, 0.12)), (0.05, 0.0, 0.04))
        parts.append(Part(white, Look(looks.hexed("#f4f2ea"), gloss=0.7)))
        parts.append(Part(yolk, Look(looks.varied(dice, "#f2a81f", 0.05), gloss=0.9, rough=0.1)))
    elif inside == "sausages":
        rods = f.union(
            f.capsule((-0.25, 0.02, -0.15), (0.25, 0.02, -0.1), 0.085),
            f.capsule((-0.2, 0.02, 0.15), (0.28, 0.02, 0.12), 0.085),
        )
        parts.append(Part(rods, Look(looks.varied(dice, "#8a3f20"), gloss=0.8, rough=0.2)))
    parts = [Part(f.move(part.field, (-0.35, 0, 0)), part.look) for part in parts]
    return Thing(parts, elevation=(22, 80), tilt=3, places=(ROOM, ROOM, STUDIO))


@draws("n04596742")
def wok(dice: Dice) -> Thing:
    iron = looks.any_of(dice, "#2a2a2c", "#3a3c40", "#6a6e72", "#1f1f22")
    ball = f.move(f.ellipsoid((0.86, 0.62, 0.86)), (0, 0.32, 0))
    hole = f.move(f.ellipsoid((0.82, 0.58, 0.82)), (0, 0.33, 0))
    bowl = f.cut(f.both(ball, f.half_space((0, 1, 0), 0.2)), hole)
    parts = [Part(bowl, Look(iron, gloss=0.8, rough=0.3, metal=0.5))]
    grip = Look(looks.any_of(dice, "#8a5a30", "#1f1f20", "#5a3a20"), gloss=0.4)
    if dice.chance(0.6):
        parts.append(Part(f.capsule((0.82, 0.18, 0), (1.38, 0.42, 0), 0.06, 0.075), grip))
    else:
        ears = f.mirror(f.move(f.turn(f.torus(0.18, 0.04), "z", 30), (0.92, 0.26, 0)))
        parts.append(Part(ears, Look(iron, gloss=0.8, metal=0.5)))
    if dice.chance(0.55):
        seed = dice.seed()
        food = looks.mix(
            looks.mottled(looks.hexed("#5a8f2f"), looks.hexed("#e0a83a"), 0.2, seed, 4),
            looks.hexed("#c23a24"),
            lambda p: 9 * (0.3 - looks.spots(p, 0.22, seed + 2)),
        )
        heap = f.move(f.ellipsoid((0.6, 0.2, 0.6)), (0, -0.06, 0))
        parts.append(Part(heap, Look(food, gloss=0.6, bump=looks.uneven(0.15, 0.14, seed))))
    parts = [Part(f.move(part.field, (-0.15, 0, 0)), part.look) for part in parts]
    return Thing(parts, elevation=(14, 55), tilt=4, places=(ROOM, ROOM, STUDIO))
