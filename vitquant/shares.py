"""A profile's rows added up: by kind of layer, by block, by operator, and what Amdahl's law makes of them.

Rows are profile.Profile.rows' with their variant. Imports no torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitquant.accuracy import REFERENCE

KINDS = ("attention", "MLP", "norm", "scale and add", "patches", "tokens", "head")
"""Kinds of layers, in the order in which a forward pass meets most of them."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """A part of a variant's forward pass, in seconds of its operators' self time."""

    variant: str
    title: str
    linear_s: float  # in Linear layers, which dynamic quantization replaces
    other_s: float  # in everything else of this part
    quantizing_s: float  # of linear_s, estimated: rounding what comes in; 0 where nothing is quantized

    @property
    def total_s(self) -> float:
        return self.linear_s + self.other_s


@dataclass(frozen=True)
class Amdahl:
    """How much faster a whole gets if only its Linear layers do: computed from measured shares."""

    linear_share: float  # of fp32's time, by the clock, 0..1
    bound: float  # times as fast if the Linear layers took no time at all
    linear_ratio: float  # how many times as fast the variant's Linear layers are
    predicted: float  # times as fast, if everything else stays as it is
    measured: float  # fp32's wall time by the variant's, of the same profile


def at(rows: Iterable[Row], level: str, variant: str) -> list[Row]:
    """The rows of one variant at one level: "operator", "layer" or "pass"."""
    return [row for row in rows if row.get("level", "operator") == level and row["variant"] == variant]


def variants(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row["variant"] for row in rows))


def has_layers(rows: Iterable[Row]) -> bool:
    """Profiles made before layers were told apart have none."""
    return any(row.get("level") == "layer" for row in rows)


def by_kind(rows: Sequence[Row]) -> list[Part]:
    """For each variant, its time by kind of layer, in KINDS' order."""
    return [
        _part(name, kind, [row for row in at(rows, "layer", name) if row["kind"] == kind])
        for name in variants(rows)
        for kind in KINDS
    ]


def by_block(rows: Sequence[Row]) -> list[Part]:
    """For each variant, its time by block, and outside of all blocks."""
    found = []
    for name in variants(rows):
        layers = at(rows, "layer", name)
        blocks = sorted({row["block"] for row in layers if row["block"] is not None})
        found += [
            _part(name, f"block {block}", [row for row in layers if row["block"] == block]) for block in blocks
        ]
        found.append(_part(name, "outside", [row for row in layers if row["block"] is None]))
    return found


def amdahl(rows: Sequence[Row], variant: str) -> Amdahl | None:
    """Amdahl's law for a variant, 1 / ((1 - p) + p / s) (Amdahl, AFIPS 1967), by the clock; None where
    it or fp32 has none."""
    then, now = (_pass(rows, name) for name in (REFERENCE, variant))
    if then is None or now is None or variant == REFERENCE:
        return None
    share = then["linear_wall_s"] / then["wall_s"]
    ratio = then["linear_wall_s"] / now["linear_wall_s"]
    return Amdahl(
        linear_share=share,
        bound=1 / (1 - share),
        linear_ratio=ratio,
        predicted=1 / ((1 - share) + share / ratio),
        measured=then["wall_s"] / now["wall_s"],
    )


def _pass(rows: Sequence[Row], variant: str) -> Row | None:
    found = at(rows, "pass", variant)
    return found[0] if found and found[0].get("linear_wall_s") else None


def quantizing(rows: Sequence[Row], variant: str) -> tuple[float, float]:
    """What rounding the inputs of a variant's Linear layers takes, estimated, and what these layers take in all
    (seconds a pass)."""
    parts = [part for part in by_kind(rows) if part.variant == variant]
    return sum(part.quantizing_s for part in parts), sum(part.linear_s for part in parts)


def slower(rows: Sequence[Row], variant: str, most: int = 3) -> list[tuple[str, float]]:
    """The operators on which a variant spends more time than fp32, with how many seconds more a pass: those
    that cost most first. Quantized Linear layers, by the clock, are compared with fp32's."""
    then = _by_operator(at(rows, "operator", REFERENCE))
    now = _by_operator(at(rows, "operator", variant))
    more = {
        name: seconds - then.get(name, 0.0)
        for name, seconds in now.items()
        if not name.startswith(_QUANTIZED_LINEAR)
    }
    passes = [_pass(rows, name) for name in (REFERENCE, variant)]
    for name in now:
        if name.startswith(_QUANTIZED_LINEAR) and passes[0] and passes[1]:
            more[name] = passes[1]["linear_wall_s"] - passes[0]["linear_wall_s"]
    return sorted(((n, s) for n, s in more.items() if s > 0), key=lambda found: -found[1])[:most]


_QUANTIZED_LINEAR = "quantized::linear"


def _by_operator(rows: Iterable[Row]) -> dict[str, float]:
    """Self time by operator; with stacks an operator has several rows."""
    found: dict[str, float] = {}
    for row in rows:
        found[row["name"]] = found.get(row["name"], 0.0) + row["self_cpu_s"]
    return found


def _part(variant: str, title: str, layers: Sequence[Row]) -> Part:
    return Part(
        variant,
        title,
        linear_s=sum(row["self_cpu_s"] for row in layers if row["is_linear"]),
        other_s=sum(row["self_cpu_s"] for row in layers if not row["is_linear"]),
        quantizing_s=sum(row["quantizing_s"] or 0.0 for row in layers),
    )
