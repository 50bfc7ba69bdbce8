"""The settings: what holds, where that was said, and how to change it."""

import sqlite3

import pandas as pd
import streamlit as st

from vitquant import machine, paths, settings
from vitquant.errors import InputError

_ORIGINS = {"environment": "environment", "file": "the file", "usual": "not set"}


def show(db: sqlite3.Connection) -> None:
    rows = []
    for name, setting in settings.SETTINGS.items():
        try:
            chosen = settings.chosen(name)
            value = setting.usual if chosen.value is None else str(chosen.value)
            origin = _ORIGINS[chosen.origin]
        except InputError as error:
            value, origin = str(error), "cannot be"
        rows.append(
            {
                "setting": name,
                "what holds": value,
                "said by": origin,
                "what it is": setting.meaning,
                "environment": setting.variable,
            }
        )
    st.markdown(
        f"A line for each that you want otherwise, in `{settings.file()}`"
        + ("" if settings.file().is_file() else " (which is not there yet)")
        + "; an environment variable overrides its line. A running dashboard follows the file at once."
    )
    st.dataframe(pd.DataFrame(rows), hide_index=True, width="stretch", row_height=60)
    st.caption("To begin with, take what you need of this:")
    lines = [f"# {s.meaning}\n# {s.example}" for s in settings.SETTINGS.values()]
    st.code("\n".join(lines), language="toml", wrap_lines=True)
    st.subheader("Where things are", anchor=False)
    places = {
        "pictures and results": paths.data_dir(),
        "the store of results": paths.store_file(),
        "Torch Hub's checkpoints ($TORCH_HOME, as torch has it)": paths.hub_checkpoints_dir(),
        "the sample": paths.sample_dir(),
    }
    st.markdown("\n".join(f"- {what}: `{place}`" for what, place in places.items()))
    st.markdown(
        f"This machine: {machine.machine_name()}; measurements take {machine.default_threads()} of its cores."
    )
