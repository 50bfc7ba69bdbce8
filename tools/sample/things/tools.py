"""Instruments, and things to work with."""

from dataclasses import replace

import numpy as np

from tools.sample import fields as f
from tools.sample import looks
from tools.sample.dice import Dice
from tools.sample.looks import Look
from tools.sample.thing import ROOM, STUDIO, YARD, Part, Thing, draws

METALS = ("#c8a24a", "#b8bcc2", "#8a6a3a", "#3a3c40")


def _dial(dice: Dice, ground: looks.Colour, ink: looks.Colour, radius: float, ticks: int) -> looks.Paint:
    """A round dial in the x-z plane: marks around its edge."""

    def marks(p: np.ndarray) -> np.ndarray:
        r = f.length(p[0], p[2])
        turn = np.abs(np.mod(looks.turn_of(p) * ticks, 1) - 0.5) * (2 * np.pi / ticks) * r
        return np.maximum(np.abs(r - radius * 0.8) - radius * 0.1, (np.pi / ticks * r - turn) - 0.02)

    return looks.where(ground, ink, marks)


@draws("n03706229")
def magnetic_compass(dice: Dice) -> Thing:
    metal = looks.any_of(dice, *METALS, spread=0.06)
    face = looks.any_of(dice, "#f2ecd8", "#f4f4f0", "#1f2f4a", "#e0d0a0")
    dark = bool(face.mean() < 0.2)
    ink = looks.hexed("#f0f0f0" if dark else "#2a2a2a")
    case = f.cut(f.cylinder(0.9, 0.16, 0.06), f.move(f.cylinder(0.78, 0.12), (0, 0.12, 0)))
    dial = f.move(f.cylinder(0.78, 0.02), (0, 0.04, 0))
    star = looks.where(
        _dial(dice, face, ink, 0.78, 16),
        looks.varied(dice, "#a87a3a") if not dark else looks.hexed("#c8a24a"),
        lambda p: np.abs(p[0]) * 3.2 + np.abs(p[2]) - 0.42,
    )
    star = looks.where(star, ink, lambda p: np.abs(p[0]) + np.abs(p[2]) * 3.2 - 0.42)
    north = f.extrude([(-0.085, 0), (0.085, 0), (0, 0.62)], 0.02)
    needle_turn = dice.between(0, 360)

    def needle(field: f.Field) -> f.Field:
        return f.turn(f.move(f.turn(field, "x", -90), (0, 0.1, 0)), "y", needle_turn)

    parts = [
        Part(case, Look(metal, metal=0.85, rough=0.25)),
        Part(dial, Look(star, gloss=0.2)),
        Part(needle(north), Look(looks.hexed("#d0281f"), gloss=0.5)),
        Part(needle(f.turn(north, "z", 180)), Look(looks.hexed("#f0f0f0" if dark else "#2f4a8a"), gloss=0.5)),
        Part(f.move(f.sphere(0.06), (0, 0.11, 0)), Look(metal, metal=1, rough=0.2)),
    ]
    if dice.chance(0.5):  # a lid standing open
        lid = f.cut(f.cylinder(0.88, 0.07, 0.03), f.move(f.cylinder(0.78, 0.05), (0, -0.05, 0)))
        lid = f.move(f.turn(f.move(lid, (0, 0, -0.88)), "x", dice.between(70, 100)), (0, 0.12, -0.9))
        parts.append(Part(lid, Look(metal, metal=0.85, rough=0.25)))
    elif dice.chance(0.5):
        ring = f.move(f.torus(0.16, 0.035), (0, 0, -1.05))
        parts.append(Part(ring, Look(metal, metal=0.9, rough=0.2)))
    return Thing(parts, azimuth=(-50, 50), elevation=(38, 85), tilt=4, places=(ROOM, ROOM, STUDIO, YARD))


