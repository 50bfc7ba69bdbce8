"""Buildings and monuments."""

import numpy as np

from tools.sample import fields as f
from tools.sample import looks
from tools.sample.dice import Dice
from tools.sample.looks import Look, Paint
from tools.sample.thing import ROOM, STUDIO, YARD, Part, Thing, draws


@draws("n02814860")
def beacon(dice: Dice) -> Thing:
    white = looks.any_of(dice, "#f2f0ea", "#f2f0ea", "#e8e0d0", "#c8b89a")
    band = looks.any_of(dice, "#c8281f", "#c8281f", "#1f2a3a", "#2f5fa8", "#8a3a24")
    base, top, tall = dice.between(0.3, 0.36), dice.between(0.16, 0.22), 0.78
    tower = f.move(f.cone(base, top, tall), (0, -0.25, 0))
    design = dice.one_of(["bands", "bands", "plain", "spiral"])
    paint: looks.Colour | Paint = white
    if design == "bands":
        width = dice.between(0.4, 0.65)
        paint = looks.striped(white, band, looks.axis_of("y"), width, 0.5)
    elif design == "spiral":
        paint = looks.mix(white, band, lambda p: 14 * np.sin(2 * np.pi * looks.turn_of(p) + 9 * p[1]))
    paint = looks.where(
        paint,
        looks.hexed("#20262c"),
        lambda p: np.maximum(
            np.abs(np.mod(p[1] * 2.2, 1) - 0.5) / 2.2 - 0.05, np.abs(looks.turn_of(p) - 0.25) - 0.03
        ),
    )
    gallery = f.move(f.cylinder(top + 0.11, 0.04), (0, 0.55, 0))
    lantern = f.move(f.cylinder(top * 0.72, 0.13), (0, 0.7, 0))
    roof = f.move(f.cone(top * 0.95, 0.02, 0.11), (0, 0.93, 0))
    tip = f.move(f.sphere(0.035), (0, 1.06, 0))
    lit = dice.chance(0.6)
    panes = looks.mix(
        looks.hexed("#f8e8a0"),
        looks.hexed("#2a2c30"),
        lambda p: 1 - 8 * np.abs(np.sin(4 * np.arctan2(p[2], p[0]))),
    )
    trim = Look(band if dice.chance(0.6) else looks.hexed("#2a2c30"), gloss=0.6)
    parts = [
        Part(tower, Look(paint, gloss=0.2)),
        Part(f.union(gallery, roof, tip), trim),
        Part(lantern, Look(panes, gloss=1, rough=0.1, glow=1.2 if lit else 0.1)),
    ]
    if dice.chance(0.5):
        rock = looks.any_of(dice, "#7a756c", "#5f5a54", "#8f8474")
        seed = dice.seed()
        mound = f.displaced(
            f.move(f.ellipsoid((0.75, 0.2, 0.7)), (0, -1.08, 0)),
            lambda p: 0.09 * looks.cloud(p, 0.4, seed, 2),
            0.7,
        )
        parts.append(Part(mound, Look(looks.mottled(rock, rock * np.float32(0.6), 0.3, seed))))
    elif dice.chance(0.6):
        house = f.move(f.box((0.28, 0.16, 0.22)), (0.45, -0.88, 0.05))
        gable = f.move(
            f.turn(f.extrude([(-0.26, 0), (0.26, 0), (0, 0.18)], 0.31), "y", 90), (0.45, -0.72, 0.05)
        )
        parts += [
            Part(house, Look(looks.hexed("#f0eee6"))),
            Part(gable, Look(looks.any_of(dice, "#a83a28", "#5a5f66"))),
        ]
    return Thing(parts, elevation=(-3, 22), tilt=1, places=(YARD,))


