"""Size: what each variant takes and why, where the bytes are, what fits, and a model to take away."""

import sqlite3

from components import address, frame, views
from components.size import bits, budget, riddle, sizes, takeaway, tree

VIEWS = {
    # view -> title, what draws it
    "sizes": ("Disk and memory", sizes.show),
    "riddle": ("The riddle", riddle.show),
    "tree": ("Where the bytes are", tree.show),
    "budget": ("What fits", budget.show),
    "bits": ("Fewer bits", bits.show),
    "take": ("Take it away", takeaway.show),
}


OF_A_VIEW = (address.AT, address.FIRST, address.SECOND, address.SHOWN)


def show(db: sqlite3.Connection) -> None:
    views.show(
        db,
        {view: title for view, (title, _) in VIEWS.items()},
        lambda db, chosen, view: VIEWS[view][1](db, chosen),
        forgetting=OF_A_VIEW,
    )


frame.page("Size", show)
