"""Whether there is room for something before it is begun: estimates of memory and disk, against what is free.

Imports no torch.
"""

from pathlib import Path

import psutil

from vitquant import catalog
from vitquant.catalog import ModelSpec
from vitquant.errors import InputError

IMPORTS_BYTES = 900 * 10**6
"""Resident memory of a process that has imported torch, torchvision and timm (850 MB were measured)."""

COPIES = {
    # Times the float32 weights, at the peak: `python -m benchmarks.room` measured 3.9, 3.1, 3.5, 3.3, 4.4 and
    # 4.6 on dinov2_vitb14_reg_lc, and 3.9 for a diagnosis of 64 pictures.
    "size": 4.0,
    "bits": 3.5,
    "diagnosis": 4.5,
    "calibration": 5.5,  # 5.2 were measured, of all three calibrated variants
    "study": 5.5,
    "program": 4.0,
    "state-dict": 3.5,
    "onnx": 5.0,
    "onnx-int8": 5.0,
}


def needed_bytes(spec: ModelSpec, what: str) -> int:
    """What a process needs at its peak to do that (a key of COPIES) with a model: an estimate."""
    return round(IMPORTS_BYTES + COPIES[what] * 4 * spec.parameters)


def memory_problem(model: str, what: str) -> str | None:
    """Why the model is too large for the memory that is free now, with a smaller one that is not; None where it
    fits."""
    spec = catalog.model(model)
    needed, free = needed_bytes(spec, what), psutil.virtual_memory().available
    if needed <= free:
        return None
    smaller = [
        other
        for other in catalog.models().values()
        if other.parameters < spec.parameters and needed_bytes(other, what) <= free
    ]
    instead = max(smaller, key=lambda other: other.parameters, default=None)
    advice = (
        f"take {instead.name} ({amount(needed_bytes(instead, what))}), or free some" if instead else "free some"
    )
    return (
        f"{model} would need about {amount(needed)} of memory for this (estimated), and {amount(free)} are "
        f"free: {advice}."
    )


def check_memory(model: str, what: str) -> None:
    """Raise InputError with memory_problem's sentence where there is one."""
    if problem := memory_problem(model, what):
        raise InputError(problem)


def check_disk(folder: Path, needed: int, what: str) -> None:
    """Raise InputError where the disk of a folder, which need not be there yet, has less than so many bytes
    free."""
    free = free_on_disk(folder)
    if free < needed:
        raise InputError(
            f"{what} needs about {amount(needed)} on the disk of {folder}, and {amount(free)} are free there: "
            "free some space, or take another folder."
        )


def free_on_disk(folder: Path) -> int:
    """The bytes that are free on the disk of a folder, which need not be there yet."""
    there = folder
    while not there.exists():
        there = there.parent
    return int(psutil.disk_usage(str(there)).free)


def amount(count: int) -> str:
    """Bytes in MB or GB (10^6, 10^9), as a sentence takes them."""
    return f"{count / 10**9:,.1f} GB" if count >= 10**9 else f"{count / 10**6:,.0f} MB"
