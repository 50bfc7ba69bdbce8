"""Benchmark: start measurements in the background, watch them, read what is stored."""

import sqlite3

import pandas as pd
import streamlit as st

from components import address, choices, frame, provenance, queue, server
from components.choices import Choices
from vitquant import charts, gallery, latency, machine, notebook, paths, runs, wording
from vitquant.errors import InputError
from vitquant.measurements import AccuracyRequest, LatencyRequest, ProfileRequest
from vitquant.runs import Rows, Run

ACCURACY_COLUMNS = {
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
    "mean_kl_nats": "KL (nats)",
}
LATENCY_COLUMNS = {
    "shape": "shape",
    "variant": "variant",
    "median_s": "median (ms)",
    "q1_s": "1st quartile (ms)",
    "q3_s": "3rd quartile (ms)",
    "ratio_to_fp32": "times as fast as fp32",
    "runs": "calls",
    "threads": "threads",
}
PROFILE_COLUMNS = {
    "name": "operator",
    "calls": "calls",
    "self_cpu_s": "self time (ms)",
    "share": "share",
    "total_cpu_s": "time with what it calls (ms)",
    "self_memory_bytes": "memory (bytes)",
}
SECONDS_PER_SHAPE = 10.0  # as the command line's, so that both find each other's results


def show(db: sqlite3.Connection) -> None:
    server.see_to_the_queue(str(paths.store_file()))
    chosen = choices.choose(db)
    address.show_misunderstood()
    st.markdown(choices.summary(chosen.subject))
    queue.show()
    choices.offer_fuller(chosen)
    accuracy_tab, latency_tab, profile_tab, runs_tab = st.tabs(["Accuracy", "Latency", "Profile", "All runs"])
    with accuracy_tab:
        _accuracy(db, chosen)
    with latency_tab:
        _latency(db, chosen)
    with profile_tab:
        _profile(db, chosen)
    with runs_tab:
        _all_runs(db)


# Accuracy


def _accuracy(db: sqlite3.Connection, chosen: Choices) -> None:
    rows = gallery.accuracy_rows(db, chosen.answers) if chosen.answers else []
    if not rows:
        st.info("No accuracy is measured yet for these choices.", icon=":material/hourglass_empty:")
    else:
        _accuracy_result(chosen, rows)
    if chosen.pictures_here:
        _accuracy_form(chosen, nothing_yet=not rows)
    else:
        st.caption(f"{chosen.subject.dataset} is not here: the Explorer page says how to bring it in.")
    with st.expander(notebook.TITLE):
        st.markdown(
            f"{notebook.WHAT} `{notebook.MODEL}`, Torch Hub's weights, "
            "Tiny-ImageNet's 10,000 validation pictures."
        )
        st.dataframe(pd.DataFrame(notebook.ACCURACY), hide_index=True, width="content")


def _accuracy_result(chosen: Choices, found: Rows) -> None:
    rows = pd.DataFrame(found)
    provenance.stale(chosen.stale)
    if chosen.subject.is_random:
        st.warning(
            "Random weights: these figures show that the measurement works, and nothing about the model.",
            icon=":material/casino:",
        )
    st.caption("Filled: the first answer is right (top-1). Open: among the first five (top-5). 95% intervals.")
    st.plotly_chart(charts.accuracy(rows), config=charts.CONFIG, alt=charts.accuracy_alt(rows), key="accuracy")
    st.markdown("\n".join(f"- {wording.accuracy_sentence(row)}" for row in found))
    shares = [name for column, name in ACCURACY_COLUMNS.items() if column.startswith("top")]
    table = rows[list(ACCURACY_COLUMNS)].rename(columns=ACCURACY_COLUMNS)
    table[shares] *= 100
    table["McNemar p"] = [
        None if row["mcnemar_p"] is None else wording.p_value(row["mcnemar_p"]) for row in found
    ]
    st.dataframe(
        table,
        hide_index=True,
        placeholder="–",
        column_config={
            **{name: st.column_config.NumberColumn(format="%.1f%%") for name in shares},
            "broken": st.column_config.NumberColumn(help="Pictures that fp32 has right and the variant wrong"),
            "fixed": st.column_config.NumberColumn(help="Pictures that fp32 has wrong and the variant right"),
            "McNemar p": st.column_config.TextColumn(
                help="How likely so uneven a split of broken and fixed is by chance (exact test)"
            ),
            "KL (nats)": st.column_config.NumberColumn(
                format="%.3g", help="Mean divergence of the probabilities from fp32's"
            ),
        },
        alt=charts.accuracy_alt(rows),
    )
    st.caption(
        "broken: fp32 has it right, the variant wrong; fixed: the reverse. McNemar p: how likely so uneven a "
        "split is by chance. KL: how far the variant's probabilities are from fp32's, on average."
    )
    provenance.of_answers(chosen)


