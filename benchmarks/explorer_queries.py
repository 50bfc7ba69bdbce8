"""How long the Explorer's server side takes over a large store: filter, counts, order and page.

    python -m benchmarks.explorer_queries --pictures 10000 --variants 6

Fills a store of its own with synthetic answers, then asks the Explorer's queries with random filters, and runs
the page's whole script (Streamlit's AppTest: the server's side without a browser; the pictures themselves are
missing). Prints medians and 95th percentiles in milliseconds, and how much memory the repetitions added.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable

import psutil
from streamlit.testing.v1 import AppTest

from vitquant import browse, confusions, database, labels, paths, predictions
from vitquant.browse import Filter
from vitquant.predictions import Identity
from vitquant.variants import RECIPES

MODEL, DATASET = "dinov2_vits14_reg_lc", "tiny-imagenet"
CLASSES = [label.index for label in labels.tiny_imagenet()]
SEED = 0


def fill(db: database.sqlite3.Connection, pictures: int, variants: int) -> tuple[int, list[int]]:
    """A dataset and answers to all of it, drawn at random: its id and the ids of its series."""
    source = random.Random(SEED)
    with database.transaction(db):
        db.execute(
            "INSERT INTO datasets (name, split, digest, added_at) VALUES (?, 'val', 'x', 'now')", (DATASET,)
        )
        truth = [source.choice(CLASSES) for _ in range(pictures)]
        db.executemany(
            "INSERT INTO examples (dataset_id, position, picture, path, wnid, class_index) "
            "VALUES (1, ?, ?, ?, ?, ?)",
            ((p, p, f"n/{p}.JPEG", labels.by_index(truth[p]).wnid, truth[p]) for p in range(pictures)),
        )
        recipes = list(RECIPES)
        for series in range(1, variants + 1):
            variant = recipes[series - 1] if series <= len(recipes) else f"variant{series}"
            identity = Identity(
                MODEL, "random", "x", variant, 1, "x86", "", "0", DATASET, "val", "x", image_size=70
            )
            assert predictions.begin_series(db, identity, 1, {}).id == series
            db.executemany(
                f"INSERT INTO predictions VALUES ({', '.join('?' * 15)})",
                (_answer(source, series, position, truth[position]) for position in range(pictures)),
            )
    return 1, list(range(1, variants + 1))


def _answer(source: random.Random, series: int, position: int, truth: int) -> list[float]:
    rank = 1 if source.random() < 0.7 else source.choice((2, 3, 4, 5, 9, 40))
    first = truth if rank == 1 else source.choice(CLASSES)
    top = [value for k in range(5) for value in ((first + k) % 1000, source.random() / (k + 1))]
    return [series, position, rank, source.random(), source.random() * 3, *top]


def random_filter(source: random.Random, series: list[int]) -> Filter:
    """As a visitor might choose it."""
    variant, other = source.sample(series, 2)
    return Filter(
        series=variant,
        other=source.choice((None, other)),
        verdict=source.choice((None, *browse.VERDICTS)),
        class_index=source.choice((None, None, source.choice(CLASSES))),
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


def _page_times(times: int, source: random.Random) -> list[float]:
    """The page's script from its first line to its last, for filters as an address asks for them."""
    app = AppTest.from_file(str(paths.PROJECT_ROOT / "dashboard.py"), default_timeout=60)
    app.switch_page("pages/explorer.py")
    app.run()
    process = psutil.Process()
    before = process.memory_info().rss
    found = []
    for _ in range(times):
        variant, other = source.sample(list(RECIPES), 2)
        query = {
            "variant": variant,
            "versus": source.choice(("nothing", other)),
            "verdict": source.choice(("all", *browse.VERDICTS)),
            "order": source.choice(("dataset", "mistakes", "random")),
            "seed": str(source.randrange(100)),
        }
        for name, value in query.items():
            app.query_params[name] = value
        begun = time.perf_counter()
        app.run()
        found.append(1e3 * (time.perf_counter() - begun))
        assert not app.exception and app.button
    print(f"memory added by {times} runs of the page: {(process.memory_info().rss - before) / 2**20:.1f} MiB")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--variants", type=int, default=6)
    parser.add_argument("--times", type=int, default=60)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VITQUANT_DATA"], os.environ["VITQUANT_SAMPLE"] = folder, f"{folder}/no-sample"
        _measure(given)


def _measure(given: argparse.Namespace) -> None:
    with database.opened() as db:
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
            "classes": lambda wanted: confusions.by_class(db, dataset, wanted.series or 1, wanted.other),
            "confusions": lambda wanted: confusions.by_pair(db, dataset, wanted.series or 1),
        }
        process = psutil.Process()
        print(f"{given.pictures:,} pictures x {given.variants} variants, {given.times} random filters each")
        timed(5, grid, source, series)
        before = process.memory_info().rss
        for name, ask in questions.items():
            found = sorted(timed(given.times, ask, source, series))
            p95 = found[int(0.95 * (len(found) - 1))]
            print(f"{name:28} median {statistics.median(found):6.1f} ms   95th percentile {p95:6.1f} ms")
        print(f"memory added by these: {(process.memory_info().rss - before) / 2**20:.1f} MiB")
        found = sorted(_page_times(given.times, source))
        p95 = found[int(0.95 * (len(found) - 1))]
        print(
            f"{'the whole page':28} median {statistics.median(found):6.1f} ms   95th percentile {p95:6.1f} ms"
        )


if __name__ == "__main__":
    main()
