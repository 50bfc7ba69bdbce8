"""Draws pictures into a dataset's folder: <split>/<wnid>/<wnid>_<number>.JPEG.

A picture depends on nothing but its set's name, its class and its number, so that any of them can be drawn
alone, again, or by several processes at once. What is there already is left as it is: an interrupted run
goes on where it stopped.
"""

import io
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

import tools.sample.things  # noqa: F401  (registers what can be drawn)
from tools.sample.dice import Dice
from tools.sample.render import picture
from tools.sample.thing import MAKERS

JPEG_QUALITY = 88


@dataclass(frozen=True)
class Set:
    """A set of pictures: the shipped ones of a split, or the fresh ones of a seed."""

    name: str

    def dice(self, wnid: str, number: int) -> Dice:
        return Dice(f"{self.name}:{wnid}:{number}")


def shipped(split: str) -> Set:
    """The pictures that the repository has under data/sample/<split>."""
    return Set(f"shipped:{split}")


def fresh(seed: int) -> Set:
    """Other pictures than any shipped one, whatever the seed."""
    return Set(f"fresh:{seed}")


@dataclass(frozen=True)
class Job:
    """One picture to draw, and the file it goes to."""

    of: Set
    wnid: str
    number: int
    file: Path


def jobs(of: Set, root: Path, numbers: Iterable[tuple[str, int]]) -> list[Job]:
    """The files below root for these classes and numbers."""
    return [Job(of, wnid, n, root / wnid / f"{wnid}_{n:04d}.JPEG") for wnid, n in numbers]


def evenly(count: int, wnids: Sequence[str] = ()) -> list[tuple[str, int]]:
    """So many classes and numbers, one class after the other in rounds."""
    names = sorted(wnids or MAKERS)
    return [(names[i % len(names)], i // len(names)) for i in range(count)]


def draw(work: Sequence[Job], processes: int | None = None) -> int:
    """Draw what is not there yet; gives how many pictures that was."""
    missing = [job for job in work if not job.file.is_file()]
    for folder in {job.file.parent for job in missing}:
        folder.mkdir(parents=True, exist_ok=True)
    if not missing:
        return 0
    # A drawing process uses one core: numpy's BLAS must not start threads of its own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with multiprocessing.get_context("spawn").Pool(processes or os.cpu_count()) as pool:
        for _ in tqdm(pool.imap_unordered(write, missing, chunksize=8), total=len(missing), unit=" pictures"):
            pass
    return len(missing)


def write(job: Job) -> None:
    """Draw one picture into its file, which appears only when it is whole."""
    partial = job.file.with_suffix(f".{os.getpid()}")
    partial.write_bytes(encoded(job.of, job.wnid, job.number))
    partial.replace(job.file)


def encoded(of: Set, wnid: str, number: int) -> bytes:
    """One picture as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(picture(wnid, of.dice(wnid, number))).save(
        buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0
    )
    return buffer.getvalue()
