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
        looks.any_of(dice, "#f08a12", "#f49a1c", "#e87a10"), looks.any_of(dice, "#f0a030", "#d9700a"), 0.5, dice.seed()
    )
    body = f.cut(
        f.ellipsoid((0.9, 0.9 * squash, 0.9)), f.move(f.sphere(0.12), (0, 0.98 * squash, 0)), softness=0.12
    )
    parts = [Part(body, Look(skin, gloss=0.5, rough=0.35, bump=looks.dimpled(0.02, 0.075, dice.seed())))]
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
        looks.any_of(dice, "#f6dd2c", "#f2d21e", "#eccb1a"), looks.any_of(dice, "#f8e868", "#cfc22a"), 0.6, dice.seed()
    )
    body = f.blend(
        0.22,
        f.ellipsoid((long * 0.86, wide, wide)),
        f.move(f.ellipsoid((0.16, 0.14, 0.14)), (long * 0.87, 0, 0)),
        f.move(f.ellipsoid((0.12, 0.1, 0.1)), (-long * 0.86, 0, 0)),
    )
    parts = [Part(body, Look(skin, gloss=0.55, rough=0.3, bump=looks.dimpled(0.018, 0.085, dice.seed())))]
    stem = f.move(f.cylinder(0.05, 0.03), (0, 0, 0))
    stem = f.move(f.turn(stem, "z", 90), (-long * 0.97, 0, 0))
    parts.append(Part(stem, Look(looks.hexed("#7a7a35"), gloss=0.1)))
    return Thing(parts, elevation=(5, 60), tilt=25, places=(ROOM, STUDIO, YARD))
