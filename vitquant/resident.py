"""What a variant takes of a machine's memory: a fresh process loads it from its file and makes one prediction.

Loaded from a file of its own, as on the device that it is meant for, and not made from float32 as vitquant
makes it: that leaves freed copies behind. The process is this module; the parent's side imports no torch.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vitquant import children, paths


@dataclass(frozen=True)
class Resident:
    """One variant's resident memory in bytes, the baseline included, as the system counts it."""

    baseline_bytes: int  # torch, timm and what else loading takes is imported, nothing loaded
    peak_bytes: int  # the most at any moment from then on
    steady_bytes: int  # after the prediction, what was freed given back to the system
    load_s: float  # from the file (in the system's cache, most likely) to a model that answers


@dataclass(frozen=True)
class Added:
    """What a variant adds to a process: its resident memory in bytes without the baseline."""

    peak_bytes: int
    steady_bytes: int


def added(row: Mapping[str, Any]) -> Added | None:
    """The same for a size run's row; None where it was measured before processes were."""
    if row.get("peak_bytes") is None or row.get("baseline_bytes") is None:
        return None
    return Added(
        max(row["peak_bytes"] - row["baseline_bytes"], 0), max(row["steady_bytes"] - row["baseline_bytes"], 0)
    )


def measure(folder: Path) -> Resident:
    """Start a process that loads an exported state dict (exports.write) and predicts one grey picture.

    Raises VitquantError with the process's last words, or with what ended it.
    """
    answer = children.run(
        ["-m", "vitquant.resident", str(folder)],
        what="The process that loaded the variant",
        cwd=paths.PROJECT_ROOT,
        environment=paths.child_environment(),
    )
    return Resident(**json.loads(answer))


def _measure_here(folder: Path) -> Resident:
    from PIL import Image

    from vitquant import startup

    sys.path.insert(0, str(folder))
    loader: Any = importlib.import_module("load")
    picture = Image.new("RGB", (64, 64), "grey")
    gc.collect()
    baseline_bytes = startup.resident_bytes()
    startup.forget_peak()
    begin = time.perf_counter()
    logits_of = loader.load(folder)
    load_s = time.perf_counter() - begin
    gc.collect()
    logits_of(picture)
    peak_bytes = startup.peak_bytes()
    _give_back_freed()
    return Resident(baseline_bytes, peak_bytes, startup.resident_bytes(), load_s)


def _give_back_freed() -> None:
    """Have glibc return freed memory to the system (malloc_trim(3)): it keeps most of what packing a layer
    frees, which would count as if the variant held it. Other systems' allocators are left to themselves."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


if __name__ == "__main__":
    print(json.dumps(asdict(_measure_here(Path(sys.argv[1])))))
