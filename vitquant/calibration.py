"""What pictures a calibrated recipe is fitted to: training pictures, never those that accuracy is measured on.

The first of a seeded order give the activations' ranges; the next ones judge what was tried. Imports no torch.
"""

import functools
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitquant import datasets, digest_cache, predictions
from vitquant.datasets import Dataset, Example
from vitquant.errors import InputError

FEWEST = 8
"""With fewer pictures the ranges are those of a few objects (the study on the Diagnosis page has more)."""

JUDGES = 256
"""Pictures that candidates are judged on, at most: where a dataset has fewer left, all of them."""

HELD_BYTES = 2 * 10**9
"""What all pictures may take in memory as the model takes them: 3 x 4 bytes a pixel."""

FALLBACK = "sample"
"""Whose training pictures serve where a dataset has none here."""

TRAINING = "train"


@dataclass(frozen=True)
class Calibration:
    """The pictures: from where, how many, which. Two with the same key are the same pictures."""

    dataset: str
    split: str
    digest: str  # of the pictures' contents, in their order
    pictures: int  # that the ranges are taken from
    judges: int  # that candidates are judged on
    seed: int
    image_size: int

    @property
    def key(self) -> str:
        return predictions.key_of(asdict(self))

    def title(self) -> str:
        """For people, in a sentence: on what."""
        return (
            f"{self.pictures:,} training pictures of {self.dataset} (seed {self.seed}, {self.image_size} × "
            f"{self.image_size} pixels), judged on {self.judges:,} others"
        )


@dataclass(frozen=True)
class Chosen:
    """A calibration with its files: those that give the ranges, and those that judge."""

    calibration: Calibration
    dataset: Dataset
    examples: tuple[Example, ...]

    @property
    def fitted_to(self) -> tuple[Example, ...]:
        return self.examples[: self.calibration.pictures]

    @property
    def judges(self) -> tuple[Example, ...]:
        return self.examples[self.calibration.pictures :]

    def file(self, example: Example) -> Path:
        return self.dataset.file(example)


def choose(db: sqlite3.Connection, dataset: str, image_size: int, settings: Mapping[str, float]) -> Chosen:
    """The training pictures for a variant that is to be used on this dataset.

    Those of the dataset itself, or of the sample where it has none here. Raises InputError where there are too
    few.
    """
    pictures, seed = int(settings["pictures"]), int(settings["seed"])
    if pictures < FEWEST:
        raise InputError(
            f"{pictures} calibration pictures are too few to rely on, whatever the model: take {FEWEST} or "
            "more (64 is usual). What fewer are worth for this model, `calibrate --study` measures."
        )
    held = 12 * image_size**2 * (pictures + JUDGES)
    if held > HELD_BYTES:
        raise InputError(
            f"{pictures:,} calibration pictures of {image_size} pixels are more than are held in memory: take "
            f"{max(FEWEST, HELD_BYTES // (12 * image_size**2) - JUDGES):,} or fewer, or smaller ones."
        )
    name, split = source_of(dataset)
    root = datasets.root_of(name, split)
    as_it_is = datasets.fingerprint(name, split) if root.is_dir() else ()
    source, whole = _in_order(name, split, seed, root, as_it_is)
    order = whole[: pictures + JUDGES]
    if len(order) < pictures + FEWEST:
        there = len(source.examples)
        remedy = f"Take pictures={there // 2}."
        if there < 2 * FEWEST:
            remedy = f"Add {2 * FEWEST - there} or more to {source.root}, and take pictures={FEWEST}."
        raise InputError(
            f"{source.name} has {there:,} training pictures: too few for {pictures:,} to calibrate on and "
            f"{FEWEST} to judge by. {remedy}"
        )
    examples = tuple(source.examples[index] for index in order)
    digests = digest_cache.digests(db, [source.file(example) for example in examples])
    found = Calibration(
        dataset=source.name,
        split=source.split,
        digest=predictions.key_of({"pictures": digests}),
        pictures=pictures,
        judges=len(examples) - pictures,
        seed=seed,
        image_size=image_size,
    )
    return Chosen(found, source, examples)


@functools.lru_cache(maxsize=8)
def _in_order(name: str, split: str, seed: int, root: Path, as_it_is: object) -> tuple[Dataset, list[int]]:
    """A dataset with its seeded order, listed once for as long as its folders stay as they are."""
    opened = datasets.open_dataset(name, split)
    return opened, datasets.evaluation_order(opened, seed)


def source_of(dataset: str) -> tuple[str, str]:
    """Whose training pictures serve a dataset, and the name of the split."""
    return (dataset if datasets.has_training(dataset) else FALLBACK), TRAINING


def _digests(db: sqlite3.Connection, chosen: Chosen) -> list[str]:
    return digest_cache.digests(db, [chosen.file(example) for example in chosen.examples])


def check_apart(db: sqlite3.Connection, chosen: Chosen, evaluated: str) -> None:
    """See that no chosen picture, whatever its name, is also among those that accuracy is measured on.

    Raises InputError, naming one, where one is.
    """
    if not datasets.is_here(evaluated):
        return
    measured = datasets.open_dataset(evaluated)
    files = {digest: chosen.file(e) for digest, e in zip(_digests(db, chosen), chosen.examples, strict=True)}
    others = digest_cache.digests(db, [measured.file(example) for example in measured.examples])
    if twice := files.keys() & set(others):
        raise InputError(
            f"{len(twice):,} of the calibration pictures are also among those that accuracy is measured on "
            f"({files[min(twice)]} is one): a figure measured on them would be worth nothing. Remove them from "
            f"{chosen.dataset.root}."
        )


def from_plain(plain: Mapping[str, Any]) -> Calibration:
    """The calibration that was stored as plain data."""
    return Calibration(**plain)