@draws("n04328186")
def stopwatch(dice: Dice) -> Thing:
    case_tone = looks.any_of(dice, "#b8bcc2", "#c8a24a", "#2a2a2d", "#e8c22f", "#2f5fa8", "#c8302a")
    metal = 0.85 if dice.chance(0.5) else 0.1
    face = looks.any_of(dice, "#f6f6f2", "#f6f6f2", "#1f2022", "#f0ead8")
    ink = looks.hexed("#f0f0f0" if face.mean() < 0.2 else "#202022")
    body = f.cut(f.cylinder(0.8, 0.17, 0.08), f.move(f.cylinder(0.66, 0.1), (0, 0.16, 0)))
    small = looks.where(
        _dial(dice, face, ink, 0.66, dice.one_of([12, 12, 24])),
        ink,
        lambda p: np.abs(f.length(p[0], p[2] + 0.26) - 0.15) - 0.015,
    )
    dial = f.move(f.cylinder(0.66, 0.02), (0, 0.07, 0))
    hand = f.turn(f.move(f.box((0.025, 0.02, 0.28)), (0, 0.12, -0.22)), "y", dice.between(0, 360))
    button = f.move(f.turn(f.cylinder(0.11, 0.1, 0.03), "x", 90), (0, 0, -1.0))
    stem = f.move(f.turn(f.cylinder(0.07, 0.12), "x", 90), (0, 0, -0.86))
    chrome = Look(looks.hexed("#c0c4c8"), metal=0.9, rough=0.2)
    parts = [
        Part(body, Look(case_tone, gloss=0.8, metal=metal, rough=0.25)),
        Part(dial, Look(small, gloss=0.2)),
        Part(
            hand,
            Look(looks.any_of(dice, "#d0281f", "#202022") if face.mean() > 0.2 else looks.hexed("#e8402a")),
        ),
        Part(f.union(button, stem), chrome),
    ]
    if dice.chance(0.6):
        side = f.mirror(f.turn(f.move(f.turn(f.cylinder(0.07, 0.09, 0.02), "x", 90), (0, 0, -0.88)), "y", -38))
        parts.append(Part(side, chrome))
    if dice.chance(0.5):
        ring = f.move(f.torus(0.17, 0.035), (0, 0, -1.17))
        parts.append(Part(ring, chrome))
    if dice.chance(0.5):  # held upright
        parts = [Part(f.turn(part.field, "x", 80), _upright(part.look)) for part in parts]
        return Thing(parts, azimuth=(-45, 45), elevation=(-5, 30), tilt=8, places=(STUDIO, ROOM))
    return Thing(parts, azimuth=(-45, 45), elevation=(40, 85), tilt=4, places=(ROOM, STUDIO, YARD), step=0.9)


def _upright(look: Look) -> Look:
    """The look of what was modelled lying and then turned up to face the camera."""
    if not callable(look.colour):
        return look
    paint = look.colour
    back = f.rotation("x", 80).T.astype(np.float32)
    return replace(look, colour=lambda p: paint(back @ p))


@draws("n02906734")
def broom(dice: Dice) -> Thing:
    straw = looks.any_of(dice, "#d8b45a", "#c89a3f", "#e0c878", "#b8843a", "#c83a30", "#3f7ab0", "#3f9a5a")
    wood = looks.wooden(looks.varied(dice, "#8a6038"), looks.varied(dice, "#c89a62"), dice.seed())
    handle = f.capsule((0, -0.35, 0), (0, 1.25, 0), 0.055)
    lines = looks.mix(
        straw, straw * np.float32(0.45), lambda p: 0.5 + 0.9 * np.sin(48 * p[0] / (1.15 - 0.6 * p[1]))
    )
    if dice.chance(0.6):  # round and tied
        bound = looks.any_of(dice, "#b02a24", "#2a2a2a", "#7a4a20")
        brush = f.stretch(
            f.lathe([(0, -1.2), (0.52, -1.2), (0.4, -0.75), (0.1, -0.3), (0, -0.3)]),
            (1, 1, dice.between(0.4, 0.7)),
        )
        tied = looks.where(lines, bound, lambda p: np.minimum(np.abs(p[1] + 0.62), np.abs(p[1] + 0.76)) - 0.03)
        parts = [Part(brush, Look(tied, gloss=0.1))]
    else:
        brush = f.extrude([(-0.42, -0.55), (0.42, -0.55), (0.5, -1.1), (-0.5, -1.1)], 0.13)
        block = f.move(f.box((0.45, 0.09, 0.14), 0.04), (0, -0.47, 0))
        parts = [
            Part(brush, Look(lines, gloss=0.1)),
            Part(block, Look(looks.any_of(dice, "#8a6038", "#c83a30", "#3a6fa8"))),
        ]
    parts.append(
        Part(handle, Look(wood if dice.chance(0.6) else looks.any_of(dice, "#c83a30", "#3a6fa8", "#3f9a5a")))
    )
    return Thing(
        parts,
        azimuth=(-45, 45),
        elevation=(-5, 30),
        tilt=dice.one_of([8, 25, 40]),
        places=(ROOM, YARD, STUDIO),
        step=0.75,
    )


