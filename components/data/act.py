"""What the Data page's views do, and say of it: removing with a second thought, keeping what was sent,
amounts."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from components import readonly
from vitquant import paths, space
from vitquant.errors import InputError, VitquantError
from vitquant.inventory import Item
from vitquant.units import MB, bytes_words

UPLOAD_MB = 500
"""What may be sent through the browser, a file."""

_SAID = "data:said"
_ERROR = "data:error"


def gb(count: int) -> str:
    """Bytes in GB (10^9)."""
    return f"{count / 1e9:,.1f} GB"


def mb(count: int) -> str:
    """Bytes in MB (10^6), or GB where they are many; in bytes where they are few."""
    if not count:
        return "nothing"
    return gb(count) if count >= 10**10 else bytes_words(count, MB)


def short(place: Path) -> str:
    """A path as people write it: from the project's folder or from their own where it lies below."""
    if place.is_relative_to(paths.PROJECT_ROOT):
        return f"{place.relative_to(paths.PROJECT_ROOT)}/"
    return f"~/{place.relative_to(Path.home())}" if place.is_relative_to(Path.home()) else str(place)


def say() -> None:
    """What the last click did, or why it could not; once."""
    if said := st.session_state.pop(_SAID, None):
        st.success(said, icon=":material/check:")
    if error := st.session_state.pop(_ERROR, None):
        st.error(error, icon=":material/error:")


def do(action: Callable[[], str]) -> None:
    """Do something for a button's on_click and have it said; what goes wrong is said, too."""
    try:
        readonly.refuse()
        st.session_state[_SAID] = action()
    except (VitquantError, OSError) as error:
        st.session_state[_ERROR] = str(error)


def remove_button(item: Item, *, is_busy: bool) -> None:
    """Asks once more before anything is deleted."""
    with st.popover("Remove", icon=":material/delete:", disabled=is_busy):
        st.markdown(f"{space.what_goes(item)} What was measured with it stays, and is still shown.")
        st.button(
            "Yes, remove it",
            key=f"remove-{item.kind}-{item.name}",
            type="primary",
            on_click=do,
            args=(lambda: space.remove_named(item.name),),
        )


def keep_sent(files: Sequence[UploadedFile]) -> Path | None:
    """Write uploaded files below the data folder; the folder they are in, or None where that failed, which is
    said."""
    try:
        readonly.refuse()
        sent = paths.data_dir() / "downloads" / "sent"
        sent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=sent))  # two visitors' files may be called alike
        for file in files:
            name = Path(file.name).name
            if not name or name.startswith("."):
                raise InputError(f"{file.name!r} is no file name to keep.")
            (folder / name).write_bytes(file.getbuffer())
    except OSError as error:
        st.session_state[_ERROR] = f"What was sent cannot be kept: {error.strerror or error}."
        return None
    except VitquantError as error:
        st.session_state[_ERROR] = str(error)
        return None
    return folder
