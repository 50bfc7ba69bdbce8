"""Tiny-ImageNet's official archive, checked and laid out as ImageFolder.

The archive has `tiny-imagenet-200/wnids.txt`, `val/images/*.JPEG` with `val/val_annotations.txt`, and
`train/<wnid>/images/*.JPEG`. What comes out is `val/<wnid>/*.JPEG` and `train/<wnid>/*.JPEG`, byte for byte.
The test split has no labels and is left out.

Pictures are written to a hidden folder beside the target, which is moved into place when all is there and
has been checked: the app sees all of a dataset or nothing. An interrupted preparation is taken up again.
"""

import errno
import io
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from vitquant import __version__, images, labels, whole
from vitquant.archive import Archive, check_is_file, opened
from vitquant.digests import sha256_of
from vitquant.errors import InputError

Progress = Callable[[int, int], None]

ANNOTATIONS = "val/val_annotations.txt"
_RECORD = "prepared.json"
_BLOCK_BYTES = 4096  # what the smallest file takes on most file systems


@dataclass(frozen=True)
class Prepared:
    """What was laid out, and from which archive."""

    root: Path
    validation: int  # pictures
    training: int  # pictures
    classes: int
    archive_sha256: str
    already_there: bool  # nothing had to be done


@dataclass(frozen=True)
class _Picture:
    """One picture of the archive and where it goes."""

    entry: str  # below the archive's root
    target: str  # below the dataset's folder, with "/"
    size_bytes: int
    crc32: int


@dataclass(frozen=True)
class Record:
    """prepared.json: what the folder beside it holds and where that came from."""

    archive: str  # file name
    archive_bytes: int
    archive_mtime_ns: int
    archive_sha256: str
    validation: int
    training: int
    classes: int
    pictures_bytes: int
    prepared_at: str
    vitquant: str


def prepare(archive: Path, target: Path, progress: Progress | None = None) -> Prepared:
    """Lay the archive's pictures out in the folder `target`; returns at once where that has been done.

    progress: called with the pictures done so far, and all.

    Raises InputError where the archive is not what it should be, where another one was prepared before,
    where another process is at it, or where there is no room; then no half-made folder is left. Any other
    interruption leaves a hidden folder from which the next call goes on.
    """
    check_is_file(archive)
    done = _already_there(archive, target)
    if done:
        return done
    with _sentences(target), _alone(target):
        # Again: the process that had the lock may just have finished.
        done = _already_there(archive, target)
        if done:
            return done
        partial = target.with_name(f".{target.name}.partial")
        try:
            _take_back(target, partial)
            _lay_out(archive, partial, progress or (lambda done, total: None))
            os.replace(partial, target)
        except (InputError, OSError):
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return _prepared(target, record_of(target), already_there=False)


def _already_there(archive: Path, target: Path) -> Prepared | None:
    """What was prepared before, if it is whole; None if there is something to do.

    Raises InputError where the folder comes from another archive or from no archive at all.
    """
    if not target.exists():
        return None
    record = record_of(target)
    status = archive.stat()
    same = status.st_size == record.archive_bytes and (
        status.st_mtime_ns == record.archive_mtime_ns or sha256_of(archive) == record.archive_sha256
    )
    if not same:
        raise InputError(
            f"{target} was prepared from another archive ({record.archive}, {record.archive_bytes:,} bytes, "
            f"sha256 {record.archive_sha256[:12]}…): to replace it, `python -m vitquant remove "
            "tiny-imagenet` first."
        )
    # Sizes too: a power cut soon after preparing may leave empty files. (Waiting until all is on the disk
    # would take longer than preparing.)
    count, size_bytes = _count_and_size(target)
    # More than was laid out is somebody's own (pictures added, a file manager's notes), and stays.
    whole = count >= record.validation + record.training and size_bytes >= record.pictures_bytes
    return _prepared(target, record, already_there=True) if whole else None


def _take_back(target: Path, partial: Path) -> None:
    """Pictures of a prepared folder have been removed or cut: make it unfinished again."""
    if target.exists():
        shutil.rmtree(partial, ignore_errors=True)
        os.replace(target, partial)


def _lay_out(archive_path: Path, partial: Path, progress: Progress) -> None:
    """Write all that is not in the folder yet, and the record of it."""
    status = archive_path.stat()
    with opened(archive_path, marker="wnids.txt") as archive:
        validation, training = _plan(archive)
        pictures = validation + training
        _remove_strays(partial, {picture.target for picture in pictures})
        missing = [picture for picture in pictures if not _is_whole(partial / picture.target, picture)]
        _check_room(partial, missing)
        for folder in sorted({(partial / picture.target).parent for picture in missing}):
            folder.mkdir(parents=True, exist_ok=True)
        progress(len(pictures) - len(missing), len(pictures))
        for number, picture in enumerate(missing, start=len(pictures) - len(missing) + 1):
            content = archive.read(picture.entry)
            # Decoded before it is written: what is in the folder has been checked, also when resuming.
            images.open_rgb(io.BytesIO(content), f"{archive_path}: the entry {archive.root}/{picture.entry}")
            _write(partial, partial / picture.target, content)
            progress(number, len(pictures))
    record = Record(
        archive=archive_path.name,
        archive_bytes=status.st_size,
        archive_mtime_ns=status.st_mtime_ns,
        archive_sha256=sha256_of(archive_path),
        validation=len(validation),
        training=len(training),
        classes=len({Path(picture.target).parent.name for picture in validation}),
        pictures_bytes=sum(picture.size_bytes for picture in pictures),
        prepared_at=datetime.now(UTC).isoformat(timespec="seconds"),
        vitquant=__version__,
    )
    _write(partial, partial / _RECORD, json.dumps(asdict(record), indent=2).encode() + b"\n")


