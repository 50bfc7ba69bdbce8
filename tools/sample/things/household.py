"""Things about the house, and to wear."""

import numpy as np

from tools.sample import fields as f
from tools.sample import looks
from tools.sample.dice import Dice
from tools.sample.looks import Look
from tools.sample.thing import ROOM, STUDIO, YARD, Part, Thing, draws


@draws("n03544143")
def hourglass(dice: Dice) -> Thing:
    wood = looks.any_of(dice, "#6a3f20", "#8a5a30", "#2a2a2c", "#c8a24a", "#a86a3a", "#e8e4dc")
    metal = 0.9 if dice.chance(0.2) else 0.0
    wide = dice.between(0.38, 0.48)
    bulbs = f.blend(0.14, *[f.move(f.ellipsoid((wide, 0.44, wide)), (0, y, 0)) for y in (0.44, -0.44)])
    plates = f.mirror(f.move(f.cylinder(wide + 0.2, 0.075, 0.03), (0, 0.93, 0)), "y")
    posts = f.around(
        f.move(f.cylinder(0.05, 0.9), (wide + 0.1, 0, 0)), dice.one_of([3, 4]), dice.between(0, 90)
    )
    sand = looks.any_of(dice, "#e0b060", "#d8985a", "#e8dcc0", "#5aa0d0", "#d85a6a", "#7a5ac0")
    run = dice.between(0.1, 0.9)
    upper = f.both(
        f.move(f.ellipsoid((wide - 0.05, 0.4, wide - 0.05)), (0, 0.44, 0)), f.above(0.2 + 0.5 * (1 - run))
    )
    lower = f.both(
        f.move(f.ellipsoid((wide - 0.05, 0.4, wide - 0.05)), (0, -0.44, 0)),
        lambda p: (p[1] + 0.55 - 0.35 * run + 0.5 * f.length(p[0], p[2])) * 0.8,
    )
    stream = f.capsule((0, 0.2, 0), (0, -0.7, 0), 0.02)
    return Thing(
        [
            Part(bulbs, Look(looks.hexed("#e8f2f4"), gloss=1, rough=0.05, clear=0.82)),
            Part(f.union(upper, lower, stream), Look(sand)),
            Part(f.union(plates, posts), Look(wood, gloss=0.6, rough=0.3, metal=metal)),
        ],
        elevation=(0, 35),
        tilt=6,
        places=(ROOM, ROOM, STUDIO),
    )


@draws("n02948072")
def candle(dice: Dice) -> Thing:
    wax = looks.any_of(dice, "#f4ecd8", "#f0e6cc", "#c83a34", "#3f6a9a", "#e8c8d0", "#e0c05a", "#5a7a4a")
    thin = dice.chance(0.45)
    wide, tall = (
        (dice.between(0.12, 0.16), 0.62) if thin else (dice.between(0.3, 0.42), dice.between(0.45, 0.6))
    )
    body = f.cut(
        f.cylinder(wide, tall, 0.04), f.move(f.ellipsoid((wide * 0.75, 0.08, wide * 0.75)), (0, tall, 0))
    )
    drips = [
        f.capsule(
            (wide * np.cos(a), tall - 0.05, wide * np.sin(a)),
            (wide * np.cos(a), tall - long, wide * np.sin(a)),
            0.045,
        )
        for a, long in (
            (dice.between(0, 6), dice.between(0.15, 0.5)),
            (dice.between(0, 6), dice.between(0.15, 0.4)),
        )
    ]
    warm = looks.mix(wax, np.minimum(wax * np.float32(1.5), 1), lambda p: (p[1] - tall + 0.4) * 2)
    flame_y = tall + 0.28
    flame = f.blend(
        0.1,
        f.move(f.ellipsoid((0.095, 0.17, 0.095)), (0, flame_y, 0)),
        f.move(f.cone(0.05, 0.0, 0.11), (0, flame_y + 0.19, 0)),
    )
    fire = looks.graded(lambda p: p[1] - flame_y, [(-0.15, "#f08a2a"), (0, "#ffe9a0"), (0.2, "#ffb040")])
    parts = [
        Part(f.blend(0.05, body, *drips), Look(warm, gloss=0.5, soft=0.6)),
        Part(f.capsule((0, tall - 0.06, 0), (0.01, tall + 0.12, 0), 0.02), Look(looks.hexed("#20160f"))),
    ]
    if dice.chance(0.88):
        parts.append(Part(flame, Look(fire, glow=2.4, gloss=0)))
    if thin or dice.chance(0.3):
        brass = looks.any_of(dice, "#c8a24a", "#b8bcc2", "#4a3a2a")
        holder = f.union(
            f.move(f.cylinder(wide + 0.05, 0.1, 0.02), (0, -tall, 0)),
            f.move(f.cone(0.42, 0.36, 0.04, 0.02), (0, -tall - 0.1, 0)),
        )
        if dice.chance(0.5):
            holder = f.union(holder, f.move(f.turn(f.torus(0.12, 0.03), "x", 90), (0.5, -tall - 0.05, 0)))
        parts.append(Part(holder, Look(brass, metal=0.8, rough=0.25)))
    return Thing(parts, elevation=(0, 35), tilt=3, places=(ROOM, ROOM, STUDIO))


