"""What accuracy was measured: intervals, conclusions against fp32, the table."""

import sqlite3
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from components import choices, provenance, queue
from components.benchmark import history
from components.choices import Choices
from vitquant import accuracy, charts, gallery, notebook, run_charts, sequential, wording
from vitquant.measurements import AccuracyRequest
from vitquant.runs import Rows

COLUMNS = {
    "variant": "variant",
    "n": "pictures",
    "top1": "top-1",
    "top1_low": "top-1 from",
    "top1_high": "top-1 to",
    "top5": "top-5",
    "top5_low": "top-5 from",
    "top5_high": "top-5 to",
    "broken": "broken",
    "fixed": "fixed",
    "mcnemar_p": "McNemar p",
    "difference": "difference",
    "difference_low": "from",
    "difference_high": "to",
    "mean_kl_nats": "KL (nats)",
}
SHARES = [name for column, name in COLUMNS.items() if column.startswith("top")]
POINTS = ["difference", "from", "to"]


def show(db: sqlite3.Connection, chosen: Choices) -> None:
    rows = gallery.accuracy_rows(db, chosen.answers) if chosen.answers else []
    if not rows:
        st.info("No accuracy is measured yet for these choices.", icon=":material/hourglass_empty:")
    else:
        _result(db, chosen, rows)
        history.show(db, chosen, "accuracy")
    with st.expander(notebook.TITLE):
        st.markdown(
            f"{notebook.WHAT} `{notebook.MODEL}`, Torch Hub's weights, "
            "Tiny-ImageNet's 10,000 validation pictures."
        )
        st.dataframe(pd.DataFrame(notebook.ACCURACY), hide_index=True, width="content")


def _result(db: sqlite3.Connection, chosen: Choices, found: Rows) -> None:
    rows = pd.DataFrame(found)
    provenance.stale(chosen.stale, _again(chosen, found) if chosen.pictures_here else None)
    if chosen.subject.is_random:
        st.warning(
            "Random weights: these figures show that the measurement works, and nothing about the model.",
            icon=":material/casino:",
        )
    measure = wording.measure_in(found[0])
    what = "the first answer is right (top-1)" if measure is wording.ACCURACY else measure.name
    st.caption(f"Filled: {what}. Open: among the first five (top-5). 95% intervals.")
    st.plotly_chart(charts.accuracy(rows), config=charts.CONFIG, alt=charts.accuracy_alt(rows), key="accuracy")
    st.markdown("\n".join(f"- {wording.accuracy_sentence(row)}" for row in found))
    _conclusions(db, chosen, measure)
    table = rows[list(COLUMNS)].rename(columns=COLUMNS)
    table[SHARES + POINTS] = table[SHARES + POINTS].astype(float) * 100
    table["McNemar p"] = [
        None if row["mcnemar_p"] is None else wording.p_value(row["mcnemar_p"]) for row in found
    ]
    st.dataframe(
        table,
        hide_index=True,
        placeholder="–",
        column_config={
            **{name: st.column_config.NumberColumn(format="%.1f%%") for name in SHARES},
            **{name: st.column_config.NumberColumn(format="%+.2f") for name in POINTS},
            "broken": st.column_config.NumberColumn(help="Pictures that fp32 has right and the variant wrong"),
            "fixed": st.column_config.NumberColumn(help="Pictures that fp32 has wrong and the variant right"),
            "McNemar p": st.column_config.TextColumn(
                help="How likely so uneven a split of broken and fixed is by chance (exact test)"
            ),
            "difference": st.column_config.NumberColumn(
                format="%+.2f",
                help="Top-1 less fp32's on the same pictures, in percentage points; 95% interval",
            ),
            "KL (nats)": st.column_config.NumberColumn(
                format="%.3g", help="Mean divergence of the probabilities from fp32's"
            ),
        },
        alt=charts.accuracy_alt(rows),
    )
    st.caption(
        "broken: fp32 has it right, the variant wrong; fixed: the reverse. McNemar p: how likely so uneven a "
        "split is by chance. Difference: of top-1 from fp32's, in percentage points. KL: how far the variant's "
        "probabilities are from fp32's, on average."
    )
    provenance.of_answers(chosen)


def _again(chosen: Choices, rows: Rows) -> AccuracyRequest:
    """The same variants on as many pictures, under today's conditions."""
    usable = choices.usable_variants()
    return AccuracyRequest(
        model=chosen.subject.model,
        weights=chosen.subject.weights,
        variants=tuple(row["variant"] for row in rows if row["variant"] in usable),
        dataset=chosen.subject.dataset,
        limit=max(row["n"] for row in rows),
        image_size=chosen.subject.image_size,
    )


def _conclusions(db: sqlite3.Connection, chosen: Choices, measure: wording.Measure) -> None:
    """What looks at pre-set numbers of pictures conclude, or how far they are from it."""
    assert chosen.answers is not None
    if accuracy.REFERENCE not in chosen.answers.series or len(chosen.answers.series) < 2:
        return
    last = gallery.pictures_of(db, chosen.answers.dataset_id)
    looks = accuracy.looks_of_series(db, chosen.answers.series, last)
    error = sequential.error_per_look(last, len(looks))
    st.subheader("Is that enough pictures to be sure?", anchor=False)
    st.markdown("\n".join(f"- {s}" for s in wording.until_sure_sentences(looks, last, error, measure)))
    if any(looks.values()):
        st.plotly_chart(
            run_charts.narrowing(looks, last),
            config=charts.CONFIG,
            alt=run_charts.narrowing_alt(looks),
            key="narrowing",
        )
    st.caption(
        f"{queue.NARROWING} Looks come after {_listed(sequential.looks(last))} pictures; the "
        f"risk of any wrong conclusion, over all looks and versions together, is {sequential.ERROR:.0%}. A run "
        "“until sure” measures each version only as far as this takes."
    )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(f"{number:,}" for number in numbers)
