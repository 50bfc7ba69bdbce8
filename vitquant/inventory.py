"""What is here and what is not: every model's weights and every dataset's pictures, with size, source, licence,
digests and the disk they take. Imports no torch.
"""

from collections.abc import Mapping
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
    registry,
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
    sources: tuple[str, ...]  # where it is published, or lies
    licence: str  # as the source states it
    disk_bytes: int  # what it takes of our disk now, unfinished downloads included
    size_bytes: int = 0  # of what is fetched; 0 where nothing has to be
    is_about: bool = False  # whether that is an estimate
    fetched_bytes: int = 0  # of an unfinished download
    digests: tuple[tuple[str, str], ...] = ()  # what, and its sha256 where one is known
    can_be_fetched: bool = False
    can_be_removed: bool = False
    problem: str | None = None  # what is wrong with something that should be here
    facts: Mapping[str, str] = field(default_factory=dict)  # more about it, in words

    def row(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def items() -> list[Item]:
    """Everything there is, the datasets first."""
    return [
        *(_dataset(spec) for spec in catalog.datasets().values()),
        *(_model(spec) for spec in catalog.models(backbones=True).values()),
    ]


def _dataset(spec: DatasetSpec) -> Item:
    if spec.name == fetching.TINY_IMAGENET:
        return _tiny_imagenet(spec)
    is_here = datasets.is_here(spec.name)
    of_classes = f"{spec.pictures:,} pictures of {spec.classes} classes"
    if not spec.is_own:
        return Item(
            name=spec.name,
            kind=DATASET,
            title=spec.title,
            state=_state(is_here),
            sources=(str(paths.sample_dir()),),
            licence=SAMPLE_LICENCE,
            disk_bytes=sum(fetching.size_of(paths.sample_dir() / split) for split in ("train", "val")),
            facts={"pictures": of_classes},
        )
    unlabelled = f"{spec.pictures:,} pictures without labels: agreement with fp32 stands for accuracy"
    is_copy = _is_below(Path(str(spec.root)), paths.data_dir())
    return Item(
        name=spec.name,
        kind=DATASET,
        title=spec.title,
        state=_state(is_here),
        sources=(str(spec.root),),
        licence=OWN_LICENCE,
        disk_bytes=registry.entries(registry.DATASETS)[spec.name].get("bytes", 0) if is_copy else 0,
        can_be_removed=True,
        problem=None if is_here else f"Its pictures are gone: {spec.root} is not there.",
        facts={"pictures": of_classes if spec.labelled else unlabelled},
    )


def _tiny_imagenet(spec: DatasetSpec) -> Item:
    [part] = fetching.parts(spec.name)
    fetched = download.partial_bytes(part.target) + fetching.size_of(part.target)
    root = datasets.folder(spec.name)
    digests: tuple[tuple[str, str], ...] = ()
    facts = {"pictures": f"{spec.pictures:,} pictures of {spec.classes} classes"}
    problem, laid_out = None, 0
    if root.exists():
        try:
            record = tiny_imagenet.record_of(root)
            laid_out = record.pictures_bytes
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
    is_here = datasets.is_here(spec.name)
    return Item(
        name=spec.name,
        kind=DATASET,
        title=spec.title,
        state=_state(is_here, partly=fetched > 0),
        sources=(part.url,),
        licence=TINY_IMAGENET_LICENCE,
        disk_bytes=laid_out + fetched,
        size_bytes=fetching.ARCHIVE_BYTES,
        fetched_bytes=fetched,
        digests=digests,
        can_be_fetched=not is_here,
        can_be_removed=root.exists() or fetched > 0,
        problem=problem,
        facts=facts,
    )


def _model(spec: ModelSpec) -> Item:
    facts = {"parameters": f"{spec.parameters:,}"}
    if not spec.has_head:
        facts["to be used for"] = "training a head on it: it is a backbone alone"
    if spec.home == "hub":
        return _hub_model(spec, facts)
    files = weights.resolve(spec.name, backbone_alone=True).files
    if spec.home == "bundled":
        return Item(
            name=spec.name,
            kind=MODEL,
            title=spec.title,
            state=_state(sample.is_here()),
            sources=(str(paths.sample_dir() / "model"),),
            licence=SAMPLE_LICENCE,
            disk_bytes=sum(fetching.size_of(file) for file in files),
            facts=facts,
        )
    gone = [file for file in files if not file.is_file()]
    return Item(
        name=spec.name,
        kind=MODEL,
        title=spec.title,
        state=_state(not gone),
        sources=tuple(str(file) for file in files),
        licence=OWN_LICENCE,
        disk_bytes=sum(fetching.size_of(file) for file in files if _is_below(file, paths.data_dir())),
        can_be_removed=True,
        problem=f"Its weights are gone: {gone[0]} is not there." if gone else None,
        facts=facts,
    )


def _hub_model(spec: ModelSpec, facts: Mapping[str, str]) -> Item:
    parts = fetching.parts(spec.name)
    files = [part.target for part in parts]
    whole = [file for file in files if file.is_file()]
    partial = sum(download.partial_bytes(file) for file in files)
    noted = first_use.noted()
    is_here = len(whole) == len(files)
    return Item(
        name=spec.name,
        kind=MODEL,
        title=spec.title,
        state=_state(is_here, partly=bool(whole or partial)),
        sources=tuple(part.url for part in parts),
        licence=DINOV2_LICENCE,
        disk_bytes=sum(fetching.size_of(file) for file in whole) + partial,
        size_bytes=spec.download_bytes,
        is_about=True,
        fetched_bytes=partial,
        digests=tuple((file.name, noted[file.name].sha256) for file in files if file.name in noted),
        can_be_fetched=not is_here,
        can_be_removed=bool(whole or partial),
        facts={**facts, "kept in": str(paths.hub_checkpoints_dir())},  # which other programs use, too
    )


def _state(is_here: bool, *, partly: bool = False) -> str:
    return "here" if is_here else "partly" if partly else "not here"


def _is_below(place: Path, folder: Path) -> bool:
    """Whether a place lies in our folder: what lies elsewhere is somebody's own."""
    return place.resolve().is_relative_to(folder)
