"""Fruit, and other things to eat."""

import numpy as np

from tools.sample import fields as f
from tools.sample import looks
from tools.sample.dice import Dice
from tools.sample.looks import Look
from tools.sample.thing import ROOM, STUDIO, YARD, Part, Thing, draws


@draws("n07747607")
def orange(dice: Dice) -> Thing:
    squash = dice.between(0.9, 1.0)
    skin = looks.mottled(
        looks.any_of(dice, "#f08a12", "#f49a1c", "#e87a10"),
        looks.any_of(dice, "#f0a030", "#d9700a"),
        0.5,
        dice.seed(),
    )
    body = f.cut(
        f.ellipsoid((0.9, 0.9 * squash, 0.9)), f.move(f.sphere(0.12), (0, 0.98 * squash, 0)), softness=0.12
    )
    parts = [Part(body, Look(skin, gloss=0.5, rough=0.35, bump=looks.dimpled(0.007, 0.075, dice.seed())))]
    navel = f.move(f.prism(5, 0.05, 0.02, 0.01), (0, 0.87 * squash, 0))
    parts.append(Part(navel, Look(looks.hexed("#5b6b2a"), gloss=0.1)))
    if dice.chance(0.35):
        leaf = f.turn(f.move(f.ellipsoid((0.36, 0.02, 0.15)), (0.38, 0, 0)), "z", dice.between(0, 25))
        leaf = f.move(f.turn(leaf, "y", dice.between(0, 360)), (0, 0.9 * squash, 0))
        parts.append(Part(leaf, Look(looks.varied(dice, "#3e7a2c"), gloss=0.4, soft=0.4)))
    return Thing(parts, elevation=(5, 60), tilt=50, places=(ROOM, STUDIO, YARD))


@draws("n07749582")
def lemon(dice: Dice) -> Thing:
    long = dice.between(0.95, 1.08)
    wide = dice.between(0.62, 0.74)
    skin = looks.mottled(
        looks.any_of(dice, "#f6dd2c", "#f2d21e", "#eccb1a"),
        looks.any_of(dice, "#f8e868", "#cfc22a"),
        0.6,
        dice.seed(),
    )
    body = f.blend(
        0.22,
        f.ellipsoid((long * 0.86, wide, wide)),
        f.move(f.ellipsoid((0.16, 0.14, 0.14)), (long * 0.87, 0, 0)),
        f.move(f.ellipsoid((0.12, 0.1, 0.1)), (-long * 0.86, 0, 0)),
    )
    parts = [Part(body, Look(skin, gloss=0.55, rough=0.3, bump=looks.dimpled(0.006, 0.085, dice.seed())))]
    stem = f.move(f.cylinder(0.05, 0.03), (0, 0, 0))
    stem = f.move(f.turn(stem, "z", 90), (-long * 0.97, 0, 0))
    parts.append(Part(stem, Look(looks.hexed("#7a7a35"), gloss=0.1)))
    return Thing(parts, elevation=(5, 60), tilt=25, places=(ROOM, STUDIO, YARD))


@draws("n07753592")
def banana(dice: Dice) -> Thing:
    peel = looks.any_of(dice, "#f4d432", "#f0c92a", "#e6cf4a", "#c9c94a", spread=0.06)
    skin = looks.mottled(peel, peel * np.float32(0.8), 0.5, dice.seed(), 1)
    if dice.chance(0.4):
        skin = looks.mottled(skin, looks.hexed("#5a3a18"), 0.07, dice.seed(), 4 if dice.chance(0.5) else 2)
    sweep, thick = np.radians(dice.between(70, 110)), dice.between(0.19, 0.25)
    angles = np.linspace(-sweep / 2, sweep / 2, 7)
    spine = [(1.25 * np.sin(a) / np.sin(sweep / 2) * 0.8, 1 - np.cos(a), 0.0) for a in angles]
    girth = [thick * g for g in (0.45, 0.85, 1, 1.03, 1, 0.8, 0.35)]
    fruits = dice.one_of([1, 1, 2, 3])
    parts = []
    for i in range(fruits):
        lean = (i - (fruits - 1) / 2) * 24

        def placed(field: f.Field, lean: float = lean, i: int = i) -> f.Field:
            return f.turn(
                f.move(f.turn(field, "x", 20), (0, 0.1 * i, 0.30 * (i - (fruits - 1) / 2))), "y", lean * 0.4
            )

        parts.append(Part(placed(f.rope(spine, girth, 0.12)), Look(skin, gloss=0.4, rough=0.4)))
        x, y, _ = spine[-1]
        stem = f.capsule((x, y, 0), (x + 0.16, y + 0.2, 0), 0.07, 0.055)
        parts.append(Part(placed(stem), Look(looks.varied(dice, "#8a8a3a"), gloss=0.1)))
        x, y, _ = spine[0]
        parts.append(
            Part(placed(f.move(f.sphere(0.07), (x - 0.06, y + 0.05, 0))), Look(looks.hexed("#3a2a18")))
        )
    return Thing(parts, elevation=(15, 70), azimuth=(-50, 50), tilt=30, places=(ROOM, STUDIO), step=0.75)