@draws("n03970156")
def plunger(dice: Dice) -> Thing:
    rubber = looks.any_of(dice, "#b8382a", "#a02a20", "#c85a30", "#2a2a2c", "#3f6fa0")
    wood = looks.wooden(looks.varied(dice, "#a87a48"), looks.varied(dice, "#d8b480"), dice.seed())
    wide = dice.between(0.42, 0.52)
    dome = f.both(f.move(f.ellipsoid((wide, 0.5, wide)), (0, -0.98, 0)), f.half_space((0, -1, 0), 1.0))
    skirt = f.union(
        f.move(f.torus(wide, 0.07), (0, -0.98, 0)), f.move(f.cone(wide * 0.98, wide * 0.9, 0.1), (0, -0.92, 0))
    )
    collar = f.move(f.cylinder(0.15, 0.13, 0.03), (0, -0.5, 0))
    handle = f.capsule((0, -0.6, 0), (0, dice.between(0.75, 1.05), 0), 0.085)
    return Thing(
        [
            Part(f.union(f.blend(0.08, dome, skirt), collar), Look(rubber, gloss=0.6, rough=0.35)),
            Part(
                handle, Look(wood if dice.chance(0.75) else looks.any_of(dice, "#f0f0ee", "#3a6fa8"), gloss=0.3)
            ),
        ],
        elevation=(0, 40),
        tilt=dice.one_of([5, 5, 90]),
        places=(ROOM, ROOM, STUDIO),
        step=0.85,
    )


@draws("n04376876")
def syringe(dice: Dice) -> Thing:
    clear = looks.hexed("#eaf2f4")
    fluid = looks.any_of(dice, "#d83a4a", "#3aa0d8", "#e8d84a", "#5ac88a", "#f0f4f6", "#c86ad0")
    level = dice.between(-0.1, 0.5)
    barrel = f.cylinder(0.19, 0.6, 0.02)
    marks = looks.where(
        clear,
        looks.hexed("#2a3a4a"),
        lambda p: np.maximum(
            np.abs(np.mod(p[1] * 9, 1) - 0.5) * 0.11 - 0.013, np.abs(looks.turn_of(p) - 0.2) - 0.1
        ),
    )
    inside = f.move(f.cylinder(0.15, (level + 0.58) / 2), (0, (level - 0.58) / 2, 0))
    stopper = f.move(f.cylinder(0.165, 0.06), (0, level + 0.06, 0))
    plunger = f.union(
        f.move(f.cylinder(0.06, 0.5), (0, level + 0.55, 0)),
        f.move(f.cylinder(0.2, 0.035, 0.015), (0, level + 1.05, 0)),
    )
    wings = f.move(f.box((0.34, 0.035, 0.16), 0.03), (0, 0.6, 0))
    hub = f.move(f.cone(0.06, 0.11, 0.1), (0, -0.68, 0))
    needle = f.capsule((0, -0.7, 0), (0, -1.2, 0), 0.022)
    plastic = Look(looks.any_of(dice, "#f4f4f2", "#e8eef2", "#3a7ac8", "#f08a2a"), gloss=0.7)
    parts = [
        Part(barrel, Look(marks, gloss=1, rough=0.05, clear=0.75)),
        Part(inside, Look(fluid, gloss=0.8, soft=0.5)),
        Part(stopper, Look(looks.hexed("#26282a"))),
        Part(f.union(plunger, wings), plastic),
        Part(hub, Look(looks.any_of(dice, "#f08a2a", "#3aa060", "#f0f0f0"))),
        Part(needle, Look(looks.hexed("#d0d4d8"), metal=1, rough=0.15)),
    ]
    parts = [Part(f.turn(f.move(part.field, (0, -0.2, 0)), "z", 90), _laid(part.look)) for part in parts]
    return Thing(parts, azimuth=(-65, 65), elevation=(25, 80), tilt=8, places=(ROOM, ROOM, STUDIO))


