"""Every tensor of a variant with its bytes, in memory and in its file, and what they add up to. Imports no
torch.

A size run keeps a ledger for each variant; the pages and the command line add it up by block, layer and kind.
The sums close: all entries' bytes in memory are the variant's, all entries' bytes on disk are its file's.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

VERSION = 3
"""Raised when a size run begins to count otherwise, or more, so that stored ones turn stale."""

PARAMETERS, PACKED, BUFFERS, FILE = "parameters", "packed", "buffers", "file"
"""How an entry is counted: parameters() sees it; it lies in a packed layer, which parameters() does not see; it
is a buffer; only the file has it."""

SCALES = "scales"
"""Stands for the data type of scales and zero points: a float32 and an int32 each, in memory."""

STRUCTURE, HEADERS = "structure (pickle)", "zip headers and padding"
"""The two entries of a file that are no tensor."""


@dataclass(frozen=True)
class Entry:
    """One tensor, or one pair of scales, or what the file has besides."""

    layer: str  # the module's path: "blocks.3.attn.qkv"; "" at the model's root
    name: str  # "weight", "bias", …
    counted: str  # PARAMETERS, PACKED, BUFFERS or FILE
    dtype: str  # of its numbers in memory: "float32", "int8", "float16", SCALES
    memory_bytes: int
    disk_dtype: str  # of its numbers in the file that torch.save makes; "" where it is not there
    disk_bytes: int

    @property
    def block(self) -> str:
        """The part of the model that it lies in: "block 3", "embedding", "norm", "head" or "file"."""
        if self.counted == FILE and not self.layer:
            return "file"
        found = re.match(r"blocks\.(\d+)\.", self.layer)
        if found:
            return f"block {found[1]}"
        return {"norm": "norm", "fc_norm": "norm", "linear_head": "head"}.get(self.layer, "embedding")

    @property
    def inside(self) -> str:
        """The layer's name within its block: "attn.qkv", "tokens and positions"."""
        if self.block == "file":
            return "around the tensors"
        if not self.layer:
            return "tokens and positions"
        return re.sub(r"^blocks\.\d+\.", "", self.layer)

    def dtype_of(self, measure: str) -> str:
        """The data type of its numbers in "memory" or on "disk"."""
        return {"memory": self.dtype, "disk": self.disk_dtype}[measure]

    def bytes_of(self, measure: str) -> int:
        """Its bytes in "memory" or on "disk"."""
        return {"memory": self.memory_bytes, "disk": self.disk_bytes}[measure]


Ledger = Sequence[Entry]


def plain(entries: Iterable[Entry]) -> list[list[Any]]:
    """The entries as a run's row keeps them."""
    return [list(astuple(entry)) for entry in entries]


def of_row(row: Mapping[str, Any]) -> Ledger:
    """The entries of a size run's row; none where it was measured before there were any."""
    return [Entry(*values) for values in row.get("ledger") or []]


def has_ledger(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Whether every row of a size run has one."""
    rows = list(rows)
    return bool(rows) and all(row.get("ledger") for row in rows)


@dataclass(frozen=True)
class Sum:
    """Bytes of some entries together."""

    memory_bytes: int
    disk_bytes: int

    def of(self, measure: str) -> int:
        """The bytes in "memory" or on "disk"."""
        return {"memory": self.memory_bytes, "disk": self.disk_bytes}[measure]


def total(entries: Iterable[Entry]) -> Sum:
    memory_bytes = disk_bytes = 0
    for entry in entries:
        memory_bytes += entry.memory_bytes
        disk_bytes += entry.disk_bytes
    return Sum(memory_bytes, disk_bytes)


def grouped(entries: Iterable[Entry], attribute: str) -> dict[str, list[Entry]]:
    """The entries by block, inside, name, counted, dtype or disk_dtype, in the order in which these first
    appear."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(getattr(entry, attribute), []).append(entry)
    return groups


def by_dtype(entries: Iterable[Entry], measure: str) -> dict[str, int]:
    """Bytes in "memory" or on "disk" by data type, the most first; types that take nothing are left out."""
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry.dtype_of(measure)] = counts.get(entry.dtype_of(measure), 0) + entry.bytes_of(measure)
    return {dtype: n for dtype, n in sorted(counts.items(), key=lambda pair: -pair[1]) if n}


def within(entries: Iterable[Entry], path: Mapping[str, str]) -> list[Entry]:
    """The entries that have these values of block, inside or name."""
    return [entry for entry in entries if all(getattr(entry, of) == value for of, value in path.items())]


def by(entries: Iterable[Entry], attribute: str) -> dict[str, Sum]:
    """The sums of grouped()."""
    return {name: total(group) for name, group in grouped(entries, attribute).items()}
