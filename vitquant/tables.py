"""Results as tables for a terminal. Numbers come ready-made; here they only get their units and places."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from vitquant import resident, shares, wording
from vitquant.bits import SIMULATED, setting_title
from vitquant.latency import NOISY
from vitquant.units import MB, MIB, bytes_words, seconds_words

Row = Mapping[str, Any]

TOP_OPERATORS = 15


def models(rows: Sequence[Row]) -> str:
    return table(
        ["model", "what it is", "parameters", "width", "depth", "weights", "download", "here"],
        [
            [
                row["model"],
                row["title"],
                f"{row['parameters']:,}",
                row["width"],
                row["depth"],
                row["weights"],
                bytes_words(row["download_bytes"], MB) if row["download_bytes"] else "none",
                "yes" if row["here"] else "no",
            ]
            for row in rows
        ],
    )


def variants(rows: Sequence[Row]) -> str:
    return table(
        ["variant", "what it is", "on this machine"],
        [
            [row["variant"], row["summary"], row["unavailable"] or f"yes (engine {row['engine']})"]
            for row in rows
        ],
    )


def datasets(rows: Sequence[Row]) -> str:
    return table(
        ["dataset", "what it is", "pictures", "classes", "here", "how to get it"],
        [
            [
                row["dataset"],
                row["title"],
                f"{row['pictures']:,}",
                row["classes"],
                "yes" if row["here"] else "no",
                row["how_to_get"],
            ]
            for row in rows
        ],
    )


def predictions(answers: Sequence[Row]) -> str:
    """One block a picture; in it one block a variant."""
    blocks = []
    for name, of_picture in groupby(answers, key=lambda answer: answer["image"]):
        block = [name]
        for answer in of_picture:
            true = answer.get("true_class")
            if true and len(block) == 1:
                block.append(f"true class: {true['words']} ({true['wnid']})")
            body = [
                [
                    f"  {p['rank']}",
                    f"{p['probability']:7.2%}",
                    p["wnid"],
                    p["words"] + ("   <- true" if true and p["wnid"] == true["wnid"] else ""),
                ]
                for p in answer["predictions"]
            ]
            block.append(f"{answer['variant']}\n{table(None, body)}")
        blocks.append("\n".join(block))
    return "\n\n".join(blocks)


def accuracy(rows: Sequence[Row]) -> str:
    """One line a variant; beneath it, after a run until sure, what was concluded."""
    concluded = [
        wording.conclusion_sentence(row).replace("**", "") for row in rows if row.get("conclusion") is not None
    ]
    return "\n".join([_accuracy_table(rows), *(["", *concluded] if concluded else [])])


def points(row: Row) -> str:
    """A row's difference of top-1 from fp32's in percentage points, with its interval."""
    if row.get("difference") is None:
        return "-"
    low, high = 100 * row["difference_low"], 100 * row["difference_high"]
    return f"{100 * row['difference']:+.2f} ({low:+.2f} to {high:+.2f})"


Cells = list[list[object]]
"""A table's titles, then its lines."""


def _accuracy_table(rows: Sequence[Row]) -> str:
    titles, *body = accuracy_cells(rows)
    return table(titles, body)


def accuracy_cells(rows: Sequence[Row]) -> Cells:
    return [
        [
            "variant",
            "pictures",
            wording.measure_in(rows[0]).name if rows else wording.ACCURACY.name,
            "95% interval",
            "top-5",
            "95% interval",
            "broken",
            "fixed",
            "p",
            "difference (points)",
            "KL",
        ],
        *(
            [
                row["variant"],
                f"{row['n']:,}",
                f"{row['top1']:.2%}",
                f"{row['top1_low']:.2%} to {row['top1_high']:.2%}",
                f"{row['top5']:.2%}",
                f"{row['top5_low']:.2%} to {row['top5_high']:.2%}",
                or_dash(row["broken"], "{:,}"),
                or_dash(row["fixed"], "{:,}"),
                or_dash(row["mcnemar_p"], "{:.2g}"),
                points(row),
                or_dash(row["mean_kl_nats"], "{:.3g} nats"),
            ]
            for row in rows
        ),
    ]


def latency(rows: Sequence[Row]) -> str:
    """One line a variant and shape; beneath it what a fresh process of each variant took."""
    blocks = []
    for titles, *body in filter(None, (latency_cells(rows), start_cells(rows))):
        blocks.append(table(titles, body))
    if any(row.get("is_noisy") for row in rows):
        blocks.append(
            f"Too noisy: half of the calls spread over more than {NOISY:.0%} of their median. Measure again "
            "when the machine is quiet."
        )
    return "\n\n".join(blocks)


