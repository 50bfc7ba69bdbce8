"""Somebody's own pictures as a dataset: looked through, then added under a name, where they lie or as a copy.

Only what has been looked through is added, and all of it or nothing: first the listings are written, then the
entry that makes them a dataset. Nobody's own files are ever changed; copies lie below data/own/pictures and are
removed with their dataset. Imports no torch.
"""

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock

from vitquant import catalog, datasets, first_use, own_pictures_listing, own_pictures_zip, paths, registry, room
from vitquant.catalog import DatasetSpec
from vitquant.datasets import Example
from vitquant.errors import InputError, VitquantError
from vitquant.own_pictures_listing import Listed
from vitquant.own_pictures_look import Report, look_through
from vitquant.own_pictures_walk import Progress

__all__ = ["Report", "add", "add_view", "add_zip", "look_through", "look_through_zip", "remove"]

_BLOCK_BYTES = 4096  # what the smallest file takes on most file systems


def copies_dir() -> Path:
    """The folder of pictures that were copied or unpacked here, one folder a dataset."""
    return paths.data_dir() / "own" / "pictures"


def add(
    name: str,
    path: Path,
    *,
    report: Report | None = None,
    labels: Path | None = None,
    chosen: Mapping[str, int] | None = None,
    check: bool = True,
    title: str | None = None,
    copy: bool = False,
    progress: Progress | None = None,
) -> DatasetSpec:
    """Add a folder's pictures as a dataset, and return it.

    report: what look_through has found there just now, else the folder is looked through with labels, chosen,
    check and progress. copy: copy the pictures into data/, so that the folder may go.

    Raises InputError where the name cannot be had or the folder cannot be used, VitquantError where something
    cannot be written; then nothing is added.
    """
    catalog.check_new_name(registry.DATASETS, name)
    report = report or look_through(path, labels=labels, chosen=chosen, check=check, progress=progress)
    _check_usable(report)
    root, how = path.resolve(), _how(name, path, labels, chosen)
    if not copy:
        return _register(name, report, root, title, how)
    with _staging() as staging:
        _copy(report, root, staging, progress)
        return _register(name, report, staging, title, f"{how} --copy", move_in=True)


def look_through_zip(
    archive: Path,
    *,
    chosen: Mapping[str, int] | None = None,
    check: bool = True,
    progress: Progress | None = None,
) -> Report:
    """What look_through finds in a zip archive, unpacked for the time being.

    Raises InputError where the archive is not to be trusted or there is no room for it.
    """
    with _staging() as staging:
        return _unpacked(archive, staging, chosen, check, progress)


def add_zip(
    name: str,
    archive: Path,
    *,
    chosen: Mapping[str, int] | None = None,
    check: bool = True,
    title: str | None = None,
    progress: Progress | None = None,
) -> DatasetSpec:
    """Unpack a zip archive of pictures into data/ and add them as a dataset, which is returned.

    The archive may hold what a folder may hold, with one folder around it or without. Raises InputError where
    the name cannot be had, the archive is not to be trusted (own_pictures_zip.unpack) or nothing in it can be
    used, VitquantError where something cannot be written; then nothing is left of it.
    """
    catalog.check_new_name(registry.DATASETS, name)
    with _staging() as staging:
        report = _unpacked(archive, staging, chosen, check, progress)
        _check_usable(report)
        how = _how(name, archive, None, chosen)
        return _register(name, report, staging, title or archive.stem, how, move_in=True)


def add_view(
    name: str,
    of: str,
    pictures: Sequence[Example],
    title: str,
    *,
    training: Sequence[Example] = (),
    split: str = "val",
) -> DatasetSpec:
    """Add a dataset that has some of another one's pictures, where they lie: what heads are not trained on.
    training: others of them, as its training pictures. split: the split that both are from.

    Raises InputError where the name cannot be had, there is no such dataset, or there are no pictures.
    """
    catalog.check_new_name(registry.DATASETS, name)
    original = catalog.dataset(of)
    if not pictures:
        raise InputError(f"None of the pictures of {of} were taken for {name}: take some.")
    below = "" if original.is_own else f"{split}/"
    listed = {
        part: tuple(Listed(f"{below}{example.path}", example.class_index) for example in examples)
        for part, examples in (("val", pictures), ("train", training))
        if examples
    }
    report = Report(
        path=str(datasets.folder(of)),
        kind=f"some of {of}",
        labelled=original.labelled,
        splits={part: len(examples) for part, examples in listed.items()},
        classes=len({example.class_index for example in pictures if example.wnid}),
        listed=listed,
    )
    how = f".venv/bin/python -m vitquant head train NAME --dataset {of}"
    return _register(name, report, datasets.folder(of), title, how)


