"""Signed-distance fields: shapes as functions, and the ways to combine them.

A field takes points as an array (3, N) of float32 and gives (N,) float32: how far each point is from the
surface, negative inside. Lengths are in units in which a thing is about 2 across; y is up. The formulas for
boxes, cones and polygons are the usual exact distances (Hart, "Sphere tracing", 1996, and Quilez's collection
at iquilezles.org); where a field is only a bound, its docstring says so.
"""

from collections.abc import Callable, Sequence

import numpy as np

Points = np.ndarray
Field = Callable[[Points], np.ndarray]
Vector = Sequence[float]

F = np.float32


def length(*parts: np.ndarray) -> np.ndarray:
    total = parts[0] * parts[0]
    for part in parts[1:]:
        total = total + part * part
    return np.sqrt(total)


# Shapes around the origin


def sphere(radius: float) -> Field:
    return lambda p: length(p[0], p[1], p[2]) - F(radius)


def ellipsoid(radii: Vector) -> Field:
    """An ellipsoid with these three radii. A bound, close to the distance near the surface."""
    r = np.asarray(radii, F)[:, None]

    def field(p: Points) -> np.ndarray:
        scaled = p / r
        k0 = length(*scaled)
        k1 = length(*(scaled / r))
        return k0 * (k0 - F(1)) / np.maximum(k1, F(1e-6))

    return field


def box(half: Vector, rounding: float = 0.0) -> Field:
    """A box with these half sizes, its edges rounded within them."""
    h = np.asarray(half, F)[:, None] - F(rounding)

    def field(p: Points) -> np.ndarray:
        q = np.abs(p) - h
        outside = np.maximum(q, F(0))
        inside = np.minimum(np.maximum(q[0], np.maximum(q[1], q[2])), F(0))
        return length(*outside) + inside - F(rounding)

    return field


def cylinder(radius: float, half_height: float, rounding: float = 0.0) -> Field:
    """An upright cylinder."""

    def field(p: Points) -> np.ndarray:
        return _capped(length(p[0], p[2]) - F(radius - rounding), np.abs(p[1]) - F(half_height - rounding)) - F(
            rounding
        )

    return field


def prism(sides: int, radius: float, half_height: float, rounding: float = 0.0) -> Field:
    """An upright prism over a regular polygon; radius: of the circle inside it."""
    half = np.pi / sides

    def field(p: Points) -> np.ndarray:
        angle = np.arctan2(p[2], p[0])
        folded = np.mod(angle + F(half), F(2 * half)) - F(half)
        across = length(p[0], p[2]) * np.cos(folded) - F(radius - rounding)
        return _capped(across, np.abs(p[1]) - F(half_height - rounding)) - F(rounding)

    return field


def cone(bottom: float, top: float, half_height: float, rounding: float = 0.0) -> Field:
    """An upright cone with these radii at its two ends; one may be 0."""
    h = half_height - rounding
    return rounded(
        lathe([(0, -h), (max(bottom - rounding, 0), -h), (max(top - rounding, 0), h), (0, h)]), rounding
    )


def torus(radius: float, thickness: float) -> Field:
    """A ring that lies flat; thickness: radius of its tube."""
    return lambda p: length(length(p[0], p[2]) - F(radius), p[1]) - F(thickness)


def capsule(a: Vector, b: Vector, radius: float, radius_b: float | None = None) -> Field:
    """A rod from a to b with round ends, tapering to radius_b. A bound where it tapers."""
    start = np.asarray(a, F)[:, None]
    along = np.asarray(b, F)[:, None] - start
    squared = F(max(float((along * along).sum()), 1e-9))
    growth = F((radius if radius_b is None else radius_b) - radius)

    def field(p: Points) -> np.ndarray:
        q = p - start
        h = np.clip((q * along).sum(axis=0) / squared, F(0), F(1))
        return length(*(q - along * h)) - (F(radius) + growth * h)

    return field


def rope(points: Sequence[Vector], radii: float | Sequence[float], smooth: float = 0.0) -> Field:
    """Rods through all points, one after the other; smooth: how softly they run into each other."""
    widths = [radii] * len(points) if isinstance(radii, (int, float)) else list(radii)
    rods = [capsule(a, b, ra, rb) for a, b, ra, rb in zip(points, points[1:], widths, widths[1:], strict=False)]
    return blend(smooth, *rods) if smooth else union(*rods)


def lathe(profile: Sequence[tuple[float, float]]) -> Field:
    """What turns around the y axis: a closed outline of (radius, y) corners, in either direction.

    It may touch the axis; what closes it there is not seen.
    """
    flat = polygon(profile)
    return lambda p: flat(np.stack([length(p[0], p[2]), p[1]]))


def extrude(outline: Sequence[tuple[float, float]], half_depth: float, rounding: float = 0.0) -> Field:
    """A plate with an outline of (x, y) corners, as deep as said on both sides of z = 0. rounding grows it."""
    flat = polygon(outline)
    return lambda p: _capped(flat(p[:2]), np.abs(p[2]) - F(half_depth - rounding)) - F(rounding)


def polygon(corners: Sequence[tuple[float, float]]) -> Field:
    """A flat outline as a field over points (2, N)."""
    ends = [np.asarray(corner, np.float64) for corner in corners]
    edges = [
        (a, a - b, max(float((a - b) @ (a - b)), 1e-12))  # the edge from a's predecessor b
        for a, b in zip(ends, ends[-1:] + ends[:-1], strict=True)
    ]

    def field(p: Points) -> np.ndarray:
        x, y = p[0], p[1]
        nearest: np.ndarray | None = None
        inside = np.zeros(x.shape, bool)
        for a, e, squared in edges:
            bx, by = F(a[0] - e[0]), F(a[1] - e[1])
            wx, wy = x - bx, y - by
            h = np.clip((wx * F(e[0]) + wy * F(e[1])) / F(squared), F(0), F(1))
            dx, dy = wx - h * F(e[0]), wy - h * F(e[1])
            distance = dx * dx + dy * dy
            nearest = distance if nearest is None else np.minimum(nearest, distance)
            if e[1]:
                crosses = (y >= by) != (y >= F(a[1]))
                inside ^= crosses & (x < bx + wy * F(e[0] / e[1]))
        assert nearest is not None
        return np.where(inside, -np.sqrt(nearest), np.sqrt(nearest))

    return field