@draws("n07768694")
def pomegranate(dice: Dice) -> Thing:
    red = looks.any_of(dice, "#a8222c", "#c23a34", "#8f1f2f", "#b84a3a")
    skin = looks.mottled(red, looks.any_of(dice, "#d88a5a", "#7a1a24", "#c25a4a"), 0.5, dice.seed(), 1.6)
    body = f.displaced(
        f.ellipsoid((0.86, 0.8, 0.86)), lambda p: 0.025 * np.cos(6 * np.arctan2(p[2], p[0])), 0.85
    )
    parts: list[Part] = []
    crown = f.around(f.turn(f.move(f.ellipsoid((0.07, 0.2, 0.1)), (0.17, 0.93, 0)), "z", -8), 6)
    neck = f.move(f.shell(f.cone(0.24, 0.2, 0.12), 0.06), (0, 0.82, 0))
    parts.append(Part(f.union(crown, neck), Look(looks.varied(dice, "#b0553a"), gloss=0.3)))
    if dice.chance(0.4):  # cut open
        open_at = f.half_space((0.0, 0.2, 1.0), dice.between(0.15, 0.35))
        flesh = looks.mix(
            looks.hexed("#8a0f22"), looks.hexed("#f0dcc0"), lambda p: 4 * (looks.spots(p, 0.17, 5) - 0.45)
        )
        inner = f.both(f.scale(body, 0.9), open_at)
        parts.append(
            Part(f.both(inner, open_at), Look(flesh, gloss=0.9, rough=0.15, bump=looks.dimpled(-0.03, 0.17, 5)))
        )
        skin_field = f.both(f.cut(body, f.scale(body, 0.9)), open_at)
        parts.append(Part(skin_field, Look(skin, gloss=0.5, rough=0.35)))
        return Thing(parts, azimuth=(-50, 50), elevation=(10, 45), tilt=15, places=(ROOM, STUDIO), step=0.8)
    parts.append(Part(body, Look(skin, gloss=0.5, rough=0.35)))
    return Thing(parts, elevation=(10, 55), tilt=40, places=(ROOM, STUDIO, YARD))


@draws("n07720875")
def bell_pepper(dice: Dice) -> Thing:
    skin = looks.any_of(dice, "#c21f1a", "#d83020", "#2f7a2a", "#3f8f2f", "#f0b81f", "#e87a1a")
    lobes = dice.one_of([3, 4, 4])
    tall, taper = dice.between(0.75, 1.0), dice.between(0.0, 0.25)

    def lobed(p: np.ndarray) -> np.ndarray:
        return (
            0.1 * np.abs(np.cos(lobes / 2 * np.arctan2(p[2], p[0]))) - 0.06 - taper * np.maximum(-p[1], 0) * 0.6
        )

    body = f.displaced(f.box((0.62, tall * 0.86, 0.62), 0.42), lobed, 0.7)
    body = f.cut(body, f.move(f.sphere(0.3), (0, tall * 1.0, 0)), softness=0.25)
    green = Look(looks.varied(dice, "#4f7a2a"), gloss=0.4)
    stem = f.rope(
        [(0, tall * 0.68, 0), (0.02, tall * 0.95, 0), (dice.near(0, 0.2), tall * 1.2, dice.near(0, 0.2))],
        [0.17, 0.085, 0.11],
        0.08,
    )
    return Thing(
        [Part(body, Look(skin, gloss=1.0, rough=0.12)), Part(stem, green)],
        elevation=(5, 50),
        tilt=30,
        places=(ROOM, STUDIO, YARD),
        step=0.8,
    )


