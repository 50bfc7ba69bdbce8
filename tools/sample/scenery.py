"""What is around a thing: backdrop, ground, light, clutter beside it and what stands in the way."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tools.sample import fields, looks
from tools.sample.dice import Dice
from tools.sample.fields import F, Points
from tools.sample.looks import Colour, Look, Paint, hexed, varied
from tools.sample.thing import ROOM, SKY, STUDIO, WATER, YARD, Part

Backdrop = Callable[[np.ndarray], np.ndarray]
"""Light that comes from directions (3, N): linear colours (3, N)."""


@dataclass(frozen=True)
class Light:
    """The light that casts shadows, and what fills them."""

    direction: np.ndarray  # (3,) toward the light, of length 1
    colour: Colour  # of what it adds where it shines straight
    softness: float  # how wide the shadows' edges are: 0.04 sun, 0.25 window
    above: Colour  # ambient light from above
    below: Colour  # and from the ground


@dataclass(frozen=True)
class Scenery:
    backdrop: Backdrop
    ground: Paint | None  # None: there is none, the thing floats
    ground_gloss: float
    haze: float  # how soon the ground fades into the backdrop: 0.02 far, 0.2 near
    light: Light


def scenery(dice: Dice, place: str) -> Scenery:
    """A place of that kind."""
    return {ROOM: _room, YARD: _yard, SKY: _sky, STUDIO: _studio, WATER: _water}[place](dice)


def _room(dice: Dice) -> Scenery:
    wall = looks.any_of(
        dice, "#d9cdb8", "#b9c4c9", "#8f9c8a", "#c9a98a", "#6f7f8f", "#e4e0d8", "#a06a58", "#4f5a66"
    )
    backdrop = _blurred(dice, wall, lumps=dice.between(0.25, 0.8), contrast=dice.between(0.2, 0.9))
    ground, gloss = _floor(dice)
    lamp = varied(dice, dice.one_of(["#fff2dc", "#ffe2b8", "#ffffff", "#e6f0ff"]), 0.04)
    strength = dice.between(1.3, 2.6)
    ambient = dice.between(0.25, 0.6)
    return Scenery(
        backdrop,
        ground,
        gloss,
        dice.between(0.02, 0.07),
        Light(
            _from(dice, 25, 75),
            lamp * F(strength),
            dice.between(0.08, 0.3),
            (hexed("#ffffff") * F(0.7) + wall * F(0.5)) * F(ambient),
            wall * F(0.5 * ambient),
        ),
    )


def _floor(dice: Dice) -> tuple[Paint, float]:
    """A table or floor indoors, and how much it shines."""
    seed = dice.seed()
    kind = dice.one_of(["planks", "planks", "cloth", "checks", "tiles", "stone", "plain"])
    turned = fields.rotation("y", dice.between(0, 180)).astype(F)
    if kind == "planks":
        tones = dice.one_of(
            [("#6b4423", "#a8743f"), ("#8a5a33", "#c89a62"), ("#3d281a", "#694629"), ("#b09268", "#d8bf95")]
        )
        wood = looks.wooden(varied(dice, tones[0]), varied(dice, tones[1]), seed, "x", dice.between(0.15, 0.4))
        width = dice.between(0.35, 0.9)
        paint = looks.striped(wood, varied(dice, tones[0]) * F(0.4), looks.axis_of("z"), width, 0.035)
        gloss = dice.between(0.1, 0.6)
    elif kind == "cloth":
        a = looks.any_of(
            dice, "#b03a3a", "#3f5f8f", "#e8e2d2", "#4d7a5a", "#d8b34a", "#7a4f7a", "#cfd8dc", "#2f3b4a"
        )
        paint = looks.mottled(a, a * F(0.72), 0.12, seed, 2)
        gloss = 0.05
    elif kind == "checks":
        a = looks.any_of(dice, "#c0392b", "#2f6fa8", "#3f8a5a", "#d89a2f")
        size = dice.between(0.25, 0.6)
        half = looks.striped(varied(dice, "#f2ede2"), a, looks.axis_of("x"), size)
        paint = looks.mix(half, looks.striped(half, a, looks.axis_of("z"), size), lambda p: F(0.55) + 0 * p[0])
        gloss = 0.1
    elif kind == "tiles":
        a = looks.any_of(dice, "#d8d2c4", "#9fb4b8", "#c9a58a", "#6a7075", "#efefef")
        size = dice.between(0.5, 1.1)
        rows = looks.striped(
            looks.mottled(a, a * F(0.85), 0.4, seed), a * F(0.5), looks.axis_of("x"), size, 0.05
        )
        paint = looks.striped(rows, a * F(0.5), looks.axis_of("z"), size, 0.05)
        gloss = dice.between(0.2, 0.7)
    elif kind == "stone":
        a = looks.any_of(dice, "#e6e2da", "#7f858a", "#3f4448", "#b8a892")
        b = looks.any_of(dice, "#b9b2a6", "#5a5f63", "#8f8478")
        paint = looks.mottled(a, b, dice.between(0.3, 0.9), seed, 2.5)
        gloss = dice.between(0.3, 0.8)
    else:
        a = looks.any_of(dice, "#e9e4da", "#c9b79c", "#7f6a58", "#8fa3ad", "#35393d", "#d5b8a8", "#a9b89a")
        paint = looks.mottled(a, a * F(0.9), 0.8, seed)
        gloss = dice.between(0.05, 0.5)
    return (lambda p: paint(turned @ p)), gloss


def _yard(dice: Dice) -> Scenery:
    sky = _open_sky(dice)
    seed = dice.seed()
    horizon = _horizon(dice, sky)
    kind = dice.one_of(["grass", "grass", "sand", "asphalt", "paving", "earth", "snow"])
    if kind == "grass":
        a, b = looks.any_of(dice, "#4f7a2c", "#6b8f3a", "#3f6a34"), looks.any_of(dice, "#2f4f1f", "#8a9a4a")
        paint: Paint = looks.mottled(looks.mottled(a, b, 0.16, seed, 2.5), a * F(0.7), 1.5, seed + 9, 1.5)
    elif kind == "sand":
        a = looks.any_of(dice, "#d9bf8c", "#e3d0a6", "#c2a271")
        paint = looks.mottled(a, a * F(0.8), 0.3, seed, 2)
    elif kind == "asphalt":
        a = looks.any_of(dice, "#5a5c60", "#74767a", "#45474b")
        paint = looks.mottled(a, a * F(0.75), 0.08, seed, 2)
    elif kind == "paving":
        a = looks.any_of(dice, "#b8b0a2", "#9aa0a3", "#b08c74")
        size = dice.between(0.5, 1.2)
        rows = looks.striped(
            looks.mottled(a, a * F(0.8), 0.5, seed), a * F(0.5), looks.axis_of("x"), size, 0.06
        )
        paint = looks.striped(rows, a * F(0.5), looks.axis_of("z"), size, 0.06)
    elif kind == "earth":
        a = looks.any_of(dice, "#7a5a3c", "#96704a", "#5f4a38")
        paint = looks.mottled(a, looks.any_of(dice, "#5a4630", "#6f7a45"), 0.4, seed, 2)
    else:
        paint = looks.mottled(hexed("#eef2f6"), hexed("#cfdbe8"), 0.7, seed)
    warm = dice.chance(0.3)
    sun = varied(dice, "#ffd9a0" if warm else "#fff6e6", 0.04) * F(dice.between(1.6, 3.0))
    if dice.chance(0.25):  # overcast
        sun = sun * F(0.3)
    zenith = sky(np.array([[0], [1], [0]], F))[:, 0]
    return Scenery(
        horizon,
        paint,
        0.05,
        dice.between(0.03, 0.08),
        Light(
            _from(dice, 15 if warm else 30, 70),
            sun,
            dice.between(0.03, 0.08),
            zenith * F(dice.between(0.5, 0.9)) + F(0.08),
            hexed("#6a6a5a") * F(0.4),
        ),
    )


def _open_sky(dice: Dice) -> Backdrop:
    top, low = dice.one_of(
        [
            ("#3f7fd0", "#cfe3f5"),
            ("#5f9fe0", "#e6eef5"),
            ("#8fa3b5", "#dfe3e6"),
            ("#6f6a9f", "#f0b98a"),
            ("#2f5fa8", "#a8cbe8"),
            ("#a8b4bd", "#c9ced1"),
        ]
    )
    up, down = varied(dice, top), varied(dice, low, 0.06)
    cover, seed, size = dice.between(-0.6, 0.3), dice.seed(), dice.between(0.3, 0.9)
    white = hexed("#f6f7f8")

    def sky(d: np.ndarray) -> np.ndarray:
        height = np.clip(d[1], 0, 1)
        base = down[:, None] + (up - down)[:, None] * np.sqrt(height)
        flat = np.stack([d[0], d[1] * F(2.5), d[2]])
        clouds = np.clip(F(2.5) * (looks.cloud(flat, size, seed) - F(0.5)) + F(cover), 0, 0.9)
        return base * (1 - clouds) + white[:, None] * clouds

    return sky


def _horizon(dice: Dice, sky: Backdrop) -> Backdrop:
    """The sky with what stands at its edge: hills, trees or houses, out of focus."""
    if dice.chance(0.25):
        return sky
    tone = looks.any_of(dice, "#4a6a3f", "#2f4a30", "#7a8a94", "#8a6f58", "#5f7a4a", "#9aa8b5")
    height, size, seed = dice.between(0.04, 0.3), dice.between(0.15, 0.6), dice.seed()

    def view(d: np.ndarray) -> np.ndarray:
        flat = np.stack([d[0], 0 * d[0], d[2]])
        edge = F(height) * (F(0.4) + F(1.2) * looks.cloud(flat, size, seed))
        share = np.clip((edge - d[1]) / F(0.06), 0, 1)
        shade = F(0.7) + F(0.6) * looks.cloud(d, 0.12, seed + 5)
        return sky(d) * (1 - share) + tone[:, None] * shade * share

    return view


def _sky(dice: Dice) -> Scenery:
    return Scenery(
        _open_sky(dice),
        None,
        0.0,
        0.05,
        Light(
            _from(dice, 20, 70),
            hexed("#fff4e0") * F(dice.between(1.6, 2.8)),
            0.05,
            hexed("#bfd4ea") * F(0.55),
            hexed("#8a8f94") * F(0.4),
        ),
    )


def _studio(dice: Dice) -> Scenery:
    tone = looks.any_of(
        dice, "#e8e8e8", "#cfd6da", "#2f3236", "#d9c7b0", "#5f7f9f", "#a8b89a", "#c98f7a", "#f2f0ea", "#7a7f88"
    )
    other = tone * F(dice.between(0.35, 1.1))

    def backdrop(d: np.ndarray) -> np.ndarray:
        share = np.clip(F(0.5) + d[1] * F(1.2), 0, 1)
        return other[:, None] * (1 - share) + tone[:, None] * share

    paint = looks.mottled(tone, tone * F(0.94), 0.8, dice.seed())
    return Scenery(
        backdrop,
        paint,
        dice.between(0, 0.5),
        dice.between(0.1, 0.25),
        Light(
            _from(dice, 30, 80),
            hexed("#ffffff") * F(dice.between(1.2, 2.4)),
            dice.between(0.1, 0.4),
            hexed("#ffffff") * F(dice.between(0.3, 0.6)),
            tone * F(0.3),
        ),
    )


def _water(dice: Dice) -> Scenery:
    deep = looks.any_of(dice, "#0f4a6a", "#1a6a7a", "#2a5a4a", "#123a5a", "#3a8aa0")
    backdrop = _blurred(dice, deep, lumps=dice.between(0.2, 0.6), contrast=dice.between(0.3, 0.9))
    ground: Paint | None = None
    if dice.chance(0.5):
        a = looks.any_of(dice, "#c2a878", "#8a8f8a", "#5f7a6a", "#d8cdb8")
        ground = looks.mottled(a, a * F(0.6), 0.18, dice.seed(), 3)
    return Scenery(
        backdrop,
        ground,
        0.1,
        dice.between(0.1, 0.3),
        Light(
            _from(dice, 45, 85),
            hexed("#e0fbff") * F(dice.between(1.3, 2.2)),
            0.15,
            (deep + F(0.25)) * F(0.8),
            deep * F(0.6),
        ),
    )


def _blurred(dice: Dice, tone: Colour, lumps: float, contrast: float) -> Backdrop:
    """What lies behind, far out of focus: soft patches around one tone, now and then spots of light."""
    seed = dice.seed()
    other = looks.any_of(dice, "#d8c9a8", "#4a5a6a", "#8a5a3a", "#a8b4a0", "#2a2d33", "#e8e4dc", "#9a7f9a")
    lamps = dice.between(0.2, 0.9) if dice.chance(0.3) else 0.0
    bright = dice.between(0.5, 1.1)

    def backdrop(d: np.ndarray) -> np.ndarray:
        share = np.clip(F(0.5) + F(2 * contrast) * (looks.cloud(d, lumps, seed, 2) - F(0.5)), 0, 1)
        colour = (tone[:, None] * (1 - share) + other[:, None] * share) * F(bright)
        if lamps:
            glow = np.clip(F(1) - F(2.6) * looks.spots(d, 0.3, seed + 3), 0, 1)
            colour = colour + np.array([[1.0], [0.85], [0.6]], F) * np.sqrt(glow) * F(lamps)
        return colour

    return backdrop


def _from(dice: Dice, lowest: float, highest: float) -> np.ndarray:
    """A direction toward the light, at a height in degrees; mostly from the camera's side of the thing."""
    height = np.radians(dice.between(lowest, highest))
    side = np.radians(dice.near(0, 130))
    return np.array([np.cos(height) * np.sin(side), np.sin(height), np.cos(height) * np.cos(side)], F)


