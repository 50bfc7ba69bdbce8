"""One's own pictures: a folder or a .zip, looked through, its report, what has to be chosen, adding it."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from components import queue, readonly
from components.data import act
from vitquant import catalog, labels, paths, runs, wording
from vitquant.errands import PicturesRequest
from vitquant.runs import Run

LEAVE_OUT = -1

_WHAT = """
One of these, in a folder on the machine that the dashboard runs on, or in a `.zip`:

- **sorted into folders** named for their class: by wnid (`n02123045`), in words (`tabby cat`), or by index
  (`281`); with `train` and `val` folders around them, calibration and training have pictures of their own;
- **one folder and a table** (`.csv`) with the columns `file` and `label`;
- **one folder without labels**: then the answers are compared with fp32's, as agreement instead of accuracy;
- **ImageNet's own validation set**: 50,000 pictures with its devkit or with `LOC_val_solution.csv`, or sorted.

The pictures stay where they are, and are never changed.
"""


def show(db: sqlite3.Connection) -> None:
    _added()
    if readonly.is_on():
        return
    st.subheader("Add pictures", anchor=False)
    st.markdown(_WHAT)
    _ask()
    found = runs.find(db, kind=PicturesRequest.kind, states=("done", "failed"), errands=True)
    if found:
        _report(found[0])


def _added() -> None:
    own = [spec for spec in catalog.datasets().values() if spec.is_own]
    if not own:
        return
    st.subheader("Added", anchor=False)
    for spec in own:
        classes = "1 class" if spec.classes == 1 else f"{spec.classes:,} classes"
        what = classes if spec.labelled else "without labels"
        st.markdown(f"- **{spec.title}** (`{spec.name}`): {spec.pictures:,} pictures, {what}, in `{spec.root}`")
    label = "Choose them under Pictures, on any page"
    st.page_link("pages/explorer.py", label=label, icon=":material/grid_view:")


def _ask() -> None:
    left, right = st.columns(2)
    path = left.text_input("Folder, or .zip", key="own:path", placeholder="/home/me/pictures")
    name = right.text_input("What to call it", key="own:name", placeholder="my-pictures")
    table = left.text_input("Table of labels (.csv), if there is one", key="own:labels")
    with right:
        copy = st.checkbox("Copy the pictures", key="own:copy", help="Else they stay where they are.")
        st.button(
            "Look through them",
            type="primary",
            disabled=not (path.strip() and name.strip()),
            on_click=_look,
            args=(name.strip(), path.strip(), table.strip(), copy),
        )
    with st.expander("Send a .zip from the machine that you look at this with", icon=":material/upload:"):
        sent = st.file_uploader(
            "A .zip of pictures", type=["zip"], key="own:zip", max_upload_size=act.UPLOAD_MB
        )
        st.button(
            "Look through what I sent",
            disabled=sent is None or not name.strip(),
            on_click=_look_at_sent,
            args=(name.strip(), sent),
            help=None if name.strip() else "Say above what to call it.",
        )


def _look(name: str, path: str, table: str, copy: bool) -> None:
    request = PicturesRequest(
        name,
        path=str(paths.as_said(path)),
        labels=str(paths.as_said(table)) if table else None,
        copy=copy,
        add=False,
    )
    queue.start(request)


def _look_at_sent(name: str, sent: Any) -> None:
    folder = act.keep_sent([sent])
    if folder is not None:
        _look(name, str(folder / Path(sent.name).name), "", copy=False)


def _report(run: Run) -> None:
    request = run.request
    st.subheader(f"What is in {request['path']}", anchor=False)
    st.caption(f"Looked through {wording.age(run.ended_at or run.created_at)}.")
    if run.state == "failed":
        st.error(run.message, icon=":material/error:")
        return
    [report] = run.result or [{}]
    if report["problem"]:
        st.error(report["problem"], icon=":material/error:")
    if report["summary"] != report["problem"]:
        st.markdown(f"**{report['summary']}**")
    if report["added"]:
        st.success(f"Added as {report['name']}.", icon=":material/check:")
    classes = _choices(run.id, report)
    _left_out(report)
    name = str(st.session_state.get("own:name", "")).strip() or request["name"]
    if not report["added"] and (classes or not report["problem"]):
        st.button(
            f"Add as {name}",
            type="primary",
            icon=":material/add:",
            key="own:add",
            on_click=queue.start,
            args=(
                PicturesRequest(
                    name,
                    path=request["path"],
                    labels=request.get("labels"),
                    classes={**request.get("classes", {}), **classes},
                    copy=request.get("copy", False),
                ),
            ),
        )


def _choices(run_id: int, report: Mapping[str, Any]) -> dict[str, int]:
    """What somebody chooses for names that match several classes or none; by name, the class index."""
    chosen = {}
    if report["ambiguous"]:
        st.markdown("These names match more than one class. Which is meant?")
    for name, candidates in report["ambiguous"].items():
        indices = [LEAVE_OUT, *(one["index"] for one in candidates)]
        index = st.selectbox(f"`{name}`", indices, key=f"own:{run_id}:{name}", format_func=_class_title)
        if index != LEAVE_OUT:
            chosen[name] = index
    if report["unmatched"]:
        st.markdown("These match no class of ImageNet's, and are left out unless you choose one:")
    everything = [LEAVE_OUT, *(label.index for label in labels.CLASSES)]
    for name, near in list(report["unmatched"].items())[:20]:
        hint = f"near: {', '.join(near)}" if near else None
        index = st.selectbox(
            f"`{name}`", everything, key=f"own:{run_id}:{name}", format_func=_class_title, help=hint
        )
        if index != LEAVE_OUT:
            chosen[name] = index
    return chosen


def _class_title(index: int) -> str:
    if index == LEAVE_OUT:
        return "leave out"
    label = labels.by_index(index)
    return f"{label.words} ({label.wnid})"


def _left_out(report: Mapping[str, Any]) -> None:
    for why, group in {**report["unusable"], **report["rows"]}.items():
        with st.expander(f"{group['count']:,} {why}"):
            st.markdown("\n".join(f"- `{one}`" for one in group["examples"]))
    twice = report["duplicates"]
    if twice["count"]:
        with st.expander(f"{twice['count']:,} pictures have the content of another one; they stay in"):
            st.markdown("\n".join(f"- `{one}`" for one in twice["examples"]))