@draws("n03637318")
def lampshade(dice: Dice) -> Thing:
    cloth = looks.any_of(dice, "#f0e2c4", "#e8d0a0", "#c84a3a", "#5a8a7a", "#f4f0e6", "#4a6a9a", "#d89ab0")
    base, top, tall = dice.between(0.7, 0.85), dice.between(0.3, 0.6), dice.between(0.4, 0.5)
    shade = f.cut(f.cone(base, top, tall), f.cone(base - 0.04, top - 0.04, tall + 0.02))
    paint: looks.Colour | looks.Paint = cloth
    kind = dice.one_of(["plain", "pleats", "trim"])
    if kind == "pleats":
        paint = looks.mix(cloth, cloth * np.float32(0.6), lambda p: 0.5 + 0.5 * np.sin(180 * looks.turn_of(p)))
    elif kind == "trim":
        paint = looks.where(
            cloth, looks.any_of(dice, "#8a2f24", "#c8a24a", "#2f3a4a"), lambda p: tall - 0.1 - np.abs(p[1])
        )
    lit = dice.chance(0.7)
    parts = [
        Part(
            f.move(shade, (0, 0.55, 0)),
            Look(_raised(paint, 0.55), glow=dice.between(0.4, 1.0) if lit else 0, soft=0.6, gloss=0.1),
        )
    ]
    foot_tone = looks.any_of(dice, "#8a5a30", "#c8a24a", "#3a3a3e", "#e8e4da", "#3f6a8a", "#a84a3a")
    kind = dice.one_of(["vase", "pole", "balls"])
    pole = f.move(f.cylinder(0.04, 0.6), (0, -0.2, 0))
    if kind == "vase":
        foot = f.union(
            pole,
            f.move(f.ellipsoid((0.32, 0.42, 0.32)), (0, -0.5, 0)),
            f.move(f.cylinder(0.25, 0.06, 0.02), (0, -0.95, 0)),
        )
    elif kind == "pole":
        foot = f.union(
            pole,
            f.move(f.cylinder(0.05, 0.5), (0, -0.5, 0)),
            f.move(f.cone(0.42, 0.3, 0.05, 0.02), (0, -0.97, 0)),
        )
    else:
        foot = f.union(
            pole,
            *[f.move(f.sphere(r), (0, y, 0)) for r, y in ((0.2, -0.2), (0.26, -0.52))],
            f.move(f.cylinder(0.32, 0.06, 0.02), (0, -0.82, 0)),
        )
    parts.append(Part(foot, Look(foot_tone, gloss=0.8, rough=0.2, metal=0.7 if dice.chance(0.3) else 0)))
    return Thing(parts, elevation=(-8, 22), tilt=2, places=(ROOM, ROOM, STUDIO))


def _raised(colour: looks.Colour | looks.Paint, by: float) -> looks.Colour | looks.Paint:
    """The paint of what was modelled around the origin and then raised."""
    if not callable(colour):
        return colour
    offset = np.array([[0], [by], [0]], np.float32)
    return lambda p: colour(p - offset)