@draws("n07734744")
def mushroom(dice: Dice) -> Thing:
    wide, tall = dice.between(0.7, 0.98), dice.between(0.4, 0.7)
    top = dice.between(0.1, 0.3)
    dome = f.move(f.ellipsoid((wide, tall, wide)), (0, top, 0))
    cap = f.both(dome, f.half_space((0, -1, 0), 0.05 - top))
    kind = dice.one_of(["brown", "fly", "white", "brown"])
    if kind == "fly":
        skin = looks.mix(
            looks.any_of(dice, "#c22418", "#d8441f"),
            looks.hexed("#f4efe2"),
            lambda p: 6 * (0.4 - looks.spots(p, 0.3, 7)),
        )
    else:
        tone = looks.any_of(
            dice, *(("#8a5a34", "#a87a4a", "#6a4428") if kind == "brown" else ("#eadfcc", "#f0ebe0"))
        )
        skin = looks.mottled(tone, tone * np.float32(0.75), 0.4, dice.seed())
    stalk = f.move(f.cone(dice.between(0.2, 0.34), dice.between(0.14, 0.22), 0.55, 0.05), (0, top - 0.5, 0))
    gills = f.move(f.cylinder(wide * 0.9, 0.03), (0, top - 0.03, 0))
    white = looks.varied(dice, "#e8dcc4", 0.06)
    parts = [
        Part(cap, Look(skin, gloss=0.4)),
        Part(stalk, Look(looks.mottled(white, white * np.float32(0.8), 0.2, dice.seed()), gloss=0.1)),
        Part(
            gills,
            Look(
                looks.mix(white, white * np.float32(0.55), lambda p: 0.5 + 0.5 * np.sin(150 * looks.turn_of(p)))
            ),
        ),
    ]
    return Thing(parts, elevation=(-5, 35), tilt=12, places=(YARD, YARD, ROOM, STUDIO))


@draws("n12267677")
def acorn(dice: Dice) -> Thing:
    long, wide = dice.between(0.75, 0.95), dice.between(0.48, 0.6)
    green = dice.chance(0.3)
    shade = (
        looks.any_of(dice, "#8a9a3a", "#a8a84a")
        if green
        else looks.any_of(dice, "#a8682c", "#8a5224", "#c28a4a")
    )
    nut_paint = looks.mottled(shade, shade * np.float32(0.7), 0.3, dice.seed())
    nut = f.blend(0.12, f.ellipsoid((wide, long, wide)), f.move(f.cone(0.07, 0.0, 0.09), (0, -long - 0.02, 0)))
    cup_size = wide * 1.17
    cup = f.both(f.move(f.ellipsoid((cup_size, 0.62, cup_size)), (0, 0.38, 0)), f.half_space((0, -1, 0), -0.32))
    brown = looks.any_of(dice, "#6a4a2c", "#7f6040", "#5a4630")
    scales = looks.mix(brown * np.float32(0.5), brown, lambda p: 2.2 * (1 - looks.spots(p, 0.13, 3)) - 0.4)
    stem = f.capsule((0, 0.9, 0), (dice.near(0, 0.15), 1.2, dice.near(0, 0.15)), 0.06, 0.08)
    parts = [
        Part(nut, Look(nut_paint, gloss=0.8, rough=0.2)),
        Part(cup, Look(scales, gloss=0.1, bump=lambda p: -0.05 * looks.spots(p, 0.13, 3))),
        Part(stem, Look(brown)),
    ]
    if dice.chance(0.35):  # an oak leaf beneath
        leaf = f.around(f.move(f.ellipsoid((0.5, 0.02, 0.25)), (0.45, 0, 0)), 5)
        leaf = f.stretch(f.move(leaf, (0.3, -long + 0.03, 0)), (1, 1, 0.7))
        parts.append(Part(leaf, Look(looks.any_of(dice, "#8a6a2a", "#5f7a2f", "#a8742c"), soft=0.3)))
    return Thing(parts, elevation=(0, 50), tilt=100, places=(YARD, YARD, ROOM, STUDIO))


