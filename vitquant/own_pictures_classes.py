"""What somebody calls a class: its wnid, its index, or any of its words, however they are written."""

import difflib
import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vitquant import labels
from vitquant.errors import InputError

NEAR = 3
"""Words that are offered for a name that matches none."""
MOST_NEAR = 50
"""Names that near words are looked for: it takes 10 ms a name, and nobody reads more."""

WNID, NUMBER, WORDS, CHOSEN = "wnids", "class numbers", "class words", "names with a class chosen for them"
_ONE = {WNID: "wnid", NUMBER: "class number", WORDS: "class word", CHOSEN: "name with a class chosen for it"}


@dataclass(frozen=True)
class Matched:
    """What the names that somebody uses for classes stand for."""

    classes: Mapping[str, int]  # class index by name, for the names that stand for one class
    ambiguous: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # several class indices by name
    unmatched: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # words that are near, by name
    kinds: Mapping[str, int] = field(default_factory=dict)  # how many names are WNID, NUMBER, WORDS or CHOSEN

    def sentence(self, what: str) -> str:
        """What the names are, in a sentence. what: whose names: "this folder's names"."""
        parts = [f"{count:,} {_of(kind, count)}" for kind, count in self.kinds.items()]
        if self.ambiguous:
            count = len(self.ambiguous)
            parts.append(
                f"{count:,} {'word that matches' if count == 1 else 'words that match'} several classes"
            )
        if self.unmatched:
            count = len(self.unmatched)
            parts.append(f"{count:,} that match{'es' if count == 1 else ''} no class")
        listed = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
        return f"{what} are {listed}{': choose' if self.ambiguous else ''}."


def match(names: Iterable[str], chosen: Mapping[str, int] | None = None) -> Matched:
    """What each of these names stands for. chosen: class index by name, which goes before all else.

    Raises InputError where a chosen name is none of the names or a chosen class is none of the 1000.
    """
    names, chosen = sorted(set(names)), chosen or {}
    for name, index in chosen.items():
        labels.by_index(index)
        if name not in names:
            near = difflib.get_close_matches(name, names, n=NEAR)
            hint = f"did you mean {' or '.join(near)}?" if near else "choose a class for one that is there."
            raise InputError(f"Nothing here is called {name!r}: {hint}")
    classes: dict[str, int] = {}
    ambiguous: dict[str, tuple[int, ...]] = {}
    unmatched: dict[str, tuple[str, ...]] = {}
    kinds: Counter[str] = Counter()
    for name in names:
        kind, candidates = (CHOSEN, (chosen[name],)) if name in chosen else _candidates(name)
        if len(candidates) == 1:
            classes[name] = candidates[0]
            kinds[kind] += 1
        elif candidates:
            ambiguous[name] = candidates
        else:
            unmatched[name] = _near(name) if len(unmatched) < MOST_NEAR else ()
    return Matched(classes, ambiguous, unmatched, dict(kinds))


def _candidates(name: str) -> tuple[str, tuple[int, ...]]:
    """How a name is to be read, and the class indices that it may stand for."""
    if wnid := re.fullmatch(r"(n\d{8})(?:[ _.-].*)?", name.strip()):  # "n01440764", "n01440764_tench"
        try:
            return WNID, (labels.by_wnid(wnid[1]).index,)
        except InputError:
            return WNID, ()
    if re.fullmatch(r"[0-9]{1,3}", name.strip()):
        return NUMBER, (int(name),)
    return WORDS, _by_words().get(_plain(name), ())


def _plain(words: str) -> str:
    """Words without what people write differently: case, underscores, hyphens, commas, apostrophes."""
    return " ".join(re.sub(r"[\W_]+", " ", re.sub(r"['’]", "", words.casefold())).split())


@functools.cache
def _by_words() -> dict[str, tuple[int, ...]]:
    """Class indices by each of their words, and by all of them together, in plain form."""
    found: dict[str, set[int]] = {}
    for label in labels.CLASSES:
        for words in [label.words, *label.words.split(",")]:
            found.setdefault(_plain(words), set()).add(label.index)
    return {words: tuple(sorted(indices)) for words, indices in found.items()}


def _near(name: str) -> tuple[str, ...]:
    return tuple(difflib.get_close_matches(_plain(name), _by_words(), n=NEAR, cutoff=0.7))


def _of(kind: str, count: int) -> str:
    return _ONE[kind] if count == 1 else kind
