"""Fetching what vitquant knows, Tiny-ImageNet and DINOv2's checkpoints: from where they are published, from a
mirror, or from files that somebody has brought. Then verifying and removing it. Imports no torch by itself.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vitquant import (
    catalog,
    datasets,
    download,
    first_use,
    images,
    paths,
    room,
    settings,
    tiny_imagenet,
    weights,
)
from vitquant.archive import BadArchive
from vitquant.catalog import ModelSpec
from vitquant.digests import sha256_of
from vitquant.download import Downloaded
from vitquant.errors import InputError
from vitquant.runs import Rows

TINY_IMAGENET = "tiny-imagenet"
ARCHIVE = "tiny-imagenet-200.zip"
ARCHIVE_FROM = "http://cs231n.stanford.edu"
ARCHIVE_BYTES = 248_100_043
ARCHIVE_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
LAID_OUT_BYTES = 480 * 10**6
"""What the official archive's 110,000 small pictures take on a disk, about: a block of 4 KiB each."""

Progress = Callable[[int, int, str], None]
"""Called with what is done, all of it, and the unit in words: "bytes of FILE" or "pictures laid out"."""


@dataclass(frozen=True)
class Part:
    """One file that a name stands for."""

    url: str
    target: Path
    about_bytes: int  # its size, exact where md5 is known
    is_archive: bool = False
    md5: str | None = None  # as its source states it: then its size is exact, too

    def expected(self) -> download.Expected:
        """What is known of it before it comes."""
        if not self.is_archive:
            return weights.checkpoint(self.about_bytes)
        if self.md5:
            return download.Expected(exact_bytes=self.about_bytes, digests={"md5": self.md5})
        return download.Expected(most_bytes=4 * self.about_bytes)


def fetchable() -> tuple[str, ...]:
    """The names that can be fetched."""
    return (TINY_IMAGENET, *(spec.name for spec in catalog.MODELS.values() if spec.home == "hub"))


def parts(name: str, mirror: str | None = None) -> tuple[Part, ...]:
    """The files of a name, and where they come from: the mirror, else the settings' one, else where they are
    published. Raises InputError for a name that cannot be fetched."""
    mirror = (mirror or settings.value("mirror") or "").rstrip("/")
    if name == TINY_IMAGENET:
        archive = paths.data_dir() / "downloads" / ARCHIVE
        if mirror:  # another archive of the same layout is welcome there
            return (Part(f"{mirror}/{ARCHIVE}", archive, ARCHIVE_BYTES, is_archive=True),)
        url = f"{ARCHIVE_FROM}/{ARCHIVE}"
        return (Part(url, archive, ARCHIVE_BYTES, is_archive=True, md5=ARCHIVE_MD5),)
    return tuple(Part(*of) for of in weights.hub_files(_fetched_model(name), mirror))


def _fetched_model(name: str) -> ModelSpec:
    if name not in fetchable():
        if name == "sample" or name.startswith("sample_"):
            raise InputError(f"{name} comes with vitquant: `git restore data/sample` brings it back.")
        raise catalog.unknown("model or dataset to fetch", name, fetchable(), "python -m vitquant here")
    return catalog.model(name)


def check(name: str, files: Sequence[Path]) -> None:
    """InputError where it is known at once that a name cannot be fetched, or not from these files."""
    if name == TINY_IMAGENET:
        _brought_archive(files)
    elif files:
        _brought_checkpoints(_fetched_model(name), files)
    else:
        _fetched_model(name)


def fetch(
    name: str,
    progress: Progress,
    *,
    mirror: str | None = None,
    files: Sequence[Path] = (),
    patience: download.Patience = download.USUAL,
) -> Rows:
    """Bring a model's checkpoints or a dataset's pictures here; what is here already is left as it is.

    mirror: a base address instead of the original one. files: what somebody has brought instead: the archive,
    or a model's two checkpoints or the folder that holds them; they are read, and left where they are.

    Returns a row for each file: its name, bytes, sha256, where it came from, and how its digest was judged.
    Raises InputError where it cannot be had; what has come of a download is kept, and the next call goes on
    from there.
    """
    if name == TINY_IMAGENET:
        return _fetch_pictures(progress, mirror, files, patience)
    brought = _brought_checkpoints(_fetched_model(name), files) if files else {}
    rows = []
    for part in parts(name, mirror):
        was_here = part.target.is_file()
        sha256 = None
        if not was_here and files:
            _copy(brought[part.target.name], part, progress)
        elif not was_here:
            sha256 = _download(part, progress, patience).sha256
        try:
            origin = str(brought.get(part.target.name, part.url))
            rows.append(_noted(part.target, origin, sha256 or sha256_of(part.target)))
        except InputError:
            if not was_here:
                part.target.unlink()  # what has come under this name is another file than before
            raise
    return rows


