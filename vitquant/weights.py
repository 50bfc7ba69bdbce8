"""Where a model's weights come from: Torch Hub's checkpoints, the project, a folder, or a random rule.

Imports no torch.
"""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

from vitquant import catalog, paths, sample
from vitquant.errors import InputError

RANDOM_DIGEST = "random-1"
"""Stands for the random rule in models.py; the number is the rule's version."""

STALLED_AFTER_S = 60.0
"""How long a download may wait for its next bytes."""

BLOCK_BYTES = 2**20

Progress = Callable[[int, int], None]
"""Called with the bytes that have come and the bytes expected."""


@dataclass(frozen=True)
class Weights:
    """The weights of one model: which, and in which files."""

    model: str
    source: str  # "hub", "bundled", "own", "random" or "folder"
    files: tuple[Path, ...]  # the backbone's checkpoint and the head's; none for "random"

    @property
    def label(self) -> str:
        """What to call the source, and what resolve() takes: "hub", "bundled", "own", "random" or a folder's
        path."""
        return str(self.files[0].parent) if self.source == "folder" else self.source


def resolve(model: str, source: str | None = None) -> Weights:
    """The weights that "hub", "bundled", "own", "random" or a folder's path names; None: the model's own.

    Those of the hub may still be to fetch. Raises InputError for an unknown model, a source that the model
    does not have, or a folder without the two files.
    """
    spec = catalog.model(model)
    source = source or spec.home
    if source == "random":
        return Weights(model, "random", ())
    if source in ("hub", "bundled", "own") and source != spec.home:
        raise InputError(
            f"{model} has no weights {source!r}: its own are {spec.home!r}; random and a folder can be had too."
        )
    if source == "own":
        return Weights(model, "own", tuple(Path(file) for file in spec.files))
    names = (spec.backbone_file, spec.head_file)
    if source == "hub":
        return Weights(model, "hub", tuple(paths.hub_checkpoints_dir() / name for name in names))
    if source == "bundled":
        return Weights(model, "bundled", tuple(paths.sample_dir() / "model" / name for name in names))
    folder = Path(os.path.abspath(os.path.expanduser(source)))
    if not folder.is_dir():
        wrong = "is a file" if folder.exists() else "does not exist"
        raise InputError(
            f"Weights cannot be read from {source!r}: it {wrong}. Name the folder that holds "
            f"{' and '.join(names)}, or {spec.home}, or random."
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

    digest_file: gives a file's SHA-256, and may remember it. Raises InputError where a file is not here, or
    is one of the built-in sample's and not as it was shipped.
    """
    if weights.source == "random":
        return RANDOM_DIGEST
    if weights.source == "bundled":
        sample.check({file: digest_file(file) if file.is_file() else None for file in weights.files})
    if not is_here(weights):
        missing = " and ".join(str(file) for file in weights.files if not file.is_file())
        if weights.source == "own":
            raise InputError(
                f"The weights of {weights.model} are gone ({missing} is missing): put the files back, or add "
                "the model again."
            )
        raise InputError(
            f"The weights of {weights.model} are not here ({missing} is missing): `python -m vitquant predict` "
            "and `benchmark` download them; without a network, --weights takes a folder, or random."
        )
    lines = "".join(f"{file.name} {digest_file(file)}\n" for file in weights.files)
    return hashlib.sha256(lines.encode()).hexdigest()


def fetch(weights: Weights, progress: Progress | None = None) -> None:
    """Download what Torch Hub's cache lacks of these weights; nothing to do for any others.

    The settings may name a mirror. A file appears in the cache only when it is whole.
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

        def show(came: int, before: int = before, least_bytes: int = least_bytes) -> None:
            if progress:  # headers make a file somewhat larger than its numbers
                progress(before + min(came, least_bytes), expected)

        _download(url, file, least_bytes, show)
        show(least_bytes)
        before += least_bytes


def _download(url: str, file: Path, least_bytes: int, show: Callable[[int], None]) -> None:
    """Download one checkpoint; the file is there afterwards, or not at all and InputError raised."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as staging,
            requests.get(url, stream=True, timeout=STALLED_AFTER_S) as reply,
        ):
            reply.raise_for_status()
            came = Path(staging) / file.name
            with came.open("wb") as out:
                for block in reply.iter_content(BLOCK_BYTES):
                    out.write(block)
                    show(out.tell())
            if not _is_whole(came, least_bytes):
                raise OSError(
                    f"the {came.stat().st_size:,} bytes that came are not the whole checkpoint, "
                    f"which has more than {least_bytes:,}"
                )
            came.replace(file)
    except OSError as error:  # every error of requests is one
        raise InputError(
            f"{url} could not be downloaded: {_reason(error)}. Set VITQUANT_MIRROR to a mirror, or name a "
            "folder that holds the checkpoint files (--weights FOLDER), or go without (--weights random)."
        ) from error


def _reason(error: OSError) -> str:
    """Why a download failed, in a few words: requests' own run over several lines."""
    if isinstance(error, requests.HTTPError):
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut before the end"
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return "the server could not be reached, broke off, or fell silent"
    return str(error.strerror or error).rstrip(".")


def _is_whole(file: Path, least_bytes: int) -> bool:
    """Whether the file is large enough for its numbers and, if a zip archive as torch writes, has its end."""
    with file.open("rb") as opened:
        begins_as_zip = opened.read(2) == b"PK"
    return file.stat().st_size >= least_bytes and (not begins_as_zip or zipfile.is_zipfile(file))
