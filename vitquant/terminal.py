"""What the command line's commands have in common: progress and remarks on standard error, answers on standard
output.
"""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

UNITS = {"accuracy": " pictures", "latency": "%"}
"""What the progress bar of a run counts, where it is not just steps."""


def say(sentence: str) -> None:
    """A remark for whoever watches."""
    print(sentence, file=sys.stderr)


def answer(value: Any, options: argparse.Namespace, as_table: Callable[[Any], str]) -> None:
    """The answer of a command: for people, or for machines where --json was given."""
    print(json.dumps(value, indent=2) if options.json else as_table(value))


class Bar:
    """A progress bar on standard error that appears only where something takes longer than a second."""

    def __init__(self, title: str, unit: str = "it") -> None:
        self._title, self._unit = title, unit
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> "Bar":
        return self

    def show(self, done: int, total: int, message: str) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=self._title,
                unit=self._unit,
                unit_scale=self._unit in ("B", ""),
                delay=1,
                leave=False,
                file=sys.stderr,
            )
        self._bar.total = total
        self._bar.set_postfix_str(message, refresh=False)
        self._bar.update(done - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def bar_of(kind: str, of: str) -> Bar:
    """The progress bar of a run of that kind, of that model."""
    return Bar(f"{kind} of {of}", UNITS.get(kind, " steps"))
