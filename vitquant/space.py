"""What takes space on the disk, and removing it piece by piece: weights, pictures, files made to take away,
stored runs, and what fetching and training have left. Figures that were measured with a thing outlive it.

Imports no torch.
"""

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from vitquant import (
    catalog,
    database,
    download,
    exports,
    features,
    fetching,
    heads,
    inventory,
    jobs,
    own_models,
    own_pictures,
    paths,
    registry,
    runs,
)
from vitquant.errors import InputError
from vitquant.inventory import Item
from vitquant.runs import Run
from vitquant.units import MB, bytes_words

WEIGHTS, PICTURES, EXPORTS, RUNS, LEFT = "weights", "pictures", "exports", "runs", "left"

TITLES = {
    WEIGHTS: "Weights",
    PICTURES: "Pictures",
    EXPORTS: "Files made to take away",
    RUNS: "Stored runs",
    LEFT: "Left over: unfinished downloads, files that were sent, cached features",
}


@dataclass(frozen=True)
class Piece:
    """Something that can be removed by itself."""

    kind: str  # a key of TITLES
    key: str  # tells it from the others of its kind: a name, a run's number, a path
    title: str  # for people
    size_bytes: int
    goes: str  # what removing it does, in a sentence


def pieces(db: sqlite3.Connection) -> list[Piece]:
    """Everything of ours that takes space, by kind, the largest first."""
    found = [_of_item(item) for item in inventory.items() if item.can_be_removed]
    found += [_of_run(db, run) for run in runs.find(db) if run.is_over]
    found += [_of_export(run) for run in runs.find(db, kind="export", states=("done",)) if _export_bytes(run)]
    found += _left()
    order = list(TITLES)
    return sorted(found, key=lambda piece: (order.index(piece.kind), -piece.size_bytes))


def store_bytes() -> int:
    """What the store of all results takes, those shipped with the sample included."""
    file = paths.store_file()
    return sum(fetching.size_of(file.with_name(file.name + end)) for end in ("", "-wal", "-shm"))


def remove(db: sqlite3.Connection, kind: str, key: str) -> str:
    """Remove a piece; returns what was done, in a sentence. Raises InputError where it is not there or in
    use."""
    if kind in (WEIGHTS, PICTURES):
        return remove_named(key)
    if kind == RUNS:
        jobs.forget(db, _number(key))
        return f"Forgot run {key}."
    if kind == EXPORTS:
        for row in runs.get(db, _number(key)).result or []:
            exports.forget(row)
        return f"Removed the file of run {key}; what was measured of it stays."
    if key not in [piece.key for piece in _left()]:
        raise InputError(f"{key} is not there any more.")
    place = paths.data_dir() / key
    for run in runs.find(db, states=("queued", "running"), errands=True):
        if str(place) in str(run.request):
            raise InputError(f"An errand that needs {key} waits or is under way: cancel it first.")
    taken = fetching.size_of(place)
    shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()
    if place.parent == features.folder():
        place.with_suffix(".txt").unlink(missing_ok=True)
    return f"Removed {key}, which took {bytes_words(taken, MB)}."


def remove_named(name: str) -> str:
    """Remove a model's weights or a dataset's pictures; returns what was done, in a sentence.

    What somebody has added is only forgotten: their files stay where they are, unless they are copies that were
    made here. Raises InputError where it is not here, or a run that waits or is under way needs it.
    """
    with database.opened() as db:
        _check_unused(db, name)
    if name in catalog.datasets() and catalog.dataset(name).is_own:
        is_copy = Path(str(catalog.dataset(name).root)).is_relative_to(own_pictures.copies_dir())
        own_pictures.remove(name)
        where = "The copies that were made here are deleted." if is_copy else "Your files are where they were."
        return f"{name} is no longer a dataset here. {where}{_rests(name)}"
    if (spec := catalog.models(backbones=True).get(name)) and spec.home == "own":
        own_models.remove(name)
        gone = "The head that was trained here is deleted; files" if spec.trained_on else "Files"
        return f"{name} is no longer a model here. {gone} of yours are where they were."
    if name not in fetching.fetchable() and name not in catalog.MODELS:
        known = [item.name for item in inventory.items() if item.can_be_removed]
        raise catalog.unknown("model or dataset to remove", name, known, "python -m vitquant here")
    using = used_by(name)
    taken = fetching.remove(name)
    return f"Removed {name}, which took {bytes_words(taken, MB)}.{using and f' {using}'}"


