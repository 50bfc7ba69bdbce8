"""Balls, and other things to play and train with."""

import numpy as np

from tools.sample import fields as f
from tools.sample import looks
from tools.sample.dice import Dice
from tools.sample.looks import Look
from tools.sample.thing import ROOM, SKY, STUDIO, YARD, Part, Thing, draws


@draws("n02802426")
def basketball(dice: Dice) -> Thing:
    leather = looks.any_of(dice, "#d8641f", "#c8561c", "#e8782a", "#a8481f", "#b85a2a")
    seam = looks.hexed("#1c1410")
    bend = dice.between(0.42, 0.52)

    def gap(p: np.ndarray) -> np.ndarray:
        q = p / np.maximum(f.length(*p), 1e-4)
        rings = np.minimum(np.abs(q[0]), np.abs(q[1]))
        return np.minimum(rings, np.abs(np.abs(q[2]) - bend - 0.45 * q[0] * q[0])) - 0.022

    tone = looks.mottled(leather, leather * np.float32(0.8), 0.5, dice.seed())
    ball = Part(
        f.sphere(0.95),
        Look(
            looks.where(tone, seam, gap), gloss=0.35, rough=0.45, bump=looks.dimpled(-0.006, 0.06, dice.seed())
        ),
    )
    return Thing([ball], elevation=(0, 50), tilt=100, places=(ROOM, YARD, YARD, STUDIO, SKY))