@draws("n07614500")
def ice_cream(dice: Dice) -> Thing:
    flavours = ["#f6d9dc", "#f2e6c4", "#6a4028", "#bfe0c0", "#e88aa0", "#f4eee0", "#c9a06a", "#e8c24a"]
    parts: list[Part] = []

    def scoop(x: float, y: float, z: float, r: float) -> Part:
        tone = looks.any_of(dice, *flavours, spread=0.06)
        seed = dice.seed()
        paint = looks.mottled(tone, tone * np.float32(0.7), 0.15, seed, 2 if dice.chance(0.5) else 1)
        ball = f.blend(0.1, f.sphere(r), f.move(f.torus(r * 0.86, r * 0.18), (0, -r * 0.45, 0)))
        return Part(
            f.move(ball, (x, y, z)), Look(paint, gloss=0.35, soft=0.3, bump=looks.uneven(0.06, 0.12, seed))
        )

    if dice.chance(0.7):
        wide = dice.between(0.36, 0.46)
        cone = f.move(f.cone(0.05, wide, 0.62), (0, -0.42, 0))
        waffle = looks.varied(dice, "#d29a52")
        grid = looks.mix(
            waffle,
            waffle * np.float32(0.5),
            lambda p: (
                3
                * np.maximum(
                    np.sin(50 * looks.turn_of(p) + 14 * p[1]), np.sin(50 * looks.turn_of(p) - 14 * p[1])
                )
                - 2.2
            ),
        )
        parts.append(Part(cone, Look(grid, gloss=0.2)))
        r = wide * dice.between(1.05, 1.2)
        n = dice.one_of([1, 2, 2, 3])
        for i in range(n):
            parts.append(
                scoop(dice.near(0, 0.05), 0.2 + r * 0.6 + i * r * 1.15, dice.near(0, 0.05), r * 0.95**i)
            )
    else:
        bowl = f.move(f.shell(f.cone(0.35, 0.78, 0.28, 0.02), 0.06), (0, -0.5, 0))
        bowl = f.cut(bowl, f.half_space((0, -1, 0), 0.26))
        foot = f.union(
            f.move(f.cylinder(0.08, 0.15), (0, -0.9, 0)), f.move(f.cylinder(0.4, 0.04, 0.02), (0, -1.05, 0))
        )
        glass = dice.chance(0.5)
        tone = looks.any_of(dice, "#e8f0f4", "#f4f4f0", "#5f8fb0", "#d88a9a")
        parts.append(Part(f.union(bowl, foot), Look(tone, gloss=1, rough=0.1, clear=0.6 if glass else 0)))
        for x, z in ((0.3, 0.12), (-0.28, 0.15), (0, -0.3)):
            parts.append(scoop(x, -0.12, z, 0.38))
        if dice.chance(0.5):
            parts.append(
                Part(f.move(f.sphere(0.14), (0, 0.3, 0)), Look(looks.hexed("#b8142a"), gloss=1, rough=0.1))
            )
    return Thing(parts, elevation=(5, 40), tilt=14, places=(ROOM, STUDIO, YARD), step=0.85)


@draws("n07615774")
def ice_lolly(dice: Dice) -> Thing:
    tones = [
        ("#e8402a", "#f2a03a"),
        ("#6a3a20", "#4a2818"),
        ("#f28ab0", "#f6d0dc"),
        ("#4aa04a", "#c8dc4a"),
        ("#3a7ad0", "#f4f4f0"),
        ("#f6e2b8", "#e8a03a"),
    ]
    a, b = dice.one_of(tones)
    low, high = looks.varied(dice, a, 0.08), looks.varied(dice, b, 0.08)
    bands = dice.one_of(["plain", "two", "three"])
    paint: looks.Colour | looks.Paint = low
    if bands != "plain":
        paint = looks.mix(low, high, lambda p: 6 * p[1] if bands == "two" else 9 * (p[1] + 0.15))
    if bands == "three":
        paint = looks.mix(paint, low, lambda p: 9 * (p[1] - 0.4))
    wide = dice.between(0.34, 0.46)
    body = f.move(f.box((wide, 0.72, 0.17), 0.16), (0, 0.28, 0))
    if dice.chance(0.7):  # a round head
        body = f.union(
            f.move(f.box((wide, 0.5, 0.17), 0.16), (0, 0.06, 0)), f.move(_disc(wide, 0.17), (0, 0.58, 0))
        )
    if dice.chance(0.5):
        grooves = f.mirror(f.move(f.capsule((0, -0.25, 0), (0, 0.6, 0), 0.06), (wide * 0.4, 0, 0.19)))
        body = f.cut(body, grooves, softness=0.08)
    if dice.chance(0.35):
        body = f.cut(body, f.move(f.sphere(0.26), (wide, 0.95, 0)))
    stick = f.move(f.box((0.1, 0.42, 0.04), 0.04), (0, -0.72, 0))
    return Thing(
        [
            Part(body, Look(paint, gloss=0.8, rough=0.2, soft=0.4)),
            Part(
                stick,
                Look(looks.wooden(looks.hexed("#c9a26a"), looks.hexed("#e2c48f"), dice.seed()), gloss=0.1),
            ),
        ],
        azimuth=(-50, 50),
        elevation=(-5, 40),
        tilt=35,
        places=(ROOM, STUDIO, YARD),
    )


