"""Reading a downloaded zip archive without trusting it: every complaint is a sentence naming the entry."""

import io
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vitquant.errors import InputError

MAX_INFLATED_BYTES = 4 * 2**30
"""Sixteen times what the official Tiny-ImageNet inflates to; a zip bomb has thousands of times its size."""
MAX_ENTRY_BYTES = 64 * 2**20
"""An entry is read into memory whole, and is a small picture or a list of names."""

_LOCAL_HEADER = b"PK\x03\x04"
_LOCAL_HEADER_BYTES = 30  # before the entry's name
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)
"""What zipfile raises on a damaged, encrypted or exotically compressed entry."""


class BadArchive(InputError):
    """The archive itself cannot be used, wherever it is: another has to be had."""


@dataclass(frozen=True)
class Archive:
    """An open zip archive with a single root folder, whose names and sizes have been checked."""

    path: Path
    root: str  # "tiny-imagenet-200"
    entries: dict[str, zipfile.ZipInfo]  # files only, by name below the root: "val/images/val_0.JPEG"
    _zip: zipfile.ZipFile

    def read(self, name: str) -> bytes:
        """An entry's content; its length and checksum are checked. Raises InputError naming the entry."""
        entry = self.entries[name]
        try:
            return self._zip.read(entry)
        except DAMAGE as error:
            raise self.refuse(entry.filename, f"is damaged or cut short ({error})") from error

    def lines(self, name: str) -> list[str]:
        """The lines of a text entry that are not blank. Raises InputError where it is missing or no text."""
        if name not in self.entries:
            raise self.refuse(f"{self.root}/{name}", "is missing")
        try:
            text = self.read(name).decode()
        except UnicodeDecodeError as error:
            raise self.refuse(f"{self.root}/{name}", f"is not text ({error})") from error
        return [line for line in text.splitlines() if line.strip()]

    def refuse(self, entry: str, wrong: str) -> InputError:
        """The error for an entry (full name) that makes the archive unusable."""
        return _refusal(self.path, entry, wrong)


def opened_zip(path: Path) -> zipfile.ZipFile:
    """A zip archive of which nothing has been checked. Raises InputError where it cannot be read."""
    check_is_file(path)
    try:
        return zipfile.ZipFile(path)
    except DAMAGE as error:
        raise BadArchive(_why_unreadable(path, error)) from error


@contextmanager
def opened(path: Path, marker: str) -> Iterator[Archive]:
    """A zip archive, its table of contents checked: nothing outside one root folder, no bomb.

    marker: name of the entry that lies directly in the root folder and so tells where that is.
    Raises InputError where the archive cannot be read or has an entry that it should not have.
    """
    with opened_zip(path) as file:
        infos = file.infolist()
        for info in infos:
            _check_entry(path, info)
        _check_total(path, infos)
        root = _root(path, infos, marker)
        yield Archive(path, root, _below(path, root, infos), file)


def check_is_file(path: Path) -> None:
    """Raises InputError where the path leads to no file that can be read."""
    if path.is_dir():
        raise InputError(f"{path} is a folder: name the zip archive itself.")
    if not path.exists():
        raise InputError(f"There is no file {path}: check the path to the archive.")
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error


def _check_entry(path: Path, info: zipfile.ZipInfo) -> None:
    name = info.orig_filename  # zipfile mends .filename silently
    if not lies_inside(name):
        raise _refusal(path, name, "does not lie in the archive's own folder")
    if is_link(info):
        raise _refusal(path, name, "is a symbolic link, which could lead outside the archive's own folder")
    if info.file_size > MAX_ENTRY_BYTES:
        raise _refusal(path, name, f"would take {info.file_size:,} bytes, too many for a picture or a list")


def lies_inside(name: str) -> bool:
    """Whether an entry of this name is unpacked below the folder it is unpacked to, on every system."""
    parts = name.removesuffix("/").split("/")  # an absolute path begins with an empty part
    return not ({"", ".", ".."} & set(parts) or any(character in name for character in "\\:\0"))


def is_link(info: zipfile.ZipInfo) -> bool:
    """Whether an entry is a symbolic link."""
    return stat.S_ISLNK(info.external_attr >> 16)


def _check_total(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    total = sum(info.file_size for info in infos)
    if total > MAX_INFLATED_BYTES:
        largest = max(infos, key=lambda info: info.file_size)
        raise _refusal(
            path,
            largest.filename,
            f"and the others would take {total:,} bytes, more than the {MAX_INFLATED_BYTES:,} that are allowed",
        )


def _root(path: Path, infos: list[zipfile.ZipInfo], marker: str) -> str:
    for info in infos:
        root, _, name = info.filename.partition("/")
        if name == marker:
            return root
    raise BadArchive(f"{path} has no entry <folder>/{marker}: it is not the archive that was asked for.")


def _below(path: Path, root: str, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    seen = set()
    for info in infos:
        if not info.filename.startswith(f"{root}/"):
            raise _refusal(path, info.filename, f"lies outside the archive's own folder {root}/")
        if info.is_dir():
            continue
        name = info.filename.removeprefix(f"{root}/")
        if name.casefold() in seen:  # on some file systems "A" and "a" are one file
            raise _refusal(path, info.filename, "is there twice")
        seen.add(name.casefold())
        entries[name] = info
    return entries


def _refusal(path: Path, entry: str, wrong: str) -> BadArchive:
    return BadArchive(f"{path}: the entry {entry!r} {wrong}. Nothing was prepared: get the archive again.")


def _why_unreadable(path: Path, error: BaseException) -> str:
    """The sentence for a file that zipfile does not open: not a zip, or one without its end."""
    with path.open("rb") as file:
        if file.read(4) != _LOCAL_HEADER:
            return f"{path} is not a zip archive ({error}): name the archive, or get it again."
    last = _last_entry_begun(path)
    where = f" in or after the entry {last!r}" if last else ""
    return f"{path} was cut short{where}: its table of contents, at the end, is missing. Get the archive again."


def _last_entry_begun(path: Path) -> str | None:
    """Name of the last entry whose header is in the file, found without a table of contents."""
    step = 2**20
    with path.open("rb") as file:
        end = file.seek(0, io.SEEK_END)
        start = end
        while start > 0:
            start = max(start - step, 0)
            file.seek(start)
            # Far enough over the step's end for a header that begins on it, with its name.
            block = file.read(step + _LOCAL_HEADER_BYTES + 2**16)
            at = block.rfind(_LOCAL_HEADER)
            while at >= 0:
                header = block[at : at + _LOCAL_HEADER_BYTES]
                name_bytes = int.from_bytes(header[26:28], "little")
                name = block[at + _LOCAL_HEADER_BYTES :][:name_bytes]
                if len(header) == _LOCAL_HEADER_BYTES and len(name) == name_bytes > 0:
                    return name.decode(errors="replace")
                at = block.rfind(_LOCAL_HEADER, 0, at)
    return None
