"""Creatures, and toys in their shape."""

import numpy as np

from tools.sample import fields as f
from tools.sample import looks
from tools.sample.dice import Dice
from tools.sample.looks import Look
from tools.sample.thing import ROOM, STUDIO, WATER, YARD, Part, Thing, draws


@draws("n02165456")
def ladybug(dice: Dice) -> Thing:
    red = looks.any_of(dice, "#d0281a", "#e03a1a", "#c81f1c", "#e8701a", "#e8a81f")
    black = looks.hexed("#161214")
    places = [(0.36, 0.3), (0.5, -0.12), (0.28, -0.45), (0.0, 0.42)][: dice.whole(2, 4)]
    size = dice.between(0.12, 0.17)

    def dots(p: np.ndarray) -> np.ndarray:
        nearest = np.min([f.length(np.abs(p[0]) - x, p[2] - z) for x, z in places], axis=0) - size
        return np.minimum(nearest, np.abs(p[0]) - 0.022)

    wings = f.both(f.stretch(f.ellipsoid((0.72, 0.58, 0.82)), (1, 1, 1)), f.half_space((0, -1, 0), 0.05))
    shield = f.both(f.move(f.ellipsoid((0.46, 0.36, 0.3)), (0, 0.0, 0.72)), f.half_space((0, -1, 0), 0.1))
    head = f.move(f.ellipsoid((0.28, 0.2, 0.2)), (0, 0.02, 0.95))
    white = looks.where(
        black, looks.hexed("#f4f2ea"), lambda p: f.length(np.abs(p[0]) - 0.3, p[1] - 0.14) - 0.1
    )
    legs = f.mirror(
        f.union(
            *[
                f.rope([(0.45, -0.02, z), (0.82, 0.02, z * 1.25), (0.98, -0.2, z * 1.4)], 0.035)
                for z in (0.42, 0.0, -0.42)
            ]
        )
    )
    feelers = f.mirror(f.capsule((0.1, 0.1, 1.05), (0.3, 0.22, 1.25), 0.022))
    parts = [
        Part(wings, Look(looks.where(red, black, dots), gloss=1.2, rough=0.1)),
        Part(f.union(shield, head), Look(white, gloss=1, rough=0.15)),
        Part(
            f.union(legs, feelers, f.move(f.ellipsoid((0.6, 0.14, 0.7)), (0, -0.04, 0))), Look(black, gloss=0.6)
        ),
    ]
    if dice.chance(0.5):  # on a leaf
        green = looks.any_of(dice, "#4f8a2f", "#6aa83f", "#3f7a34")
        veins = looks.where(
            green,
            green * np.float32(1.4),
            lambda p: np.minimum(np.abs(p[0]), np.abs(np.mod(np.abs(p[0]) + p[2], 0.4) - 0.2)) - 0.018,
        )
        parts.append(
            Part(f.move(f.ellipsoid((0.95, 0.035, 1.3)), (0, -0.24, 0)), Look(veins, gloss=0.4, soft=0.3))
        )
    return Thing(parts, elevation=(22, 75), tilt=8, places=(YARD, YARD, STUDIO))


@draws("n01443537")
def goldfish(dice: Dice) -> Thing:
    gold = looks.any_of(dice, "#f0781a", "#f08a24", "#e85a14", "#f4a83a", "#e8641f")
    belly = looks.any_of(dice, "#f8d8a0", "#f4b060", "#f8ece0")
    skin = looks.mix(gold, belly, lambda p: 0.5 - 2.2 * (p[1] + 0.12))
    if dice.chance(0.3):
        patched = looks.mottled(skin, looks.hexed("#f0e6d8"), 0.5, dice.seed(), 4)
        skin = looks.mix(patched, skin, lambda p: 2.5 * (p[1] + 0.05))
    scaled = looks.mix(skin, looks.hexed("#a83a0c"), lambda p: 0.5 * (looks.spots(p, 0.12, 4) - 0.3))
    plump = dice.between(0.36, 0.5)
    body = f.blend(
        0.2,
        f.move(f.ellipsoid((0.62, plump, 0.26)), (0.2, 0, 0)),
        f.capsule((-0.2, 0.02, 0), (-0.62, 0.05, 0), 0.2, 0.09),
    )
    sweep = dice.between(-0.25, 0.25)
    fin = looks.mix(gold, belly, lambda p: 0.5 + 0.5 * np.sin(38 * np.arctan2(p[1] - 0.05, -p[0] - 0.3)))
    tail_top = f.extrude([(-0.5, 0.05), (-1.15, 0.52), (-0.92, 0.08)], 0.02, 0.025)
    tail_low = f.extrude([(-0.5, 0.05), (-0.92, 0.06), (-1.12, -0.42)], 0.02, 0.025)
    tail = f.move(f.turn(f.move(f.union(tail_top, tail_low), (0.5, 0, 0)), "y", 60 * sweep), (-0.5, 0, 0))
    dorsal = f.extrude([(0.4, plump * 0.8), (0.1, plump + 0.28), (-0.3, plump * 0.5), (-0.2, 0.2)], 0.015, 0.02)
    side = f.mirror(
        f.move(f.turn(f.turn(f.ellipsoid((0.2, 0.1, 0.02)), "z", 35), "y", 35), (0.22, -0.22, 0.3)), "z"
    )
    below = f.extrude([(0.05, -plump * 0.8), (-0.22, -plump - 0.16), (-0.28, -0.2)], 0.015, 0.02)
    eyes = f.mirror(f.move(f.sphere(0.085), (0.62, 0.1, 0.17)), "z")
    pupil = looks.where(
        looks.hexed("#f4e8c0"), looks.hexed("#0c0c0e"), lambda p: f.length(p[0] - 0.63, p[1] - 0.1) - 0.05
    )
    return Thing(
        [
            Part(body, Look(scaled, gloss=0.9, rough=0.2)),
            Part(f.union(tail, dorsal, side, below), Look(fin, gloss=0.5, soft=0.6)),
            Part(eyes, Look(pupil, gloss=1, rough=0.05)),
        ],
        azimuth=(-55, 55) if dice.chance(0.6) else (125, 235),
        elevation=(-10, 35),
        tilt=12,
        places=(WATER, WATER, WATER, STUDIO),
        step=0.85,
    )


