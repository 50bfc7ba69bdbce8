"""Variants' bytes as a tree under one root: each divided by block, layer and tensor, or by the kind of layer
first.

A node is named by its id: its ancestors' names and its own, from the variant down; "all" is the root. measure
is "memory" or "disk" throughout. Imports no torch.
"""

from collections.abc import Mapping
from typing import Any

from vitquant import ledger
from vitquant.ledger import Ledger

ROOT = "all"
SEPARATOR = "/"
"""Between the names in an id; layers' own names have dots."""

ORDERS = {"block": ("block", "inside", "name"), "kind": ("inside", "block", "name")}
"""What a variant is divided by on the way down: block by block, or all layers of a kind (every block's qkv)
together."""

Ledgers = Mapping[str, Ledger]


def up(node: str) -> str:
    """The node above."""
    return node.rpartition(SEPARATOR)[0] or ROOT


def names(node: str) -> list[str]:
    """The names on the way down to a node, the variant's first; none for the root."""
    return [] if node == ROOT else node.split(SEPARATOR)


def is_tensor(node: str, order: str) -> bool:
    """Whether a node has no parts."""
    return len(names(node)) > len(ORDERS[order])


def nodes(ledgers: Ledgers, measure: str, order: str) -> list[dict[str, Any]]:
    """Every node that takes anything, parents before their parts: "id", "parent" ("" for the root), "label",
    "bytes", "dtype", the data type that most of its bytes have, and "is_pure", whether all of them have it."""
    found: dict[str, dict[str, Any]] = {}
    of: dict[str, dict[str, int]] = {}

    def add(node: str, parent: str, label: str, count: int, dtype: str) -> None:
        known = found.setdefault(node, {"id": node, "parent": parent, "label": label, "bytes": 0})
        known["bytes"] += count
        types = of.setdefault(node, {})
        types[dtype] = types.get(dtype, 0) + count

    for variant, entries in ledgers.items():
        for entry in entries:
            count, dtype = entry.bytes_of(measure), entry.dtype_of(measure)
            if not count:
                continue
            add(ROOT, "", "variants side by side" if len(ledgers) > 1 else "one variant", count, dtype)
            add(variant, ROOT, variant, count, dtype)
            node = variant
            for attribute in ORDERS[order]:
                parent, node = node, f"{node}{SEPARATOR}{getattr(entry, attribute)}"
                add(node, parent, getattr(entry, attribute), count, dtype)
    for node, known in found.items():
        known["dtype"] = max(of[node], key=of[node].__getitem__)
        known["is_pure"] = len(of[node]) == 1
    return list(found.values())


def below(ledgers: Ledgers, measure: str, order: str, at: str) -> list[str]:
    """The nodes right below one that have parts themselves."""
    return [
        node["id"]
        for node in nodes(ledgers, measure, order)
        if node["parent"] == at and not is_tensor(node["id"], order)
    ]


def has(ledgers: Ledgers, measure: str, order: str, at: str) -> bool:
    """Whether there is such a node, and it has parts."""
    return not is_tensor(at, order) and any(node["id"] == at for node in nodes(ledgers, measure, order))


def side_by_side(ledgers: Ledgers, measure: str, order: str, at: str) -> list[dict[str, Any]]:
    """The parts of a node in every variant, whichever variant's node it is: "part", the bytes by variant (0
    where it has none), and the data types by variant in "types", those of most bytes first."""
    path = names(at)[1:]
    attribute = ORDERS[order][min(len(path), len(ORDERS[order]) - 1)]
    rows: dict[str, dict[str, Any]] = {}
    for variant, entries in ledgers.items():
        inside = ledger.within(entries, dict(zip(ORDERS[order], path, strict=False)))
        for part, of_part in ledger.grouped(inside, attribute).items():
            count = ledger.total(of_part).of(measure)
            if count:
                row = rows.setdefault(part, {"part": part, **dict.fromkeys(ledgers, 0), "types": {}})
                row[variant] = count
                row["types"][variant] = list(ledger.by_dtype(of_part, measure))
    return list(rows.values())