def _accuracy_form(chosen: Choices, nothing_yet: bool) -> None:
    with (
        st.expander("Measure accuracy", expanded=nothing_yet, icon=":material/play_arrow:"),
        st.form("accuracy-form", border=False),
    ):
        variants = _variants_field("accuracy")
        left, right = st.columns(2, vertical_alignment="bottom")
        limit = left.number_input(
            "Number of pictures",
            min_value=1,
            value=choices.FIRST_PICTURES,
            step=100,
            help="The first so many of a fixed, class-balanced random order: a fair sample. What is stored "
            "already is not measured again, so a longer run extends a shorter one.",
        )
        all_pictures = right.checkbox("All pictures")
        if st.form_submit_button("Start", type="primary") and _any(variants):
            queue.start(
                AccuracyRequest(
                    model=chosen.subject.model,
                    weights=chosen.subject.weights,
                    variants=tuple(variants),
                    dataset=chosen.subject.dataset,
                    limit=None if all_pictures else int(limit),
                    image_size=chosen.subject.image_size,
                )
            )
            st.rerun()


# Latency


def _latency(db: sqlite3.Connection, chosen: Choices) -> None:
    run = _choose_run("latency", gallery.finished_runs(db, "latency", chosen.subject))
    if run is None:
        st.info(
            "No latency is measured yet for this model and these weights.", icon=":material/hourglass_empty:"
        )
    else:
        _latency_result(chosen, run)
    _latency_form(chosen, nothing_yet=run is None)
    with st.expander(notebook.TITLE):
        st.markdown(
            f"{notebook.WHAT} `{notebook.MODEL}`, seconds a batch, on 6 threads of its author's machine."
        )
        st.dataframe(pd.DataFrame(notebook.LATENCY_S), hide_index=True, width="content")


def _latency_result(chosen: Choices, run: Run) -> None:
    rows = pd.DataFrame(run.result)
    _stale_run(chosen, run)
    features = ", ".join(run.environment.get("cpu_features", [])) or "no special instructions"
    st.caption(f"Medians with quartiles. The CPU offers {features}, which decides the ratios.")
    st.plotly_chart(charts.latency(rows), config=charts.CONFIG, alt=charts.latency_alt(rows), key="latency")
    st.markdown("\n".join(f"- {sentence}" for sentence in wording.speed_sentences(run.result or [])))
    table = rows[list(LATENCY_COLUMNS)].copy()
    table[["median_s", "q1_s", "q3_s"]] *= 1e3
    st.dataframe(
        table.rename(columns=LATENCY_COLUMNS),
        hide_index=True,
        placeholder="–",
        column_config={
            **{
                LATENCY_COLUMNS[name]: st.column_config.NumberColumn(format="%.2f")
                for name in ("median_s", "q1_s", "q3_s", "ratio_to_fp32")
            }
        },
        alt=charts.latency_alt(rows),
    )
    provenance.of_run(run)


def _latency_form(chosen: Choices, nothing_yet: bool) -> None:
    with (
        st.expander("Measure latency", expanded=nothing_yet, icon=":material/play_arrow:"),
        st.form("latency-form", border=False),
    ):
        variants = _variants_field("latency")
        left, right = st.columns(2)
        text = left.text_input(
            "Shapes",
            value="1x70, 8x70",
            help="Pictures in a batch × their edge in pixels (a multiple of 14), separated by commas: "
            "8x70 is a batch of eight pictures of 70 × 70. The notebook's: 1x518, 2x518, 4x518, 8x518.",
        )
        threads = _threads_field(right, "latency")
        st.caption(
            f"{SECONDS_PER_SHAPE:.0f} seconds for each shape, and longer where a batch takes seconds. "
            "Leave the machine alone meanwhile."
        )
        if st.form_submit_button("Start", type="primary") and _any(variants):
            try:
                shapes = tuple(str(shape) for shape in latency.parse_shapes(text))
            except InputError as error:
                st.error(str(error), icon=":material/error:")
                return
            queue.start(
                LatencyRequest(
                    model=chosen.subject.model,
                    weights=chosen.subject.weights,
                    variants=tuple(variants),
                    shapes=shapes,
                    threads=threads,
                    seconds_per_shape=SECONDS_PER_SHAPE,
                )
            )
            st.rerun()