@draws("n01944390")
def snail(dice: Dice) -> Thing:
    shell_tone = looks.any_of(dice, "#a8683a", "#c8985a", "#7a4a2a", "#d8b87a", "#8a5a4a", "#e0c89a")
    dark = looks.any_of(dice, "#4a2c18", "#6a3f24", "#3a2418")
    wind = dice.between(3.5, 5.0)

    def whorl(p: np.ndarray) -> np.ndarray:
        """A number that grows by 1 with each turn of the spiral, and outward."""
        x, y = p[0] + 0.12, p[1] - 0.2
        return np.log(np.maximum(f.length(x, y), 0.02)) * np.float32(wind / 2.6) - np.arctan2(
            y, x
        ) / np.float32(2 * np.pi)

    groove = lambda p: np.abs(np.mod(whorl(p), 1) - 0.5)
    paint = looks.mix(shell_tone, dark, lambda p: 5 * (groove(p) - 0.36))
    if dice.chance(0.5):
        paint = looks.mix(paint, dark, lambda p: 5 * (0.1 - np.abs(np.mod(whorl(p), 1) - 0.8)) * 2)
    ball = f.move(f.ellipsoid((0.6, 0.6, 0.36)), (-0.12, 0.2, 0))
    shell = f.displaced(
        ball, lambda p: 0.05 * (0.5 - 2 * np.maximum(groove(p) - 0.25, 0)) * (np.abs(p[2]) > 0.05), 0.65
    )
    skin = looks.any_of(dice, "#b89a6a", "#8a7050", "#d0b890", "#6a5a48", "#a8a08a")
    body = f.blend(
        0.15,
        f.stretch(f.capsule((-0.95, -0.42, 0), (0.5, -0.4, 0), 0.07, 0.15), (1, 1, 1.3)),
        f.capsule((0.45, -0.38, 0), (0.9, dice.between(-0.15, 0.05), 0), 0.16, 0.13),
    )
    up = dice.between(0.25, 0.4)
    horns = f.mirror(
        f.union(
            f.capsule((0.92, 0.02, 0.05), (1.08, up, 0.15), 0.03), f.move(f.sphere(0.05), (1.08, up, 0.15))
        ),
        "z",
    )
    return Thing(
        [
            Part(shell, Look(paint, gloss=0.8, rough=0.2)),
            Part(
                f.union(body, horns),
                Look(looks.mottled(skin, skin * np.float32(0.65), 0.12, dice.seed(), 2), gloss=0.7, rough=0.25),
            ),
        ],
        azimuth=(-60, 60) if dice.chance(0.6) else (120, 240),
        elevation=(0, 35),
        tilt=6,
        places=(YARD, YARD, YARD, STUDIO),
        step=0.8,
    )