@draws("n03837869")
def obelisk(dice: Dice) -> Thing:
    stone = looks.any_of(dice, "#c8b89a", "#d8d0c0", "#a8887a", "#8f8f8c", "#b8a07a", "#e8e4da")
    seed = dice.seed()
    base, tall = dice.between(0.17, 0.24), dice.between(0.82, 0.95)
    top = base * dice.between(0.6, 0.75)

    def shaft(p: np.ndarray) -> np.ndarray:
        share = np.clip((p[1] + tall) / (2 * tall), 0, 1)
        wide = np.where(p[1] > tall, top * np.maximum(1 - (p[1] - tall) / 0.2, 0), base + (top - base) * share)
        across = np.maximum(np.abs(p[0]), np.abs(p[2])) - wide
        return np.maximum(across, np.abs(p[1]) - tall - 0.2) * np.float32(0.72)

    weathered = looks.mottled(stone, stone * np.float32(0.72), 0.35, seed, 1.5)
    paint: Paint = weathered
    if dice.chance(0.45):  # carved signs
        paint = looks.where(
            weathered,
            stone * np.float32(0.5),
            lambda p: np.maximum(
                looks.spots(np.stack([p[0], p[1], p[2]]), 0.13, 5) * 0.13 - 0.04,
                np.minimum(np.abs(p[0]), np.abs(p[2])) - base * 0.5,
            ),
        )
    elif dice.chance(0.5):
        paint = looks.striped(
            weathered, stone * np.float32(0.6), looks.axis_of("y"), dice.between(0.18, 0.3), 0.06
        )
    steps = [
        f.move(f.box((base + 0.08 + 0.13 * i, 0.07, base + 0.08 + 0.13 * i)), (0, -tall - 0.05 - 0.13 * i, 0))
        for i in range(dice.whole(1, 3))
    ]
    parts = [
        Part(f.move(shaft, (0, 0.1, 0)), Look(paint, gloss=0.2)),
        Part(f.move(f.union(*steps), (0, 0.1, 0)), Look(weathered, gloss=0.2)),
    ]
    if dice.chance(0.15):
        parts.append(
            Part(
                f.move(f.cone(top, 0.0, 0.1), (0, tall + 0.2, 0)),
                Look(looks.hexed("#d8b04a"), metal=1, rough=0.2),
            )
        )
    return Thing(parts, elevation=(-4, 22), tilt=0.5, places=(YARD,))


@draws("n04562935")
def water_tower(dice: Dice) -> Thing:
    tone = looks.any_of(dice, "#d8dcde", "#8fb8d0", "#a8b0b4", "#c8d8c8", "#e8e4d8", "#9a5a3a")
    kind = dice.one_of(["tank", "ball", "ball", "wooden"])
    steel = Look(looks.any_of(dice, "#8a9096", "#5a5f64", "#d8dcde"), gloss=0.5)
    parts: list[Part] = []
    if kind == "ball":
        wide, flat = dice.between(0.55, 0.68), dice.between(0.4, 0.5)
        tank = f.blend(
            0.25,
            f.move(f.ellipsoid((wide, flat, wide)), (0, 0.55, 0)),
            f.move(f.cone(0.22, 0.14, 0.75), (0, -0.35, 0)),
        )
        stripe = looks.any_of(dice, "#2f5fa8", "#c8302a", "#2f8a4a", "#f0f0ee")
        paint = looks.where(tone, stripe, lambda p: np.abs(p[1] - 0.55) - 0.06) if dice.chance(0.6) else tone
        return Thing(
            [Part(tank, Look(paint, gloss=0.6, rough=0.3))], elevation=(-8, 14), tilt=0.5, places=(YARD,)
        )
    wide = dice.between(0.46, 0.56)
    roof_tone = looks.any_of(dice, "#5a5f64", "#8a3a2a", "#7a7f84", "#3f6a5a")
    if kind == "wooden":
        wood = looks.wooden(looks.varied(dice, "#5a3f28"), looks.varied(dice, "#9a7048"), dice.seed())
        planks = looks.where(
            wood, looks.hexed("#2a2018"), lambda p: np.abs(np.mod(looks.turn_of(p) * 20, 1) - 0.5) * 0.3 - 0.02
        )
        shell = looks.where(
            planks, looks.hexed("#3a3a3c"), lambda p: np.abs(np.mod(p[1] * 4, 1) - 0.5) / 4 - 0.015
        )
        body = f.move(f.cylinder(wide, 0.4), (0, 0.35, 0))
        look = Look(shell, gloss=0.1)
    else:
        body = f.blend(
            0.1,
            f.move(f.cylinder(wide, 0.3), (0, 0.42, 0)),
            f.move(f.ellipsoid((wide, 0.25, wide)), (0, 0.14, 0)),
        )
        look = Look(tone, gloss=0.5, rough=0.35)
        parts.append(Part(f.move(f.cylinder(0.06, 0.6), (0, -0.5, 0)), steel))
    parts.append(Part(body, look))
    parts.append(Part(f.move(f.cone(wide + 0.06, 0.04, 0.15), (0, 0.88, 0)), Look(roof_tone, gloss=0.3)))
    legs = f.around(f.capsule((wide * 0.85, 0.2, 0), (wide * 1.15, -1.1, 0), 0.04), 4, 45)
    rings = f.union(
        f.move(f.torus(wide * 1.0, 0.022), (0, -0.45, 0)), f.move(f.torus(wide + 0.03, 0.03), (0, 0.12, 0))
    )
    parts.append(Part(f.union(legs, rings), steel))
    return Thing(parts, elevation=(-8, 14), tilt=0.5, places=(YARD,))