@draws("n04507155")
def umbrella(dice: Dice) -> Thing:
    cloth = looks.any_of(
        dice, "#c8281f", "#1f1f22", "#2f5fb0", "#f0c42f", "#3f9a5a", "#d85a9a", "#8a4ab0", "#f08a2a"
    )
    other = looks.any_of(dice, "#f4f2ec", "#f4f2ec", "#2f5fb0", "#f0c42f", "#c8281f")
    ribs = dice.one_of([6, 8, 8])
    paint: looks.Colour | looks.Paint = cloth
    kind = dice.one_of(["plain", "plain", "sectors", "spots", "rim"])
    if kind == "sectors":
        paint = looks.mix(cloth, other, lambda p: 20 * np.sin(ribs * np.pi * looks.turn_of(p)))
    elif kind == "spots":
        paint = looks.mix(cloth, other, lambda p: 8 * (0.3 - looks.spots(p, 0.3, 6)))
    elif kind == "rim":
        paint = looks.where(cloth, other, lambda p: p[1] - 0.35)
    flat = dice.between(0.62, 0.85)

    def lift(p: np.ndarray) -> np.ndarray:
        r = f.length(p[0], p[2])
        return 0.09 * r * r * (1 - np.abs(np.cos(ribs / 2 * np.arctan2(p[2], p[0]))))

    dome = f.displaced(f.shell(f.ellipsoid((1.05, flat, 1.05)), 0.03), lambda p: 0 * p[0], 0.9)
    edge = f.displaced(f.half_space((0, -1, 0), -0.12), lambda p: -lift(p), 0.8)
    canopy = f.both(dome, edge)
    rod = f.capsule((0, -0.75, 0), (0, flat + 0.12, 0), 0.032)
    hook = f.both(f.move(f.turn(f.torus(0.15, 0.045), "x", 90), (0.15, -0.75, 0)), f.above(-0.73))
    struts = f.around(f.capsule((0.0, 0.2, 0), (0.95, 0.32, 0), 0.014), ribs)
    handle = looks.any_of(dice, "#6a4020", "#1f1f20", "#c89a5a")
    if dice.chance(0.35):  # lying open on its side
        return _umbrella(
            [
                Part(canopy, Look(paint, gloss=0.3, soft=0.5)),
                Part(rod, Look(looks.hexed("#8a8e92"), metal=0.8)),
                Part(hook, Look(handle, gloss=0.6)),
                Part(struts, Look(looks.hexed("#7a7e84"), metal=0.7)),
            ],
            60.0,
            (0, 40),
        )
    return _umbrella(
        [
            Part(canopy, Look(paint, gloss=0.3, soft=0.5)),
            Part(rod, Look(looks.hexed("#8a8e92"), metal=0.8)),
            Part(hook, Look(handle, gloss=0.6)),
        ],
        18.0,
        (-12, 35),
    )


def _umbrella(parts: list[Part], tilt: float, elevation: tuple[float, float]) -> Thing:
    return Thing(
        parts, elevation=elevation, tilt=tilt if tilt < 45 else 44, places=(YARD, YARD, STUDIO), step=0.7
    )


@draws("n02883205")
def bow_tie(dice: Dice) -> Thing:
    cloth = looks.any_of(
        dice, "#1f1f22", "#8f1f24", "#1f3a6a", "#c82a3a", "#2f6a4a", "#7a3a8a", "#d8a82a", "#e8e4dc"
    )
    other = looks.any_of(dice, "#f2f0ea", "#d8b04a", "#c82a3a", "#9fb8d8")
    kind = dice.one_of(["plain", "plain", "spots", "stripes", "checks"])
    paint: looks.Colour | looks.Paint = cloth
    if kind == "spots":
        paint = looks.mix(
            cloth, other, lambda p: 9 * (0.3 - looks.spots(p * np.array([[1], [1], [0]], np.float32), 0.2, 3))
        )
    elif kind == "stripes":
        paint = looks.striped(cloth, other, lambda p: p[0] + p[1], 0.22, 0.35)
    elif kind == "checks":
        paint = looks.mix(
            looks.striped(cloth, other, looks.axis_of("x"), 0.24, 0.3),
            looks.striped(cloth, other, looks.axis_of("y"), 0.24, 0.3),
            lambda p: 0.5 + 0 * p[0],
        )
    tall = dice.between(0.42, 0.58)
    wing = f.extrude([(0.06, -0.14), (0.98, -tall), (0.94, 0.0), (0.98, tall), (0.06, 0.14)], 0.07, 0.06)
    wings = f.displaced(
        f.mirror(wing),
        lambda p: 0.05 * np.cos(14 * p[1] / (0.3 + np.abs(p[0]))) * (1 - np.minimum(np.abs(p[0]), 1)),
        0.7,
    )
    knot = f.box((0.15, 0.19, 0.14), 0.08)
    parts = [Part(wings, Look(paint, gloss=0.3, rough=0.5)), Part(knot, Look(paint, gloss=0.3, rough=0.5))]
    if dice.chance(0.35):
        band = f.move(f.turn(f.torus(0.62, 0.06), "x", dice.between(0, 25)), (0, 0.05, -0.66))
        parts.append(Part(band, Look(cloth, gloss=0.2)))
    return Thing(
        parts, azimuth=(-45, 45), elevation=(-10, 45), tilt=14, places=(ROOM, STUDIO, STUDIO), step=0.75
    )