@draws("n04399382")
def teddy(dice: Dice) -> Thing:
    fur = looks.any_of(
        dice, "#a8703a", "#8a5428", "#c89a62", "#d8b88a", "#6a4428", "#f0e6d8", "#d89aa8", "#8a8f96"
    )
    pale = looks.mix(fur, np.minimum(fur * np.float32(1.6), 0.9), lambda p: 1 + 0 * p[0])
    seed = dice.seed()
    fluffy = looks.mottled(fur, fur * np.float32(0.75), 0.12, seed, 2)
    bump = looks.uneven(0.035, 0.05, seed)
    belly = f.move(f.ellipsoid((0.46, 0.5, 0.4)), (0, -0.35, 0))
    head = f.move(f.ellipsoid((0.42, 0.38, 0.38)), (0, 0.42, 0.05))
    ears = f.mirror(f.move(f.ellipsoid((0.16, 0.16, 0.08)), (0.33, 0.75, 0)))
    wave = dice.between(-0.35, 0.25)
    arms = f.mirror(f.capsule((0.38, -0.05, 0.05), (0.72, wave - 0.1, 0.2), 0.16, 0.17))
    sits = dice.chance(0.7)
    legs = f.mirror(
        f.capsule((0.28, -0.72, 0.1), (0.42, -0.72, 0.62), 0.19, 0.2)
        if sits
        else f.capsule((0.24, -0.7, 0), (0.27, -1.12, 0.05), 0.2, 0.19)
    )
    body = f.blend(0.08, belly, head, ears, arms, legs)
    muzzle = f.move(f.ellipsoid((0.19, 0.15, 0.15)), (0, 0.32, 0.38))
    soles = f.mirror(
        f.move(f.ellipsoid((0.13, 0.13, 0.03)), (0.43, -0.72, 0.82))
        if sits
        else f.move(f.sphere(0.01), (0.27, -1.1, 0))
    )
    black = Look(looks.hexed("#120e0c"), gloss=1, rough=0.1)
    parts = [
        Part(body, Look(fluffy, gloss=0.02, soft=0.2, bump=bump)),
        Part(f.union(muzzle, soles), Look(pale, gloss=0.02, bump=bump)),
        Part(
            f.union(
                f.mirror(f.move(f.sphere(0.055), (0.15, 0.5, 0.4))),
                f.move(f.ellipsoid((0.075, 0.055, 0.05)), (0, 0.38, 0.53)),
            ),
            black,
        ),
    ]
    if dice.chance(0.45):
        ribbon = Look(looks.any_of(dice, "#c8281f", "#2f5fb0", "#f0c42f", "#3f9a5a", "#d85a9a"), gloss=0.4)
        bow = f.union(
            f.move(f.torus(0.3, 0.05), (0, 0.1, 0.02)),
            f.mirror(f.move(f.ellipsoid((0.14, 0.09, 0.05)), (0.13, 0.08, 0.38))),
        )
        parts.append(Part(bow, ribbon))
    return Thing(parts, azimuth=(-55, 55), elevation=(-5, 35), tilt=8, places=(ROOM, ROOM, STUDIO, YARD))


@draws("n02056570")
def king_penguin(dice: Dice) -> Thing:
    back = looks.any_of(dice, "#2a3038", "#3a4450", "#1f2328", "#4a5560")
    white, amber = looks.varied(dice, "#f4f2ec", 0.04), looks.any_of(dice, "#f0a01f", "#e88a1a", "#f4b83a")
    turn = dice.between(-35, 35)
    body = f.blend(
        0.2,
        f.move(f.ellipsoid((0.36, 0.66, 0.33)), (0, -0.3, 0)),
        f.move(f.ellipsoid((0.25, 0.3, 0.24)), (0, 0.35, 0)),
    )

    def front(p: np.ndarray) -> np.ndarray:
        return 0.14 + 0.35 * np.abs(p[0]) - p[2] + np.maximum(p[1] - 0.42, 0) * 2

    glow = looks.mix(white, amber, lambda p: 3.2 * (p[1] - 0.12))
    coat = looks.where(back, glow, front)
    head = f.move(f.ellipsoid((0.2, 0.21, 0.22)), (0, 0.72, 0.03))
    patch = looks.where(
        looks.hexed("#17191c"),
        amber,
        lambda p: f.length(np.abs(p[0]) - 0.19, (p[1] - 0.66) * 0.7, p[2] + 0.02) - 0.1,
    )
    beak = f.capsule((0, 0.74, 0.2), (0, 0.77, 0.52), 0.05, 0.02)
    stripe = looks.where(looks.hexed("#17191c"), amber, lambda p: p[1] - 0.735)

    def posed(field: f.Field) -> f.Field:
        return f.turn(field, "y", turn)

    def seen(colour: looks.Colour | looks.Paint) -> looks.Colour | looks.Paint:
        if not callable(colour):
            return colour
        inward = f.rotation("y", turn).T.astype(np.float32)
        return lambda p: colour(inward @ p)

    out = dice.between(5, 28)
    flipper = f.mirror(f.move(f.turn(f.ellipsoid((0.06, 0.44, 0.15)), "z", out), (0.4, -0.12, -0.02)))
    feet = f.mirror(f.move(f.ellipsoid((0.13, 0.06, 0.2)), (0.15, -0.96, 0.14)))
    return Thing(
        [
            Part(body, Look(coat, gloss=0.4)),
            Part(posed(head), Look(seen(patch), gloss=0.4)),
            Part(posed(beak), Look(seen(stripe), gloss=0.6)),
            Part(flipper, Look(back, gloss=0.4)),
            Part(feet, Look(looks.hexed("#2a2624"))),
        ],
        azimuth=(-75, 75),
        elevation=(-5, 25),
        tilt=4,
        places=(YARD, YARD, YARD, STUDIO),
    )