def _gabled(width: float, wall: float, ridge: float, half_depth: float, hip: bool) -> tuple[f.Field, f.Field]:
    """A house's walls and its roof, the gable toward +z. hip: a roof that breaks halfway, as barns have."""
    if hip:
        top = [(width, wall), (width * 0.66, wall + (ridge - wall) * 0.66), (0, ridge)]
    else:
        top = [(width, wall), (0, ridge)]
    left = [(-x, y) for x, y in reversed(top[:-1])]
    walls = f.extrude([(-width, -0.6), (width, -0.6), *top, *left], half_depth)
    up = [(x * 1.1, y + 0.06) for x, y in [*top, *left]]
    outer = f.extrude([*up], half_depth + 0.07)
    inner = f.extrude([(x * 1.0, y - 0.02) for x, y in [*top, *left]], half_depth + 0.3)
    return walls, f.cut(outer, inner)


@draws("n02793495")
def barn(dice: Dice) -> Thing:
    wall = looks.any_of(dice, "#a8281f", "#8f2a20", "#b8382a", "#a8281f", "#8a7a68", "#f0ece4", "#6a4a34")
    trim = looks.hexed("#f2f0ea") if wall.mean() < 0.5 else looks.hexed("#7a3024")
    boards = looks.mix(wall, wall * np.float32(0.72), lambda p: 0.5 + 0.6 * np.sin(52 * (p[0] + p[2])))
    width, half_depth = dice.between(0.58, 0.72), dice.between(0.6, 0.8)
    walls, roof = _gabled(
        width, dice.between(-0.02, 0.1), dice.between(0.55, 0.72), half_depth, dice.chance(0.65)
    )

    def door(p: np.ndarray) -> np.ndarray:
        return np.maximum(np.maximum(np.abs(p[0]) - 0.25, p[1] + 0.08), half_depth - 0.05 - p[2])

    def cross(p: np.ndarray) -> np.ndarray:
        lines = (
            np.minimum(
                np.abs(np.abs(p[0]) * 0.52 * 2 - (p[1] + 0.6)),
                np.abs(0.52 - np.abs(p[0]) * 0.52 * 2 - (p[1] + 0.6)),
            )
            - 0.035
        )
        frame = np.minimum(np.minimum(np.abs(np.abs(p[0]) - 0.25), np.abs(p[1] + 0.08)), np.abs(p[0])) - 0.025
        return np.maximum(np.minimum(lines, frame), np.maximum(door(p) - 0.02, -0.5))

    paint = looks.where(boards, trim, cross)
    hatch = lambda p: np.maximum(
        np.maximum(np.abs(p[0]) - 0.11, np.abs(p[1] - 0.24) - 0.11), half_depth - 0.05 - p[2]
    )
    paint = looks.where(paint, trim, lambda p: hatch(p) - 0.035)
    paint = looks.where(paint, looks.hexed("#241a16"), hatch)
    roof_tone = looks.any_of(dice, "#5a5f66", "#3a3c40", "#7a6a5a", "#8a8f94")
    parts = [Part(walls, Look(paint, gloss=0.1)), Part(roof, Look(roof_tone, gloss=0.3))]
    if dice.chance(0.4):  # a silo beside it
        silo = f.move(f.cylinder(0.22, 0.72), (width + 0.36, 0.12, -0.2))
        cap = f.move(f.ellipsoid((0.22, 0.2, 0.22)), (width + 0.36, 0.84, -0.2))
        parts.append(
            Part(
                f.union(silo, cap),
                Look(looks.any_of(dice, "#c8ccd0", "#8a8f94", "#a8a498"), gloss=0.5, metal=0.3),
            )
        )
    return Thing(parts, azimuth=(-60, 60), elevation=(2, 30), tilt=0.5, places=(YARD,), step=0.85)