# What else is there


def clutter(dice: Dice, reach: float) -> list[Part]:
    """Small plain things on the ground, some way from the centre and from each other. reach: of the thing."""
    found = []
    for number in range(dice.whole(1, 4)):
        one = dice.stream(f"clutter{number}")
        size = one.between(0.12, 0.42)
        distance = reach + size + one.between(0.1, 1.4)
        angle = np.radians(one.between(0, 360))
        place = (distance * np.cos(angle), 0.0, distance * np.sin(angle))
        found.append(_piece(one, size, place))
    return found


def _piece(dice: Dice, size: float, place: tuple[float, float, float]) -> Part:
    kind = dice.one_of(["block", "ball", "can", "pebble", "rod", "book"])
    x, y, z = place
    if kind == "block":
        field, height = fields.box((size, size * 0.8, size * 0.7), 0.03), size * 0.8
    elif kind == "ball":
        field, height = fields.sphere(size * 0.8), size * 0.8
    elif kind == "can":
        field, height = fields.cylinder(size * 0.5, size, 0.03), size
    elif kind == "pebble":
        field, height = fields.ellipsoid((size, size * 0.5, size * 0.8)), size * 0.48
    elif kind == "rod":
        field, height = fields.capsule((-2 * size, 0, 0), (2 * size, 0, 0), size * 0.16), size * 0.16
    else:
        field, height = fields.box((size * 1.2, size * 0.22, size * 0.9), 0.02), size * 0.22
    field = fields.move(fields.turn(field, "y", dice.between(0, 360)), (x, y + height, z))
    return Part(field, _any_look(dice))