def _disc(radius: float, half_depth: float) -> f.Field:
    """A flat round thing that faces +z."""
    return f.turn(f.cylinder(radius, half_depth, half_depth * 0.9), "x", 90)


@draws("n07920052")
def espresso(dice: Dice) -> Thing:
    china = looks.any_of(
        dice, "#f4f2ec", "#f4f2ec", "#e8e2d4", "#3a4a5a", "#a83a2c", "#2a2a2c", "#7aa0a8", spread=0.05
    )
    look = Look(china, gloss=1.0, rough=0.12)
    top, base, tall = dice.between(0.52, 0.62), dice.between(0.28, 0.4), dice.between(0.32, 0.46)
    outer = f.cone(base, top, tall, 0.05)
    inner = f.move(f.cone(base - 0.06, top - 0.06, tall), (0, 0.09, 0))
    cup = f.cut(outer, inner)
    handle = f.move(f.turn(f.torus(tall * 0.52, 0.065), "x", 90), (top * 0.98, 0.02, 0))
    handle = f.cut(handle, outer)
    coffee = f.move(f.cylinder((base + 2 * top) / 3 - 0.05, 0.02), (0, tall * dice.between(0.45, 0.75), 0))
    crema = looks.mottled(looks.hexed("#b07a3f"), looks.hexed("#4a2410"), 0.35, dice.seed(), 2)
    saucer = f.union(
        f.move(f.cone(0.4, 0.98, 0.07, 0.02), (0, -tall - 0.02, 0)),
        f.move(f.cylinder(0.4, 0.03), (0, -tall - 0.08, 0)),
    )
    saucer = f.cut(saucer, f.move(f.cone(0.3, 0.98, 0.06), (0, -tall + 0.04, 0)))
    parts = [Part(f.union(cup, handle), look), Part(coffee, Look(crema, gloss=0.6, rough=0.2))]
    if dice.chance(0.85):
        parts.append(Part(saucer, look))
    if dice.chance(0.4):
        spoon = f.union(
            f.capsule((-0.75, -tall + 0.1, 0.25), (0.1, -tall + 0.1, 0.62), 0.03),
            f.move(f.ellipsoid((0.14, 0.03, 0.1)), (0.2, -tall + 0.1, 0.66)),
        )
        parts.append(Part(spoon, Look(looks.hexed("#c8ccd0"), metal=1, rough=0.15)))
    return Thing(parts, elevation=(22, 70), tilt=2, places=(ROOM, ROOM, STUDIO))


@draws("n07695742")
def pretzel(dice: Dice) -> Thing:
    crust = looks.any_of(dice, "#8a4a1c", "#a8622a", "#6f3814", "#b8783a")
    paint = looks.mottled(crust, crust * np.float32(0.6), 0.3, dice.seed())
    if dice.chance(0.75):
        salt = looks.hexed("#f6f2e8")
        seed = dice.seed()
        paint = looks.mix(
            paint, salt, lambda p: np.where(p[2] > 0.05, 8 * (0.26 - looks.spots(p, 0.17, seed)), 0)
        )
    thick = dice.between(0.13, 0.18)
    arm = [
        (0.42, -0.62, 0.08),
        (0.2, -0.22, 0.1),
        (-0.12, 0.1, 0.04),
        (-0.62, 0.42, 0),
        (-0.86, 0.14, 0),
        (-0.72, -0.3, 0),
        (-0.36, -0.66, 0),
        (0.0, -0.74, 0),
    ]
    rope = f.rope(
        arm, [thick * 0.7, thick * 0.8, thick, thick, thick * 1.05, thick * 1.1, thick * 1.15, thick * 1.2], 0.1
    )
    both = f.union(rope, lambda p: rope(np.stack([-p[0], p[1], p[2] + np.float32(0.06)])))
    return Thing(
        [Part(f.turn(both, "x", -90), Look(_laid(paint), gloss=0.6, rough=0.3))],
        azimuth=(-40, 40),
        elevation=(35, 85),
        tilt=8,
        places=(ROOM, STUDIO),
        step=0.8,
    )


def _laid(paint: looks.Paint) -> looks.Paint:
    """The paint of what was modelled upright and then laid on its back."""
    return lambda p: paint(np.stack([p[0], -p[2], p[1]]))


