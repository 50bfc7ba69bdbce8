"""Processes started to do one thing and say what came of it. Imports no torch."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from vitquant.errors import VitquantError


def run(arguments: Sequence[str], *, what: str, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run Python with these arguments to its end and return its standard output.

    what: names the process in a sentence. Raises VitquantError with the last words of one that failed, or with
    what ended it.
    """
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=dict(os.environ if environment is None else environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode < 0:
        raise VitquantError(
            f"{what} was ended by signal {-done.returncode}, most likely because memory ran out: take a "
            "smaller model, or free some memory."
        )
    if done.returncode > 0:
        last_words = done.stderr.strip().splitlines()[-1:] or [f"{what} ended with status {done.returncode}."]
        raise VitquantError(last_words[0].strip())
    return done.stdout