def _check_unused(db: sqlite3.Connection, name: str) -> None:
    """InputError where a run that waits or is under way is about this name, or needs it."""
    for errands in (False, True):
        for run in runs.find(db, states=("queued", "running"), errands=errands):
            if name in (run.request.get(of) for of in ("name", "model", "dataset")):
                what = "An errand" if errands else f"Run {run.id} ({run.kind})"
                raise InputError(f"{what} that needs {name} waits or is under way: cancel it first.")


def used_by(name: str) -> str:
    """That other models are made of a hub model's files, in a sentence; "" where none is."""
    if name not in catalog.MODELS or catalog.MODELS[name].home != "hub":
        return ""
    files = {str(part.target) for part in fetching.parts(name)}
    names = [spec.name for spec in catalog.models().values() if spec.home == "own" and files & set(spec.files)]
    if not names:
        return ""
    use, them = ("uses", "it") if len(names) == 1 else ("use", "them")
    return f"{' and '.join(names)} {use} these files, too: fetch {name} again before you measure {them}."


def _rests(name: str) -> str:
    """That a dataset of what heads were not trained on is still there, in a sentence after a space; "" where
    there is none."""
    rest = heads.rest_name(name)
    return f" {rest}, which has some of its pictures, stays." if rest in catalog.datasets() else ""


def what_goes(item: Item) -> str:
    """What removing something does, in a sentence."""
    if item.name in registry.entries(registry.DATASETS):
        return f"Forgets {item.name}. Your pictures stay where they are, unless they were copied here."
    if item.name in registry.entries(registry.MODELS):
        return f"Forgets {item.name}. Your files stay where they are; a head that was trained here is deleted."
    if item.kind == inventory.MODEL:
        return (
            f"Deletes {bytes_words(item.disk_bytes, MB)} from Torch Hub's cache, which other programs on this "
            f"machine use, too. {used_by(item.name)}"
        ).rstrip()
    return f"Deletes {bytes_words(item.disk_bytes, MB)}: the pictures of {item.name}."


def _of_item(item: Item) -> Piece:
    kind = WEIGHTS if item.kind == inventory.MODEL else PICTURES
    return Piece(kind, item.name, item.title, item.disk_bytes, what_goes(item))


def _of_run(db: sqlite3.Connection, run: Run) -> Piece:
    [beside] = db.execute(
        "SELECT coalesce(sum(length(content)), 0) FROM attachments WHERE run_id = ?", (run.id,)
    ).fetchone()
    [row] = db.execute("SELECT coalesce(length(result), 0) FROM runs WHERE id = ?", (run.id,)).fetchone()
    answers = 0
    for key in run.identity.get("series", {}).values():
        [of_series] = db.execute(
            "SELECT coalesce(sum(length(logits)), 0) FROM logits JOIN series ON id = series_id WHERE key = ?",
            (key,),
        ).fetchone()
        answers += of_series
    on = run.request.get("dataset") or ""
    what = ", ".join([run.request["model"], *run.request["variants"]])
    title = f"run {run.id}: {run.kind} of {what}{' on ' + on if on else ''}"
    goes = "Forgets its figures" + (" and the answers that no other run rests on." if answers else ".")
    return Piece(RUNS, str(run.id), title, beside + row + answers, goes)


def _export_bytes(run: Run) -> int:
    return sum(fetching.size_of(file) for row in run.result or [] if (file := exports.file_of(row)))


def _of_export(run: Run) -> Piece:
    names = ", ".join(Path(row["file"]).name for row in run.result or [])
    goes = "Deletes the file; what was measured of it stays, and it can be made again."
    return Piece(EXPORTS, str(run.id), names, _export_bytes(run), goes)


def _left() -> list[Piece]:
    """What fetching and training have left below the data folder, by its path there."""
    found = []
    # What has come of Tiny-ImageNet goes, and is counted, with Tiny-ImageNet.
    [part] = fetching.parts(fetching.TINY_IMAGENET)
    of_items = {part.target, *download.leftovers(part.target)}
    for folder in ("downloads", "own/features"):
        place = paths.data_dir() / folder
        if not place.is_dir():
            continue
        for entry in sorted(place.iterdir()):
            if entry.name.endswith((".lock", ".txt")) or entry in of_items:
                continue
            key = entry.relative_to(paths.data_dir()).as_posix()
            title = features.title(entry) if place == features.folder() else key
            goes = "Deletes it; it comes again when it is needed."
            found.append(Piece(LEFT, key, title, fetching.size_of(entry), goes))
    return found


def _number(key: str) -> int:
    if not (key.isascii() and key.isdigit()):
        raise InputError(f"There is no run {key!r}.")
    return int(key)
