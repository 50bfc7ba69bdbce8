"""Draws one picture: a thing in its surroundings, marched ray by ray through distance fields.

Four rays a pixel; soft shadows as the narrowest cone of light that passes (Quilez, "Soft shadows in raymarched
SDFs"), ambient occlusion from the distance field along the normal, clear parts seen through without bending.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tools.sample import scenery
from tools.sample.dice import Dice
from tools.sample.fields import F, Field, Points, length, move, rotation
from tools.sample.looks import Look, painted
from tools.sample.scenery import Scenery
from tools.sample.thing import MAKERS, SKY, WATER, Part, Thing

SIZE = 64
"""Pixels along each edge of a picture."""
RAYS = 2
"""Rays along each edge of a pixel."""
HIT = F(0.0025)
MARCH_STEPS = 56
SHADOW_STEPS = 18
NOTHING = -1
GROUND = -2


@dataclass(frozen=True, eq=False)
class Placed:
    """Parts in the world: each with a turned and moved field."""

    field: Field
    inward: np.ndarray  # (3, 3): from the world's axes to the part's own
    origin: np.ndarray  # (3,): where the part's own origin is
    look: Look

    def own(self, p: Points) -> Points:
        return self.inward @ (p - self.origin[:, None])


@dataclass(frozen=True)
class Scene:
    parts: Sequence[Placed]
    step: float
    centre: np.ndarray  # of a ball around all parts
    radius: float
    surroundings: Scenery


@dataclass(frozen=True)
class Camera:
    eye: np.ndarray
    axes: np.ndarray  # (3, 3): columns are right, up and back
    spread: float  # tangent of half the angle of view


def picture(wnid: str, dice: Dice) -> np.ndarray:
    """One picture of a class: (64, 64, 3) uint8. What the dice say decides everything in it."""
    thing = MAKERS[wnid](dice.stream("thing"))
    return photograph(thing, dice)


def photograph(thing: Thing, dice: Dice) -> np.ndarray:
    """A picture of this thing: its place, light, camera and exposure are the dice's."""
    place = dice.one_of(thing.places)
    surroundings = scenery.scenery(dice.stream("place"), place)
    scene, camera = _arranged(thing, dice.stream("view"), surroundings, floats=place in (SKY, WATER))
    return _developed(_rays(scene, camera), dice.stream("film"))


# Arranging


def _arranged(thing: Thing, dice: Dice, surroundings: Scenery, *, floats: bool) -> tuple[Scene, Camera]:
    lean = rotation("y", dice.between(0, 360))
    turned = lean.T @ rotation("x", dice.near(0, thing.tilt)) @ lean
    if thing.tilt >= 45:  # lies as it fell
        turned = rotation("x", dice.between(-thing.tilt, thing.tilt)) @ rotation("z", dice.near(0, thing.tilt))
    inside = turned @ _inside(thing)
    lowest = float(inside[1].min())
    has_ground = surroundings.ground is not None
    lift = -lowest + (dice.between(0.1, 0.7) if floats and has_ground else 0.0)
    origin = np.array([0, lift, 0], F)
    inward = turned.T.astype(F)
    parts = [Placed(_in_world(part.field, inward, origin), inward, origin, part.look) for part in thing.parts]
    points = inside + origin[:, None]
    centre = ((points.min(axis=1) + points.max(axis=1)) / 2).astype(F)

    camera = _camera(thing, dice, points, centre)
    # The light is given as seen from the camera; things are lit from its side more often than from behind.
    view = np.arctan2(camera.axes[0, 2], camera.axes[2, 2])
    about = rotation("y", np.degrees(view)).astype(F)
    light = replace(surroundings.light, direction=about @ surroundings.light.direction)
    surroundings = replace(surroundings, light=light)

    reach = float(length(*(points - centre[:, None])).max())
    extra: list[Part] = []
    if has_ground and not floats and dice.chance(0.55):
        extra += scenery.clutter(dice.stream("clutter"), float(length(points[0], points[2]).max()))
    if dice.chance(0.22):
        extra.append(
            scenery.obstacle(dice.stream("obstacle"), camera.axes[:, 0], camera.axes[:, 2], centre, reach)
        )
    none = np.zeros(3, F)
    parts += [Placed(part.field, np.eye(3, dtype=F), none, part.look) for part in extra]
    radius = reach * 1.08 + 0.05 + (2.4 if extra else 0.0)
    return Scene(parts, thing.step, centre, radius, surroundings), camera


def _in_world(field: Field, inward: np.ndarray, origin: np.ndarray) -> Field:
    return move(lambda p: field(inward @ p), origin.tolist())


