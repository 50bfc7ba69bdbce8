"""Random choices that are the same on every machine and with every version of numpy."""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """One stream of random choices, named by a text: the same text gives the same choices.

    Built on Python's own generator, whose sequence the language guarantees.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._random = random.Random(hashlib.sha256(name.encode()).digest())

    def between(self, low: float, high: float) -> float:
        """A number from the range, evenly."""
        return low + (high - low) * self._random.random()

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def one_of(self, options: Sequence[T]) -> T:
        return options[int(self._random.random() * len(options))]

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def near(self, centre: float, spread: float) -> float:
        """A number around the centre: within the spread, more often close to it."""
        return centre + spread * (self._random.random() - self._random.random())

    def seed(self) -> int:
        """A 32-bit number for a noise function."""
        return int(self._random.random() * 2**32)

    def stream(self, purpose: str) -> "Dice":
        """Another stream, which depends on this one's name alone: drawing from one leaves the other alone."""
        return Dice(f"{self._name}/{purpose}")
