"""Two variants of a model layer by layer: every fact of both, and which of them differ. Imports no torch."""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitquant import gallery, layer_facts, layers, ledger
from vitquant.catalog import ModelSpec
from vitquant.gallery import Subject
from vitquant.layers import Layer
from vitquant.runs import Run

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Fact:
    """Something that is known of a layer in each variant."""

    title: str  # above a column, with its unit
    words: str  # in a sentence about layers
    form: str = ""  # of a number


FACTS = {
    "dtype": Fact("type", "type"),
    "scheme": Fact("scheme", "scheme"),
    "activations": Fact("computes with", "what they compute with"),
    "done": Fact("done to it", "what is done to them"),
    "memory_bytes": Fact("bytes in memory", "bytes in memory", "{:,}"),
    "disk_bytes": Fact("bytes on disk", "bytes on disk", "{:,}"),
    "weight_sqnr_db": Fact("weight: SQNR (dB)", "error of the weights", "{:.1f}"),
    "alone_kl_nats": Fact("alone: KL (nats)", "KL", "{:.5f}"),
    "alone_sqnr_db": Fact("alone: SQNR (dB)", "SQNR of the answer", "{:.1f}"),
}

COSTS = ("alone_kl_nats", "alone_sqnr_db")
"""What a diagnosis has measured of a layer: a consequence of the other facts, and None where nobody has
diagnosed that variant."""

NOTHING_DONE = "nothing"


@dataclass(frozen=True)
class Line:
    """One layer in both variants."""

    layer: Layer
    values: Mapping[str, tuple[Any, Any]]  # by the names in FACTS: the first variant's, the second's

    @property
    def differing(self) -> tuple[str, ...]:
        """The facts that are not the same; costs do not count."""
        return tuple(
            name for name, (first, second) in self.values.items() if first != second and name not in COSTS
        )


def lines(
    spec: ModelSpec, first: Row, second: Row, costs: tuple[Sequence[Row], Sequence[Row]] = ((), ())
) -> list[Line]:
    """Every layer that both rows of size runs have facts of, in the model's order. costs: the rows of a
    diagnosis of each, where there is one."""
    found = [
        _values(layer_facts.of_row(row), of_diagnosis)
        for row, of_diagnosis in zip((first, second), costs, strict=True)
    ]
    return [
        Line(layer, {name: (found[0][layer.name][name], found[1][layer.name][name]) for name in FACTS})
        for layer in layers.of(spec)
        if all(layer.name in of for of in found)
    ]


def _values(found: Sequence[layer_facts.Facts], diagnosed: Sequence[Row]) -> dict[str, dict[str, Any]]:
    costs = {row["layer"]: row for row in diagnosed if row["part"] == "layer"}
    return {
        facts.layer: {
            "dtype": facts.dtype,
            "scheme": facts.scheme,
            "activations": facts.activations,
            "done": ", ".join(facts.done) or NOTHING_DONE,
            "memory_bytes": facts.memory_bytes,
            "disk_bytes": facts.disk_bytes,
            "weight_sqnr_db": facts.weight_sqnr_db,
            **{name: costs.get(facts.layer, {}).get(name) for name in COSTS},
        }
        for facts in found
    }


def columns(found: Sequence[Line], *, only_differing: bool = False) -> list[tuple[str, int]]:
    """Which facts of the first (0) and the second (1) variant a table of these layers has: a fact's name and
    the place. What no layer has a value of is left out, and so is, where that is asked for, what is nowhere
    different; costs stay."""
    return [
        (name, place)
        for name in FACTS
        for place in (0, 1)
        if any(line.values[name][place] is not None for line in found)
        and (not only_differing or name in COSTS or any(name in line.differing for line in found))
    ]


def sentence(found: Sequence[Line], first: str, second: str) -> str:
    """How many layers differ, and in what; variants in bold."""
    differing = [line for line in found if line.differing]
    if not differing:
        return f"All {len(found)} Linear layers are the same in **{first}** and **{second}**."
    by_layers: dict[tuple[str, ...], list[str]] = {}  # what differs in the same layers, told together
    for name, fact in FACTS.items():
        of = tuple(line.layer.name for line in differing if name in line.differing)
        by_layers.setdefault(of, []).append(fact.words)
    n = len(differing)
    parts = [
        f"{'all of them' if len(of) == n else f'{len(of)} of them'} in {_listed(words)}"
        for of, words in sorted(by_layers.items(), key=lambda pair: -len(pair[0]))
        if of
    ]
    return (
        f"**{n} of {len(found)}** Linear layers differ between **{first}** and **{second}**: "
        f"{'; '.join(parts)}."
    )


def _listed(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


@dataclass(frozen=True)
class Total:
    """Bytes of a part of both variants."""

    part: str
    first: ledger.Sum
    second: ledger.Sum


def totals(first: Row, second: Row) -> list[Total]:
    """The Linear layers of two size runs' rows, everything else, and both together; the last is the variant's
    total_bytes and disk_bytes."""

    def sums(row: Row) -> list[ledger.Sum]:
        linear = {facts.layer for facts in layer_facts.of_row(row)}
        entries = ledger.of_row(row)
        inside = [entry for entry in entries if entry.layer in linear]
        outside = [entry for entry in entries if entry.layer not in linear]
        return [ledger.total(part) for part in (inside, outside, entries)]

    n = len(layer_facts.of_row(first))
    parts = (f"all {n} Linear layers", "everything else", "the whole variant")
    return [Total(*of_part) for of_part in zip(parts, sums(first), sums(second), strict=True)]


# What is stored


@dataclass(frozen=True)
class Measured:
    """One variant's row of a size run, and the run."""

    row: Row
    run: Run


def measured(db: sqlite3.Connection, subject: Subject, shown: Run) -> dict[str, Measured]:
    """By variant, what has facts of its layers: those of the run that is shown, then what other size runs of
    the same weights have besides, the newest first (one of a variant with settings may have been by itself)."""
    same = [
        run
        for run in gallery.finished_runs(db, "size", subject)
        if run.identity.get("weights_digest") == shown.identity.get("weights_digest")
    ]
    found: dict[str, Measured] = {}
    for run in (shown, *same):
        for row in run.result or []:
            if row.get("layers") and row.get("ledger"):
                found.setdefault(row["variant"], Measured(row, run))
    return {name: found[name] for name in gallery.in_order(found)}


def usual_pair(names: Collection[str]) -> tuple[str, str]:
    """Which two of the measured variants (two or more) to look at first: what the recommended one does beside
    int8, or else what int8 does beside float32."""
    for first, second in (("qint8", "qint8_best"), ("fp32", "qint8")):
        if first in names and second in names:
            return first, second
    first, second, *_ = names
    return first, second
