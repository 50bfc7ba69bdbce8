"""Unpacking a zip archive of pictures that somebody uploads, without trusting it.

What can hold neither pictures nor their labels is left out; what could do harm makes the whole archive
unusable.
"""

import shutil
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vitquant import images, room
from vitquant.archive import is_link, lies_inside, opened_zip
from vitquant.errors import InputError
from vitquant.own_pictures_classes import match
from vitquant.own_pictures_labels import GROUND_TRUTH_FILE, META_FILE
from vitquant.own_pictures_look import Report
from vitquant.own_pictures_walk import HIDDEN, NO_PICTURE, Groups, Progress, is_hidden

MAX_BYTES = 32 * 2**30
"""All entries together, unpacked: five times ImageNet's validation set."""
MAX_RATIO = 200
"""Unpacked bytes for each packed one, over the whole archive: pictures are packed already, and even pictures of
one colour stay below it."""
MAX_ENTRIES = 1_000_000
ARCHIVE_IN_ARCHIVE = "an archive inside the archive (unpack it yourself first)"

_DAMAGED_ENTRY = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)
"""As archive.DAMAGE, but for what the disk itself says."""
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_SMALL_BYTES = 10 * 2**20  # whatever the ratio, so much does no harm
_BLOCK_BYTES = 4096  # what the smallest file takes on most file systems


def unpack(archive: Path, target: Path, progress: Progress | None = None) -> Groups:
    """Unpack an archive's pictures and labels into the folder target; the names of what is left out, by why.

    A folder that is around everything is left away. Raises InputError, before anything is written, where the
    archive cannot be read, has names that lead elsewhere or collide, links, encrypted entries, or would take
    more than MAX_BYTES or MAX_RATIO times its size; and where an entry is damaged or there is no room.
    """
    with opened_zip(archive) as file:
        infos = [info for info in file.infolist() if not info.is_dir()]
        _check(archive, infos)
        wanted, left_out = _chosen(infos)
        prefix = _around([info.filename for info in wanted])
        needed = sum(info.file_size + _BLOCK_BYTES for info in wanted)
        room.check_disk(target, needed, f"Unpacking {archive.name}")
        for done, info in enumerate(wanted, start=1):
            place = target / info.filename.removeprefix(prefix)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                with file.open(info) as packed, place.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
            except _DAMAGED_ENTRY as error:
                raise _refusal(archive, info.filename, f"is damaged or cut short ({error})") from error
            if progress:
                progress(done, len(wanted))
    return left_out


def _check(archive: Path, infos: Sequence[zipfile.ZipInfo]) -> None:
    seen: dict[str, str] = {}
    for info in infos:
        name = info.orig_filename  # zipfile mends .filename silently
        if not lies_inside(name):
            raise _refusal(archive, name, "does not lie in the archive's own folder")
        if is_link(info):
            raise _refusal(
                archive, name, "is a symbolic link, which could lead outside the archive's own folder"
            )
        if info.flag_bits & 1:
            raise _refusal(archive, name, "is encrypted")
        other = seen.setdefault(info.filename.casefold(), name)
        if other is not name:  # on some file systems "A" and "a" are one file
            raise _refusal(archive, name, f"would overwrite {other!r}, whose name differs in capitals at most")
    _check_total(archive, infos)


def _check_total(archive: Path, infos: Sequence[zipfile.ZipInfo]) -> None:
    total, packed = sum(info.file_size for info in infos), max(archive.stat().st_size, 1)
    if total > MAX_BYTES or (total > _SMALL_BYTES and total > MAX_RATIO * packed):
        raise InputError(
            f"{archive} of {packed:,} bytes would unpack to {total:,}, more than pictures do: it is not "
            "unpacked. Pack the pictures themselves, in several archives if they are that many."
        )
    if len(infos) > MAX_ENTRIES:
        raise InputError(
            f"{archive} has {len(infos):,} entries, and {MAX_ENTRIES:,} are unpacked at most: pack fewer."
        )


def _chosen(infos: Sequence[zipfile.ZipInfo]) -> tuple[list[zipfile.ZipInfo], Groups]:
    """The entries to unpack, and the names of the others by why they are left out."""
    wanted, left_out = [], Groups()
    for info in infos:
        *folders, name = info.filename.split("/")
        if any(is_hidden(part) for part in (*folders, name)):
            left_out.add(HIDDEN, info.filename)
        elif name.lower().endswith(_ARCHIVES):
            left_out.add(ARCHIVE_IN_ARCHIVE, info.filename)
        elif images.is_picture(name) or name.lower().endswith(".csv") or name in (GROUND_TRUTH_FILE, META_FILE):
            wanted.append(info)
        else:
            left_out.add(NO_PICTURE, info.filename)
    return wanted, left_out


def _around(names: Sequence[str]) -> str:
    """The folders around everything, with "/", or "". A single class's own folder is not around anything: a
    folder is left away only where folders or loose labels are in it, or it is named for no class."""
    prefix = ""
    while True:
        tops = {name.removeprefix(prefix).partition("/")[0] for name in names}
        if len(tops) != 1 or any("/" not in name.removeprefix(prefix) for name in names):
            return prefix
        [top] = tops
        deeper = any(name.removeprefix(prefix).count("/") > 1 for name in names)
        if not deeper and match([top]).classes:
            return prefix
        prefix += f"{top}/"


def _refusal(archive: Path, entry: str, wrong: str) -> InputError:
    return InputError(f"{archive}: the entry {entry!r} {wrong}. Nothing was unpacked: pack the archive anew.")


def as_of_archive(report: Report, archive: Path, unpacked: Path, left_out: Groups) -> Report:
    """A report on the folder that an archive was unpacked to as one on the archive."""
    unusable = Groups(report.unusable)
    for why, group in left_out.items():
        for name in group.examples:
            unusable.add(why, name)
        unusable[why].count += group.count - len(group.examples)
    told = report.summary
    if ARCHIVE_IN_ARCHIVE in left_out:
        inside = left_out[ARCHIVE_IN_ARCHIVE]
        told += (
            f" {inside.examples[0]} is an archive inside the archive and left out: unpack it yourself first."
        )
    if report.problem:
        problem = told.replace(str(unpacked), str(archive))
        return replace(report, path=str(archive), unusable=unusable, problem=problem, summary=problem)
    return replace(report, path=str(archive), unusable=unusable, summary=told)
