"""Materials: what a surface looks like, and the noise that keeps it from looking painted on.

Colours are written as sRGB hex ("#f4a020") and computed with as linear light, arrays of float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tools.sample.dice import Dice
from tools.sample.fields import F, Points, length

Colour = np.ndarray
"""Linear red, green and blue, (3,) float32, 0..1."""
Paint = Callable[[Points], np.ndarray]
"""Gives each of the points (3, N) a colour: (3, N) float32."""
Height = Callable[[Points], np.ndarray]
"""Gives each of the points (3, N) a number: (N,) float32."""


@dataclass(frozen=True)
class Look:
    """What a surface is made of."""

    colour: Colour | Paint
    gloss: float = 0.3  # how much it shines: 0 chalk, 0.3 wood, 0.6 fruit skin, 1 lacquer or glass
    rough: float = 0.45  # how wide the highlight is: 0.05 polished, 0.8 dull
    metal: float = 0.0  # 1: reflects its surroundings in its own colour
    clear: float = 0.0  # share of the light that passes straight through: glass 0.8, a tinted bottle 0.4
    glow: float = 0.0  # light of its own: a flame 2, a lit window 1
    soft: float = 0.0  # light that comes through from behind: wax, leaves, cloth
    bump: Height | None = None  # height of fine relief, in units of length: seen in the shading alone


def hexed(text: str) -> Colour:
    """A colour from "#rrggbb"."""
    srgb = np.array([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(F)


def varied(dice: Dice, text: str, spread: float = 0.12) -> Colour:
    """A colour near the one named: hue, saturation and lightness vary by about the spread."""
    colour = hexed(text)
    grey = F(colour.mean())
    colour = grey + (colour - grey) * F(1 + dice.near(0, 2 * spread))
    tint = np.array([dice.near(1, spread), dice.near(1, spread), dice.near(1, spread)], F)
    return np.clip(colour * tint * F(dice.near(1, 2 * spread)), 0.003, 0.95).astype(F)


def any_of(dice: Dice, *texts: str, spread: float = 0.12) -> Colour:
    """One of the colours, varied."""
    return varied(dice, dice.one_of(texts), spread)


# Paints


def mix(a: Colour | Paint, b: Colour | Paint, share: Height) -> Paint:
    """From a (where share is 0 or less) to b (where it is 1 or more)."""

    def paint(p: Points) -> np.ndarray:
        t = np.clip(share(p), 0, 1).astype(F)
        return painted(a, p) * (1 - t) + painted(b, p) * t

    return paint


def painted(colour: Colour | Paint, p: Points) -> np.ndarray:
    """The colour at each point: (3, N)."""
    if callable(colour):
        return colour(p)
    return np.broadcast_to(np.asarray(colour, F)[:, None], p.shape)


def where(a: Colour | Paint, b: Colour | Paint, inside: Callable[[Points], np.ndarray]) -> Paint:
    """b where the distance-like number is below 0, a elsewhere, with an edge a hundredth wide."""
    return mix(a, b, lambda p: F(0.5) - inside(p) / F(0.01))


def mottled(a: Colour | Paint, b: Colour | Paint, size: float, seed: int, sharp: float = 1.5) -> Paint:
    """Patches of b in a, about so large; sharp: 1 blends, 5 has edges."""
    return mix(a, b, lambda p: F(0.5) + F(sharp) * (cloud(p, size, seed) - F(0.5)))


def striped(a: Colour | Paint, b: Colour | Paint, along: Height, width: float, share: float = 0.5) -> Paint:
    """Stripes of b over a across a coordinate, one each width, b taking its share."""
    return where(a, b, lambda p: F(width) * (np.abs(np.mod(along(p) / F(width), F(1)) - F(0.5)) - F(share / 2)))


def wooden(dark: Colour, light: Colour, seed: int, axis: str = "y", ring: float = 0.09) -> Paint:
    """Wood whose grain runs along an axis."""
    along = "xyz".index(axis)

    def share(p: Points) -> np.ndarray:
        q = p.copy()
        q[along] *= F(0.12)
        warped = cloud(q, 0.25, seed) * F(0.5)
        others = [q[i] for i in range(3) if i != along]
        rings = np.mod((length(others[0] + F(0.31), others[1] - F(0.17)) + warped) / F(ring), F(1))
        return F(0.75) * rings + F(0.35) * grain(q, 0.02, seed + 1)

    return mix(light, dark, share)


# Coordinates to paint by


def axis_of(axis: str) -> Height:
    i = "xyz".index(axis)
    return lambda p: p[i]


def turn_of(p: Points) -> np.ndarray:
    """The angle about the y axis, in turns, -0.5..0.5."""
    return np.arctan2(p[2], p[0]) * F(1 / (2 * np.pi))


# Noise


def grain(p: Points, size: float, seed: int) -> np.ndarray:
    """Smooth noise, 0..1, with lumps of about this size."""
    q = p * F(1 / size)
    base = np.floor(q)
    f = q - base
    f = f * f * (F(3) - F(2) * f)
    i = base.astype(np.int64)
    result: np.ndarray | None = None
    for dx in (0, 1):
        wx = f[0] if dx else F(1) - f[0]
        for dy in (0, 1):
            wy = f[1] if dy else F(1) - f[1]
            for dz in (0, 1):
                wz = f[2] if dz else F(1) - f[2]
                term = wx * wy * wz * _hashed(i[0] + dx, i[1] + dy, i[2] + dz, seed)
                result = term if result is None else result + term
    assert result is not None
    return result


def cloud(p: Points, size: float, seed: int, octaves: int = 3) -> np.ndarray:
    """Noise at several scales, about 0..1, with the largest lumps of about this size."""
    total = np.zeros(p.shape[1], F)
    weight, sum_of_weights = 1.0, 0.0
    for octave in range(octaves):
        total += F(weight) * grain(p, size / 2**octave, seed + octave)
        sum_of_weights += weight
        weight *= 0.5
    return total / F(sum_of_weights)


def spots(p: Points, size: float, seed: int) -> np.ndarray:
    """Distance to the nearest of scattered points, in units of their spacing: small in a spot."""
    q = p * F(1 / size)
    base = np.floor(q).astype(np.int64)
    nearest = np.full(p.shape[1], F(9))
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            for dz in (-1, 0, 1):
                cell = (base[0] + dx, base[1] + dy, base[2] + dz)
                squared = np.zeros(p.shape[1], F)
                for axis in range(3):
                    centre = cell[axis].astype(F) + _hashed(*cell, seed + 17 * (axis + 1))
                    squared += (q[axis] - centre) ** 2
                nearest = np.minimum(nearest, squared)
    return np.sqrt(nearest)


def _hashed(x: np.ndarray, y: np.ndarray, z: np.ndarray, seed: int) -> np.ndarray:
    """A number 0..1 for each lattice point: whole-number arithmetic, the same everywhere."""
    h = (x * 374761393 + y * 668265263 + z * 2147483647 + seed * 974711) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 2246822519) & 0xFFFFFFFF
    return ((h >> 8) & 0xFFFF).astype(F) * F(1 / 65535)


def uneven(depth: float, size: float, seed: int) -> Height:
    """Relief for Look.bump: lumps of this size, this deep."""
    return lambda p: F(depth) * cloud(p, size, seed, 2)


def dimpled(depth: float, size: float, seed: int) -> Height:
    """Relief for Look.bump: small pits, as in an orange's skin."""
    return lambda p: -F(depth) * np.maximum(F(1) - F(2) * spots(p, size, seed), F(0))


Stops = Sequence[tuple[float, str]]


def graded(along: Height, stops: Stops) -> Paint:
    """Colours that run into each other along a coordinate: (place, "#rrggbb"), places ascending."""
    places = np.array([place for place, _ in stops])
    colours = np.stack([hexed(text) for _, text in stops])

    def paint(p: Points) -> np.ndarray:
        t = along(p)
        return np.stack([np.interp(t, places, colours[:, i]) for i in range(3)]).astype(F)

    return paint
