"""The 1000 classes of ImageNet-1k: class index <-> wnid <-> words. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from vitquant.errors import InputError

_TABLE = Path(__file__).with_name("imagenet_classes.tsv")  # made by tools/make_labels.py


@dataclass(frozen=True)
class ClassLabel:
    """One class: its place among a classifier's outputs, its WordNet id and what it is called."""

    index: int  # 0 to 999
    wnid: str  # "n01440764"
    words: str  # "tench, Tinca tinca"


def _read_table() -> tuple[tuple[ClassLabel, ...], tuple[ClassLabel, ...]]:
    classes, tiny = [], []
    for line in _TABLE.read_text("utf-8").splitlines()[1:]:
        index, wnid, in_tiny_imagenet, words = line.split("\t")
        label = ClassLabel(int(index), wnid, words)
        classes.append(label)
        if in_tiny_imagenet == "yes":
            tiny.append(label)
    return tuple(classes), tuple(sorted(tiny, key=lambda label: label.wnid))


CLASSES, _TINY_IMAGENET = _read_table()
"""Every class, in the order of the class indices; and Tiny-ImageNet's, in the order of their wnids."""

_BY_WNID = {label.wnid: label for label in CLASSES}


def by_index(index: int) -> ClassLabel:
    """The class at that output of a classifier; InputError where there is none."""
    if not 0 <= index < len(CLASSES):
        raise InputError(f"There is no class {index}: ImageNet's classes are 0 to {len(CLASSES) - 1}.")
    return CLASSES[index]


def by_wnid(wnid: str) -> ClassLabel:
    """The class with that WordNet id; InputError where none of the 1000 has it."""
    if wnid not in _BY_WNID:
        raise InputError(
            f"{wnid!r} is not one of ImageNet's 1000 classes: their ids look like "
            f"{CLASSES[0].wnid} ({CLASSES[0].words})."
        )
    return _BY_WNID[wnid]


def by_name(name: str) -> ClassLabel:
    """The class of that WordNet id, or the one class that is called so; InputError, naming those that match,
    where it is not one."""
    wanted = name.strip().lower()
    called = [
        label for label in CLASSES if wanted in [words.strip().lower() for words in label.words.split(",")]
    ]
    if len(called) == 1:
        return called[0]
    if called:
        which = " or ".join(f"{label.index} ({label.words})" for label in called)
        raise InputError(f"{name!r} is what more than one class is called: say which by its index, {which}.")
    return by_wnid(name)


def tiny_imagenet() -> tuple[ClassLabel, ...]:
    """Tiny-ImageNet's 200 classes, in the order of their wnids."""
    return _TINY_IMAGENET


def short(words: str) -> str:
    """What a class is called first: "tench" of "tench, Tinca tinca"."""
    return words.split(",", 1)[0].strip()
