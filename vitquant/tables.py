"""Results as tables for a terminal. Numbers come ready-made; here they only get their units and places."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from vitquant import wording
from vitquant.runs import Run

Row = Mapping[str, Any]

MIB = 2**20
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
                mib(row["download_bytes"]) if row["download_bytes"] else "none",
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


def _accuracy_table(rows: Sequence[Row]) -> str:
    return table(
        [
            "variant",
            "pictures",
            "top-1",
            "95% interval",
            "top-5",
            "95% interval",
            "broken",
            "fixed",
            "p",
            "difference (points)",
            "KL",
        ],
        [
            [
                row["variant"],
                f"{row['n']:,}",
                f"{row['top1']:.2%}",
                f"{row['top1_low']:.2%} to {row['top1_high']:.2%}",
                f"{row['top5']:.2%}",
                f"{row['top5_low']:.2%} to {row['top5_high']:.2%}",
                _or_dash(row["broken"], "{:,}"),
                _or_dash(row["fixed"], "{:,}"),
                _or_dash(row["mcnemar_p"], "{:.2g}"),
                points(row),
                _or_dash(row["mean_kl_nats"], "{:.3g} nats"),
            ]
            for row in rows
        ],
    )


def latency(rows: Sequence[Row]) -> str:
    return table(
        ["shape", "variant", "median", "quartiles", "times faster than fp32", "calls", "threads"],
        [
            [
                row["shape"],
                row["variant"],
                seconds(row["median_s"]),
                f"{seconds(row['q1_s'])} to {seconds(row['q3_s'])}",
                _or_dash(row["ratio_to_fp32"], "{:.2f}"),
                row["runs"],
                row["threads"],
            ]
            for row in rows
        ],
    )


def size(rows: Sequence[Row]) -> str:
    kinds = ["disk_bytes", "parameters_bytes", "packed_bytes", "buffers_bytes", "total_bytes"]
    titles = ["disk", "parameters()", "packed", "buffers", "memory in all"]
    return table(
        ["variant", *[f"{title} (bytes)" for title in titles], "disk", "memory in all"],
        [
            [
                row["variant"],
                *[f"{row[kind]:,}" for kind in kinds],
                mib(row["disk_bytes"]),
                mib(row["total_bytes"]),
            ]
            for row in rows
        ],
    )


def profile(rows: Sequence[Row]) -> str:
    """The operators that take most time themselves, one block a variant."""
    blocks = []
    titles = ["operator", "calls", "self time", "share", "memory", "called from"]
    for name, of_variant in groupby(rows, key=lambda row: row["variant"]):
        operators = list(of_variant)
        has_stacks = any(row["stack"] for row in operators)
        body = [
            [
                row["name"],
                f"{row['calls']:g}",
                seconds(row["self_cpu_s"]),
                f"{row['share']:.1%}",
                mib(row["self_memory_bytes"]),
                *([row["stack"][0] if row["stack"] else "-"] if has_stacks else []),
            ]
            for row in operators[:TOP_OPERATORS]
        ]
        rest = len(operators) - len(body)
        more = f"\n(and {rest} more; --json has all)" if rest > 0 else ""
        blocks.append(f"{name}\n{table(titles[: len(body[0])], body)}{more}")
    return "\n\n".join(blocks)


def runs(rows: Sequence[Row]) -> str:
    if not rows:
        return "No runs are stored yet: `python -m vitquant benchmark --help` tells how to make one."
    return table(
        ["run", "kind", "state", "model", "weights", "variants", "on", "done", "started"],
        [
            [
                row["id"],
                row["kind"],
                row["state"],
                row["model"],
                row["weights"],
                ",".join(row["variants"]),
                row["on"],
                f"{row['done']} of {row['total']}" if row["total"] else "-",
                row["started_at"] or "-",
            ]
            for row in rows
        ],
    )


def run(details: Row) -> str:
    lines = [f"run {details['id']}: {details['kind']}, {details['state']}. {details['message']}".rstrip()]
    for part in ("request", "environment"):
        lines.append(f"\n{part}")
        lines.extend(f"  {name}: {_plain(value)}" for name, value in details[part].items())
    if details["result"]:
        as_table = {"accuracy": accuracy, "latency": latency, "size": size, "profile": profile}
        lines.append("\n" + as_table[details["kind"]](details["result"]))
    return "\n".join(lines)


def run_row(run: Run) -> dict[str, Any]:
    """A run as one line of the list of runs, ready for JSON."""
    request = run.request
    return {
        "id": run.id,
        "kind": run.kind,
        "state": run.state,
        "model": request["model"],
        "weights": request["weights"],
        "variants": request["variants"],
        "on": request.get("dataset") or request.get("shape") or ",".join(request.get("shapes", [])) or "-",
        "done": run.done,
        "total": run.total,
        "message": run.message,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
    }


def run_details(run: Run) -> dict[str, Any]:
    """All that is stored of a run, ready for JSON."""
    return run_row(run) | {
        "request": dict(run.request),
        "identity": dict(run.identity),
        "environment": dict(run.environment),
        "result": run.result,
    }


def origin(request: Mapping[str, Any], environment: Mapping[str, Any], measured_at: str) -> str:
    """What a result was measured on: model, weights, dataset, machine, versions, when."""
    dataset = f" on {request['dataset']}" if "dataset" in request else ""
    features = ", ".join(environment["cpu_features"]) or "no special instructions"
    return (
        f"{request['model']}, {weights_label(request['weights'])}{dataset}. Measured {measured_at}\n"
        f"on {environment['machine']} ({features}), engine {environment['engine']},\n"
        f"torch {environment['torch']}, torchvision {environment['torchvision']}, timm {environment['timm']}."
    )


def weights_label(weights: str) -> str:
    """How results name their weights; random ones are always said to be meaningless."""
    return "random weights (its answers are meaningless)" if weights == "random" else f"weights {weights}"


def mib(count: int) -> str:
    """Bytes as MiB (2^20 bytes)."""
    return f"{count / MIB:,.2f} MiB"


def seconds(value: float) -> str:
    """Seconds in the unit in which a person reads them."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.2f} ms"


def table(titles: Sequence[str] | None, body: Iterable[Sequence[object]]) -> str:
    """Columns aligned by their widest cell; a column of numbers to the right."""
    cells = [[str(cell) for cell in row] for row in body]
    rows = ([list(titles)] if titles else []) + cells
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


def _or_dash(value: Any, form: str) -> str:
    return "-" if value is None else form.format(value)


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