def remove(name: str) -> None:
    """Remove a dataset that was added, with the copy of its pictures if one was made here. The pictures of
    others and all that was measured stay.

    Raises InputError where there is no such dataset, and where another one still needs the copy.
    """
    place = registry.folder(registry.DATASETS)
    with _sentences(place):
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / ".lock"):
            _remove(name)


def _remove(name: str) -> None:
    spec = catalog.datasets().get(name)
    copied = copies_dir() / name
    if spec is not None and spec.root == str(copied):
        for other in catalog.datasets().values():
            if other.name != name and other.root == spec.root:
                raise InputError(f"{other.name} is made of the pictures of {name}: remove {other.name} first.")
    registry.remove(registry.DATASETS, name)
    own_pictures_listing.remove(name)
    first_use.forget(f"{name}/val")
    if spec is not None and spec.root == str(copied):
        with _sentences(copied):
            shutil.rmtree(copied)


def _how(name: str, path: Path, labels: Path | None, chosen: Mapping[str, int] | None) -> str:
    """The command that adds the same pictures again."""
    words = [".venv/bin/python", "-m", "vitquant", "add", "pictures", name, str(path.resolve())]
    words += ["--labels", str(labels.resolve())] if labels else []
    for folder, index in (chosen or {}).items():
        words += ["--class", f"{folder}={index}"]
    return shlex.join(words)


def _check_usable(report: Report) -> None:
    if report.problem:
        raise InputError(report.problem)


def _register(
    name: str, report: Report, root: Path, title: str | None, how: str, *, move_in: bool = False
) -> DatasetSpec:
    """The listings, then the entry. move_in: the root is a folder in the making that becomes the copy."""
    place = registry.folder(registry.DATASETS)
    with _sentences(place):
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / ".lock"):
            catalog.check_new_name(registry.DATASETS, name)  # again: it may have been taken meanwhile
            kept = copies_dir() / name if move_in else root
            try:
                if move_in:
                    shutil.rmtree(kept, ignore_errors=True)  # it belongs to no dataset, as the name is free
                    os.replace(root, kept)
                _write(name, report, kept, title, how)
            except BaseException:
                own_pictures_listing.remove(name)
                if move_in:
                    shutil.rmtree(kept, ignore_errors=True)
                raise
    return catalog.dataset(name)


def _write(name: str, report: Report, root: Path, title: str | None, how: str) -> None:
    own_pictures_listing.remove(name)  # of one that was removed
    for split, pictures in report.listed.items():
        own_pictures_listing.write(name, split, pictures)
    spec = {
        "title": title or Path(report.path).name or name,
        "pictures": report.splits["val"],
        "classes": report.classes,
        "how_to_get": how,
        "root": str(root),
        "labelled": report.labelled,
    }
    more = {
        key: value for key, value in report.plain().items() if key in ("kind", "splits", "bytes", "checked")
    }
    registry.add(registry.DATASETS, name, {"spec": spec, **more})


# Copies


@contextmanager
def _staging() -> Iterator[Path]:
    """A hidden folder for pictures on their way; gone at the end, unless it has been moved into place. What
    processes that were killed have left is removed."""
    place = copies_dir()
    with _sentences(place):
        place.mkdir(parents=True, exist_ok=True)
        for left in place.glob(".writing-*"):
            writer = left.name.split("-")[1]
            if writer.isdigit() and not psutil.pid_exists(int(writer)):
                shutil.rmtree(left, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix=f".writing-{os.getpid()}-", dir=place))
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _copy(report: Report, root: Path, staging: Path, progress: Progress | None) -> None:
    files = [picture.path for pictures in report.listed.values() for picture in pictures]
    room.check_disk(staging, report.bytes + _BLOCK_BYTES * len(files), "Copying these pictures")
    for done, path in enumerate(files, start=1):
        (staging / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, staging / path)
        if progress:
            progress(done, len(files))


def _unpacked(
    archive: Path,
    staging: Path,
    chosen: Mapping[str, int] | None,
    check: bool,
    progress: Progress | None,
) -> Report:
    unpacked = own_pictures_zip.unpack(archive, staging, progress)
    report = look_through(staging, chosen=chosen, check=check, progress=progress)
    return own_pictures_zip.as_of_archive(report, archive, staging, unpacked)


@contextmanager
def _sentences(place: Path) -> Iterator[None]:
    """What the file system says becomes a sentence."""
    try:
        yield
    except OSError as error:
        raise VitquantError(
            f"{error.filename or place} cannot be read or written ({error.strerror or error}): check its "
            "permissions and the room on the disk."
        ) from error