@draws("n04486054")
def triumphal_arch(dice: Dice) -> Thing:
    stone = looks.any_of(dice, "#d8c8a8", "#c8b894", "#e4dccc", "#b8a890", "#c8a078")
    seed = dice.seed()
    tall, wide, deep = dice.between(0.7, 0.9), dice.between(0.85, 1.0), dice.between(0.26, 0.36)
    opening = dice.between(0.26, 0.36)
    spring = dice.between(-0.05, 0.15)

    def way(x: float, half: float, top: float) -> f.Field:
        return f.move(
            f.union(
                f.move(f.box((half, top + tall, deep * 2)), (0, -tall, 0)),
                f.move(f.turn(f.cylinder(half, deep * 2), "x", 90), (0, top, 0)),
            ),
            (x, 0, 0),
        )

    block = f.box((wide, tall, deep), 0.01)
    holes = [way(0, opening, spring)]
    if dice.chance(0.4):
        holes.append(f.mirror(way(wide * 0.66, opening * 0.5, spring - 0.25)))
    arch = f.cut(block, *holes)
    cornice = f.union(
        f.move(f.box((wide + 0.07, 0.05, deep + 0.07), 0.01), (0, tall * 0.55, 0)),
        f.move(f.box((wide + 0.05, 0.05, deep + 0.05), 0.01), (0, tall, 0)),
    )
    columns = f.mirror(
        f.mirror(f.move(f.cylinder(0.065, tall * 0.75), (opening + 0.13, -tall * 0.22, deep + 0.04))), "z"
    )
    more = f.mirror(
        f.mirror(f.move(f.cylinder(0.065, tall * 0.75), (wide - 0.1, -tall * 0.22, deep + 0.04))), "z"
    )
    courses = looks.striped(
        looks.mottled(stone, stone * np.float32(0.75), 0.3, seed),
        stone * np.float32(0.62),
        looks.axis_of("y"),
        0.16,
        0.08,
    )
    lines = looks.where(
        courses,
        stone * np.float32(0.5),
        lambda p: np.maximum(np.abs(p[0]) - wide * 0.55, np.abs(np.abs(p[1] - tall * 0.78) - 0.06) - 0.03),
    )
    parts = [Part(arch, Look(lines, gloss=0.1)), Part(cornice, Look(stone, gloss=0.1))]
    if dice.chance(0.7):
        parts.append(Part(f.union(columns, more), Look(stone, gloss=0.1)))
    if dice.chance(0.25):
        figures = f.union(
            *[
                f.move(f.capsule((0, 0, 0), (0, 0.16, 0), 0.07, 0.04), (x, tall + 0.1, 0))
                for x in (-0.3, 0, 0.3)
            ]
        )
        parts.append(Part(figures, Look(looks.hexed("#4a6a5a"), metal=0.5)))
    return Thing(parts, azimuth=(-50, 50), elevation=(-2, 25), tilt=0.5, places=(YARD,))


@draws("n02843684")
def birdhouse(dice: Dice) -> Thing:
    tone = looks.any_of(dice, "#a87a48", "#c89a62", "#c8382a", "#3f7ab0", "#5a9a5a", "#f0ece4", "#e0b83a")
    painted = dice.chance(0.5)
    wood = looks.wooden(looks.varied(dice, "#7a5430"), looks.varied(dice, "#c0925a"), dice.seed())
    width, half_depth = dice.between(0.36, 0.48), dice.between(0.32, 0.42)
    walls, roof = _gabled(width, dice.between(0.02, 0.15), dice.between(0.5, 0.66), half_depth, False)
    at, big = dice.between(-0.05, 0.1), dice.between(0.11, 0.16)
    hole = lambda p: np.maximum(f.length(p[0], p[1] - at) - big, half_depth - 0.05 - p[2])
    paint = looks.where(tone if painted else wood, looks.hexed("#140f0c"), hole)
    perch = f.capsule((0, at - big - 0.1, half_depth), (0, at - big - 0.1, half_depth + 0.2), 0.03)
    roof_look = Look(looks.any_of(dice, "#8a3a2a", "#5a4030", "#4a5f66", "#3f6a4a", "#d8d0c0"), gloss=0.2)
    parts = [Part(walls, Look(paint, gloss=0.2)), Part(roof, roof_look), Part(perch, Look(wood))]
    kind = dice.one_of(["post", "hangs", "post", "stands"])
    if kind == "post":
        parts.append(Part(f.move(f.cylinder(0.075, 0.42), (0, -1.0, 0)), Look(wood)))
    elif kind == "hangs":
        parts.append(Part(f.capsule((0, 0.6, 0), (0, 1.3, 0), 0.025), Look(looks.hexed("#c8b48a"))))
    else:
        parts.append(Part(f.move(f.box((width + 0.1, 0.04, half_depth + 0.16)), (0, -0.62, 0.04)), Look(wood)))
    return Thing(
        parts, azimuth=(-50, 50), elevation=(-8, 25), tilt=4, places=(YARD, YARD, STUDIO, ROOM), step=0.85
    )
