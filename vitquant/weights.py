"""Where a model's weights come from: Torch Hub's checkpoints, a folder, or a random rule.

Imports torch only to download.
"""

import hashlib
import os
import socket
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError

from vitquant import catalog, paths
from vitquant.errors import InputError

RANDOM_DIGEST = "random-1"
"""Stands for the random rule in models.py; the number is the rule's version."""

STALLED_AFTER_S = 60.0
"""How long a download may wait for its next bytes."""

Progress = Callable[[int, int], None]
"""Called with the bytes that have come and the bytes expected."""


@dataclass(frozen=True)
class Weights:
    """The weights of one model: which, and in which files."""

    model: str
    source: str  # "hub", "random" or "folder"
    files: tuple[Path, ...]  # the backbone's checkpoint and the head's; none for "random"

    @property
    def label(self) -> str:
        """What to call the source, and what resolve() takes: "hub", "random" or the folder's path."""
        return str(self.files[0].parent) if self.source == "folder" else self.source


def resolve(model: str, source: str) -> Weights:
    """The weights that "hub", "random" or a folder's path names. Those of the hub may still be to fetch.

    Raises InputError for an unknown model, or a folder without the two files.
    """
    spec = catalog.model(model)
    if source == "random":
        return Weights(model, "random", ())
    names = (spec.backbone_file, spec.head_file)
    if source == "hub":
        return Weights(model, "hub", tuple(paths.hub_checkpoints_dir() / name for name in names))
    folder = Path(os.path.abspath(os.path.expanduser(source)))
    if not folder.is_dir():
        wrong = "is a file" if folder.exists() else "does not exist"
        raise InputError(
            f"Weights cannot be read from {source!r}: it {wrong}. Name the folder that holds "
            f"{' and '.join(names)}, or hub, or random."
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder} lacks {' and '.join(missing)}: the weights of {model} are the two files "
            f"{' and '.join(names)}, named as Torch Hub names them."
        )
    return Weights(model, "folder", tuple(folder / name for name in names))


def is_here(weights: Weights) -> bool:
    """Whether the model can be loaded without downloading anything."""
    return all(file.is_file() for file in weights.files)


def digest(weights: Weights, digest_file: Callable[[Path], str]) -> str:
    """What tells these weights from any others, wherever the files lie.

    digest_file: gives a file's SHA-256, and may remember it.
    """
    if weights.source == "random":
        return RANDOM_DIGEST
    lines = "".join(f"{file.name} {digest_file(file)}\n" for file in weights.files)
    return hashlib.sha256(lines.encode()).hexdigest()


def fetch(weights: Weights, progress: Progress | None = None) -> None:
    """Download what Torch Hub's cache lacks of these weights; nothing to do for a folder or random ones.

    $VITQUANT_HUB_URL names a mirror to take them from. A file appears in the cache only when it is whole.
    Raises InputError where it cannot be had.
    """
    if weights.source != "hub":
        return
    spec = catalog.model(weights.model)
    urls = (spec.backbone_url, spec.head_url)
    numbers = (spec.backbone_parameters, spec.head_parameters)
    lacking = [
        (url, file, 4 * count)
        for url, file, count in zip(urls, weights.files, numbers, strict=True)
        if not file.is_file()
    ]
    expected = sum(least_bytes for _, _, least_bytes in lacking)
    before = 0
    for url, file, least_bytes in lacking:

        def show(came: int, before: int = before) -> None:
            if progress:
                progress(min(before + came, expected), expected)

        _download(url, file, least_bytes, show)
        show(least_bytes)
        before += least_bytes


def _download(url: str, file: Path, least_bytes: int, show: Callable[[int], None]) -> None:
    """Download one checkpoint; the file is there afterwards, or not at all and InputError raised."""
    from torch.hub import download_url_to_file

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as staging:
            came = Path(staging) / file.name
            with _watching(Path(staging), show), _giving_up_after(STALLED_AFTER_S):
                download_url_to_file(url, str(came), progress=False)
            # torch's function takes a connection that closes early for the end of the file.
            if not _is_whole(came, least_bytes):
                raise OSError(
                    f"the {came.stat().st_size:,} bytes that came are not the whole checkpoint, "
                    f"which has more than {least_bytes:,}"
                )
            came.replace(file)
    except (OSError, ValueError, HTTPException) as error:  # ValueError: what is no URL at all
        raise InputError(
            f"{url} could not be downloaded: {_reason(error)}. Set VITQUANT_HUB_URL to a mirror, or name a "
            "folder that holds the checkpoint files (--weights FOLDER), or go without (--weights random)."
        ) from error


def _reason(error: Exception) -> str:
    """Why a download failed, without Python's wrapping: "Connection refused"."""
    inner = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
    return str(getattr(inner, "strerror", None) or inner).rstrip(".")


def _is_whole(file: Path, least_bytes: int) -> bool:
    """Whether the file is large enough for its numbers and, if a zip archive as torch writes, has its end."""
    with file.open("rb") as opened:
        begins_as_zip = opened.read(2) == b"PK"
    return file.stat().st_size >= least_bytes and (not begins_as_zip or zipfile.is_zipfile(file))


@contextmanager
def _giving_up_after(seconds: float) -> Iterator[None]:
    """Meanwhile new connections fail when nothing comes for so long: torch's function sets no limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _watching(folder: Path, show: Callable[[int], None], interval_s: float = 0.25) -> Iterator[None]:
    """Meanwhile show how many bytes the folder holds, a few times a second."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(interval_s):
            show(_bytes_in(folder))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _bytes_in(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except OSError:  # renamed in this very moment
        return 0
