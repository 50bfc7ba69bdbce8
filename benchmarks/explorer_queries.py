"""How long the Explorer's server side takes over a large store: filter, counts, order and page.

    python -m benchmarks.explorer_queries --pictures 10000 --variants 6

Fills a store of its own with synthetic answers, then draws the Explorer's page through Streamlit's AppTest (the
script run alone, no browser) and asks its queries alone, for random filters. Prints medians and 95th
percentiles in milliseconds, and how much memory the repetitions added.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from vitquant import browse, database, labels
from vitquant.browse import Filter

CLASSES = 200
SEED = 0


def fill(db: database.sqlite3.Connection, pictures: int, variants: int) -> tuple[int, list[int]]:
    """A dataset and answers to all of it, drawn at random: its id and the ids of its series."""
    source = random.Random(SEED)
    with database.transaction(db):
        db.execute(
            "INSERT INTO datasets (name, split, digest, added_at) VALUES ('synthetic', 'val', 'x', 'now')"
        )
        truth = [source.randrange(CLASSES) for _ in range(pictures)]
        db.executemany(
            "INSERT INTO examples (dataset_id, position, picture, path, wnid, class_index) "
            "VALUES (1, ?, ?, ?, ?, ?)",
            ((p, p, f"n/{p}.JPEG", labels.by_index(truth[p]).wnid, truth[p]) for p in range(pictures)),
        )
        names = [row["name"] for row in db.execute("PRAGMA table_info(series)") if row["name"] != "id"]
        given = {"dataset_id": 1, "image_size": 70, "recipe_version": 1, "shipped": 0, "environment": "{}"}
        for series in range(1, variants + 1):
            values = [
                given.get(name, f"{name}-{series}" if name in ("key", "variant") else "x") for name in names
            ]
            marks = ", ".join("?" * (len(names) + 1))
            db.execute(f"INSERT INTO series (id, {', '.join(names)}) VALUES ({marks})", [series, *values])
            db.executemany(
                f"INSERT INTO predictions VALUES ({', '.join('?' * 15)})",
                (_answer(source, series, position, truth[position]) for position in range(pictures)),
            )
    return 1, list(range(1, variants + 1))


def _answer(source: random.Random, series: int, position: int, truth: int) -> list[float]:
    rank = 1 if source.random() < 0.7 else source.choice((2, 3, 4, 5, 9, 40))
    first = truth if rank == 1 else source.randrange(CLASSES)
    top = [value for k in range(5) for value in ((first + k) % 1000, source.random() / (k + 1))]
    return [series, position, rank, source.random(), source.random() * 3, *top]


def random_filter(source: random.Random, series: list[int]) -> Filter:
    """As a visitor might choose it."""
    variant, other = source.sample(series, 2)
    return Filter(
        series=variant,
        other=source.choice((None, other)),
        verdict=source.choice((None, *browse.VERDICTS)),
        class_index=source.choice((None, None, source.randrange(CLASSES))),
        confidence=source.choice((None, (0.2, 0.9))),
        order=source.choice(list(browse.ORDERS)),
        seed=source.randrange(100),
    )


def timed(times: int, ask: Callable[[Filter], object], source: random.Random, series: list[int]) -> list[float]:
    found = []
    for _ in range(times):
        wanted = random_filter(source, series)
        begun = time.perf_counter()
        ask(wanted)
        found.append(1e3 * (time.perf_counter() - begun))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--variants", type=int, default=6)
    parser.add_argument("--times", type=int, default=60)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, database.opened(Path(folder) / "store.sqlite") as db:
        dataset, series = fill(db, given.pictures, given.variants)
        by_name = {f"v{place}": id_ for place, id_ in enumerate(series)}
        source = random.Random(SEED)

        def grid(wanted: Filter) -> None:
            browse.class_sizes(db, dataset)
            browse.counts(db, dataset, wanted)
            if wanted.series:
                browse.differing(db, wanted.series, {n: i for n, i in by_name.items() if i != wanted.series})
            n = browse.count(db, dataset, wanted)
            offset = source.randrange(max(n // browse.PAGE, 1)) * browse.PAGE
            browse.page(db, dataset, by_name, wanted, offset=offset)

        questions: dict[str, Callable[[Filter], object]] = {
            "the grid (all its queries)": grid,
            "counts beside the choices": lambda wanted: browse.counts(db, dataset, wanted),
            "a page of pictures": lambda wanted: browse.page(db, dataset, by_name, wanted),
            "a picture's neighbours": lambda wanted: browse.place(db, dataset, wanted, 17),
            "classes": lambda wanted: browse.class_rows(db, dataset, wanted.series or 1, wanted.other),
            "confusions": lambda wanted: browse.confusions(db, dataset, wanted.series or 1),
        }
        process = psutil.Process()
        print(f"{given.pictures:,} pictures x {given.variants} variants, {given.times} random filters each")
        timed(5, grid, source, series)
        before = process.memory_info().rss
        for name, ask in questions.items():
            found = sorted(timed(given.times, ask, source, series))
            p95 = found[int(0.95 * (len(found) - 1))]
            print(f"{name:28} median {statistics.median(found):6.1f} ms   95th percentile {p95:6.1f} ms")
        print(f"memory added by the repetitions: {(process.memory_info().rss - before) / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
