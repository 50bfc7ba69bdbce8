"""The files below a folder that somebody names, without leaving it, and which of them are pictures. Imports no
torch.
"""

import hashlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from vitquant import images, machine
from vitquant.errors import InputError
from vitquant.own_pictures_listing import can_be_listed

Progress = Callable[[int, int], None]

EXAMPLES = 5
"""Names that a group of files is reported with."""

HIDDEN = "hidden"
NO_PICTURE = "not a picture"
DAMAGED = "damaged"
TOO_LARGE = "too large to decode"
EMPTY = "empty"
UNREADABLE = "unreadable"
LEAVES = "a link that leaves the folder"
TWICE = "a link to a folder that is here already"
NO_FILE = "not an ordinary file"
CAPITALS = "a name that differs from another in capitals only"
ODD_NAME = "a name with a tab, a line break or no text"


@dataclass
class Group:
    """Files that have something in common: how many, and the first of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(name)


class Groups(dict[str, Group]):
    """Groups by what their files have in common."""

    def add(self, why: str, name: str) -> None:
        self.setdefault(why, Group()).add(name)


@dataclass(frozen=True)
class Walked:
    """What lies below a folder."""

    sizes: Mapping[str, int]  # bytes by path relative to the folder, with "/", in ImageFolder's order: pictures
    others: frozenset[str]  # the other ordinary files
    left_out: Groups  # all that no picture could be in, and why


def walk(root: Path) -> Walked:
    """All pictures (by their names) below a folder. Links that lead out of it are not followed, and no folder
    is gone into twice, so that loops end. Folders that cannot be read are reported."""
    real_root = os.path.realpath(root)
    left_out = Groups()
    sizes: dict[str, int] = {}
    others = set()
    entered = set()
    waiting = deque([(real_root, "")])
    linked: deque[tuple[str, str]] = deque()  # gone into last: what is there by itself keeps its own name
    while waiting or linked:
        place, prefix = (waiting or linked).popleft()
        if place in entered:
            left_out.add(TWICE, prefix.rstrip("/"))
            continue
        entered.add(place)
        try:
            with os.scandir(place) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            left_out.add(UNREADABLE, prefix.rstrip("/") or ".")
            continue
        for entry in entries:
            path = prefix + entry.name
            if is_hidden(entry.name):
                left_out.add(HIDDEN, path)
                continue
            try:
                real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(place, entry.name)
                if entry.is_symlink() and os.path.commonpath([real, real_root]) != real_root:
                    left_out.add(LEAVES, path)
                elif entry.is_dir():
                    (linked if entry.is_symlink() else waiting).append((real, f"{path}/"))
                elif not entry.is_file():
                    left_out.add(NO_FILE, path)
                elif images.is_picture(entry.name):
                    sizes[path] = entry.stat().st_size
                else:
                    others.add(path)
            except OSError:
                left_out.add(UNREADABLE, path)
    _leave_out_odd_names(sizes, left_out)
    return Walked(
        {path: sizes[path] for path in sorted(sizes, key=_imagefolder_order)}, frozenset(others), left_out
    )


def is_hidden(name: str) -> bool:
    """Whether systems keep a file or folder of this name from people: what macOS puts beside pictures, too."""
    return name.startswith(".") or name == "__MACOSX"


def _imagefolder_order(path: str) -> tuple[str, str, str]:
    """Class by class, and in each folder by folder."""
    place, _, name = path.rpartition("/")
    return path.split("/", 1)[0] if place else "", place, name


def _leave_out_odd_names(sizes: dict[str, int], left_out: Groups) -> None:
    seen = set()
    for path in sorted(sizes):
        if not can_be_listed(path):
            left_out.add(ODD_NAME, ascii(path))
        elif path.casefold() in seen:  # on some file systems "A" and "a" are one file
            left_out.add(CAPITALS, path)
        else:
            seen.add(path.casefold())
            continue
        del sizes[path]


@dataclass(frozen=True)
class Checked:
    """What the content of pictures is like."""

    unusable: Mapping[str, str]  # why, by path
    duplicates: Sequence[Sequence[str]]  # paths with the same content


def check(root: Path, paths: Sequence[str], progress: Progress | None = None) -> Checked:
    """Decode every picture, on every core. progress(done, all) may raise to stop."""
    unusable = {}
    same: dict[bytes, list[str]] = {}
    for done, (path, (why, digest)) in enumerate(_answers(root, paths), start=1):
        if why:
            unusable[path] = why
        else:
            same.setdefault(digest, []).append(path)
        if progress:
            progress(done, len(paths))
    return Checked(unusable, [together for together in same.values() if len(together) > 1])


def _answers(root: Path, paths: Iterable[str]) -> Iterator[tuple[str, tuple[str | None, bytes]]]:
    """_look's answer for each path, in order; no more pictures are in memory than there are cores, and some."""
    threads = machine.default_threads()
    pool = ThreadPoolExecutor(threads)
    waiting: deque[tuple[str, Future[tuple[str | None, bytes]]]] = deque()
    try:
        for path in paths:
            waiting.append((path, pool.submit(_look, root / path)))
            if len(waiting) > 4 * threads:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _look(file: Path) -> tuple[str | None, bytes]:
    """Why a file is no picture that can be used, if it is not, and the digest of its content."""
    try:
        content = file.read_bytes()
    except OSError:
        return UNREADABLE, b""
    digest = hashlib.sha256(content).digest()
    if not content:
        return EMPTY, digest
    try:
        images.open_rgb(io.BytesIO(content), file.name)
    except InputError as error:
        return _why(error.__cause__), digest
    return None, digest


def _why(cause: BaseException | None) -> str:
    if isinstance(cause, Image.DecompressionBombError | MemoryError):
        return TOO_LARGE
    return NO_PICTURE if isinstance(cause, UnidentifiedImageError) else DAMAGED