def _fetch_pictures(
    progress: Progress, mirror: str | None, files: Sequence[Path], patience: download.Patience
) -> Rows:
    target = datasets.folder(TINY_IMAGENET)
    if datasets.is_here(TINY_IMAGENET) and not files:
        record = tiny_imagenet.record_of(target)
        return [_pictures_row(record, "already here")]
    [part] = parts(TINY_IMAGENET, mirror)
    archive = _brought_archive(files) or part.target
    if not files and archive.is_file() and part.md5 and download.digests(archive, {"md5"})["md5"] != part.md5:
        archive.unlink()  # a mirror's, left by an attempt that was stopped while laying it out
    if not files and not archive.is_file():
        room.check_disk(archive, ARCHIVE_BYTES + LAID_OUT_BYTES, "Tiny-ImageNet, archive and pictures,")
        _download(part, progress, patience)
    try:
        tiny_imagenet.prepare(archive, target, lambda done, total: progress(done, total, "pictures laid out"))
    except BadArchive:
        if not files:
            archive.unlink()  # the next call is to fetch another, not to take this one again
        raise
    if not files:
        archive.unlink()  # the pictures are all there; the archive can be fetched again
    origin = str(archive) if files else part.url
    return [_pictures_row(tiny_imagenet.record_of(target), origin)]


def _brought_archive(files: Sequence[Path]) -> Path | None:
    """The archive that somebody has brought, if they have."""
    if len(files) > 1:
        raise InputError(f"{TINY_IMAGENET} comes from one archive, {ARCHIVE}: name that file alone.")
    for file in files:
        if not paths.as_said(file).is_file():
            raise InputError(f"There is no file {file}: {TINY_IMAGENET} comes from one archive, {ARCHIVE}.")
        return paths.as_said(file)
    return None


def _pictures_row(record: tiny_imagenet.Record, origin: str) -> dict[str, object]:
    is_official = record.archive_bytes == ARCHIVE_BYTES
    return {
        "file": record.archive,
        "bytes": record.archive_bytes,
        "sha256": record.archive_sha256,
        "from": origin,
        "digest": (
            "as long as the official archive"
            if is_official
            else "not the official archive, as mirrors may have it; its own digest is noted"
        ),
        "pictures": record.validation + record.training,
    }


def _download(part: Part, progress: Progress, patience: download.Patience) -> Downloaded:
    what = f"bytes of {part.target.name}"
    done = 0

    def show(came: int, total: int) -> None:
        nonlocal done
        done = came
        progress(came, total or part.about_bytes, what)

    return download.download(
        part.url,
        part.target,
        expected=part.expected(),
        patience=patience,
        progress=show,
        wait=lambda sentence: progress(done, part.about_bytes, sentence),
    )


def _brought_checkpoints(spec: ModelSpec, files: Sequence[Path]) -> dict[str, Path]:
    """The two files of a model among those that somebody has brought, by their names."""
    names = (spec.backbone_file, spec.head_file)
    given = [paths.as_said(file) for file in files]
    if len(given) == 1 and given[0].is_dir():
        given = [given[0] / name for name in names]
    found = {file.name: file for file in given}
    if set(found) != set(names):
        raise InputError(
            f"{spec.name} is the two files {' and '.join(names)}: name them, or the folder that holds them."
        )
    for file in found.values():
        if not file.is_file():
            raise InputError(f"{file} is not there: {spec.name} is the two files {' and '.join(names)}.")
    return found


def _copy(source: Path, part: Part, progress: Progress) -> None:
    """Copy a brought file to its place, checked, whole or not at all."""
    size_bytes = source.stat().st_size
    if size_bytes < part.about_bytes:
        raise InputError(
            f"{source} has {size_bytes:,} bytes and is not the whole checkpoint, which has more than "
            f"{part.about_bytes:,}: copy it again."
        )
    if wrong := weights.whats_wrong_with(source):
        raise InputError(f"{source} is no checkpoint: {wrong}.")
    first_use.check(part.target.name, sha256_of(source))
    room.check_disk(part.target, size_bytes, f"A copy of {source.name}")
    writing = part.target.with_name(f".{part.target.name}.copying")
    try:
        part.target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as reading, writing.open("wb") as out:
            while block := reading.read(2**22):
                out.write(block)
                progress(out.tell(), size_bytes, f"bytes of {source.name}")
        os.replace(writing, part.target)
    except OSError as error:
        raise InputError(f"{part.target} could not be written: {error.strerror or error}.") from error
    finally:
        writing.unlink(missing_ok=True)


def _noted(file: Path, origin: str, sha256: str) -> dict[str, object]:
    """A row about a checkpoint that is here; its digest is noted where it is here for the first time."""
    known = first_use.noted().get(file.name)
    noted = first_use.note(file.name, sha256, file.stat().st_size, origin)
    said = f"as noted on {noted.at[:10]}" if known else "noted now: its source states none"
    size_bytes = file.stat().st_size
    return {"file": file.name, "bytes": size_bytes, "sha256": sha256, "from": noted.origin, "digest": said}


