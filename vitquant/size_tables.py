"""Where a variant's bytes are, layer by layer too, and the notebook's riddle, as tables for a terminal."""

from collections.abc import Sequence

from vitquant import layer_differences, ledger, notebook, wording
from vitquant.catalog import ModelSpec
from vitquant.layer_differences import FACTS, Line
from vitquant.ledger import Entry
from vitquant.riddle import beside_the_notebook, disk_lines, largest_deviation, memory_lines
from vitquant.tables import Cells, Row, or_dash, table

MEASURES = {"memory": "in memory", "disk": "on disk"}


def tree(rows: Sequence[Row]) -> str:
    """Where each variant's bytes are, by block, layer and tensor."""
    return "\n\n".join(f"{row['variant']}\n{_tree(ledger.of_row(row))}" for row in rows)


def _tree(entries: Sequence[Entry]) -> str:
    body: Cells = []

    def line(depth: int, title: str, part: Sequence[Entry]) -> None:
        found = ledger.total(part)
        counted = dict.fromkeys(entry.counted for entry in part)
        body.append(
            [
                f"{'  ' * depth}{title}",
                f"{found.memory_bytes:,}",
                f"{found.disk_bytes:,}",
                *(
                    ", ".join(filter(None, ledger.by_dtype(part, measure))) or "-"
                    for measure in ("memory", "disk")
                ),
                ", ".join(counted),
            ]
        )

    line(0, "all", entries)
    for block, of_block in ledger.grouped(entries, "block").items():
        line(1, block, of_block)
        for inside, of_layer in ledger.grouped(of_block, "inside").items():
            line(2, inside, of_layer)
            for name, of_name in ledger.grouped(of_layer, "name").items():
                line(3, name, of_name)
    return table(["part", "memory (bytes)", "disk (bytes)", "in memory as", "on disk as", "counted as"], body)


def layers(spec: ModelSpec, rows: Sequence[Row]) -> str:
    """Each variant's Linear layers; two variants' side by side, with what differs said first."""
    if len(rows) != 2:
        return "\n\n".join(
            f"{row['variant']}\n{_layers(layer_differences.lines(spec, row, row), [row['variant']])}"
            for row in rows
        )
    first, second = rows
    names = [first["variant"], second["variant"]]
    found = layer_differences.lines(spec, first, second)
    said = layer_differences.sentence(found, *names).replace("**", "")
    body: Cells = [
        [total.part, *(f"{of.of(measure):,}" for measure in MEASURES for of in (total.first, total.second))]
        for total in layer_differences.totals(first, second)
    ]
    titles = ["bytes", *(f"{name}: {where}" for where in MEASURES.values() for name in names)]
    return "\n\n".join([said, _layers(found, names), table(titles, body)])


def _layers(lines: Sequence[Line], names: Sequence[str]) -> str:
    """One line a layer. A fact that is the same in every layer of both variants has one column."""
    differing = layer_differences.columns(lines, only_differing=True)
    columns = [
        (fact, place)
        for fact, place in layer_differences.columns(lines)
        if place == 0 or (fact, place) in differing
    ]
    titles = [
        f"{names[place]}: {FACTS[fact].title}" if (fact, place) in differing else FACTS[fact].title
        for fact, place in columns
    ]
    body: Cells = [
        [
            line.layer.title,
            *(or_dash(line.values[fact][place], FACTS[fact].form or "{}") for fact, place in columns),
        ]
        for line in lines
    ]
    return table(["layer", *titles], body)


def riddle(rows: Sequence[Row]) -> str:
    """The notebook's table beside the same two computations here, and the sums that lead to the true
    figures."""
    beside = beside_the_notebook(rows)
    off = largest_deviation(beside)
    is_notebooks = off is not None and off["disk"] < notebook.CLOSE
    forms = {"disk": "{:.4f}", "memory": "{:.6f}"}
    found = [
        table(
            list(beside[0]),
            [
                [
                    row["variant"],
                    *[
                        or_dash(value, forms["disk" if "disk" in name else "memory"])
                        for name, value in list(row.items())[1:]
                    ],
                ]
                for row in beside
            ],
        ),
        f"(notebook: its author's figures, of {notebook.MODEL}, not measured here)",
        *([wording.reproduced(off).replace("**", "")] if is_notebooks and off else []),
    ]
    for lines in (memory_lines(rows), disk_lines(rows)):
        names = list(lines[0].amounts)
        body: Cells = [
            [("= " if line.is_sum else "") + line.title, *[f"{line.amounts[name]:,}" for name in names]]
            for line in lines
        ]
        found.append(table(["bytes", *names], body))
    return "\n\n".join(found)