# Profile


def _profile(db: sqlite3.Connection, chosen: Choices) -> None:
    run = _choose_run("profile", gallery.finished_runs(db, "profile", chosen.subject))
    if run is None:
        st.info(
            "No profile is measured yet for this model and these weights.", icon=":material/hourglass_empty:"
        )
    else:
        _profile_result(chosen, run)
    _profile_form(chosen, nothing_yet=run is None)


def _profile_result(chosen: Choices, run: Run) -> None:
    rows = pd.DataFrame(run.result)
    _stale_run(chosen, run)
    st.caption(
        f"Where the time of one forward pass at {run.request['shape']} goes, on {run.request['threads']} "
        "threads: torch's operators by the time they take themselves."
    )
    names = list(dict.fromkeys(rows["variant"]))
    name = st.segmented_control("Variant", names, default=names[0], required=True, key="profile-variant")
    table = rows[rows["variant"] == name][list(PROFILE_COLUMNS)].copy()
    table[["self_cpu_s", "total_cpu_s"]] *= 1e3
    first = table.iloc[0]
    st.dataframe(
        table.rename(columns=PROFILE_COLUMNS),
        hide_index=True,
        column_config={
            "share": st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1),
            **{
                PROFILE_COLUMNS[column]: st.column_config.NumberColumn(format="%.3f")
                for column in ("self_cpu_s", "total_cpu_s")
            },
            "memory (bytes)": st.column_config.NumberColumn(format="localized"),
        },
        alt=f"Operators of {name} by self time; first {first['name']} with {first['share']:.0%}.",
    )
    provenance.of_run(run)


def _profile_form(chosen: Choices, nothing_yet: bool) -> None:
    with (
        st.expander("Measure a profile", expanded=nothing_yet, icon=":material/play_arrow:"),
        st.form("profile-form", border=False),
    ):
        variants = _variants_field("profile")
        left, right = st.columns(2)
        text = left.text_input("Shape", value="1x70", help="Pictures in the batch × their edge in pixels.")
        threads = _threads_field(right, "profile")
        if st.form_submit_button("Start", type="primary") and _any(variants):
            try:
                shapes = latency.parse_shapes(text)
                if len(shapes) != 1:
                    raise InputError(f"The profiler takes one shape, and {text!r} names {len(shapes)}.")
            except InputError as error:
                st.error(str(error), icon=":material/error:")
                return
            queue.start(
                ProfileRequest(
                    model=chosen.subject.model,
                    weights=chosen.subject.weights,
                    variants=tuple(variants),
                    shape=str(shapes[0]),
                    threads=threads,
                )
            )
            st.rerun()


# All runs


def _all_runs(db: sqlite3.Connection) -> None:
    found = runs.find(db)
    if not found:
        st.info("No run has been started yet.", icon=":material/hourglass_empty:")
        return
    table = pd.DataFrame(
        {
            "run": run.id,
            "what": queue.title(run),
            "state": run.state,
            "done": f"{run.done:,} of {run.total:,}" if run.total else "",
            "started": provenance.when(run.started_at) if run.started_at else "",
            "message": run.message,
        }
        for run in found
    )
    st.dataframe(table, hide_index=True, alt=f"{len(found)} runs, the newest first.")


# What the tabs share


def _choose_run(kind: str, found: list[Run]) -> Run | None:
    """The newest run, or another of those stored."""
    if len(found) < 2:
        return found[0] if found else None
    return st.selectbox(
        "Stored run",
        found,
        format_func=lambda run: f"Run {run.id} · {provenance.when(run.ended_at or run.created_at)}",
        key=f"run-of-{kind}",
    )


def _stale_run(chosen: Choices, run: Run) -> None:
    changes = gallery.run_changes(run, chosen.today)
    if changes:
        provenance.stale({", ".join(run.request["variants"]): changes})


def _variants_field(form: str) -> list[str]:
    usable = choices.usable_variants()
    return st.multiselect("Variants", usable, default=usable, key=f"{form}-variants")


def _threads_field(place: st.delta_generator.DeltaGenerator, form: str) -> int:
    cores = machine.default_threads()
    return int(
        place.number_input(
            "Threads",
            min_value=1,
            max_value=cores,
            value=cores,
            key=f"{form}-threads",
            help=f"This machine has {cores} cores.",
        )
    )


def _any(variants: list[str]) -> bool:
    if not variants:
        st.error("Choose one variant at least.", icon=":material/error:")
    return bool(variants)


frame.page("Benchmark", show)
