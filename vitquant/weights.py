"""Where a model's weights come from: Torch Hub's checkpoints, the project, a folder, or a random rule.

Imports no torch.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vitquant import catalog, download, first_use, paths, sample
from vitquant.catalog import ModelSpec
from vitquant.errors import InputError

RANDOM_DIGEST = "random-1"
"""Stands for the random rule in models.py; the number is the rule's version."""

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


def resolve(model: str, source: str | None = None, *, backbone_alone: bool = False) -> Weights:
    """The weights that "hub", "bundled", "own", "random" or a folder's path names; None: the model's own.

    Those of the hub may still be to fetch. backbone_alone: whether a model without a head will do. Raises
    InputError for an unknown model, a source that the model does not have, or a folder without the two files.
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
        if not (spec.has_head or backbone_alone):
            raise InputError(
                f"{model} is a backbone alone, which names no classes: train a head on it with `python -m "
                f"vitquant head train NAME --model {model} --dataset D`."
            )
        return Weights(model, "own", tuple(Path(file) for file in spec.files))
    if spec.home == "own":
        raise InputError(
            f"{model} takes no weights from {source!r}: it has its own files, and random ones can be had. Add "
            "other files as a model of their own."
        )
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
        spec = catalog.model(weights.model)
        # A name of one's own may come to stand for another architecture.
        return f"{RANDOM_DIGEST} {_architecture(spec)}" if spec.home == "own" else RANDOM_DIGEST
    if weights.source == "bundled":
        sample.check({file: digest_file(file) if file.is_file() else None for file in weights.files})
    if not is_here(weights):
        missing = " and ".join(str(file) for file in weights.files if not file.is_file())
        if weights.source == "own":
            raise InputError(f"The weights of {weights.model} are gone ({missing}): {_how_back(weights)}.")
        raise InputError(
            f"The weights of {weights.model} are not here ({missing}): `python -m vitquant fetch "
            f"{weights.model}` brings them; without a network, `--from` takes brought files, and --weights a "
            "folder, or random."
        )
    lines = "".join(f"{file.name} {digest_file(file)}\n" for file in weights.files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _how_back(own: Weights) -> str:
    """What brings back the files of an own model: those of Torch Hub's can be fetched."""
    gone = {file for file in own.files if not file.is_file()}
    for spec in catalog.MODELS.values():
        if spec.home == "hub" and gone <= {file for _, file, _ in hub_files(spec)}:
            return f"`python -m vitquant fetch {spec.name}` brings them"
    return "put the files back, or add the model again"


def _architecture(spec: ModelSpec) -> str:
    """A model's form, in a few words that tell it from any other's."""
    return f"{spec.timm_name} {spec.width}x{spec.depth} at {spec.pretraining_size}"


def fetch(weights: Weights, progress: Progress | None = None) -> None:
    """Download what Torch Hub's cache lacks of these weights; nothing to do for any others.

    The settings may name a mirror. A file appears in the cache only when it is whole; what has come of one that
    was cut stays beside it, and the next call goes on from there. Raises InputError where it cannot be had.
    """
    if weights.source != "hub":
        return
    lacking = [part for part in hub_files(catalog.model(weights.model)) if not part[1].is_file()]
    expected = sum(least_bytes for _, _, least_bytes in lacking)
    before = 0
    for url, file, least_bytes in lacking:

        def show(came: int, _: int, before: int = before, least_bytes: int = least_bytes) -> None:
            if progress:  # headers make a file somewhat larger than its numbers
                progress(before + min(came, least_bytes), expected)

        try:
            came = download.download(
                url, file, expected=checkpoint(least_bytes), patience=PATIENCE, progress=show
            )
            try:
                first_use.note(file.name, came.sha256, came.size_bytes, came.url)
            except InputError:
                file.unlink()  # what has come under this name is another file than before
                raise
        except InputError as error:
            raise InputError(
                f"{error} Set VITQUANT_MIRROR to a mirror, or name a folder that holds the checkpoint files "
                "(--weights FOLDER), or go without (--weights random)."
            ) from error
        show(least_bytes, 0)
        before += least_bytes


PATIENCE = download.USUAL


def hub_files(spec: ModelSpec, mirror: str | None = None) -> list[tuple[str, Path, int]]:
    """A hub model's checkpoints, the backbone's first: the address, the place in Torch Hub's cache, and the
    bytes of its numbers, which it is a little larger than. mirror: a base address in place of the usual one."""
    base = mirror or catalog.hub_address()
    names = (spec.backbone_file, spec.head_file)
    counts = (spec.backbone_parameters, spec.head_parameters)
    return [
        (f"{base}/{spec.hub_base}/{name}", paths.hub_checkpoints_dir() / name, 4 * count)
        for name, count in zip(names, counts, strict=True)
    ]


def checkpoint(least_bytes: int) -> download.Expected:
    """What is known of a checkpoint before it comes. least_bytes: of its numbers; headers make it a little
    more."""
    return download.Expected(
        least_bytes=least_bytes, most_bytes=least_bytes + least_bytes // 10 + 2**20, check=whats_wrong_with
    )


def whats_wrong_with(file: Path) -> str | None:
    """Why a file cannot be a whole checkpoint, as far as its beginning and its end tell; None where it may
    be."""
    with file.open("rb") as opened:
        begins = opened.read(512)
    if begins.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "it is a web page"
    if begins.startswith(b"PK") and not zipfile.is_zipfile(file):  # a zip archive, as torch writes, has its end
        return "it is cut short"
    return None