def latency_cells(rows: Sequence[Row]) -> Cells:
    titles = "shape|variant|threads|median|quartiles|95% within|times faster than fp32|pictures/s|calls|warm-up"
    noisy = {(row["shape"], row["threads"]) for row in rows if row.get("is_noisy") and row["variant"] == "fp32"}
    found: Cells = [list(titles.split("|"))]
    for row in rows:
        is_noisy = row.get("is_noisy")
        no_ratio = is_noisy or (row["shape"], row["threads"]) in noisy
        throughput = row.get("pictures_per_s")
        found.append(
            [
                row["shape"],
                row["variant"],
                row["threads"],
                "too noisy" if is_noisy else seconds(row["median_s"]),
                f"{seconds(row['q1_s'])} to {seconds(row['q3_s'])}",
                seconds(row["p95_s"]) if row.get("p95_s") is not None else "-",
                "too noisy" if no_ratio else or_dash(row["ratio_to_fp32"], "{:.2f}"),
                "-" if is_noisy or throughput is None else f"{throughput:,.1f}",
                row["runs"],
                warm_up(row),
            ]
        )
    return found


def warm_up(row: Row) -> str:
    """How long a variant was warmed up, and whether that made its times steady."""
    if row.get("warmup_calls") is None:
        return "-"
    steady = "" if row["warm"] else ", not steady"
    calls = "1 call" if row["warmup_calls"] == 1 else f"{row['warmup_calls']} calls"
    return f"{seconds(row['warmup_s'])}, {calls}{steady}"


def start_cells(rows: Sequence[Row]) -> Cells:
    """What a fresh process of each variant took; empty where that was not measured."""
    started = [row for row in rows if row.get("load_s") is not None]
    if not started:
        return []
    titles = "variant|loading|first prediction|steady median|peak memory (bytes)|of it before loading"
    return [
        list(titles.split("|")),
        *(
            [
                row["variant"],
                seconds(row["load_s"]),
                f"{seconds(row['first_s'])} at {row['shape']}",
                seconds(row["median_s"]),
                f"{row['peak_bytes']:,}",
                f"{row['baseline_bytes']:,}",
            ]
            for row in started
        ),
    ]


def size(rows: Sequence[Row]) -> str:
    """One line a variant; beneath it what a fresh process that loads it takes."""
    blocks = []
    for titles, *body in filter(None, (size_cells(rows), resident_cells(rows))):
        blocks.append(table(titles, body))
    return "\n\n".join(blocks)


def size_cells(rows: Sequence[Row]) -> Cells:
    kinds = {
        "disk_bytes": "disk",
        "exported_bytes": "exported",
        "parameters_bytes": "parameters()",
        "packed_bytes": "packed",
        "buffers_bytes": "buffers",
        "total_bytes": "memory in all",
    }
    return [
        ["variant", *[f"{title} (bytes)" for title in kinds.values()], "disk", "memory in all"],
        *(
            [
                row["variant"],
                *[or_dash(row.get(kind), "{:,}") for kind in kinds],
                mib(row["disk_bytes"]),
                mib(row["total_bytes"]),
            ]
            for row in rows
        ),
    ]


def resident_cells(rows: Sequence[Row]) -> Cells:
    """What a fresh process that loads each variant takes; empty where that was not measured."""
    titles = "process|before loading (bytes)|added at the peak|added, steady|steady / tensors|loading"
    body: Cells = [
        [
            row["variant"],
            f"{row['baseline_bytes']:,}",
            f"{adds.peak_bytes:,}",
            f"{adds.steady_bytes:,}",
            f"{adds.steady_bytes / row['total_bytes']:.2f}",
            seconds(row["load_s"]),
        ]
        for row in rows
        if (adds := resident.added(row))
    ]
    return [list(titles.split("|")), *body] if body else []


def exported(rows: Sequence[Row]) -> str:
    """What an export answered when it was loaded again."""
    titles = "variant|format|archive (bytes)|weights (bytes)|pictures|other answers than|logits differ by|top-1"
    body: Cells = [
        [
            row["variant"],
            row["format"],
            f"{row['file_bytes']:,}",
            f"{row['weights_bytes']:,}",
            f"{row['n']:,}",
            f"{row['disagreements']:,} ({row['compared_with']})",
            f"{row['largest_logit_difference']:.3g}",
            f"{row['top1']:.2%} ({row['top1_low']:.2%} to {row['top1_high']:.2%})",
        ]
        for row in rows
    ]
    digests = [f"{row['file']}\n  SHA-256 {row['sha256']}, put to the test in {row['runtime']}" for row in rows]
    return "\n\n".join([table(titles.split("|"), body), *digests])


def budget(rows: Sequence[Row], unit: int) -> str:
    """What fits a budget, one line a candidate (budget.plain). unit: units.MB or units.MIB."""
    titles = "model|weights|variant|top-1|95% interval|pictures|disk|memory|one picture|measured|verdict"
    return table(titles.split("|"), [_budget_cells(row, unit) for row in rows])


