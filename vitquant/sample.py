"""The built-in sample as the repository ships it, and how one knows that it is unharmed. Imports no torch.

data/sample has the pictures (val/ to be evaluated, train/ for calibration), the model's two checkpoints
(model/), the results measured before shipping (results.json.gz) and the record of them all: SHA256SUMS, in
the form that `sha256sum -c` reads.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from vitquant import paths
from vitquant.digests import sha256_of
from vitquant.errors import InputError

SUMS = "SHA256SUMS"
REMEDY = "`git restore data/sample` in the project's folder brings the sample back as it was shipped."
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def is_here() -> bool:
    """Whether there is a sample at all, whole or not: whether its record of digests is there."""
    return (paths.sample_dir() / SUMS).is_file()


def recorded() -> dict[str, str]:
    """The SHA-256 of every shipped file, by its path relative to data/sample.

    Raises InputError where the record is missing or is none.
    """
    file = paths.sample_dir() / SUMS
    try:
        changed = file.stat().st_mtime_ns
    except OSError as error:
        raise InputError(f"The sample's record of digests, {file}, is missing. {REMEDY}") from error
    return _read(file, changed)


@lru_cache(maxsize=4)
def _read(file: Path, changed_ns: int) -> dict[str, str]:
    try:
        lines = file.read_text("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"The sample's record of digests, {file}, cannot be read. {REMEDY}") from error
    matches = [_LINE.fullmatch(line) for line in lines]
    if not lines or None in matches:
        raise InputError(f"The sample's record of digests, {file}, is damaged. {REMEDY}")
    return {match[2]: match[1] for match in matches if match}


def check(digests: Mapping[Path, str | None]) -> None:
    """InputError unless each of these files is a shipped one with its recorded content.

    digests: the SHA-256 of each file, None where it is not there. The error names the first that differs.
    """
    record, root = recorded(), paths.sample_dir()
    for file, digest in digests.items():
        name = file.relative_to(root).as_posix()
        if digest is None:
            raise InputError(f"{file} of the built-in sample is missing. {REMEDY}")
        if name not in record:
            raise InputError(f"The sample's record of digests does not list {file}. {REMEDY}")
        if digest != record[name]:
            raise InputError(
                f"{file} of the built-in sample is not as it was shipped: it was cut short or altered. {REMEDY}"
            )


def check_names(folder: str, found: Iterable[Path]) -> None:
    """InputError unless these are all the shipped files below a folder of the sample ("val")."""
    root = paths.sample_dir()
    there = {file.relative_to(root).as_posix() for file in found}
    shipped = {name for name in recorded() if name.startswith(f"{folder}/")}
    if missing := sorted(shipped - there):
        more = f", with {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise InputError(f"{root / missing[0]} of the built-in sample is missing{more}. {REMEDY}")
    if unknown := sorted(there - shipped):
        raise InputError(f"{root / unknown[0]} is not one of the built-in sample's files: move it elsewhere.")


def write_sums(root: Path) -> None:
    """Record every file below root, but for the record itself: sorted by path."""
    files = sorted(file for file in root.rglob("*") if file.is_file() and file.name != SUMS)
    lines = [f"{sha256_of(file)}  {file.relative_to(root).as_posix()}\n" for file in files]
    (root / SUMS).write_text("".join(lines), "utf-8", newline="\n")
