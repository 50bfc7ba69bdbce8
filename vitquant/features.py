"""What a frozen backbone makes of pictures, kept on disk: computed once for a backbone, its pictures and their
size, whoever reads it. Imports no torch until something has to be computed.
"""

import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vitquant import images, paths
from vitquant.errors import InputError, VitquantError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

VERSION = 1
"""Part of the digest: to be raised where the same backbone and pictures would give other features."""

BATCH = 16

Tell = Callable[[int], None]
"""Called with the pictures done so far; may raise to stop."""


def folder() -> Path:
    """Where features are kept, each set as DIGEST.npy, with what it is for people in DIGEST.txt."""
    return paths.data_dir() / "own" / "features"


def title(file: Path) -> str:
    """What a file in that folder is, for people."""
    try:
        return file.with_suffix(".txt").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return "features of pictures"


def obtain(
    digest: str,
    load: "Callable[[], nn.Module]",
    files: Sequence[Path],
    image_size: int,
    width: int,
    title: str,
    tell: Tell = lambda done: None,
) -> "np.ndarray":
    """The features of pictures, (pictures, width) float32, in the order given; what an interrupted attempt has
    kept is not computed again.

    digest: of all that they depend on. load: gives the module that makes (N, width) of (N, 3, H, W), and is
    called only where something is missing. title: what they are, for people. Raises InputError where a picture
    cannot be read or a feature is no finite number, VitquantError where they cannot be written.
    """
    kept = folder() / f"{digest}.npy"
    features = _read(kept, (len(files), width))
    if features is None:
        _compute(kept, load, files, image_size, width, title, tell)
        features = _read(kept, (len(files), width))
    if features is None:
        raise VitquantError(f"{kept} cannot be read again: check the disk, then try again.")
    tell(len(files))
    return features


def _read(file: Path, shape: tuple[int, int]) -> "np.ndarray | None":
    """The stored features; None where there are none, or something else."""
    import numpy as np

    try:
        found = np.load(file)
    except (OSError, ValueError, EOFError):
        return None
    return found if isinstance(found, np.ndarray) and found.shape == shape and found.dtype == "<f4" else None


def _compute(
    kept: Path,
    load: "Callable[[], nn.Module]",
    files: Sequence[Path],
    image_size: int,
    width: int,
    title: str,
    tell: Tell,
) -> None:
    """Append batch after batch to a file beside the one that is to be, which it becomes when it is whole."""
    partial = kept.with_suffix(".partial")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.with_suffix(".txt").write_text(f"{title}\n", encoding="utf-8")
        with _appending(partial, (len(files), width)) as (out, done):
            tell(done)
            if done < len(files):
                with contextlib.closing(_batches(load(), files[done:], image_size)) as batches:
                    for batch in batches:
                        out.write(batch.astype("<f4").tobytes())
                        out.flush()
                        os.fsync(out.fileno())
                        done += len(batch)
                        tell(done)
        os.replace(partial, kept)
    except OSError as error:
        raise VitquantError(f"{kept} could not be written: {error.strerror or error}.") from error


@contextmanager
def _appending(partial: Path, shape: tuple[int, int]) -> Iterator[tuple[BinaryIO, int]]:
    """The file, open behind the last whole batch that it has, and how many rows that is."""
    from numpy.lib import format as npy

    with contextlib.suppress(FileExistsError):
        partial.touch(exist_ok=False)
    with partial.open("r+b") as out:
        npy.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
        header, row = out.tell(), 4 * shape[1]
        size = out.seek(0, os.SEEK_END)
        rows = min((size - header) // row, shape[0])
        # Batches begin where they would have begun: sums of another batch differ in their last bits.
        done = rows if rows == shape[0] else rows // BATCH * BATCH
        out.truncate(header + done * row)
        out.seek(header + done * row)
        yield out, done


def _batches(model: "nn.Module", files: Sequence[Path], image_size: int) -> "Generator[np.ndarray, None, None]":
    """The features, batch after batch, each (n, width). Every core runs its own batch on one thread, as in an
    accuracy pass."""
    import numpy as np
    import torch

    from vitquant import composed, predict

    def answer(start: int) -> np.ndarray:
        torch.set_num_threads(1)  # holds for this thread
        batch = files[start : start + BATCH]
        features = predict.logits_of(model, predict.to_input([images.open_rgb(f) for f in batch], image_size))
        for file, row in zip(batch, features, strict=True):
            if not np.isfinite(row).all():
                raise InputError(
                    f"The backbone makes NaN or infinity of {file}: leave this picture out, or take another "
                    "checkpoint."
                )
        return features

    with composed.cores() as cores:
        starts = iter(range(0, len(files), BATCH))
        # Two batches a core are under way, however many there are.
        under_way = [cores.pool.submit(answer, start) for start in islice(starts, 2 * cores.count)]
        while under_way:
            yield under_way.pop(0).result()
            under_way += [cores.pool.submit(answer, start) for start in islice(starts, 1)]