def _laid(look: Look) -> Look:
    """The look of what was modelled upright, lowered by 0.2 and then laid on its side."""
    if not callable(look.colour):
        return look
    paint = look.colour
    return replace(look, colour=lambda p: paint(np.stack([p[1], np.float32(0.2) - p[0], p[2]])))


@draws("n02666196")
def abacus(dice: Dice) -> Thing:
    wood = looks.wooden(looks.varied(dice, "#6a3f20"), looks.varied(dice, "#b07a42"), dice.seed(), "x")
    wide, tall, rods = 0.95, dice.between(0.55, 0.75), dice.one_of([4, 5, 6])
    frame = f.cut(f.box((wide, tall, 0.09), 0.03), f.box((wide - 0.11, tall - 0.11, 0.5)))
    spacing = (2 * tall - 0.22) / rods

    def row(p: np.ndarray) -> np.ndarray:
        return np.clip(np.floor((p[1] + tall - 0.11) / spacing), 0, rods - 1)

    gaps = [dice.between(-0.3, 0.3) for _ in range(rods)]
    at = np.array(gaps, np.float32)
    pitch = dice.between(0.15, 0.19)

    def folded(p: np.ndarray) -> np.ndarray:
        """The point as seen from the middle of its row."""
        return np.stack([p[0], p[1] + tall - 0.11 - (row(p) + 0.5) * spacing, p[2]]).astype(np.float32)

    def beads(p: np.ndarray) -> np.ndarray:
        q = folded(p)
        open_at = at[row(p).astype(np.int64)]
        x = q[0] - open_at
        side = np.sign(x)
        slid = np.abs(x) - 0.12
        number = np.clip(np.rint(slid / pitch - 0.5), 0, 2)
        centre = open_at + side * (0.12 + (number + 0.5) * pitch)
        local = np.stack([q[0] - centre, q[1], q[2]])
        return f.length(local[0] * 1.0, f.length(local[1], local[2]) * 0.75) - pitch * 0.5

    tones = [
        looks.any_of(dice, "#c83028", "#2f6fc0", "#f0c42f", "#3f9a4a", "#f08a2a", "#f0f0ec", "#5a2f18")
        for _ in range(rods)
    ]
    if dice.chance(0.4):
        tones = [tones[0]] * rods
    table = np.stack(tones, axis=1)
    parts = [
        Part(frame, Look(wood, gloss=0.4)),
        Part(
            lambda p: f.length(*folded(p)[1:]) - np.float32(0.018),
            Look(looks.hexed("#9a9ea2"), metal=0.8),
        ),
        Part(beads, Look(lambda p: table[:, row(p).astype(np.int64)].astype(np.float32), gloss=0.9, rough=0.2)),
    ]
    within = f.box((wide - 0.08, tall - 0.08, 0.2))
    parts[1] = Part(f.both(parts[1].field, within), parts[1].look)
    parts[2] = Part(f.both(parts[2].field, within), parts[2].look)
    return Thing(parts, azimuth=(-50, 50), elevation=(0, 45), tilt=8, places=(ROOM, ROOM, STUDIO), step=0.65)