def _budget_cells(row: Row, unit: int) -> list[object]:
    accuracy = row["accuracy"]
    low_to_high = f"{accuracy['top1_low']:.2%} to {accuracy['top1_high']:.2%}" if accuracy else "-"
    disk, memory = (
        "-" if row[kind] is None else bytes_words(row[kind], unit) for kind in ("disk_bytes", "memory_bytes")
    )
    latency = "-" if row["latency_s"] is None else seconds_words(row["latency_s"])
    origins = row["origins"].values()
    shipped = [origin for origin in origins if origin["shipped"]]
    notes = [
        *(["shipped" if len(shipped) == len(origins) else "partly shipped"] if shipped else []),
        *(["stale"] if any(origin["changes"] for origin in origins) else []),
        *(["random weights"] if any(origin["random_weights"] for origin in origins) else []),
    ]
    return [
        f"{row['model']} ({row['image_size']} px)" if row["is_at_another_size"] else row["model"],
        row["weights"],
        row["variant"],
        f"{accuracy['top1']:.2%}" if accuracy else "-",
        low_to_high,
        f"{accuracy['n']:,}" if accuracy else "-",
        disk,
        memory,
        "too noisy" if row["is_noisy"] else latency,
        ", ".join(notes) or ("here" if origins else "-"),
        row["why"],
    ]


def bits(rows: Sequence[Row]) -> str:
    """One line a setting; beneath it that all this is simulated, and what was found."""
    titles, *body = bits_cells(rows)
    found = [sentence.replace("**", "") for sentence in wording.bits_sentences(rows)]
    return "\n".join([table(titles, body), "", SIMULATED, "", *found])


def bits_cells(rows: Sequence[Row]) -> Cells:
    titles = "weights|computed size (bytes)|computed size|weight SQNR|pictures|answers as fp32|95% interval"
    titles += "|top-1|95% interval|KL"
    body: Cells = [
        [
            setting_title(row["bits"], row["granularity"]),
            f"{row['size_bytes']:,}",
            mib(row["size_bytes"]),
            or_dash(row["sqnr_db"], "{:.1f} dB"),
            f"{row['n']:,}",
            f"{row['agree']:.2%}",
            f"{row['agree_low']:.2%} to {row['agree_high']:.2%}",
            f"{row['top1']:.2%}",
            f"{row['top1_low']:.2%} to {row['top1_high']:.2%}",
            f"{row['mean_kl_nats']:.3g} nats",
        ]
        for row in rows
    ]
    return [list(titles.split("|")), *body]


def profile(rows: Sequence[Row]) -> str:
    """The operators that take most time themselves, one block a variant; then what that means for speed."""
    blocks = []
    for name in shares.variants(rows):
        operators = shares.at(rows, "operator", name)
        titles, *body = operator_cells(operators[:TOP_OPERATORS])
        rest = len(operators) - len(body)
        more = f"\n(and {rest} more; --json has all)" if rest > 0 else ""
        blocks.append(f"{name}\n{table(titles, body)}{more}")
    if shares.has_layers(rows):
        titles, *body = kind_cells(rows)
        blocks.append(f"by kind of layer\n{table(titles, body)}")
        blocks += [sentence.replace("**", "").replace("`", "") for sentence in wording.profile_sentences(rows)]
    return "\n\n".join(blocks)


def operator_cells(operators: Sequence[Row]) -> Cells:
    titles = ["operator", "calls", "self time", "share", "memory", "called from"]
    has_stacks = any(row["stack"] for row in operators)
    body: Cells = [
        [
            row["name"],
            f"{row['calls']:g}",
            seconds(row["self_cpu_s"]),
            f"{row['share']:.1%}",
            mib(row["self_memory_bytes"]),
            *([row["stack"][0] if row["stack"] else "-"] if has_stacks else []),
        ]
        for row in operators
    ]
    return [list(titles if has_stacks else titles[:-1]), *body]


def kind_cells(rows: Sequence[Row]) -> Cells:
    """By kind of layer: in Linear layers and in the rest, for each variant."""
    names = shares.variants(rows)
    parts = {(part.variant, part.title): part for part in shares.by_kind(rows)}
    titles: list[object] = ["kind", *[f"{name}, {what}" for name in names for what in ("Linear", "rest")]]
    body: Cells = []
    for kind in shares.KINDS:
        of_kind = [parts[name, kind] for name in names]
        if any(part.total_s for part in of_kind):
            body.append([kind, *[seconds(s) for part in of_kind for s in (part.linear_s, part.other_s)]])
    return [titles, *body]


def weights_label(weights: str) -> str:
    """How results name their weights; random ones are always said to be meaningless."""
    return "random weights (its answers are meaningless)" if weights == "random" else f"weights {weights}"


def mib(count: int) -> str:
    """Bytes as MiB (2^20 bytes)."""
    return f"{count / MIB:,.2f} MiB"


def seconds(value: float) -> str:
    """Seconds in the unit in which a person reads them."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.2f} ms"


def table(titles: Sequence[object] | None, body: Iterable[Sequence[object]]) -> str:
    """Columns aligned by their widest cell; a column of numbers to the right."""
    cells = [[str(cell) for cell in row] for row in body]
    rows = ([[str(title) for title in titles]] if titles else []) + cells
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    numeric = [
        bool(cells) and all(row[i] == "-" or row[i].lstrip("-")[:1].isdigit() for row in cells)
        for i in range(len(widths))
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in rows
    ]
    if titles:
        lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def or_dash(value: Any, form: str) -> str:
    """A figure in that form; a dash where there is none."""
    return "-" if value is None else form.format(value)