def above(height: float) -> Field:
    """Everything below y = height: what remains after cut(shape, above(0)) is its upper half."""
    return lambda p: p[1] - F(height)


def half_space(normal: Vector, offset: float) -> Field:
    """Everything on the far side of a plane from where its normal points."""
    n = np.asarray(normal, np.float64)
    n = (n / np.linalg.norm(n)).astype(F)
    return lambda p: p[0] * n[0] + p[1] * n[1] + p[2] * n[2] - F(offset)


# Combinations


def union(*fields: Field) -> Field:
    def field(p: Points) -> np.ndarray:
        nearest = fields[0](p)
        for other in fields[1:]:
            nearest = np.minimum(nearest, other(p))
        return nearest

    return field


def blend(softness: float, *fields: Field) -> Field:
    """A union whose seams are filled, over about the length softness."""
    k = F(softness)

    def field(p: Points) -> np.ndarray:
        nearest = fields[0](p)
        for other in fields[1:]:
            distance = other(p)
            h = np.maximum(k - np.abs(nearest - distance), F(0)) / k
            nearest = np.minimum(nearest, distance) - h * h * k * F(0.25)
        return nearest

    return field


def cut(field: Field, *holes: Field, softness: float = 0.0) -> Field:
    """The field without what lies in the holes. A bound inside them."""
    k = F(softness)

    def remaining(p: Points) -> np.ndarray:
        distance = field(p)
        for hole in holes:
            other = -hole(p)
            if softness:
                h = np.maximum(k - np.abs(distance - other), F(0)) / k
                distance = np.maximum(distance, other) + h * h * k * F(0.25)
            else:
                distance = np.maximum(distance, other)
        return distance

    return remaining


def both(*fields: Field) -> Field:
    """What lies in all of the fields. A bound outside."""

    def field(p: Points) -> np.ndarray:
        farthest = fields[0](p)
        for other in fields[1:]:
            farthest = np.maximum(farthest, other(p))
        return farthest

    return field


def shell(field: Field, thickness: float) -> Field:
    """A hollow skin around the surface, as thick as said in all."""
    return lambda p: np.abs(field(p)) - F(thickness / 2)


def rounded(field: Field, by: float) -> Field:
    """The field grown on all sides, its edges rounded."""
    return lambda p: field(p) - F(by)


# Placing and deforming


def move(field: Field, by: Vector) -> Field:
    offset = np.asarray(by, F)[:, None]
    return lambda p: field(p - offset)


def turn(field: Field, axis: str, degrees: float) -> Field:
    """The field turned about one axis ("x", "y" or "z"), counter-clockwise as seen from its positive end."""
    back = rotation(axis, degrees).T.astype(F)
    return lambda p: field(back @ p)


def rotation(axis: str, degrees: float) -> np.ndarray:
    """The matrix (3, 3), float64, that turns points about an axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def scale(field: Field, by: float) -> Field:
    return lambda p: field(p * F(1 / by)) * F(by)


def stretch(field: Field, by: Vector) -> Field:
    """The field stretched along the axes. A bound: the distances are those of the most shrunk direction."""
    factors = np.asarray(by, F)[:, None]
    least = F(min(by))
    return lambda p: field(p / factors) * least


def mirror(field: Field, axis: str = "x") -> Field:
    """What lies at positive x (or y, z), and its mirror image."""
    i = "xyz".index(axis)

    def mirrored(p: Points) -> np.ndarray:
        q = p.copy()
        q[i] = np.abs(q[i])
        return field(q)

    return mirrored


def around(field: Field, count: int, first_degrees: float = 0.0) -> Field:
    """Copies of what lies near the positive x axis, evenly spaced around the y axis.

    The copies must not reach beyond their sectors.
    """
    sector = 2 * np.pi / count
    first = np.radians(first_degrees)

    def repeated(p: Points) -> np.ndarray:
        angle = np.arctan2(p[2], p[0]) - F(first)
        folded = np.mod(angle + F(sector / 2), F(sector)) - F(sector / 2)
        r = length(p[0], p[2])
        return field(np.stack([r * np.cos(folded), p[1], r * np.sin(folded)]))

    return repeated


def twist(field: Field, degrees_per_unit: float) -> Field:
    """The field twisted about the y axis. A bound: use it for slender shapes and gentle twists."""
    rate = F(np.radians(degrees_per_unit))

    def twisted(p: Points) -> np.ndarray:
        c, s = np.cos(p[1] * rate), np.sin(p[1] * rate)
        return field(np.stack([c * p[0] - s * p[2], p[1], s * p[0] + c * p[2]])) * F(0.8)

    return twisted


def displaced(field: Field, outward: Callable[[Points], np.ndarray], safety: float = 0.7) -> Field:
    """The surface pushed outward by a length that depends on the point. safety: below 1 for steep changes."""
    return lambda p: (field(p) - outward(p)) * F(safety)


def _capped(across: np.ndarray, along: np.ndarray) -> np.ndarray:
    """The distance to what is limited by two distances at right angles to each other."""
    return np.minimum(np.maximum(across, along), F(0)) + length(
        np.maximum(across, F(0)), np.maximum(along, F(0))
    )
