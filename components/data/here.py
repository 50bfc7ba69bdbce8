"""What is here and what is not: each dataset and model with its size, source, licence and digests, and buttons
that fetch, verify and remove it."""

import sqlite3
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from components import queue, readonly
from components.data import act
from vitquant import inventory, paths, room, runs, wording
from vitquant.errands import FetchRequest, VerifyRequest
from vitquant.inventory import Item
from vitquant.runs import Run

_STATES = {
    "here": (":green-badge[:material/check: here]"),
    "partly": (":orange-badge[:material/downloading: partly here]"),
    "not here": (":gray-badge[not here]"),
}


def show(db: sqlite3.Connection) -> None:
    items = inventory.items()
    verified = _newest_of_each(db)
    busy = {run.request["name"] for run in runs.find(db, states=("queued", "running"), errands=True)}
    places = {"pictures and results": paths.data_dir(), "Torch Hub's checkpoints": paths.hub_checkpoints_dir()}
    free = [f"{act.gb(room.free_on_disk(at))} for {what} (in `{act.short(at)}`)" for what, at in places.items()]
    st.caption(f"Free on the disk: {', '.join(free)}.")
    for title, kind in (("Pictures", inventory.DATASET), ("Models", inventory.MODEL)):
        st.subheader(title, anchor=False)
        of_kind = [item for item in items if item.kind == kind]
        # One's own and what is here come before what could be fetched.
        of_kind.sort(key=lambda item: (item.licence != inventory.OWN_LICENCE, item.state != "here"))
        for item in of_kind:
            _item(item, verified.get(item.name), is_busy=item.name in busy)


def _newest_of_each(db: sqlite3.Connection) -> dict[str, Run]:
    """The newest verification of each name."""
    found = runs.find(db, kind="verify", states=("done", "failed"), errands=True)
    return {run.request["name"]: run for run in reversed(found)}


def _item(item: Item, verified: Run | None, *, is_busy: bool) -> None:
    with st.container(border=True, key=f"item-{item.kind}-{item.name}"):
        words, buttons = st.columns([5, 3], vertical_alignment="center")
        with words:
            st.markdown(f"**{item.title}** {_STATES[item.state]}  \n{_in_brief(item)}")
            if item.problem:
                st.markdown(f":material/warning: {item.problem}")
        with buttons.container(horizontal=True, horizontal_alignment="right"):
            _buttons(item, is_busy=is_busy)
        with st.expander("Source, licence, digests"):
            _details(item)
        if verified and item.state == "here":
            _verified(verified)


def _in_brief(item: Item) -> str:
    about = "about " if item.is_about else ""
    parts = [f"`{item.name}`", *(fact for name, fact in item.facts.items() if name == "pictures")]
    if item.state != "here" and item.size_bytes:
        parts.append(f"{about}{act.mb(item.size_bytes)} to fetch")
    if item.fetched_bytes:
        parts.append(f"{act.mb(item.fetched_bytes)} have come")
    if item.disk_bytes:
        parts.append(f"takes {act.mb(item.disk_bytes)} of disk")
    return " · ".join(parts)


def _buttons(item: Item, *, is_busy: bool) -> None:
    if readonly.is_on():
        return
    name = item.name
    if item.can_be_fetched:
        st.button(
            "Go on" if item.fetched_bytes else "Fetch",
            key=f"fetch-{item.kind}-{name}",
            icon=":material/download:",
            type="primary",
            disabled=is_busy,
            on_click=queue.start,
            args=(FetchRequest(name),),
        )
        with st.popover("From elsewhere", icon=":material/drive_folder_upload:"):
            _from_elsewhere(item)
    if item.state == "here":
        st.button(
            "Verify",
            key=f"verify-{item.kind}-{name}",
            icon=":material/fact_check:",
            disabled=is_busy,
            help="Reads everything and compares digests.",
            on_click=queue.start,
            args=(VerifyRequest(name),),
        )
    if item.can_be_removed:
        act.remove_button(item, is_busy=is_busy)


def _from_elsewhere(item: Item) -> None:
    """A mirror, or a file that was brought: for machines without a network."""
    name = item.name
    what = "the archive" if item.kind == inventory.DATASET else "the two checkpoint files"
    mirror = st.text_input(
        "A mirror's address",
        key=f"mirror-{item.kind}-{name}",
        placeholder="https://mirror.example/files",
        help="What stands before the file's name there. The settings can name one for everything.",
    )
    st.button(
        "Fetch from this mirror",
        key=f"mirrored-{item.kind}-{name}",
        disabled=not mirror,
        on_click=queue.start,
        args=(FetchRequest(name, mirror=mirror.strip()),),
    )
    st.divider()
    st.markdown(
        f"**Without a network**: fetch {what} on another machine, bring that here, and say where it is on the "
        "machine that the dashboard runs on:"
    )
    for address in item.sources:
        st.code(address, language=None, wrap_lines=True)
    path = st.text_input(
        "Path of the file" if item.kind == inventory.DATASET else "Folder that holds the two files",
        key=f"path-{item.kind}-{name}",
        placeholder="/media/stick/" + ("tiny-imagenet-200.zip" if item.kind == inventory.DATASET else ""),
    )
    st.button(
        "Take what lies there",
        key=f"brought-{item.kind}-{name}",
        disabled=not path,
        on_click=queue.start,
        args=(FetchRequest(name, files=(path.strip(),)),),
    )
    uploaded = st.file_uploader(
        f"Or send {what} from the machine that you look at this with",
        help="Larger files: put them on the machine that the dashboard runs on, and say above where they are.",
        key=f"upload-{item.kind}-{name}",
        accept_multiple_files=item.kind == inventory.MODEL,
        max_upload_size=act.UPLOAD_MB,
    )
    files = uploaded if isinstance(uploaded, list) else [uploaded] if uploaded else []
    st.button(
        "Take what I sent",
        key=f"sent-{item.kind}-{name}",
        disabled=not files,
        on_click=_take_sent,
        args=(name, files),
    )


def _take_sent(name: str, files: list[UploadedFile]) -> None:
    """Keep what was sent beside the downloads and fetch from there."""
    folder = act.keep_sent(files)
    if folder is not None:
        queue.start(FetchRequest(name, files=tuple(str(folder / Path(file.name).name) for file in files)))


def _details(item: Item) -> None:
    st.markdown(f"Source: {' and '.join(item.sources)}")
    st.markdown(f"Licence: {item.licence}.")
    for name, fact in item.facts.items():
        st.markdown(f"{name.capitalize()}: {fact}.")
    for what, digest in item.digests:
        st.markdown(f"Digest of {what}:")
        st.code(digest, language=None, wrap_lines=True)
    if item.kind == inventory.MODEL and item.can_be_fetched and not item.digests:
        st.caption("Its source states no digests: they are noted when the files are first here.")


def _verified(run: Run) -> None:
    at = wording.age(run.ended_at or run.created_at)
    if run.state == "failed":
        st.markdown(f":material/error: Verified {at}: {run.message}")
        return
    for row in run.result or []:
        st.caption(f":material/fact_check: Verified {at}: {row['what']} {row['is']}.")
