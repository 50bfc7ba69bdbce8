"""Two measured variants side by side, layer by layer: what each layer is in both, and what differs."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from components import address, provenance, readonly
from components.choices import Choices
from components.size import stored
from vitquant import catalog, gallery, layer_differences, units
from vitquant.layer_differences import FACTS, Line, Measured
from vitquant.runs import Run

DIFFERING, ALL = "differing", "all"
SHOWN = {DIFFERING: "Only what differs", ALL: "All layers"}

MOST_HEIGHT = 560
"""Of the table, in pixels; what is beyond is scrolled to."""

MARK = "background-color: rgba(201, 146, 10, .22)"
"""What the second variant has otherwise than the first; seen on a light and on a dark ground."""

WIDE_ENOUGH = 130
"""For a heading above a single column, in pixels; by itself that is as wide as its numbers."""

WHAT_IT_SAYS = (
    "One row a Linear layer; marked is what the second variant has otherwise. Bytes: weight, scales and bias. "
    "Weight: its signal-to-quantization-noise ratio against the float32 weight that the layer was made from; 6 "
    "dB more is half the error."
)


def show(db: sqlite3.Connection, chosen: Choices, run: Run, unit: int) -> None:
    """run: the size run that the view shows; unit: units.MB or units.MIB."""
    st.subheader("Layer by layer", anchor=False)
    measured = layer_differences.measured(db, chosen.subject, run)
    if len(measured) < 2:
        _missing(db, chosen, measured)
        return
    first, second, only_differing = _choices(list(measured))
    if first == second:
        st.markdown(f"**{first}** beside itself: choose another variant to see what differs.")
        return
    diagnoses = [
        gallery.newest(gallery.runs_on_pictures(db, "diagnosis", chosen.subject, name), chosen.today)
        for name in (first, second)
    ]
    of_first, of_second = (diagnosis.result or [] if diagnosis else [] for diagnosis in diagnoses)
    spec = catalog.model(chosen.subject.model)
    rows = measured[first].row, measured[second].row
    found = layer_differences.lines(spec, *rows, (of_first, of_second))
    said = layer_differences.sentence(found, first, second)
    st.markdown(said)
    shown = [line for line in found if line.differing] if only_differing else found
    if shown:
        columns = layer_differences.columns(shown, only_differing=only_differing)
        st.dataframe(
            _marked(shown, columns, (first, second)),
            column_config=_widths(columns),
            placeholder="exact",  # no noise, so that there is no ratio
            height=min(2 * 38 + 35 * len(shown), MOST_HEIGHT),
            alt=said.replace("**", ""),
            key="layer-by-layer",
        )
        st.caption(" ".join([WHAT_IT_SAYS, *_what_costs_are(chosen, (first, second), diagnoses)]))
    _totals(rows, (first, second), unit)
    _download(found, (first, second), spec.name)
    others = {measured[name].run.id: measured[name].run for name in (first, second)}
    others.pop(run.id, None)  # which has its provenance beneath all of the view
    for other in others.values():
        provenance.of_run(other)


def _missing(db: sqlite3.Connection, chosen: Choices, measured: dict[str, Measured]) -> None:
    why = (
        f"Only {next(iter(measured))} is measured so far, and it takes two to compare."
        if measured
        else "What is stored was measured before layers were looked at."
    )
    if readonly.is_on():
        st.info(why, icon=":material/hourglass_empty:")
    stored.offer(db, chosen, why, key="measure-layers")


def _choices(names: list[str]) -> tuple[str, str, bool]:
    """Draw the choice of two variants and of what to show of them, and answer it."""
    usual = layer_differences.usual_pair(names)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = address.value_of(address.FIRST, names, usual[0], what="measured variant")
        second = address.value_of(address.SECOND, names, usual[1], what="measured variant")
        st.selectbox("One variant", names, width=240, **address.mirror(address.FIRST, first))
        st.selectbox("The other", names, width=240, **address.mirror(address.SECOND, second))
        shown = address.value_of(address.SHOWN, list(SHOWN), DIFFERING, what="choice of layers")
        st.segmented_control(
            "Show",
            list(SHOWN),
            required=True,
            format_func=SHOWN.__getitem__,
            help="Only what differs: layers that are the same in both variants are left out, and columns that "
            "are the same in every layer.",
            **address.mirror(address.SHOWN, shown),
        )
    return first, second, shown == DIFFERING


Columns = Sequence[tuple[str, int]]
"""As layer_differences.columns gives them: a fact's name, and which of the two variants."""