def _inside(thing: Thing) -> Points:
    """Points of a grid that lie in the thing or within a grid's width: (3, N), its own axes."""
    ticks = np.linspace(-1.35, 1.35, 28).astype(F)
    grid = np.stack(np.meshgrid(ticks, ticks, ticks)).reshape(3, -1)
    near = np.min([part.field(grid) for part in thing.parts], axis=0)
    found = grid[:, near < F(0.02)]
    if found.shape[1] < 8:  # thinner than the grid
        found = grid[:, near < F(0.08)]
    return found


def _camera(thing: Thing, dice: Dice, points: Points, centre: np.ndarray) -> Camera:
    azimuth = np.radians(dice.between(*thing.azimuth))
    elevation = np.radians(dice.between(*thing.elevation))
    back = np.array(
        [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
    )
    right = np.cross([0, 1, 0], back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    roll = rotation("z", dice.near(0, 8))
    axes = np.stack([right, up, back], axis=1) @ roll
    spread = np.tan(np.radians(dice.between(12, 24)))
    # As far away as makes the thing's larger extent fill this share of the picture.
    fill = dice.between(0.52, 1.02)
    seen = axes[:, :2].T @ (points - centre[:, None])
    extent = max(float(np.ptp(seen[0])), float(np.ptp(seen[1]))) / 2
    middle = (seen.max(axis=1) + seen.min(axis=1)) / 2
    depth = float((axes[:, 2] @ (points - centre[:, None])).max())
    distance = extent / (fill * spread) + 0.5 * depth
    aside = np.array([dice.near(0, 1), dice.near(0, 1)]) * max(1.08 - fill, 0.06) * distance * spread * 0.7
    eye = centre + axes[:, :2] @ (middle + aside) + axes[:, 2] * distance
    eye[1] = max(eye[1], 0.06)
    return Camera(eye.astype(F), axes.astype(F), float(spread))


# Marching


def _rays(scene: Scene, camera: Camera) -> np.ndarray:
    """What every ray sees: (64, 64, 3) linear light, the mean of each pixel's rays."""
    n = SIZE * RAYS
    ticks = ((np.arange(n) + 0.5) / n * 2 - 1).astype(F) * F(camera.spread)
    x, y = np.meshgrid(ticks, -ticks)
    d = camera.axes @ np.stack([x.ravel(), y.ravel(), np.full(x.size, -1, F)])
    d = d / length(*d)
    o = np.broadcast_to(camera.eye[:, None], d.shape)
    light = _seen(scene, o, d)
    return light.reshape(3, SIZE, RAYS, SIZE, RAYS).mean(axis=(2, 4)).transpose(1, 2, 0)


def _seen(scene: Scene, o: Points, d: Points, passed: tuple[Placed, ...] = ()) -> np.ndarray:
    """Linear light (3, N) along rays from o in directions d. passed: clear parts already looked through."""
    place = scene.surroundings
    parts = [part for part in scene.parts if part not in passed]
    t, what = _march(scene, parts, o, d)
    out = np.minimum(place.backdrop(d), F(4))
    if place.ground is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            t_ground = np.where(d[1] < F(-1e-4), -o[1] / d[1], F(np.inf))
        sees_ground = (t_ground > 0) & (t_ground < t) & (t_ground < F(60))
        what = np.where(sees_ground, GROUND, what)
        t = np.where(sees_ground, t_ground, t)
        here = np.flatnonzero(sees_ground)
        if here.size:
            lit = _ground(scene, o[:, here], d[:, here], t[here])
            faded = F(1) - np.exp(-F(place.haze) * np.maximum(t[here] - F(4), 0))
            out[:, here] = lit * (1 - faded) + out[:, here] * faded
    for number, part in enumerate(parts):
        here = np.flatnonzero(what == number)
        if not here.size:
            continue
        p = o[:, here] + d[:, here] * t[here]
        lit, facing = _lit(scene, part, p, d[:, here])
        if part.look.clear:
            behind = _seen(scene, o[:, here], d[:, here], (*passed, part))
            shown = F(part.look.clear) * facing ** F(0.6)
            tint = painted(part.look.colour, part.own(p))
            lit = lit * (1 - shown) + behind * (tint * F(0.75) + F(0.25)) * shown
        out[:, here] = lit
    return out


def _march(scene: Scene, parts: Sequence[Placed], o: Points, d: Points) -> tuple[np.ndarray, np.ndarray]:
    """How far each ray goes before it meets a part (infinite: it meets none), and the part's number."""
    n = d.shape[1]
    t = np.full(n, F(np.inf))
    what = np.full(n, NOTHING)
    if not parts:
        return t, what
    towards = o - scene.centre[:, None]
    b = (towards * d).sum(axis=0)
    gap = b * b - ((towards * towards).sum(axis=0) - F(scene.radius) ** 2)
    root = np.sqrt(np.maximum(gap, 0))
    active = np.flatnonzero((gap > 0) & (root - b > 0))
    at = np.maximum(-b[active] - root[active], F(0.02))
    end = root[active] - b[active]
    for _ in range(MARCH_STEPS):
        if not active.size:
            break
        p = o[:, active] + d[:, active] * at
        nearest, number = _nearest(parts, p)
        hit = nearest < HIT
        t[active[hit]] = at[hit]
        what[active[hit]] = number[hit]
        at = at + nearest * F(scene.step)
        going = ~hit & (at < end)
        active, at, end = active[going], at[going], end[going]
    return t, what


def _nearest(parts: Sequence[Placed], p: Points) -> tuple[np.ndarray, np.ndarray]:
    nearest = parts[0].field(p)
    number = np.zeros(nearest.shape, np.int64)
    for i, part in enumerate(parts[1:], 1):
        distance = part.field(p)
        closer = distance < nearest
        nearest = np.where(closer, distance, nearest)
        number[closer] = i
    return nearest, number


def _distance(scene: Scene, p: Points) -> np.ndarray:
    """The distance to the nearest part that stops light, and to the ground."""
    stops = [part for part in scene.parts if part.look.clear < 0.5 and not part.look.glow]
    nearest = _nearest(stops, p)[0] if stops else np.full(p.shape[1], F(9))
    if scene.surroundings.ground is not None:
        nearest = np.minimum(nearest, p[1])
    return nearest


# Light


def _lit(scene: Scene, part: Placed, p: Points, d: Points) -> tuple[np.ndarray, np.ndarray]:
    """The light (3, N) that a part's surface sends back from points p, and how much it faces the viewer."""
    look, place = part.look, scene.surroundings
    normal = _normal(part, p)
    facing = np.clip(-(normal * d).sum(axis=0), 0, 1)
    colour = painted(look.colour, part.own(p))
    light = place.light
    toward = light.direction[:, None]
    straight = (normal * toward).sum(axis=0)
    start = p + normal * F(0.012)
    shadow = _shadow(scene, start, straight > F(-0.2 if look.soft else 0))
    lit = np.clip(straight, 0, 1) * shadow
    if look.soft:
        lit = lit * F(1 - 0.5 * look.soft) + F(0.45 * look.soft) * np.clip(straight * F(0.5) + F(0.5), 0, 1)
    occlusion = _occlusion(scene, p, normal)
    diffuse = colour * (light.colour[:, None] * lit + scenery.lit_from_above(light, normal) * occlusion)
    half = toward - d
    half = half / np.maximum(length(*half), F(1e-4))
    sharp = F(2 / max(look.rough, 0.04) ** 2)
    highlight = (
        np.clip((normal * half).sum(axis=0), 0, 1) ** sharp * (sharp + 8) / F(40) * shadow * (straight > 0)
    )
    mirrored = d + normal * (F(2) * facing)
    around = np.minimum(place.backdrop(mirrored), F(2))
    if place.ground is not None:
        below = np.clip(-mirrored[1] * F(4), 0, 1)
        floor = place.ground(p * np.array([[1], [0], [1]], F)) * (light.colour * F(0.3) + light.above)[:, None]
        around = around * (1 - below) + floor * below
    fresnel = F(0.04) + F(0.96) * (1 - facing) ** 5
    shine = F(look.gloss) * fresnel * F(1 - 0.7 * look.rough) * occlusion
    reflected = shine * around + F(0.06 * look.gloss) * highlight * light.colour[:, None]
    if look.metal:
        full = colour * (around * occlusion + F(0.25) * highlight * light.colour[:, None]) + diffuse * F(0.25)
        out = (diffuse + reflected) * F(1 - look.metal) + full * F(look.metal)
    else:
        out = diffuse * (1 - shine) + reflected
    if look.glow:
        out = out + colour * F(look.glow)
    return out, facing


def _ground(scene: Scene, o: Points, d: Points, t: np.ndarray) -> np.ndarray:
    place = scene.surroundings
    assert place.ground is not None
    p = o + d * t
    up = np.zeros_like(p)
    up[1] = 1
    near = length(p[0] - scene.centre[0], p[2] - scene.centre[2]) < F(3 * scene.radius + 2)
    shadow = np.where(near, _shadow(scene, p + up * F(0.01), near), F(1))
    occlusion = np.ones(t.shape, F)
    close = np.flatnonzero(near)
    occlusion[close] = _occlusion(scene, p[:, close], up[:, close])
    light = place.light
    sun = light.direction[1] * shadow
    colour = place.ground(p)
    out = colour * (light.colour[:, None] * sun + light.above[:, None] * occlusion)
    if place.ground_gloss:
        mirrored = d * np.array([[1], [-1], [1]], F)
        fresnel = F(0.03) + F(0.97) * (1 - np.clip(mirrored[1], 0, 1)) ** 5
        share = F(0.5 * place.ground_gloss) * fresnel * occlusion
        out = out * (1 - share) + np.minimum(place.backdrop(mirrored), F(2)) * share
    return out


def _normal(part: Placed, p: Points) -> np.ndarray:
    e = F(0.004)
    bump = part.look.bump
    total = np.zeros_like(p)
    for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        k = np.array(corner, F)[:, None]
        q = p + k * e
        distance = part.field(q)
        if bump:
            distance = distance - bump(part.own(q))
        total += k * distance
    return total / np.maximum(length(*total), F(1e-6))


def _shadow(scene: Scene, p: Points, wanted: np.ndarray) -> np.ndarray:
    """How much of the light reaches each point, 0..1; where it is not wanted, 0."""
    light = scene.surroundings.light
    reached = wanted.astype(F)
    towards = p - scene.centre[:, None]
    b = (towards * light.direction[:, None]).sum(axis=0)
    gap = b * b - ((towards * towards).sum(axis=0) - F(scene.radius * 1.15) ** 2)
    root = np.sqrt(np.maximum(gap, 0))
    active = np.flatnonzero(wanted & (gap > 0) & (root - b > 0))
    at = np.maximum(-b[active] - root[active], F(0.02))
    end = (root - b)[active]
    stops = [part for part in scene.parts if part.look.clear < 0.5 and not part.look.glow]
    if not stops:
        return reached
    k = F(1 / light.softness)
    for _ in range(SHADOW_STEPS):
        if not active.size:
            break
        distance, _ = _nearest(stops, p[:, active] + light.direction[:, None] * at)
        passes = np.clip(F(0.5) + F(0.5) * k * distance / at, 0, 1)
        reached[active] = np.minimum(reached[active], passes)
        at = at + np.clip(distance * F(scene.step), F(0.03), F(0.5))
        going = (passes > F(0.01)) & (at < end)
        active, at, end = active[going], at[going], end[going]
    return reached * reached * (F(3) - F(2) * reached)


def _occlusion(scene: Scene, p: Points, normal: np.ndarray) -> np.ndarray:
    """How open the space before each point is, 0..1."""
    blocked = np.zeros(p.shape[1], F)
    weight = 1.0
    for away in (0.03, 0.12, 0.3):
        blocked += F(weight) * np.maximum(F(away) - _distance(scene, p + normal * F(away)), 0) / F(away)
        weight *= 0.6
    return np.clip(F(1) - F(0.5) * blocked, 0.08, 1)


# The film


def _developed(light: np.ndarray, dice: Dice) -> np.ndarray:
    """Linear light as an 8-bit sRGB picture: exposed, toned, a little noisy."""
    bright = float(np.percentile(light.mean(axis=2), 75))
    brightest = float(np.percentile(light.mean(axis=2), 96))
    exposure = min(0.42 / max(bright, 0.05) ** 0.6, 1.5 / max(brightest, 0.05)) * dice.between(0.75, 1.25)
    warmth = dice.near(0, 0.08)
    x = light * np.array([1 + warmth, 1, 1 - warmth], F) * F(exposure)
    x = x * (F(1.0) + x * F(0.25)) / (F(1.0) + x * F(0.72))  # highlights roll off
    srgb = np.clip(x, 0, 1) ** F(1 / 2.2)
    grey = srgb.mean(axis=2, keepdims=True)
    srgb = np.clip(grey + (srgb - grey) * F(1.15), 0, 1)
    contrast = F(dice.between(0.1, 0.45))
    srgb = srgb * (1 - contrast) + srgb * srgb * (F(3) - F(2) * srgb) * contrast
    noise = dice.between(0, 0.018)
    numbers = np.random.RandomState(dice.seed()).standard_normal(srgb.shape).astype(F)
    return (np.clip(srgb + numbers * F(noise), 0, 1) * 255 + 0.5).astype(np.uint8)
