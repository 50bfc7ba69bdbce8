"""A variant as files that work without vitquant: written, then loaded again by themselves and put to the test.

Every export is a folder with the weights, the few lines of code that load them (vitquant/takeaway), the
transform, the labels, a model card and the digests of it all. Listing the formats imports no torch.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitquant import catalog, datasets, labels, machine, paths
from vitquant.catalog import ModelSpec
from vitquant.datasets import Dataset
from vitquant.digests import sha256_of
from vitquant.errors import InputError, VitquantError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

_CODE = Path(__file__).parent
SUMS = "SHA256SUMS"
CARD = "README.md"
ONNX_REQUIREMENTS = "requirements-onnx.txt"
USUAL_PICTURES = 256
"""Pictures that an export is put to the test on; fewer where a dataset has no more."""
FEW_PICTURES = 64
"""For models that take a tenth of a second and more for each."""


@dataclass(frozen=True)
class Format:
    """One kind of file that a variant can leave as."""

    name: str
    title: str
    summary: str  # one or two sentences
    weights_file: str
    code: Mapping[str, str]  # file in the export -> where it lies in vitquant/
    needs: tuple[str, ...]  # packages that loading it takes
    runtime: str  # the package whose version decides its answers
    converts: bool = False  # whether its answers are a conversion's own instead of the variant's

    @property
    def variants(self) -> tuple[str, ...] | None:
        """The variants it can be made of; None: of any."""
        return ("fp32",) if self.runtime == "onnxruntime" else None

    @property
    def loader(self) -> str:
        """The source of its load.py."""
        return (_CODE / self.code["load.py"]).read_text(encoding="utf-8")


_PREDICT = {"predict.py": "takeaway/predict.py"}
_TORCH = _PREDICT | {"transform.py": "takeaway/transform_torch.py"}
_ONNX = _PREDICT | {"transform.py": "takeaway/transform_numpy.py", "load.py": "takeaway/load_onnx.py"}

FORMATS: dict[str, Format] = {
    found.name: found
    for found in [
        Format(
            "program",
            "Program (TorchScript)",
            "torch loads and runs it by itself, for pictures of this one size, one or several at a time. "
            "float16 weights are stored as such, in half the bytes.",
            "model.pt",
            _TORCH | {"load.py": "takeaway/load_program.py"},
            ("torch", "numpy", "pillow"),
            "torch",
        ),
        Format(
            "state-dict",
            "State dict with a loader",
            "The numbers alone, under the checkpoint's own names, with a short loader that builds the model "
            "from torch and timm: for pictures of any size, and for those who want to change the model.",
            "weights.pt",
            _TORCH | {"load.py": "takeaway/load_state_dict.py", "model.py": "dinov2.py"},
            ("torch", "timm", "numpy", "pillow"),
            "torch",
        ),
        Format(
            "onnx",
            "ONNX, float32",
            "The float32 model for ONNX Runtime and whatever else reads ONNX; no torch needed.",
            "model.onnx",
            _ONNX,
            ("onnxruntime", "numpy", "pillow"),
            "onnxruntime",
        ),
        Format(
            "onnx-int8",
            "ONNX, int8",
            "Another conversion: ONNX Runtime quantizes the float32 model itself (dynamic, per-channel "
            "weights, 7-bit range). It is not torch's qint8, so it has an accuracy of its own.",
            "model.onnx",
            _ONNX,
            ("onnxruntime", "numpy", "pillow"),
            "onnxruntime",
            converts=True,
        ),
    ]
}


def format_of(name: str) -> Format:
    """The format of that name; InputError, with the nearest names, where there is none."""
    if name not in FORMATS:
        raise catalog.unknown("format", name, FORMATS, "python -m vitquant export --help")
    return FORMATS[name]


def why_not(format_name: str, variant: str) -> str | None:
    """Why a variant cannot leave in a format here, as a sentence; None where it can."""
    wanted = format_of(format_name)
    if wanted.variants is not None and variant not in wanted.variants:
        return (
            f"{wanted.title} is made of {' or '.join(wanted.variants)}, not of {variant}: ONNX cannot hold "
            f"torch's quantized layers. Take the variant {wanted.variants[0]}, or the format program or "
            "state-dict."
        )
    if wanted.runtime == "onnxruntime":
        lacking = [name for name in ("onnx", "onnxscript", "onnxruntime") if util.find_spec(name) is None]
        if lacking:
            return (
                f"{wanted.title} needs {' and '.join(lacking)}, which are optional and not installed here: "
                f"python -m pip install -r {ONNX_REQUIREMENTS}"
            )
    return None


def check(format_name: str, variant: str) -> None:
    """Raise InputError with why_not's sentence where there is one."""
    if problem := why_not(format_name, variant):
        raise InputError(problem)


def usual_pictures(model: str) -> int:
    """How many pictures an export of this model is put to the test on, unless told otherwise."""
    return USUAL_PICTURES if catalog.model(model).home == "bundled" else FEW_PICTURES