@draws("n04356056")
def sunglasses(dice: Dice) -> Thing:
    frame = looks.any_of(dice, "#1c1c1e", "#1c1c1e", "#5a3418", "#c8a24a", "#c8302a", "#f0f0ee", "#2f5fb0")
    lens = looks.any_of(dice, "#17181a", "#2a1c12", "#1a2a1f", "#4a3a7a", "#b0682a", "#2a4a6a", spread=0.06)
    shape = dice.one_of(["round", "square", "pilot"])
    wide = dice.between(0.36, 0.42)

    def outline(grow: float, deep: float) -> f.Field:
        if shape == "round":
            field = f.turn(f.cylinder(wide + grow, deep, deep * 0.8), "x", 90)
        elif shape == "square":
            field = f.box((wide + grow, 0.27 + grow, deep), deep * 0.9)
        else:
            field = f.extrude(
                [
                    (-0.36 - grow, 0.26 + grow),
                    (0.36 + grow, 0.26 + grow),
                    (0.3 + grow, -0.15 - grow),
                    (0.05, -0.34 - grow),
                    (-0.3 - grow, -0.1 - grow),
                ],
                deep,
                deep * 0.8,
            )
        return f.move(field, (0.5, 0, 0))

    rim = f.cut(outline(0.05, 0.05), outline(-0.015, 0.2))
    bridge = f.rope([(0, 0.1, 0.03), (0.16, 0.06, 0)], 0.045)
    temple = f.rope([(0.93, 0.14, 0), (0.95, 0.12, -0.95), (0.93, -0.12, -1.2)], 0.045)
    return Thing(
        [
            Part(
                f.mirror(f.union(rim, bridge, temple)),
                Look(frame, gloss=0.9, rough=0.15, metal=0.6 if frame.mean() > 0.3 and dice.chance(0.4) else 0),
            ),
            Part(f.mirror(outline(0.0, 0.025)), Look(lens, gloss=2.0, rough=0.05)),
        ],
        azimuth=(-50, 50),
        elevation=(0, 50),
        tilt=10,
        places=(ROOM, STUDIO, YARD),
    )


@draws("n04259630")
def sombrero(dice: Dice) -> Thing:
    straw = looks.any_of(dice, "#d8b868", "#e0c484", "#c89a48", "#1f1f22", "#8a2a24", "#2f5a3f")
    trim = looks.any_of(dice, "#c8281f", "#2f8a4a", "#f0c42f", "#2f5fb0", "#f0ece0", "#d85a9a")
    wide = dice.between(1.0, 1.15)

    def rise(p: np.ndarray) -> np.ndarray:
        r = f.length(p[0], p[2])
        return 0.42 * np.maximum(r - 0.55, 0) ** 2

    def brim(p: np.ndarray) -> np.ndarray:
        r = f.length(p[0], p[2])
        flat = np.abs(p[1] + 0.3 - rise(p)) - 0.035
        return np.maximum(flat * 0.8, r - wide)

    crown = f.blend(
        0.12, f.move(f.cone(0.44, 0.2, dice.between(0.34, 0.5), 0.12), (0, 0.08, 0)), lambda p: brim(p)
    )
    rings = looks.where(
        straw,
        trim,
        lambda p: np.minimum(
            np.abs(f.length(p[0], p[2]) - wide + 0.05) - 0.05, np.abs(f.length(p[0], p[2]) - 0.75) - 0.035
        ),
    )
    band = looks.where(
        rings, trim, lambda p: np.maximum(np.abs(p[1] + 0.06) - 0.07, f.length(p[0], p[2]) - 0.52)
    )
    weave = looks.mix(band, straw * np.float32(0.6), lambda p: 0.25 * (1 + np.sin(70 * f.length(p[0], p[2]))))
    if dice.chance(0.5):
        zigzag = looks.where(
            weave,
            trim,
            lambda p: np.abs(f.length(p[0], p[2]) - 0.87 - 0.06 * np.sin(14 * np.arctan2(p[2], p[0]))) - 0.03,
        )
    else:
        zigzag = weave
    return Thing(
        [Part(crown, Look(zigzag, gloss=0.15))],
        elevation=(5, 50),
        tilt=14,
        places=(YARD, ROOM, STUDIO),
        step=0.7,
    )


