"""The same figure over all stored runs, as a chart with its noise band and as a list."""

import sqlite3

import pandas as pd
import streamlit as st

from components import address
from components.choices import Choices
from vitquant import charts, gallery, history, run_charts, wording


def show(db: sqlite3.Connection, chosen: Choices, kind: str) -> None:
    """The history of a kind of measurement; nothing where there is only one."""
    figures = {
        figure.key: figure
        for figure in history.FIGURES
        if figure.kind == kind and history.points(db, chosen.subject, figure)
    }
    if not figures:
        return
    default = next(iter(figures))
    if len({point.run_id for point in history.points(db, chosen.subject, figures[default])}) < 2:
        return
    st.subheader("History", anchor=False)
    key = address.value_of(address.FIGURE, list(figures), default, what="figure")
    figure = figures[key]
    points = history.points(db, chosen.subject, figure)
    settings = history.settings(points)
    left, right = st.columns(2)
    with left:
        if len(figures) > 1:
            st.selectbox(
                "Figure",
                list(figures),
                format_func=lambda name: figures[name].title,
                **address.mirror(address.FIGURE, key),
            )
    setting = settings[0]
    if len(settings) > 1:
        setting = right.selectbox("At", settings, key=f"history-{key}")
    points = [point for point in points if point.setting == setting]
    names = gallery.in_order({point.variant for point in points})
    by_variant = {name: [point for point in points if point.variant == name] for name in names}
    bands = {name: None if kind == "accuracy" else history.band(own) for name, own in by_variant.items()}
    st.plotly_chart(
        run_charts.history(by_variant, bands, figure),
        config=charts.CONFIG,
        alt=run_charts.history_alt(by_variant, figure),
        key=f"history-chart-{kind}",
    )
    repeated = max((band.runs for band in bands.values() if band), default=0)
    if kind == "accuracy":
        st.caption(
            "Bars: 95% intervals, which come from the number of pictures. The same pictures under the same "
            "conditions get the same answers every time, so there is no other noise."
        )
    elif repeated:
        how = "mean ± 2 standard deviations" if repeated >= history.ENOUGH else "their range"
        st.caption(
            f"The band is how much {repeated} runs under the newest run's conditions vary by themselves "
            f"({how}): a change within it is noise."
        )
    else:
        st.caption("No run was repeated under the newest one's conditions, so there is no noise band yet.")
    newest = points[-1].conditions
    st.dataframe(
        pd.DataFrame(
            {
                "run": "shipped" if point.shipped else str(point.run_id),
                "when": f"{point.at[:16].replace('T', ' ')} ({wording.age(point.at)})",
                "variant": point.variant,
                f"{figure.title} ({figure.unit})": point.value,
                "conditions": "as the newest" if point.conditions == newest else "others",
            }
            for point in reversed(points)
        ),
        hide_index=True,
        column_config={f"{figure.title} ({figure.unit})": st.column_config.NumberColumn(format="%.2f")},
        alt=run_charts.history_alt(by_variant, figure),
    )
