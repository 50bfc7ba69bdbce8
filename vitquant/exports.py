"""A variant as files that work without vitquant: written, then loaded again by themselves and put to the test.

Every export is a folder with the weights, the few lines of code that load them (vitquant/takeaway), the
transform, the labels, a model card and the digests of it all. Listing the formats imports no torch.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vitquant import catalog, children, datasets, digest_cache, formats, labels, paths
from vitquant.catalog import ModelSpec
from vitquant.datasets import Dataset
from vitquant.digests import sha256_of
from vitquant.errors import InputError, VitquantError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from vitquant.vit import Classifier

SUMS = "SHA256SUMS"
CARD = "README.md"
USUAL_PICTURES = 256
"""Pictures that an export is put to the test on; fewer where a dataset has no more."""
FEW_PICTURES = 64
"""For models that take a tenth of a second and more for each."""


def usual_pictures(model: str) -> int:
    """How many pictures an export of this model is put to the test on, unless told otherwise."""
    return USUAL_PICTURES if catalog.model(model).home == "bundled" else FEW_PICTURES


def opened(dataset: str, pictures: int) -> Dataset:
    """The dataset that an export is put to the test on. Raises InputError where it is not here, or the number
    of pictures is none."""
    if pictures < 1:
        raise InputError(f"An export cannot be put to the test on {pictures} pictures: take 1 or more.")
    return datasets.open_dataset(dataset)


# Writing

_MAKING = ".making-"


@contextmanager
def making() -> Iterator[Path]:
    """An empty folder to make an export in, on the disk where exports are kept; it is gone afterwards.

    For whoever holds the measuring lock. Raises VitquantError where something cannot be written: in here, or by
    what is done with the folder.
    """
    try:
        paths.exports_dir().mkdir(parents=True, exist_ok=True)
        clear_left()
        with tempfile.TemporaryDirectory(prefix=_MAKING, dir=paths.exports_dir()) as staging:
            folder = Path(staging) / "export"
            folder.mkdir()
            yield folder
    except OSError as error:
        raise VitquantError(
            f"A file could not be written below {paths.exports_dir()}: {error.strerror or error}. Nothing was "
            "left half-written."
        ) from error


def clear_left() -> None:
    """Remove what a killed process has left of an export. For whoever holds the measuring lock: nobody else is
    at work on one."""
    for left in paths.exports_dir().glob(f"{_MAKING}*"):
        shutil.rmtree(left, ignore_errors=True)


def write(
    folder: Path, model: "nn.Module", spec: ModelSpec, format_name: str, *, image_size: int, engine: str
) -> None:
    """Write all of an export but its card and its digests into an empty folder.

    model: the variant as variants.build makes it (the float32 model for ONNX). Takes as long as saving it; the
    ONNX formats some seconds more.
    """
    from vitquant import models, onnx_files, predict, torch_files

    wanted = formats.format_of(format_name)
    weights_file = folder / wanted.weights_file
    if wanted.name == "program":
        torch_files.save_program(model, weights_file, image_size)
    elif wanted.name == "state-dict":
        torch_files.save_state_dict(model, weights_file)
    else:
        onnx_files.save(cast("Classifier", model), weights_file, image_size, int8=wanted.converts)
    config = {
        "model": spec.name,
        "format": wanted.name,
        "engine": engine,
        "architecture": models.architecture(spec),
        "full_range": torch_files.has_full_range(model),
        "transform": {
            "mean": predict.IMAGENET_MEAN,
            "std": predict.IMAGENET_STD,
            "image_size": image_size,
            "order": ["to 0..1", "normalize", "resize (bilinear, antialiased)"],
        },
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    classes = [{"wnid": label.wnid, "words": label.words} for label in labels.CLASSES]
    (folder / "labels.json").write_text(json.dumps(classes, indent=0) + "\n", encoding="utf-8")
    for name, source in wanted.code.items():
        shutil.copyfile(formats.CODE / source, folder / name)


def seal(folder: Path, card: str) -> None:
    """Add the card, and the digests of every file in the form that `sha256sum --check` reads."""
    (folder / CARD).write_text(card, encoding="utf-8")
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != SUMS)
    lines = [f"{sha256_of(file)}  {file.name}\n" for file in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def pack(folder: Path, archive: Path) -> None:
    """The folder as one zip archive, its files below a folder of the archive's name. Weights do not
    compress."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, allowZip64=True) as zipped:
        for file in sorted(folder.iterdir()):
            zipped.write(file, f"{archive.stem}/{file.name}")


def unpack(archive: Path, out: Path) -> None:
    """Put an export where somebody wants it: as the archive it is where out ends with .zip, else as a folder.

    Raises InputError where there is something already, VitquantError where it cannot be written; no partial
    file is left.
    """
    out = check_out(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".vitquant-", dir=out.parent) as staging:
            made = Path(staging) / "made"
            if out.suffix == ".zip":
                shutil.copyfile(archive, made)
            else:
                with zipfile.ZipFile(archive) as zipped:
                    zipped.extractall(staging)
                (Path(staging) / archive.stem).rename(made)
                if out.is_dir():
                    out.rmdir()  # empty, as check_out has seen
            made.replace(out)
    except (OSError, zipfile.BadZipFile) as error:
        raise VitquantError(f"{out} could not be written: {_reason(error)}.") from error