@draws("n04074963")
def remote_control(dice: Dice) -> Thing:
    case = looks.any_of(dice, "#1f2022", "#2a2c30", "#b8bcc0", "#e8e8e6", "#3a3c42")
    light = bool(case.mean() > 0.3)
    keys = looks.hexed("#3a3c40" if light else "#b8bcc0")
    wide, long = dice.between(0.26, 0.34), dice.between(0.9, 1.1)
    body = f.box((wide, 0.1, long), 0.08)
    columns = dice.one_of([3, 3, 4])
    pitch = 2 * (wide - 0.06) / columns
    rows = 0.2

    def key(p: np.ndarray) -> np.ndarray:
        x = np.abs(np.mod((p[0] + wide - 0.06) / pitch, 1) - 0.5) * pitch
        z = np.abs(np.mod(p[2] / rows, 1) - 0.5) * rows
        edge = np.maximum(np.abs(p[0]) - wide + 0.06, np.abs(p[2] - 0.15) - long * 0.72)
        return np.maximum(np.maximum(f.length(x, z) - min(pitch, rows) * 0.33, edge), 0.085 - p[1])

    paint = looks.where(case, keys, key)
    coloured = [looks.hexed(tone) for tone in ("#d0281f", "#3f9a3a", "#e8c22f", "#2f6fc0")]
    row_at = round(dice.between(-1, 2)) * rows + rows / 2
    for i, tone in enumerate(coloured[: columns + 1]):
        x = -wide + 0.06 + (i + 0.5) * pitch

        def coloured_key(p: np.ndarray, x: float = x) -> np.ndarray:
            cell = np.maximum(np.abs(p[0] - x) - pitch / 2, np.abs(p[2] - row_at) - rows / 2)
            return np.maximum(key(p), cell)

        paint = looks.where(paint, tone, coloured_key)
    parts = [Part(body, Look(paint, gloss=0.5, rough=0.35))]
    if dice.chance(0.7):
        ring = f.move(f.torus(wide * 0.5, 0.05), (0, 0.1, -0.25 * long))
        hub = f.move(f.cylinder(wide * 0.25, 0.05, 0.02), (0, 0.09, -0.25 * long))
        parts.append(Part(f.union(ring, hub), Look(keys, gloss=0.6)))
    power = f.move(f.cylinder(0.065, 0.04, 0.02), (-wide * 0.6, 0.1, -long * 0.85))
    parts.append(Part(power, Look(looks.hexed("#d82a20"), gloss=0.8)))
    return Thing(parts, azimuth=(-70, 70), elevation=(35, 85), tilt=6, places=(ROOM, ROOM, STUDIO))


@draws("n04597913")
def wooden_spoon(dice: Dice) -> Thing:
    tones = dice.one_of(
        [("#a8743f", "#d8ac74"), ("#8a5a30", "#b8844f"), ("#c89a62", "#e8cca0"), ("#6a4020", "#94663a")]
    )
    wood = looks.wooden(looks.varied(dice, tones[0]), looks.varied(dice, tones[1]), dice.seed(), "x", 0.12)
    wide = dice.between(0.26, 0.34)
    bowl = f.move(f.ellipsoid((0.42, 0.14, wide)), (0.8, 0, 0))
    bowl = f.cut(bowl, f.move(f.ellipsoid((0.36, 0.12, wide - 0.06)), (0.8, 0.09, 0)), softness=0.04)
    handle = f.rope([(-1.15, 0.1, 0), (-0.2, 0.04, 0), (0.5, 0.02, 0)], [0.085, 0.06, 0.07])
    spoon = f.blend(0.12, bowl, f.cut(handle, f.move(f.ellipsoid((0.36, 0.12, wide - 0.06)), (0.8, 0.09, 0))))
    parts = [Part(spoon, Look(wood, gloss=0.25))]
    if dice.chance(0.3):
        other = f.turn(f.move(spoon, (0, -0.14, 0.1)), "y", dice.between(20, 50))
        parts.append(Part(other, Look(wood, gloss=0.25)))
    return Thing(parts, elevation=(28, 80), tilt=5, places=(ROOM, ROOM, STUDIO), step=0.8)