def _table(lines: Sequence[Line], columns: Columns, heads: Sequence[Any]) -> pd.DataFrame:
    """One row a layer, its title as the index. heads: of each column."""
    values = {
        head: [line.values[fact][place] for line in lines]
        for head, (fact, place) in zip(heads, columns, strict=True)
    }
    return pd.DataFrame(values, index=pd.Index([line.layer.title for line in lines], name="layer"))


def _marked(lines: Sequence[Line], columns: Columns, names: tuple[str, str]) -> Any:
    """The table, each fact above both variants' columns, with the second variant's differing values marked and
    numbers as people read them."""
    heads = [(FACTS[fact].title, names[place]) for fact, place in columns]
    table = _table(lines, columns, heads)
    marks = pd.DataFrame(
        {
            head: [MARK if place == 1 and fact in line.differing else "" for line in lines]
            for head, (fact, place) in zip(heads, columns, strict=True)
        },
        index=table.index,
    )
    forms: dict[Any, str | Callable[[object], str] | None] = {
        head: FACTS[fact].form for head, (fact, _) in zip(heads, columns, strict=True) if FACTS[fact].form
    }
    return table.style.apply(lambda _: marks, axis=None).format(forms)


def _widths(columns: Columns) -> dict[Any, Any]:
    """By the place of a column (the index is 0), where its heading stands above it alone."""
    facts = [fact for fact, _ in columns]
    return {
        place + 1: st.column_config.Column(width=WIDE_ENOUGH)
        for place, fact in enumerate(facts)
        if facts.count(fact) == 1
    }


def _download(lines: Sequence[Line], names: tuple[str, str], model: str) -> None:
    columns = layer_differences.columns(lines)
    table = _table(lines, columns, [f"{names[place]}: {FACTS[fact].title}" for fact, place in columns])
    first, second = (name.replace(":", "-").replace("=", "") for name in names)
    st.download_button(
        "Download as CSV",
        table.to_csv(),
        file_name=f"{model}-{first}-{second}-layers.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def _what_costs_are(chosen: Choices, names: tuple[str, str], diagnoses: Sequence[Run | None]) -> list[str]:
    """What the columns of a diagnosis say and rest on, where there is one, or that there is none."""
    found = []
    for name, run in zip(names, diagnoses, strict=True):
        if run is None:
            continue
        n = next(row["n"] for row in run.result or [] if row["part"] == "layer")
        pixels = run.request["image_size"]
        at = "shipped, measured elsewhere" if run.shipped else provenance.when(run.ended_at or run.created_at)
        changed = "; stale, measured under other conditions" if gallery.run_changes(run, chosen.today) else ""
        found.append(
            f"{name}: on {n:,} pictures of {run.request['dataset']} at {pixels} × {pixels}, {at}{changed}."
        )
    if not found:
        return ["What a layer costs the answer by itself is measured on the Diagnosis page."]
    return [
        "Alone: this layer as in the variant and all others in float32, its answers beside fp32's, KL and the "
        "ratio of the logits.",
        *found,
    ]


def _totals(rows: tuple[Any, Any], names: tuple[str, str], unit: int) -> None:
    body = [
        {
            "part": total.part,
            **{
                f"{name}: {where}": units.bytes_words(of.of(measure), unit)
                for measure, where in (("memory", "in memory"), ("disk", "on disk"))
                for name, of in zip(names, (total.first, total.second), strict=True)
            },
        }
        for total in layer_differences.totals(*rows)
    ]
    st.table(pd.DataFrame(body).set_index("part"))
