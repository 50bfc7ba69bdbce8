"""The notebook's riddle, step by step: what its two computations leave out, until the sums are the true
figures.

The notebook called the size of a file in MiB "MB", and took the sum over parameters() for the size in memory.
From a size run's ledgers every byte between those figures and the true ones can be named. Imports no torch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vitquant import ledger, notebook
from vitquant.ledger import Entry, Ledger
from vitquant.units import MB, MIB

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """One line of a sum, for every variant: where it starts, what is added, or what comes out."""

    title: str
    amounts: Mapping[str, int]  # bytes by variant
    is_sum: bool = False


def memory_lines(rows: Sequence[Row]) -> list[Line]:
    """From what parameters() counts to all that a variant's tensors take in memory; a line that is zero for
    every variant is left out. The lines before the sum add up to it, to the byte."""
    packed = ledger.PACKED
    return _closed(
        rows,
        [
            ("what parameters() counts", _memory(lambda e: e.counted == ledger.PARAMETERS)),
            ("packed weights", _memory(lambda e: e.counted == packed and e.name == "weight")),
            (
                "their scales and zero points",
                _memory(lambda e: e.counted == packed and e.dtype == ledger.SCALES),
            ),
            ("the packed layers' biases", _memory(lambda e: e.counted == packed and e.name == "bias")),
            ("buffers", _memory(lambda e: e.counted == ledger.BUFFERS)),
        ],
        ("in memory, all", "total_bytes"),
    )


def disk_lines(rows: Sequence[Row]) -> list[Line]:
    """From all that a variant's tensors take in memory to its file as torch.save writes it; as memory_lines."""

    def unpacking(entries: Ledger) -> int:
        return sum(e.disk_bytes - e.memory_bytes for e in entries if e.dtype != ledger.SCALES and e.disk_bytes)

    def scales(entries: Ledger) -> int:
        return sum(e.disk_bytes - e.memory_bytes for e in entries if e.dtype == ledger.SCALES)

    def unsaved(entries: Ledger) -> int:
        return -sum(
            e.memory_bytes for e in entries if e.memory_bytes and not e.disk_bytes and e.dtype != ledger.SCALES
        )

    def named(name: str) -> Callable[[Ledger], int]:
        return lambda entries: sum(e.disk_bytes for e in entries if e.counted == ledger.FILE and e.name == name)

    def structure_apart(entries: Ledger) -> Ledger:
        return [e for e in entries if e.name not in (ledger.STRUCTURE, ledger.HEADERS)]

    return _closed(
        rows,
        [
            ("in memory, all", _memory(lambda e: True)),
            ("float16 unpacked to float32 to be saved", lambda entries: unpacking(structure_apart(entries))),
            ("scales and zero points: in the file, not in memory (and the reverse)", scales),
            ("buffers that are not saved", unsaved),
            ("names and structure (a pickle)", named(ledger.STRUCTURE)),
            ("zip headers and padding", named(ledger.HEADERS)),
        ],
        ("on disk, all", "disk_bytes"),
    )


def beside_the_notebook(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The notebook's three rows and the same two computations here: both of its columns in its own units, whose
    names it mixed up (disk: MiB; memory: MB, of parameters() alone). None where a variant was not measured."""
    own = {row["variant"]: row for row in rows}
    return [
        {
            "variant": theirs["variant"],
            "notebook, disk (MiB)": theirs["disk (MiB)"],
            "here, disk (MiB)": mine["disk_bytes"] / MIB if mine else None,
            "notebook, memory (MB)": theirs["memory (MB)"],
            "here, memory (MB)": mine["parameters_bytes"] / MB if mine else None,
        }
        for theirs in notebook.SIZE
        for mine in [own.get(str(theirs["variant"]))]
    ]


def largest_deviation(beside: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """By how much of the notebook's figure the figures here are off at most, for "disk" and "memory" (shares);
    None where a variant was not measured."""
    units = {"disk": "disk (MiB)", "memory": "memory (MB)"}
    if any(row[f"here, {title}"] is None for row in beside for title in units.values()):
        return None
    return {
        name: max(abs(row[f"here, {title}"] / row[f"notebook, {title}"] - 1) for row in beside)
        for name, title in units.items()
    }


def in_truth(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What each variant really takes, in bytes and in both units."""
    return [
        {
            "variant": row["variant"],
            **{
                f"{title} ({unit})": row[column] / count
                for title, column in (("disk", "disk_bytes"), ("memory", "total_bytes"))
                for unit, count in (("bytes", 1), ("MB", MB), ("MiB", MIB))
            },
        }
        for row in rows
    ]


def _memory(wanted: Callable[[Entry], bool]) -> Callable[[Ledger], int]:
    return lambda entries: sum(entry.memory_bytes for entry in entries if wanted(entry))


def _closed(
    rows: Sequence[Row], parts: Sequence[tuple[str, Callable[[Ledger], int]]], end: tuple[str, str]
) -> list[Line]:
    """The parts as lines, and the measured figure at the end. What the parts should miss of it gets a line,
    too."""
    ledgers = {row["variant"]: ledger.of_row(row) for row in rows}
    lines = [Line(title, {name: part(entries) for name, entries in ledgers.items()}) for title, part in parts]
    title, column = end
    true = {row["variant"]: int(row[column]) for row in rows}
    missed = {name: total - sum(line.amounts[name] for line in lines) for name, total in true.items()}
    lines.append(Line("not accounted for", missed))
    first, *others = lines
    return [first, *(line for line in others if any(line.amounts.values())), Line(title, true, is_sum=True)]