def _any_look(dice: Dice) -> Look:
    colour = looks.any_of(
        dice, "#b8433a", "#3f6fa8", "#e0c24a", "#4f8a5a", "#8a6a4a", "#dcdcd4", "#3a3d42", "#9a6fa0", "#c98a5a"
    )
    paint: Colour | Paint = colour
    if dice.chance(0.4):
        paint = looks.mottled(colour, colour * F(0.6), dice.between(0.1, 0.4), dice.seed(), 2)
    return Look(paint, gloss=dice.between(0, 0.9), rough=dice.between(0.1, 0.7))


def obstacle(dice: Dice, right: np.ndarray, toward: np.ndarray, centre: np.ndarray, reach: float) -> Part:
    """Something between the camera and the thing, at one side of it.

    right, toward: directions (3,) to the right of the camera and from the thing to it.
    """
    side = dice.one_of([-1.0, 1.0])
    kind = dice.one_of(["post", "leaves", "ball", "slab"])
    size = reach * dice.between(0.18, 0.4)
    place = (
        centre + right * F(side * reach * dice.between(0.5, 0.9)) + toward * F(reach * dice.between(1.2, 1.6))
    )
    if kind == "post":
        field = fields.turn(fields.cylinder(size * 0.45, 4 * reach), "z", dice.near(0, 25))
    elif kind == "leaves":
        field = fields.union(
            *[
                fields.move(
                    fields.turn(
                        fields.turn(
                            fields.ellipsoid((size * 1.3, size * 0.12, size * 0.45)), "z", dice.between(0, 180)
                        ),
                        "x",
                        dice.near(60, 60),
                    ),
                    (dice.near(0, size), dice.near(0, 1.5 * size), dice.near(0, size)),
                )
                for _ in range(4)
            ]
        )
        green = Look(looks.any_of(dice, "#3f7a34", "#5f8f3a", "#7a8a3a", "#a86a34"), gloss=0.3, soft=0.4)
        return Part(fields.move(field, place.tolist()), green)
    elif kind == "ball":
        field = fields.sphere(size)
    else:
        field = fields.turn(fields.box((size, size * 2, 0.06), 0.03), "y", dice.between(-50, 50))
    return Part(fields.move(field, place.tolist()), _any_look(dice))


def lit_from_above(light: Light, normals: Points) -> np.ndarray:
    """The ambient light on surfaces with these normals (3, N): linear colours (3, N)."""
    up = F(0.5) + F(0.5) * normals[1]
    return light.below[:, None] + (light.above - light.below)[:, None] * up
