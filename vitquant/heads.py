"""Heads of one's own: which backbone one is trained on, and with which pictures. Imports no torch.

(vitquant/head_training.py trains them.)
"""

import os
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitquant import calibration, catalog, datasets, digest_cache, labels, registry, weights
from vitquant.catalog import ModelSpec
from vitquant.datasets import Dataset, Example
from vitquant.errors import InputError
from vitquant.weights import Weights

VERSION = 1
"""Part of a head's identity: to be raised where the same pictures would give another head."""

HELD_OUT = 5
"""One of so many pictures of every class is held out."""

REST_SEED = 1
"""Always the same: what is held out of a dataset for good must not have trained another head."""


@dataclass(frozen=True)
class Backbone:
    """A model of the catalog whose backbone is used, and where its weights come from."""

    model: str
    weights: Weights

    @property
    def is_alone(self) -> bool:
        """Whether only the backbone is read, and no head needs to be there."""
        return self.weights.source in ("hub", "folder")

    @property
    def file(self) -> Path | None:
        """The checkpoint that holds the backbone and nothing else, and stays; None where there is none."""
        if self.weights.source == "random" or (self.weights.source == "own" and len(self.weights.files) != 2):
            return None
        made_here = self.weights.files[0].resolve().is_relative_to(registry.folder(registry.MODELS).resolve())
        return None if made_here else self.weights.files[0]  # that goes with the model it was made for


@dataclass(frozen=True)
class Pictures:
    """What a head is trained on, and what is held out for good."""

    dataset: Dataset
    training: tuple[Example, ...]  # in a seeded order, of which every prefix is a fair sample of the classes
    rest: tuple[Example, ...]  # none where the dataset has training pictures of its own
    left_out: int  # training pictures that are evaluated, too

    @property
    def classes(self) -> tuple[int, ...]:
        """The class indices that the training pictures have, ascending."""
        return tuple(sorted({example.class_index for example in self.training}))

    @property
    def single(self) -> list[str]:
        """The wnids of the classes with one training picture, which is then never held out."""
        counts: dict[str, int] = defaultdict(int)
        for example in self.training:
            counts[example.wnid] += 1
        return sorted(wnid for wnid, count in counts.items() if count == 1)

    def files(self, examples: Sequence[Example]) -> list[Path]:
        return [self.dataset.file(example) for example in examples]


def backbone(model: str, source: str, file: str | None = None) -> Backbone:
    """The backbone that a head is to be trained on. source: as weights.resolve takes it; file: a backbone's
    checkpoint, taken instead. Raises InputError where it is not here, or has not DINOv2's form."""
    spec = catalog.model(catalog.TWINS.get(model, model))  # the same function, without what was planted
    if spec.has_head and spec.head_parameters != len(labels.CLASSES) * (spec.head_segments * spec.width + 1):
        raise InputError(
            f"{model} has no backbone that a head can be trained on: take a DINOv2 model or a sample."
        )
    source = source or spec.home
    if file is not None:
        return Backbone(spec.name, _of_file(spec, Path(os.path.abspath(os.path.expanduser(file)))))
    if source not in ("hub", "bundled", "own", "random"):
        there = Path(os.path.abspath(os.path.expanduser(source))) / spec.backbone_file
        if there.is_file():
            return Backbone(spec.name, _of_file(spec, there))
    found = weights.resolve(spec.name, source, backbone_alone=True)
    if source == "hub" and not found.files[0].is_file():
        raise InputError(
            f"The backbone of {model} is not here ({found.files[0]} is missing): `python -m vitquant fetch "
            f"{model}` brings it; --backbone FILE takes one that you have."
        )
    return Backbone(spec.name, found)


def _of_file(spec: ModelSpec, file: Path) -> Weights:
    if not file.is_file():
        raise InputError(
            f"There is no file {file}: name the checkpoint of {spec.name}'s backbone ({spec.backbone_file} is "
            "Torch Hub's name for it)."
        )
    return Weights(spec.name, "folder", (file,))


def digest_of_backbone(db: sqlite3.Connection, of: Backbone) -> str:
    """What tells this backbone from any other. Raises InputError where a file of it is gone."""
    if of.is_alone:
        return digest_cache.digests(db, of.weights.files[:1])[0]
    return digest_cache.of_weights(db, of.weights)


