"""The settings: what holds, where that was said, and how to change it."""

import sqlite3

import streamlit as st

from vitquant import machine, paths, settings
from vitquant.errors import InputError
from vitquant.settings import Setting


def show(db: sqlite3.Connection) -> None:
    there = "" if settings.file().is_file() else " (which is not there yet)"
    st.markdown(
        f"A line for each thing that you want otherwise, in `{settings.file()}`{there}; an environment "
        "variable overrides its line. A running dashboard follows the file at once."
    )
    for setting in settings.SETTINGS.values():
        _setting(setting)
    with st.expander("A file to begin with", icon=":material/edit_note:"):
        lines = [f"# {one.meaning}\n# {one.example}\n" for one in settings.SETTINGS.values()]
        st.code("\n".join(lines), language="toml", wrap_lines=True)
    st.subheader("Where things are", anchor=False)
    places = {
        "Pictures and results": paths.data_dir(),
        "The store of results": paths.store_file(),
        "Torch Hub's checkpoints, where torch itself keeps them (`$TORCH_HOME`)": paths.hub_checkpoints_dir(),
        "The sample": paths.sample_dir(),
    }
    st.markdown("\n".join(f"- {what}: `{place}`" for what, place in places.items()))
    st.caption(
        f"This machine: {machine.machine_name()}; measurements take {machine.default_threads()} of its cores."
    )


def _setting(setting: Setting) -> None:
    with st.container(border=True, key=f"setting-{setting.name}"):
        try:
            chosen = settings.chosen(setting.name)
        except InputError as error:
            st.markdown(f"**{setting.name}**")
            st.error(str(error), icon=":material/error:")
            return
        said = {
            "environment": f"Set by `{setting.variable}` in the environment.",
            "file": "Set in the file.",
            "usual": "Not set.",
        }
        holds = setting.usual if chosen.value is None else f"`{chosen.value}`"
        st.markdown(f"**{setting.name}**: {holds}  \n{setting.meaning}")
        st.caption(
            f"{said[chosen.origin]} To change it: a line in the file, such as `{setting.example}`, or the "
            f"variable `{setting.variable}`."
        )
