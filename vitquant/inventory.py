"""What is here and what is not: every model's weights and every dataset's pictures, with size, source, licence,
digests and the disk they take. Imports no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vitquant import (
    catalog,
    datasets,
    download,
    fetching,
    first_use,
    paths,
    sample,
    tiny_imagenet,
    weights,
)
from vitquant.catalog import DatasetSpec, ModelSpec
from vitquant.errors import InputError

MODEL, DATASET = "model", "dataset"

DINOV2_LICENCE = "Apache License 2.0, as DINOv2's repository states for code and weights"
TINY_IMAGENET_LICENCE = (
    "none stated by its source; the pictures are ImageNet's, whose terms allow non-commercial research and "
    "education only"
)
SAMPLE_LICENCE = "made by this project"
OWN_LICENCE = "your own files"


@dataclass(frozen=True)
class Item:
    """One model or dataset."""

    name: str
    kind: str  # MODEL or DATASET
    title: str
    state: str  # "here", "partly" or "not here"
    size_bytes: int  # of what is fetched, exactly or about; 0 where nothing has to be
    is_about: bool  # whether that is an estimate
    disk_bytes: int  # what it takes now, unfinished downloads included
    source: str  # where it is published, or lies
    licence: str  # as the source states it
    digests: tuple[tuple[str, str], ...] = ()  # what, and its sha256 where one is known
    can_be_fetched: bool = False
    can_be_removed: bool = False
    fetched_bytes: int = 0  # of an unfinished download
    problem: str | None = None  # what is wrong with something that should be here
    facts: Mapping[str, str] = field(default_factory=dict)  # more about it, in words

    def row(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def items() -> list[Item]:
    """Everything there is, the datasets first."""
    return [
        *(_dataset(spec) for spec in catalog.datasets().values()),
        *(_model(spec) for spec in catalog.models().values()),
    ]


def _dataset(spec: DatasetSpec) -> Item:
    if spec.name == "sample":
        folders = [paths.sample_dir() / split for split in ("train", "val")]
        return Item(
            spec.name,
            DATASET,
            spec.title,
            "here" if datasets.is_here("sample") else "not here",
            0,
            False,
            sum(fetching.size_of(folder) for folder in folders),
            str(paths.sample_dir()),
            SAMPLE_LICENCE,
            facts={"pictures": f"{spec.pictures:,} pictures of {spec.classes} classes"},
        )
    if spec.is_own:
        return _own_dataset(spec)
    return _tiny_imagenet(spec)


def _tiny_imagenet(spec: DatasetSpec) -> Item:
    [part] = fetching.parts(spec.name)
    fetched = download.partial_bytes(part.target) + fetching.size_of(part.target)
    root = datasets.folder(spec.name)
    digests: tuple[tuple[str, str], ...] = ()
    facts = {"pictures": f"{spec.pictures:,} pictures of {spec.classes} classes"}
    problem = None
    if root.exists():
        try:
            record = tiny_imagenet.record_of(root)
            digests = ((f"{record.archive} ({record.archive_bytes:,} bytes)", record.archive_sha256),)
            facts = {
                "pictures": f"{record.validation:,} pictures to evaluate on, {record.training:,} for training, "
                f"{record.classes} classes",
                "laid out": record.prepared_at,
            }
        except InputError as error:
            problem = str(error)
    else:
        digests = ((f"{fetching.ARCHIVE} (md5, as published)", fetching.ARCHIVE_MD5),)
    return Item(
        spec.name,
        DATASET,
        spec.title,
        "here" if datasets.is_here(spec.name) else "partly" if fetched else "not here",
        fetching.ARCHIVE_BYTES,
        False,
        fetching.size_of(root) + fetched,
        part.url,
        TINY_IMAGENET_LICENCE,
        digests,
        can_be_fetched=not datasets.is_here(spec.name),
        can_be_removed=root.exists() or fetched > 0,
        fetched_bytes=fetched,
        problem=problem,
        facts=facts,
    )


def _own_dataset(spec: DatasetSpec) -> Item:
    is_here = datasets.is_here(spec.name)
    labels = "labelled" if spec.labelled else "without labels: agreement with fp32 stands for accuracy"
    return Item(
        spec.name,
        DATASET,
        spec.title,
        "here" if is_here else "not here",
        0,
        False,
        _taken_here([Path(str(spec.root))]),
        str(spec.root),
        OWN_LICENCE,
        can_be_removed=True,
        problem=None if is_here else f"Its pictures are gone: {spec.root} is not there.",
        facts={"pictures": f"{spec.pictures:,} pictures of {spec.classes} classes, {labels}"},
    )


def _model(spec: ModelSpec) -> Item:
    facts = {"parameters": f"{spec.parameters:,}"}
    if spec.home == "hub":
        return _hub_model(spec, facts)
    source = weights.resolve(spec.name)
    if spec.home == "bundled":
        return Item(
            spec.name,
            MODEL,
            spec.title,
            "here" if sample.is_here() else "not here",
            0,
            False,
            sum(fetching.size_of(file) for file in source.files),
            str(paths.sample_dir() / "model"),
            SAMPLE_LICENCE,
            facts=facts,
        )
    gone = [file for file in source.files if not file.is_file()]
    return Item(
        spec.name,
        MODEL,
        spec.title,
        "not here" if gone else "here",
        0,
        False,
        _taken_here(source.files),
        ", ".join(str(file) for file in source.files),
        OWN_LICENCE,
        can_be_removed=True,
        problem=f"Its weights are gone: {gone[0]} is not there." if gone else None,
        facts=facts,
    )


def _taken_here(places: Sequence[Path]) -> int:
    """The bytes of those places that lie below the data folder: what lies elsewhere is somebody's own."""
    below = [place for place in places if place.resolve().is_relative_to(paths.data_dir())]
    return sum(fetching.size_of(place) for place in below)


def _hub_model(spec: ModelSpec, facts: Mapping[str, str]) -> Item:
    parts = fetching.parts(spec.name)
    files = [part.target for part in parts]
    whole = [file for file in files if file.is_file()]
    partial = sum(download.partial_bytes(file) for file in files)
    noted = first_use.noted()
    return Item(
        spec.name,
        MODEL,
        spec.title,
        "here" if len(whole) == len(files) else "partly" if whole or partial else "not here",
        spec.download_bytes,
        True,
        sum(fetching.size_of(file) for file in whole) + partial,
        " and ".join(part.url for part in parts),
        DINOV2_LICENCE,
        tuple((file.name, noted[file.name].sha256) for file in files if file.name in noted),
        can_be_fetched=len(whole) < len(files),
        can_be_removed=bool(whole or partial),
        fetched_bytes=partial,
        facts={**facts, "kept in": str(_folder_of(files))},
    )


def _folder_of(files: list[Path]) -> Path:
    """Torch Hub's cache, which other programs use, too."""
    return files[0].parent
