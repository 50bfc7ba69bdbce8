"""Two runs side by side: under which conditions they differ, by how much their figures do, and which pictures
are answered otherwise. Queries only; imports no torch.
"""

import math
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vitquant import bits, diagnosis_words, gallery, predictions, shares, statistics
from vitquant.errors import InputError
from vitquant.predictions import Series
from vitquant.runs import Run

MOST_PICTURES = 60
"""So many pictures that changed their answer are listed."""


@dataclass(frozen=True)
class Condition:
    """Something that was different."""

    what: str
    first: str
    second: str


@dataclass(frozen=True)
class Change:
    """One figure in both runs. change has its 95% interval where one can be given."""

    variant: str
    figure: str  # "top-1", "median at 1x70, 2 threads", "on disk"
    unit: str  # of first and second: "share", "s", "bytes"
    first: float
    second: float
    change: float
    change_unit: str  # "points", "times as fast", "bytes"
    low: float | None
    high: float | None
    note: str = ""


@dataclass(frozen=True)
class ChangedPicture:
    """A picture to which a variant's first answer is another one in the second run."""

    variant: str
    picture: int  # place in ImageFolder's order
    class_index: int
    first_index: int
    second_index: int
    measured: str  # the answer set of the second run, for the explorer's address


@dataclass(frozen=True)
class Comparison:
    first: Run
    second: Run
    conditions: list[Condition]
    changes: list[Change]
    changed: Mapping[str, int]  # by variant, on how many pictures the first answer is another one
    pictures: list[ChangedPicture]  # the first MOST_PICTURES of them a variant

    def plain(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "first": self.first.id,
            "second": self.second.id,
            "kind": self.first.kind,
            "conditions": [asdict(condition) for condition in self.conditions],
            "changes": [asdict(change) for change in self.changes],
            "changed_answers": dict(self.changed),
            "pictures": [asdict(picture) for picture in self.pictures],
        }


def compare(db: sqlite3.Connection, first: Run, second: Run) -> Comparison:
    """Set two runs of one kind side by side.

    Raises InputError where they are of different kinds, one of them has no result, or they have no variant in
    common.
    """
    if first.kind != second.kind:
        raise InputError(
            f"Run {first.id} measured {first.kind} and run {second.id} {second.kind}: compare two of a kind."
        )
    for run in (first, second):
        if not run.result:
            raise InputError(f"Run {run.id} is {run.state} and has no result yet.")
    common = [name for name in first.request.get("variants", ()) if name in second.request.get("variants", ())]
    if not common:
        raise InputError(f"Runs {first.id} and {second.id} have no variant in common.")
    changed: dict[str, int] = {}
    pictures: list[ChangedPicture] = []
    if first.kind == "accuracy":
        changes = []
        for name in common:
            then, now = _series(db, first, name), _series(db, second, name)
            changes.append(_accuracy(db, first, second, name, then, now))
            if then and now and then.dataset_id == now.dataset_id:
                changed[name], listed = _changed(db, first, second, name, then, now)
                pictures += listed
    else:
        by_kind = {
            "latency": _latency,
            "size": _size,
            "profile": _profile,
            "bits": _bits,
            "diagnosis": _diagnosis,
            "export": _export,
            "calibration": _calibration,
            "study": _study,
        }
        changes = list(by_kind[first.kind](first, second))
    return Comparison(first, second, _conditions(db, first, second), changes, changed, pictures)


# What was different


def conditions_of(db: sqlite3.Connection, run: Run) -> dict[str, str]:
    """All that a run was asked for and measured on, in words."""
    request, environment = run.request, run.environment
    found = {
        "model": request["model"],
        "weights": request["weights"],
        "variants": ", ".join(request["variants"]),
        "pictures of": request.get("dataset", ""),
        "number of pictures": _pictures_asked(request),
        "image size": str(request.get("image_size", "")),
        "shapes": ", ".join(request.get("shapes", [])) or request.get("shape", ""),
        "threads": _joined(request.get("threads", "")),
    }
    digests = dict(run.identity)
    if "series" in digests:
        series = predictions.series_of_key(db, next(iter(digests["series"].values())))
        digests = asdict(series.identity) if series else {}
    found["content of the weights"] = str(digests.get("weights_digest", ""))[:12]
    found["content of the pictures"] = str(digests.get("dataset_digest", ""))[:12]
    for name, version in digests.get("recipe_versions", {}).items():
        found[f"recipe of {name}"] = f"version {version}"
    found["the CPU offers"] = ", ".join(environment.get("cpu_features", []))
    for name in ("machine", "engine", "system", "torch", "torchvision", "timm", "python", "vitquant"):
        found[name] = str(environment.get(name, ""))
    found["measured"] = (run.ended_at or run.created_at).replace("T", " ")
    return {name: value for name, value in found.items() if value}