def runtime_version(format_name: str) -> str:
    """The installed version of the package that runs the format."""
    return machine.version_of(format_of(format_name).runtime)


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
    """An empty folder to make an export in, on the disk where exports are kept; gone afterwards, whatever
    happens. What a killed process has left goes first: one run is measured at a time, so nobody is at work in
    it.

    Raises VitquantError where it cannot be made.
    """
    try:
        paths.exports_dir().mkdir(parents=True, exist_ok=True)
        for left in paths.exports_dir().glob(f"{_MAKING}*"):
            shutil.rmtree(left, ignore_errors=True)
        staging = tempfile.TemporaryDirectory(prefix=_MAKING, dir=paths.exports_dir())
    except OSError as error:
        raise VitquantError(f"{paths.exports_dir()} cannot be written: {error.strerror or error}.") from error
    with staging as name:
        folder = Path(name) / "export"
        folder.mkdir()
        yield folder


def write(
    folder: Path, model: "nn.Module", spec: ModelSpec, format_name: str, *, image_size: int, engine: str
) -> None:
    """Write all of an export but its card and its digests into an empty folder.

    model: the variant as variants.build makes it (the float32 model for ONNX). Takes as long as saving it; the
    ONNX formats some seconds more.
    """
    from vitquant import models, onnx_files, predict, torch_files

    wanted = format_of(format_name)
    weights_file = folder / wanted.weights_file
    if wanted.name == "program":
        torch_files.save_program(model, weights_file, image_size)
    elif wanted.name == "state-dict":
        torch_files.save_state_dict(model, weights_file)
    else:
        onnx_files.save(model, weights_file, image_size, int8=wanted.converts)
    config = {
        "model": spec.name,
        "format": wanted.name,
        "engine": engine,
        "architecture": models.architecture(spec),
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
        shutil.copyfile(_CODE / source, folder / name)


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
    check_out(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as staging:
            made = Path(staging) / out.name
            if out.suffix == ".zip":
                shutil.copyfile(archive, made)
            else:
                with zipfile.ZipFile(archive) as zipped:
                    zipped.extractall(staging)
                (Path(staging) / archive.stem).rename(made)
                if out.is_dir():
                    out.rmdir()  # empty, as check_out has seen
            made.replace(out)
    except OSError as error:
        raise VitquantError(f"{out} could not be written: {error.strerror or error}.") from error


def check_out(out: Path) -> None:
    """Raise InputError where an export cannot go: something is there, or the folder around it cannot be
    written."""
    if out.is_dir() and out.suffix != ".zip" and not any(out.iterdir()):
        pass
    elif out.exists():
        raise InputError(f"{out} is there already: name a new folder, an empty one, or a new .zip file.")
    around = out.absolute().parent
    while not around.exists():
        around = around.parent
    if not around.is_dir() or not os.access(around, os.W_OK | os.X_OK):
        raise InputError(
            f"Nothing can be written into {around}: name another place, or change its permissions."
        )


# What is there


def file_of(row: Mapping[str, Any]) -> Path | None:
    """The archive of an export run's row, if it is still there."""
    file = paths.exports_dir() / row["file"]
    return file if file.is_file() and file.stat().st_size == row["file_bytes"] else None


# Proof


@dataclass(frozen=True)
class Proof:
    """What an exported file answered, loaded again in its own runtime, beside what it was made from."""

    n: int  # pictures
    disagreements: int  # whose most probable class is another
    largest_logit_difference: float


def answers_of(folder: Path, pictures: Sequence[Path]) -> "np.ndarray":
    """The logits, (pictures, 1000) float32, that an exported folder's own predict.py gives in a fresh process,
    which starts in that folder and has nothing of vitquant on its path.

    Raises VitquantError where it fails, with its own last words.
    """
    import numpy as np

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as scratch:
        listing, found = Path(scratch) / "pictures", Path(scratch) / "logits.npy"
        listing.write_text("".join(f"{picture}\n" for picture in pictures), encoding="utf-8")
        ran = subprocess.run(
            [sys.executable, "predict.py", "--logits", str(found), f"@{listing}"],
            cwd=folder,
            env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},  # the folder is to hold what is given away only
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            last = ran.stderr.strip().splitlines()[-1:] or [f"exit status {ran.returncode}"]
            raise VitquantError(f"The exported file did not work when it was loaded again: {last[0]}")
        return np.asarray(np.load(found))


def compare(reference: "np.ndarray", answers: "np.ndarray") -> Proof:
    """Two (n, 1000) logits of the same pictures, beside each other."""
    import numpy as np

    return Proof(
        n=len(reference),
        disagreements=int((reference.argmax(axis=1) != answers.argmax(axis=1)).sum()),
        largest_logit_difference=float(np.abs(reference - answers).max()),
    )


def archive_name(model: str, weights: str, variant: str, format_name: str, image_size: int) -> str:
    """What the file is called: says what it is."""
    parts = [model, "random" if weights == "random" else "", variant, format_name, f"{image_size}px"]
    if format_of(format_name).variants is not None:  # the format says which
        parts.remove(variant)
    return "-".join(filter(None, parts)) + ".zip"


def digest_of_code() -> str:
    """Changes when the files that go along with an export do: one made with older ones is not today's."""
    files = sorted({source for wanted in FORMATS.values() for source in wanted.code.values()})
    total = hashlib.sha256()
    for source in files:
        total.update(f"{source} {sha256_of(_CODE / source)}\n".encode())
    return total.hexdigest()
