"""Which pictures an own dataset has: for each split a file NAME.SPLIT.tsv beside its entry in the registry.

A line a picture: its path relative to the dataset's root, with "/", and its class index (-1: no label). Imports
no torch.
"""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from vitquant import registry, whole
from vitquant.errors import VitquantError

SPLITS = ("val", "train")
UNLABELLED = -1
"""The class index of a picture that nobody has said a class of."""

_CLASSES = 1000


class Listed(NamedTuple):
    """One picture of a listing."""

    path: str
    class_index: int


def file_of(name: str, split: str) -> Path:
    """Where the listing of a split is, or would be."""
    return registry.folder(registry.DATASETS) / f"{name}.{split}.tsv"


def can_be_listed(path: str) -> bool:
    """Whether a line can hold this path: no tabs or line breaks in it, nothing that is no text."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return not any(character in path for character in "\t\n\r\0")


def write(name: str, split: str, pictures: Iterable[Listed]) -> None:
    """The listing appears whole or not at all. Raises VitquantError where it cannot be written."""
    with (
        whole.written(file_of(name, split)) as writing,
        writing.open("w", encoding="utf-8", newline="\n") as lines,
    ):
        lines.writelines(f"{picture.path}\t{picture.class_index}\n" for picture in pictures)


def remove(name: str) -> None:
    """Remove the listings of every split."""
    for split in SPLITS:
        file_of(name, split).unlink(missing_ok=True)


def splits_of(name: str) -> list[str]:
    """The splits that have a listing."""
    return [split for split in SPLITS if file_of(name, split).is_file()]


def changed_ns(name: str, split: str) -> int:
    """When the listing was written, in ns since 1970; -1 where there is none."""
    try:
        return file_of(name, split).stat().st_mtime_ns
    except OSError:
        return -1


def read(name: str, split: str) -> tuple[Listed, ...]:
    """The pictures of a split in their order. Raises VitquantError where the listing cannot be read."""
    return _read(file_of(name, split), changed_ns(name, split))


def folders(name: str, split: str) -> tuple[str, ...]:
    """The folders that the pictures of a split lie in, relative to the root ("" is the root), sorted."""
    return _folders(file_of(name, split), changed_ns(name, split))


@functools.lru_cache(maxsize=8)
def _read(file: Path, changed_ns: int) -> tuple[Listed, ...]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
        return tuple(_listed(line) for line in lines if line)
    except (OSError, ValueError) as error:
        raise VitquantError(
            f"{file} cannot be read or is damaged ({error}): remove this dataset, and add it again."
        ) from error


@functools.lru_cache(maxsize=8)
def _folders(file: Path, changed_ns: int) -> tuple[str, ...]:
    return tuple(sorted({picture.path.rpartition("/")[0] for picture in _read(file, changed_ns)}))


def _listed(line: str) -> Listed:
    path, number = line.split("\t")
    index = int(number)
    if not UNLABELLED <= index < _CLASSES:
        raise ValueError(f"there is no class {index}")
    return Listed(path, index)
