"""Diagnosis: which layers int8 breaks, why, and what mends it."""

import sqlite3
from collections.abc import Callable

from components import address, frame, views
from components.choices import Choices
from components.diagnosis import cures, follow, layers, neighbours, outliers, stored, why

View = Callable[[sqlite3.Connection, Choices], None]


def _of_a_variant(draw: Callable[[sqlite3.Connection, Choices, str], None]) -> View:
    """A view of one int8 variant, beneath the choice of it."""
    return lambda db, chosen: draw(db, chosen, stored.variant())


def _neighbours(db: sqlite3.Connection, chosen: Choices, variant: str) -> None:
    run = stored.diagnosis(db, chosen, variant)
    if run:
        neighbours.show(db, chosen, run)


VIEWS: dict[str, tuple[str, View]] = {
    # view -> title, what draws it
    "layers": ("Which layers", _of_a_variant(layers.show)),
    "why": ("Why", _of_a_variant(why.show)),
    "outliers": ("The cause, live", outliers.show),
    "neighbours": ("Neighbours", _of_a_variant(_neighbours)),
    "follow": ("One picture", _of_a_variant(follow.show)),
    "cures": ("Cures", cures.show),
}
OF_A_VIEW = (address.PICTURE,)
"""The live view has pictures of its own."""


def show(db: sqlite3.Connection) -> None:
    views.show(
        db,
        {view: title for view, (title, _) in VIEWS.items()},
        lambda db, chosen, view: VIEWS[view][1](db, chosen),
        forgetting=OF_A_VIEW,
    )


frame.page("Diagnosis", show)