def _conditions(db: sqlite3.Connection, first: Run, second: Run) -> list[Condition]:
    then, now = conditions_of(db, first), conditions_of(db, second)
    return [
        Condition(name, then.get(name, "–"), now.get(name, "–"))
        for name in dict.fromkeys([*then, *now])
        if then.get(name) != now.get(name)
    ]


def _pictures_asked(request: Mapping[str, Any]) -> str:
    if "dataset" not in request:
        return ""
    asked = request.get("limit") or request.get("pictures")
    limit = f"the first {asked:,}" if asked else "all"
    return f"until sure, of {limit}" if request.get("until_sure") else limit


def _joined(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


# By how much


def _series(db: sqlite3.Connection, run: Run, variant: str) -> Series | None:
    return predictions.series_of_key(db, run.identity["series"].get(variant, ""))


def _accuracy(
    db: sqlite3.Connection, first: Run, second: Run, name: str, then: Series | None, now: Series | None
) -> Change:
    """Top-1 on the pictures that both have; where they looked at different pictures, on each one's own."""
    n = _n(first, second, name)
    if then and now and then.dataset_id == now.dataset_id:
        ends = [predictions.tally(db, series.id, n) for series in (then, now)]
        paired = predictions.paired(db, then.id, now.id, n)
        found = statistics.paired_difference(paired.broken, paired.fixed, paired.n)
        same = "; the same stored answers" if then.id == now.id else ""
        note = f"on the first {n:,} pictures of both{same}"
        shown = [end.top1 / end.n for end in ends]
    else:
        rows = [_row(run, name) for run in (first, second)]
        intervals = [statistics.Interval(row["top1"], row["top1_low"], row["top1_high"]) for row in rows]
        found = statistics.unpaired_difference(*intervals)
        note = f"on different pictures, {rows[0]['n']:,} and {rows[1]['n']:,}"
        shown = [row["top1"] for row in rows]
    change = [100 * value for value in (found.share, found.low, found.high)]
    return Change(name, "top-1", "share", shown[0], shown[1], change[0], "points", change[1], change[2], note)


def _changed(
    db: sqlite3.Connection, first: Run, second: Run, name: str, then: Series, now: Series
) -> tuple[int, list[ChangedPicture]]:
    count, rows = predictions.changed_answers(db, then.id, now.id, _n(first, second, name), MOST_PICTURES)
    return count, [ChangedPicture(variant=name, measured=gallery.set_of(now), **dict(row)) for row in rows]


def _n(first: Run, second: Run, name: str) -> int:
    """On how many pictures both runs have measured a variant."""
    return min(int(_row(run, name)["n"]) for run in (first, second))


def _row(run: Run, variant: str) -> Mapping[str, Any]:
    return next(row for row in run.result or [] if row["variant"] == variant)


def _latency(first: Run, second: Run) -> Iterator[Change]:
    """How many times as fast, with the interval that the calls within both runs give."""
    for then, now in _pairs(first, second, ("variant", "shape", "threads")):
        ratio = then["median_s"] / now["median_s"]
        errors = (
            statistics.median_error(row["q1_s"], row["q3_s"], row["runs"]) / row["median_s"]
            for row in (then, now)
        )
        apart = math.exp(1.96 * math.hypot(*errors))
        noisy = [f"run {run.id}" for run, row in ((first, then), (second, now)) if row.get("is_noisy")]
        yield Change(
            now["variant"],
            f"median at {now['shape']}, threads: {now['threads']}",
            "s",
            then["median_s"],
            now["median_s"],
            ratio,
            "times as fast",
            ratio / apart,
            ratio * apart,
            f"the machine was too noisy in {' and '.join(noisy)}" if noisy else "",
        )


def _size(first: Run, second: Run) -> Iterator[Change]:
    titles = {
        "disk_bytes": "on disk",
        "total_bytes": "in memory",
        "peak_bytes": "peak memory of a fresh process",
        "steady_bytes": "its steady memory",
    }
    yield from _bytes(first, second, ("variant",), titles)


def _export(first: Run, second: Run) -> Iterator[Change]:
    titles = {"weights_bytes": "the weights' file", "file_bytes": "the archive"}
    yield from _bytes(first, second, ("variant", "format"), titles)


def _bytes(first: Run, second: Run, by: tuple[str, ...], titles: Mapping[str, str]) -> Iterator[Change]:
    for then, now in _pairs(first, second, by):
        for column, title in titles.items():
            if then.get(column) is not None and now.get(column) is not None:
                before, after = then[column], now[column]
                yield Change(now["variant"], title, "bytes", before, after, after - before, "bytes", None, None)


def _profile(first: Run, second: Run) -> Iterator[Change]:
    """The operators' time by kind of layer. The profiler gives sums, and so no interval."""
    parts = [{(p.variant, p.title): p.total_s for p in shares.by_kind(r.result or [])} for r in (first, second)]
    for (variant, title), then_s in parts[0].items():
        now_s = parts[1].get((variant, title), 0.0)
        if then_s and now_s:
            yield Change(variant, title, "s", then_s, now_s, then_s / now_s, "times as fast", None, None)


def _bits(first: Run, second: Run) -> Iterator[Change]:
    """How many of fp32's answers stay. Only sums are kept, so that the interval is one for different pictures:
    wider than need be where both runs looked at the same."""
    for then, now in _pairs(first, second, ("bits", "granularity")):
        if now["granularity"] == bits.ORIGINAL:
            continue
        shares = [statistics.Interval(row["agree"], row["agree_low"], row["agree_high"]) for row in (then, now)]
        found = statistics.unpaired_difference(*shares)
        yield Change(
            bits.setting_title(now["bits"], now["granularity"]),
            "answers as fp32",
            "share",
            then["agree"],
            now["agree"],
            100 * found.share,
            "points",
            100 * found.low,
            100 * found.high,
            f"on {then['n']:,} and {now['n']:,} pictures",
        )


def _diagnosis(first: Run, second: Run) -> Iterator[Change]:
    """How many of fp32's answers the whole variant keeps, and each layer alone; the intervals as in _bits."""
    ends = [
        {row.get("layer"): row for row in run.result or [] if row["part"] in ("whole", "layer")}
        for run in (first, second)
    ]
    for layer, now in ends[1].items():
        then = ends[0].get(layer)
        if then is None:
            continue
        column = "agree" if layer is None else "alone_agree"
        shares = [statistics.wilson(round(row[column] * row["n"]), row["n"]) for row in (then, now)]
        found = statistics.unpaired_difference(*shares)
        yield Change(
            now["variant"] if layer is None else f"{diagnosis_words.title(now)}, alone",
            "answers as fp32",
            "share",
            then[column],
            now[column],
            100 * found.share,
            "points",
            100 * found.low,
            100 * found.high,
            f"on {then['n']:,} and {now['n']:,} pictures",
        )


def _calibration(first: Run, second: Run) -> Iterator[Change]:
    """The KL divergence of every candidate that both have tried."""
    for then, now in _pairs(first, second, ("variant", "part", "step")):
        if now["part"] == "candidate":
            yield _kl_change(f"{now['variant']}, {now['step']}", then, now)


def _study(first: Run, second: Run) -> Iterator[Change]:
    """The KL divergence by number of pictures and seed."""
    for then, now in _pairs(first, second, ("pictures", "seed")):
        yield _kl_change(f"{now['pictures']} pictures, seed {now['seed']}", then, now)


def _kl_change(what: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Change:
    before, after = then["mean_kl_nats"], now["mean_kl_nats"]
    return Change(
        what,
        "KL divergence",
        "nats",
        before,
        after,
        after - before,
        "nats",
        None,
        None,
        f"on {then['n']:,} and {now['n']:,} pictures",
    )


def _pairs(
    first: Run, second: Run, by: tuple[str, ...]
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    then = {tuple(row.get(name) for name in by): row for row in first.result or []}
    for row in second.result or []:
        key = tuple(row.get(name) for name in by)
        if key in then:
            yield then[key], row