def _plan(archive: Archive) -> tuple[list[_Picture], list[_Picture]]:
    """The validation and the training pictures; InputError where names, labels and pictures disagree."""
    wnids = set()
    for line in archive.lines("wnids.txt"):
        wnid = line.strip()
        try:
            wnids.add(labels.by_wnid(wnid).wnid)
        except InputError as error:
            wrong = f"names {wnid!r}, which is not an ImageNet class"
            raise archive.refuse(f"{archive.root}/wnids.txt", wrong) from error
    annotated = _annotations(archive, wnids)
    validation, training = [], []
    for entry, info in archive.entries.items():
        if not images.is_picture(entry):
            continue
        picture = (info.file_size, info.CRC)
        match entry.split("/"):
            case ["val", "images", file]:
                if file not in annotated:
                    raise archive.refuse(info.filename, f"has no annotation in {ANNOTATIONS}")
                validation.append(_Picture(entry, f"val/{annotated.pop(file)}/{file}", *picture))
            case ["train", wnid, "images", file]:
                if wnid not in wnids:
                    raise archive.refuse(info.filename, f"belongs to the class {wnid!r}, not in wnids.txt")
                training.append(_Picture(entry, f"train/{wnid}/{file}", *picture))
    if annotated:
        file = next(iter(annotated))
        raise archive.refuse(f"{archive.root}/val/images/{file}", f"is missing, and {ANNOTATIONS} names it")
    if not validation:
        raise archive.refuse(f"{archive.root}/{ANNOTATIONS}", "names no picture")
    return validation, training


def _annotations(archive: Archive, wnids: set[str]) -> dict[str, str]:
    """The wnid of each validation picture, by file name."""
    annotated: dict[str, str] = {}
    name = f"{archive.root}/{ANNOTATIONS}"
    for number, line in enumerate(archive.lines(ANNOTATIONS), start=1):
        file, _, rest = line.partition("\t")
        wnid = rest.split("\t")[0].strip()
        if not file or not wnid:
            raise archive.refuse(name, f"has no file and class in line {number}")
        if file in annotated:
            raise archive.refuse(name, f"names {file!r} twice, again in line {number}")
        if wnid not in wnids:
            raise archive.refuse(name, f"gives {file!r} the class {wnid!r}, not in wnids.txt")
        annotated[file] = wnid
    return annotated


def _is_whole(file: Path, picture: _Picture) -> bool:
    """Whether an earlier, interrupted preparation has written this very picture."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return False
    return len(content) == picture.size_bytes and zlib.crc32(content) == picture.crc32


def _write(partial: Path, file: Path, content: bytes) -> None:
    """The file appears whole or not at all."""
    writing = partial / ".writing"
    writing.write_bytes(content)
    os.replace(writing, file)


def _remove_strays(partial: Path, wanted: set[str]) -> None:
    """Remove what an interrupted preparation (perhaps of another archive) left that does not belong."""
    for directory, _, filenames in os.walk(partial, topdown=False):
        for filename in filenames:
            file = Path(directory, filename)
            if file.relative_to(partial).as_posix() not in wanted:
                file.unlink()
        if not os.listdir(directory):
            os.rmdir(directory)


def _check_room(partial: Path, missing: list[_Picture]) -> None:
    needed = sum(-(-picture.size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES for picture in missing)
    free = shutil.disk_usage(partial.parent).free
    if needed > free:
        raise InputError(_no_room(partial.parent, f"{needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} free"))


def _no_room(folder: Path, detail: str) -> str:
    return (
        f"There is no room for the pictures in {folder} ({detail}): make room, or set the environment "
        "variable VITQUANT_DATA to a folder on a larger disk."
    )


@contextmanager
def _sentences(target: Path) -> Iterator[None]:
    """What the file system says while the pictures are written becomes a sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(_no_room(target.parent, reason)) from error
        raise InputError(
            f"{error.filename or target.parent} cannot be written ({reason}): check its permissions, or set "
            "the environment variable VITQUANT_DATA to a folder that can."
        ) from error


def _alone(target: Path) -> AbstractContextManager[None]:
    """No other process prepares the same folder meanwhile."""
    return whole.alone(
        target.with_name(f".{target.name}.lock"),
        f"Another process is preparing {target} at this moment: wait until it is done.",
    )


def _count_and_size(target: Path) -> tuple[int, int]:
    """How many files the splits have, and their bytes."""
    sizes = [
        os.stat(os.path.join(directory, filename)).st_size
        for split in ("val", "train")
        for directory, _, filenames in os.walk(target / split)
        for filename in filenames
    ]
    return len(sizes), sum(sizes)


def record_of(target: Path) -> Record:
    file = target / _RECORD
    try:
        return Record(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{target} is there but was not prepared by this command ({_RECORD} in it is missing or damaged): "
            "move that folder elsewhere and run this again."
        ) from error


def _prepared(target: Path, record: Record, *, already_there: bool) -> Prepared:
    return Prepared(
        root=target,
        validation=record.validation,
        training=record.training,
        classes=record.classes,
        archive_sha256=record.archive_sha256,
        already_there=already_there,
    )