def check_out(out: Path) -> Path:
    """Where an export is to go, as an absolute path. Raises InputError where something is there already, or
    nothing can be written there."""
    out = Path(os.path.abspath(out))
    if out.suffix.lower() in _OTHER_ARCHIVES:
        raise InputError(f"{out.name} is no name for an export: give a folder, or a name that ends with .zip.")
    try:
        is_empty_folder = out.suffix != ".zip" and out.is_dir() and not any(out.iterdir())
        if out == Path.cwd() or (out.exists() and not is_empty_folder):
            raise InputError(f"{out} is there already: name a new folder, an empty one, or a new .zip file.")
        around = out.parent
        while not around.exists():
            around = around.parent
        can_be_written = around.is_dir() and os.access(around, os.W_OK | os.X_OK)
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise InputError(f"Nothing can be written to {out}: {_reason(error)}. Name another place.") from error
    if not can_be_written:
        raise InputError(
            f"Nothing can be written into {around}: name another place, or change its permissions."
        )
    return out


_OTHER_ARCHIVES = (".gz", ".tgz", ".tar", ".xz", ".bz2", ".zst", ".7z", ".rar", ".pt", ".pth", ".onnx")


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")


# What is there


def file_of(row: Mapping[str, Any]) -> Path | None:
    """The archive of an export run's row, if it is still there."""
    file = paths.exports_dir() / row["file"]
    return file if file.is_file() and file.stat().st_size == row["file_bytes"] else None


def sound_file(db: sqlite3.Connection, row: Mapping[str, Any]) -> Path | None:
    """The same, if it also is as it was made: its digest is the row's."""
    file = file_of(row)
    return file if file and digest_cache.digests(db, [file]) == [row["sha256"]] else None


def forget(row: Mapping[str, Any]) -> None:
    """Remove the archive of an export run's row, and its folder if that is empty then."""
    file = paths.exports_dir() / row["file"]
    with contextlib.suppress(OSError):
        file.unlink()
        file.parent.rmdir()


# Proof


@dataclass(frozen=True)
class Proof:
    """What an exported file answered, loaded again in its own runtime, beside what it was made from."""

    n: int  # pictures
    disagreements: int  # whose most probable class is another
    largest_logit_difference: float


_ALONE = (
    # Refuses vitquant even where it is installed: the file has to do without.
    "import runpy, sys; sys.modules['vitquant'] = None; runpy.run_path('predict.py', run_name='__main__')"
)


def answers_of(folder: Path, pictures: Sequence[Path]) -> "np.ndarray":
    """The logits, (pictures, 1000) float32, that an exported folder's own predict.py gives in a fresh process,
    which starts in that folder and cannot import vitquant.

    Raises VitquantError where it fails, with its own last words.
    """
    import numpy as np

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # the folder is to hold what is given away only
    with tempfile.TemporaryDirectory() as scratch:
        listing, found = Path(scratch) / "pictures", Path(scratch) / "logits.npy"
        listing.write_text("".join(f"{picture}\n" for picture in pictures), encoding="utf-8")
        try:
            children.run(
                ["-c", _ALONE, "--logits", str(found), f"@{listing}"],
                what="The process that loaded it",
                cwd=folder,
                environment=environment,
            )
        except VitquantError as error:
            raise VitquantError(f"The exported file did not work when it was loaded again: {error}") from error
        return np.asarray(np.load(found))


def compare(reference: "np.ndarray", answers: "np.ndarray") -> Proof:
    """Two (n, 1000) logits of the same pictures, beside each other. Raises VitquantError where the answers are
    no numbers."""
    import numpy as np

    if not np.isfinite(answers).all():
        raise VitquantError("Loaded again, the file answers with what are no numbers, so it is not offered.")
    return Proof(
        n=len(reference),
        disagreements=int((reference.argmax(axis=1) != answers.argmax(axis=1)).sum()),
        largest_logit_difference=float(np.abs(reference - answers).max()),
    )


def archive_name(model: str, weights: str, variant: str, format_name: str, image_size: int) -> str:
    """What the file is called: says what it is."""
    parts = [model, "random" if weights == "random" else "", variant, format_name, f"{image_size}px"]
    if formats.format_of(format_name).variants is not None:  # the format says which
        parts.remove(variant)
    return "-".join(filter(None, parts)) + ".zip"


def digest_of_code() -> str:
    """Changes when the files that go along with an export do: one made with older ones is not today's."""
    files = sorted({source for wanted in formats.FORMATS.values() for source in wanted.code.values()})
    total = hashlib.sha256()
    for source in files:
        total.update(f"{source} {sha256_of(formats.CODE / source)}\n".encode())
    return total.hexdigest()