@draws("n07873807")
def pizza(dice: Dice) -> Thing:
    crust = looks.varied(dice, "#c98f4a")
    rim = f.torus(0.9, 0.1)
    base = f.cylinder(0.9, 0.05)
    seed = dice.seed()
    cheese = looks.mottled(
        looks.any_of(dice, "#f0c04a", "#f4d88a", "#e8a83a"),
        looks.any_of(dice, "#c2401f", "#d8602a"),
        0.3,
        seed,
        2.2,
    )
    topping = dice.one_of(["salami", "olives", "basil", "mixed"])
    red, black, green = looks.hexed("#9f2418"), looks.hexed("#241f1c"), looks.hexed("#3f7a24")
    colour = {"salami": red, "olives": black, "basil": green, "mixed": red}[topping]
    size = {"salami": 0.42, "olives": 0.26, "basil": 0.34, "mixed": 0.4}[topping]
    paint = looks.mix(
        cheese, colour, lambda p: 9 * (0.36 - looks.spots(np.stack([p[0], 0 * p[1], p[2]]), size, seed + 3))
    )
    if topping == "mixed":
        first = paint
        paint = looks.mix(
            first, green, lambda p: 9 * (0.25 - looks.spots(np.stack([p[0], 0 * p[1], p[2]]), 0.3, seed + 8))
        )
    if dice.chance(0.5):  # cut into slices
        slices = paint
        paint = looks.mix(
            slices,
            looks.hexed("#6a3a1c"),
            lambda p: 1.4 - 60 * np.abs(np.sin(4 * np.arctan2(p[2], p[0]))) * f.length(p[0], p[2]) / 4,
        )
    brown = looks.mottled(crust, crust * np.float32(0.5), 0.2, seed + 5, 2)
    top = f.move(f.cylinder(0.84, 0.05, 0.02), (0, 0.03, 0))
    parts = [
        Part(f.union(rim, base), Look(brown, gloss=0.2)),
        Part(top, Look(paint, gloss=0.6, rough=0.35, bump=looks.uneven(0.05, 0.12, seed))),
    ]
    if dice.chance(0.35):  # one slice taken
        wedge = f.both(f.half_space((0.0, 0, -1), 0.0), f.half_space((-0.7, 0, 0.7), 0.0))
        parts = [Part(f.cut(part.field, wedge), part.look) for part in parts]
    if dice.chance(0.5):
        parts.append(
            Part(
                f.move(f.cylinder(1.12, 0.02, 0.01), (0, -0.1, 0)),
                Look(looks.any_of(dice, "#f0eee8", "#b0855a", "#3a3a3c"), gloss=0.6),
            )
        )
    return Thing(parts, elevation=(28, 85), tilt=3, places=(ROOM, ROOM, STUDIO), step=0.85)


@draws("n07715103")
def cauliflower(dice: Dice) -> Thing:
    cream = looks.varied(dice, "#f0e8d0", 0.05)
    seed = dice.seed()
    lumps = dice.between(0.24, 0.34)
    head = f.displaced(
        f.move(f.ellipsoid((0.78, 0.62, 0.78)), (0, 0.1, 0)),
        lambda p: np.float32(0.13) * (np.float32(0.75) - looks.spots(p, lumps, seed)),
        0.6,
    )
    curds = looks.mix(cream, looks.hexed("#b8a878"), lambda p: 1.8 * (looks.spots(p, lumps, seed) - 0.35))
    leaf_tone = looks.any_of(dice, "#7a9a4a", "#9ab86a", "#5f8a3f")
    veins = looks.mix(
        leaf_tone, looks.hexed("#dbe4b8"), lambda p: 1 - 14 * np.abs(np.sin(3 * np.arctan2(p[2], p[0]))) * 0.2
    )
    leaf = f.turn(f.move(f.ellipsoid((0.1, 0.62, 0.5)), (0.86, -0.12, 0)), "z", -dice.between(10, 32))
    leaves = f.around(leaf, dice.one_of([5, 6]), dice.between(0, 60))
    return Thing(
        [
            Part(head, Look(curds, gloss=0.1, soft=0.2, bump=looks.uneven(0.05, 0.07, seed))),
            Part(leaves, Look(veins, gloss=0.3, soft=0.2)),
        ],
        elevation=(12, 65),
        tilt=12,
        places=(ROOM, STUDIO, YARD),
        step=0.75,
    )