def pictures(db: sqlite3.Connection, name: str, limit: int | None, seed: int) -> Pictures:
    """The pictures that a head for a dataset is trained on: its training pictures, or else four of five of the
    evaluated ones of every class, and the others are held out for good.

    limit: so many of them at most, evenly from all classes; seed: which ones. One that is also evaluated,
    be it under another name, is left out. Raises InputError where the dataset is not here, does not say what
    its pictures show, or has too few.
    """
    if not catalog.dataset(name).labelled:
        raise InputError(
            f"{name} does not say what its pictures show, so no head can learn it: add the pictures again with "
            "their labels."
        )
    if calibration.source_of(name) == (name, calibration.TRAINING):
        dataset = datasets.open_dataset(name, calibration.TRAINING)
        evaluated = datasets.open_dataset(name)
        rest: tuple[Example, ...] = ()
        files = [evaluated.file(example) for example in evaluated.examples]
    else:
        dataset = datasets.open_dataset(name)
        ordered = [dataset.examples[index] for index in datasets.evaluation_order(dataset, REST_SEED)]
        rest = tuple(ordered[place] for place in split(ordered)[1])
        files = [dataset.file(example) for example in rest]
    apart = {example.index for example in rest}
    ordered = [dataset.examples[index] for index in datasets.evaluation_order(dataset, seed)]
    chosen = [example for example in ordered if example.index not in apart][:limit]
    seen = set(digest_cache.digests(db, files))
    digests = digest_cache.digests(db, [dataset.file(example) for example in chosen])
    training = tuple(e for e, digest in zip(chosen, digests, strict=True) if digest not in seen)
    found = Pictures(dataset, training, rest, len(chosen) - len(training))
    _check_enough(found, name, len({example.wnid for example in dataset.examples}), limit)
    return found


def _check_enough(found: Pictures, name: str, classes: int, limit: int | None) -> None:
    if classes < 2 or (limit is None and len(found.classes) < 2):
        raise InputError(
            f"{name} has pictures of {len(found.classes)} class to train a head with: it takes two or more, so "
            "add some of another class."
        )
    if limit is not None and limit < 2 * classes:
        raise InputError(
            f"{limit:,} pictures are too few to train a head for the {classes} classes of {name}: take "
            f"{2 * classes:,} or more."
        )
    if not split(found.training)[1]:
        raise InputError(
            f"No class of {name} has a second training picture, by which a head could be judged: add some."
        )


def split(examples: Sequence[Example]) -> tuple[list[int], list[int]]:
    """The places of examples to train with, and of those to hold out: of every class the last in this order,
    one in HELD_OUT and at least one, but none of a class that has a single picture."""
    places: dict[int, list[int]] = defaultdict(list)
    for place, example in enumerate(examples):
        places[example.class_index].append(place)
    held = {
        place
        for of_class in places.values()
        if len(of_class) > 1
        for place in of_class[-max(1, len(of_class) // HELD_OUT) :]
    }
    return [place for place in range(len(examples)) if place not in held], sorted(held)


def digest_of_pictures(db: sqlite3.Connection, found: Pictures) -> list[str]:
    """The SHA-256 of every picture, those to train with first."""
    return digest_cache.digests(db, found.files([*found.training, *found.rest]))


def rest_name(dataset: str) -> str:
    """What the dataset is called that has what was held out of another one for good."""
    return f"{dataset}-rest"


def check_rest(found: Pictures) -> bool:
    """Whether what is held out for good is a dataset already. Raises InputError where one of other pictures has
    its name."""
    name = rest_name(found.dataset.name)
    if name not in catalog.datasets():
        catalog.check_new_name(registry.DATASETS, name)
        return False
    there = datasets.open_dataset(name)
    if {there.file(example) for example in there.examples} != set(found.files(found.rest)):
        raise InputError(
            f"{name} is there already and has other pictures than those that are held out of "
            f"{found.dataset.name} now: remove it first."
        )
    return True


def folder(name: str) -> Path:
    """Where the files of a trained head are."""
    return registry.folder(registry.MODELS) / name


def is_there(db: sqlite3.Connection, row: Mapping[str, Any]) -> bool:
    """Whether the head of a run's row of part "fit" is still one of the models, as it was trained."""
    spec, file = catalog.models().get(row["model"]), Path(row["head_file"])
    if spec is None or str(file) not in spec.files or not file.is_file():
        return False
    return digest_cache.digests(db, [file]) == [row["head_sha256"]]


def title(of: Backbone, dataset: str) -> str:
    """What the model with the new head is called."""
    base = catalog.model(of.model).title.removesuffix(", linear classifier")
    random = " (random numbers)" if of.weights.source == "random" else ""
    return f"{base}{random}, with a head for {catalog.dataset(dataset).title}"