def check_is_here(name: str) -> None:
    """InputError where nothing of that name is here that could be verified."""
    if name in catalog.datasets() and datasets.is_here(name):
        return
    of_models = catalog.models(backbones=True)
    known = list(dict.fromkeys([*catalog.datasets(), *of_models]))
    if name not in known:
        raise catalog.unknown("model or dataset", name, known, "python -m vitquant here")
    if name in of_models and weights.is_here(weights.resolve(name, backbone_alone=True)):
        return
    remedy = (
        f"`python -m vitquant fetch {name}` brings it here" if name in fetchable() else "put its files back"
    )
    raise InputError(f"{name} is not here, so there is nothing to verify: {remedy}.")


def verify(name: str, progress: Progress) -> Rows:
    """Look whether what is here is whole and as it was: a row for each file or set of pictures, with "as it
    should be" or what is wrong.

    Checkpoints: the digest noted at first use, and every tensor read (torch is imported for that). Pictures:
    every one decoded, and one digest over all of them. A name that both a dataset and a model have (sample) is
    both. Raises InputError where it is not here.
    """
    rows: Rows = []
    if name in catalog.datasets():
        rows.append(_verified_pictures(name, progress))
    if name in catalog.models(backbones=True) or not rows:
        rows += _verified_model(name, progress)
    return rows


def _verified_model(name: str, progress: Progress) -> Rows:
    source = weights.resolve(name, backbone_alone=True)
    digests: dict[Path, str] = {}

    def digest_of(file: Path) -> str:
        progress(len(digests), len(source.files) + 1, f"reading {file.name}")
        return digests.setdefault(file, sha256_of(file))

    weights.digest(source, digest_of)  # says what is missing
    rows: Rows = [_verified_file(file, sha256) for file, sha256 in digests.items()]
    progress(len(rows), len(source.files) + 1, "reading every tensor")
    from vitquant import models

    room.check_memory(name, "state-dict")
    models.load(source)
    return rows


def _verified_file(file: Path, sha256: str) -> dict[str, object]:
    is_hubs = file.parent == paths.hub_checkpoints_dir()
    # Files of somebody's own may be called alike.
    said = _compared(file.name if is_hubs else str(file), sha256, file.stat().st_size, str(file))
    return {"what": file.name, "is": f"whole, and every tensor is there; its digest {said}", "sha256": sha256}


def _verified_pictures(name: str, progress: Progress) -> dict[str, object]:
    dataset = datasets.open_dataset(name)
    if name == TINY_IMAGENET:
        wanted = tiny_imagenet.record_of(datasets.folder(name)).validation
        if len(dataset.examples) < wanted:
            raise InputError(
                f"{wanted - len(dataset.examples):,} of the {wanted:,} pictures of {name} are missing: `python "
                f"-m vitquant remove {name}`, then fetch it again."
            )
    for done, example in enumerate(dataset.examples):
        images.open_rgb(dataset.file(example))
        progress(done + 1, len(dataset.examples), "pictures decoded")
    digest = datasets.digest(dataset)
    size_bytes = sum(dataset.file(example).stat().st_size for example in dataset.examples)
    said = _compared(f"{name}/val", digest, size_bytes, str(dataset.root))
    return {
        "what": f"{len(dataset.examples):,} pictures of {name}",
        "is": f"whole, and each can be decoded; their digest {said}",
        "sha256": digest,
    }


def _compared(noted_as: str, sha256: str, size: int, origin: str) -> str:
    """What comparing a digest with the noted one says; it is noted where there is none. Raises InputError where
    it is another one."""
    known = first_use.noted().get(noted_as)
    first_use.note(noted_as, sha256, size, origin)
    return (
        f"is the one noted on {known.at[:10]}" if known else "had nothing to be compared with, and is noted now"
    )


def remove(name: str) -> int:
    """Delete what was fetched of a name, whole or in part; returns the bytes that it took. What was measured
    with it stays. Raises InputError where nothing is here, or it is not vitquant's to remove."""
    found = []
    for part in parts(name):
        copying = part.target.with_name(f".{part.target.name}.copying")
        found += [part.target, copying, *download.leftovers(part.target)]
    taken = sum(file.stat().st_size for file in found if file.is_file())
    for part in parts(name):
        download.forget(part.target)
    if name == TINY_IMAGENET:
        target = datasets.folder(name)
        for folder in (target, target.with_name(f".{target.name}.partial")):
            taken += size_of(folder)
            _remove_folder(folder)
        first_use.forget(f"{name}/val")  # another archive may follow
    for file in found:
        file.unlink(missing_ok=True)
    if not taken:
        raise InputError(f"Nothing of {name} is here: there is nothing to remove.")
    return taken


def _remove_folder(folder: Path) -> None:
    """A folder is gone from its place at once, however long deleting its files takes."""
    if folder.is_symlink():
        folder.unlink()  # what it leads to is somebody's own
    elif folder.exists():
        going = folder.with_name(f".{folder.name}.going")
        shutil.rmtree(going, ignore_errors=True)
        os.replace(folder, going)
        shutil.rmtree(going, ignore_errors=True)


def size_of(folder: Path) -> int:
    """The bytes of every file below a folder, or of a file; 0 where there is none."""
    if folder.is_file():
        return folder.stat().st_size
    total = 0
    for directory, _, filenames in os.walk(folder):
        for filename in filenames:
            total += os.lstat(os.path.join(directory, filename)).st_size
    return total