@draws("n04540053")
def volleyball(dice: Dice) -> Thing:
    tones = dice.one_of(
        [
            ("#f2f0ea", "#f2f0ea", "#f2f0ea"),
            ("#f2c82f", "#2f5fb0", "#f2f0ea"),
            ("#f2f0ea", "#2f5fb0", "#c8302a"),
            ("#f0d8b8", "#f0e4d0", "#e8cfa8"),
            ("#f2f0ea", "#f2c82f", "#f2f0ea"),
        ]
    )
    colours = [looks.varied(dice, tone, 0.05) for tone in tones]

    def panel(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The place across three bands on each face of a cube, -1.5..1.5; and how near the face's edge."""
        a = np.abs(p)
        face = a.argmax(axis=0)
        top = np.take_along_axis(a, face[None], 0)[0]
        across = np.take_along_axis(p, ((face + 1) % 3)[None], 0)[0] / np.maximum(top, 1e-4)
        along = np.take_along_axis(a, ((face + 2) % 3)[None], 0)[0] / np.maximum(top, 1e-4)
        bent = np.clip(across * (1.5 - 0.12 * along**2), -1.49, 1.49)
        return bent, np.maximum(np.abs(across), along)

    def paint(p: np.ndarray) -> np.ndarray:
        bent, edge = panel(p)
        band = np.clip(np.rint(bent), -1, 1)
        out = np.where(
            band == 0, colours[1][:, None], np.where(band < 0, colours[0][:, None], colours[2][:, None])
        )
        seam = np.minimum(np.abs(np.abs(bent) - 0.5), (1 - edge) * 1.2)
        return out * (0.35 + 0.65 * np.clip(seam / 0.055, 0, 1)).astype(np.float32)

    ball = Part(f.sphere(0.95), Look(paint, gloss=0.4, rough=0.4))
    return Thing([ball], elevation=(0, 50), tilt=100, places=(YARD, YARD, ROOM, STUDIO, SKY))


@draws("n04118538")
def rugby_ball(dice: Dice) -> Thing:
    base, band = dice.one_of(
        [
            ("#f0eee6", "#2f5fb0"),
            ("#8a4420", "#6a3216"),
            ("#f0eee6", "#c8302a"),
            ("#f0eee6", "#2f8a4a"),
            ("#b8642f", "#f0e8d8"),
        ]
    )
    leather, mark = looks.varied(dice, base, 0.06), looks.varied(dice, band, 0.06)
    where = dice.between(0.42, 0.6)
    paint = looks.where(leather, mark, lambda p: np.abs(np.abs(p[0]) - where) - 0.12)
    seams = dice.one_of([4, 4, 2])
    paint = looks.where(
        paint,
        leather * np.float32(0.3),
        lambda p: np.abs(np.sin(seams / 2 * np.arctan2(p[2], p[1]))) * 0.3 - 0.018,
    )
    body = f.ellipsoid((1.1, dice.between(0.6, 0.7), 0.66))
    parts = [Part(body, Look(paint, gloss=0.5, rough=0.35, bump=looks.dimpled(-0.006, 0.07, dice.seed())))]
    if base in ("#8a4420", "#b8642f") or dice.chance(0.2):
        lace = f.union(
            *[
                f.move(f.capsule((0, 0, -0.09), (0, 0, 0.09), 0.025), (x, 0.655, 0))
                for x in (-0.2, -0.07, 0.07, 0.2)
            ]
        )
        parts.append(Part(lace, Look(looks.hexed("#f2efe6"))))
    return Thing(parts, elevation=(5, 50), tilt=60, places=(YARD, YARD, ROOM, STUDIO, SKY))


@draws("n03255030")
def dumbbell(dice: Dice) -> Thing:
    dark = looks.any_of(
        dice, "#242528", "#3a3c40", "#55585e", "#b8302a", "#2f6fb0", "#8a4a9a", "#3f8a5a", spread=0.08
    )
    chrome = Look(looks.hexed("#b8bcc2"), metal=0.9, rough=0.25)
    kind = dice.one_of(["round", "hexagon", "plates", "ball"])
    bar = f.turn(f.cylinder(0.085, dice.between(0.6, 0.75)), "z", 90)
    at, big = dice.between(0.62, 0.78), dice.between(0.34, 0.46)
    if kind == "round":
        weight = f.move(f.turn(f.cylinder(big, 0.24, 0.05), "z", 90), (at, 0, 0))
    elif kind == "hexagon":
        weight = f.move(f.turn(f.prism(6, big, 0.25, 0.06), "z", 90), (at, 0, 0))
    elif kind == "plates":
        plate = f.turn(f.cylinder(big + 0.08, 0.08, 0.03), "z", 90)
        less = f.turn(f.cylinder(big - 0.06, 0.07, 0.03), "z", 90)
        weight = f.union(f.move(plate, (at - 0.08, 0, 0)), f.move(less, (at + 0.1, 0, 0)))
        bar = f.turn(f.cylinder(0.075, 1.05, 0.02), "z", 90)
    else:
        weight = f.move(f.sphere(big), (at, 0, 0))
    face = looks.where(
        dark, looks.hexed("#c8c8c8"), lambda p: np.abs(f.length(p[1], p[2]) - big * 0.55) - 0.025
    )
    return Thing(
        [
            Part(f.mirror(weight), Look(face if dice.chance(0.5) else dark, gloss=0.6, rough=0.3)),
            Part(bar, chrome),
        ],
        elevation=(10, 55),
        tilt=4,
        places=(ROOM, ROOM, STUDIO, YARD),
    )


@draws("n04023962")
def punching_bag(dice: Dice) -> Thing:
    leather = looks.any_of(dice, "#8f1f1c", "#2a2a2d", "#6a3a20", "#b0302a", "#2f4a7a", "#c8c4ba")
    metal = Look(looks.hexed("#8a8e94"), metal=0.9, rough=0.3)
    band = looks.any_of(dice, "#f0eee8", "#1c1c1e", "#d8a82a")
    paint = looks.where(leather, band, lambda p: np.abs(np.abs(p[1] + 0.3) - 0.45) - 0.05)
    wide = dice.between(0.3, 0.38)
    if dice.chance(0.7):
        bag = f.move(f.cylinder(wide, 0.78, 0.1), (0, -0.35, 0))
        chains = f.around(f.capsule((wide - 0.04, 0.4, 0), (0.03, 0.88, 0), 0.025), 4)
        hook = f.rope([(0, 0.88, 0), (0, 1.25, 0)], 0.035)
        parts = [Part(bag, Look(paint, gloss=0.6, rough=0.35)), Part(f.union(chains, hook), metal)]
        return Thing(parts, elevation=(-5, 20), tilt=8, places=(SKY, STUDIO, ROOM))
    bag = f.blend(0.3, f.move(f.sphere(0.46), (0, 0.45, 0)), f.move(f.sphere(0.2), (0, -0.05, 0)))
    stand = f.union(f.cylinder(0.05, 0.9), f.move(f.cylinder(0.46, 0.07, 0.04), (0, -0.95, 0)))
    seams = looks.where(
        leather, leather * np.float32(0.4), lambda p: np.abs(np.sin(3 * np.arctan2(p[2], p[0]))) * 0.3 - 0.02
    )
    return Thing(
        [Part(bag, Look(seams, gloss=0.7, rough=0.3)), Part(stand, Look(looks.hexed("#3a3c40"), gloss=0.6))],
        elevation=(0, 25),
        tilt=5,
        places=(ROOM, STUDIO),
    )
