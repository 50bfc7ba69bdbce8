"""Runs as tables for a terminal: their list, one with its result, two beside each other, a trained head."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vitquant import calibration_tables, data_tables, diagnosis_tables, tables
from vitquant.runs import Run
from vitquant.tables import Row, seconds, table, weights_label


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
    # While a run goes well its message says what is counted, which is nothing to read afterwards.
    message = "" if details["state"] == "done" else f" {details['message']}".rstrip()
    lines = [f"run {details['id']}: {details['kind']}, {details['state']}.{message}"]
    for part in ("request", "environment"):
        lines.append(f"\n{part}")
        lines.extend(f"  {name}: {_plain(value)}" for name, value in details[part].items())
    if details["result"]:
        lines.append("\n" + BY_KIND[details["kind"]](details["result"]))
    return "\n".join(lines)


def run_row(run: Run) -> dict[str, Any]:
    """A run as one line of the list of runs, ready for JSON."""
    request = run.request
    return {
        "id": run.id,
        "kind": run.kind,
        "state": run.state,
        "model": request.get("model") or request["name"],  # an errand has a name only
        "weights": request.get("weights", ""),
        "variants": request.get("variants", []),
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


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def origin(request: Mapping[str, Any], environment: Mapping[str, Any], measured_at: str) -> str:
    """What a result was measured on: model, weights, dataset, machine, versions, when."""
    dataset = f" on {request['dataset']}" if "dataset" in request else ""
    features = ", ".join(environment["cpu_features"]) or "no special instructions"
    return (
        f"{request['model']}, {weights_label(request['weights'])}{dataset}. Measured {measured_at}\n"
        f"on {environment['machine']} ({features}), engine {environment['engine']},\n"
        f"torch {environment['torch']}, torchvision {environment['torchvision']}, timm {environment['timm']}."
    )


def comparison(plain: Row) -> str:
    """Two runs side by side (compare.Comparison.plain)."""
    first, second = f"run {plain['first']}", f"run {plain['second']}"
    changes = [
        [
            change["variant"],
            change["figure"],
            value(change["first"], change["unit"]),
            value(change["second"], change["unit"]),
            change_words(change),
            change["note"],
        ]
        for change in plain["changes"]
    ]
    conditions = [[c["what"], c["first"], c["second"]] for c in plain["conditions"]]
    blocks = [
        table(["what was different", first, second], conditions),
        table(["variant", "figure", first, second, "change", ""], changes),
    ]
    blocks += [
        f"{variant}: the first answer changed on {count:,} pictures."
        for variant, count in plain["changed_answers"].items()
    ]
    return "\n\n".join(blocks)


def value(number: float, unit: str) -> str:
    """A compared figure in its unit."""
    return {"share": f"{number:.2%}", "s": seconds(number), "bytes": f"{number:,.0f} bytes"}[unit]


def change_words(change: Row) -> str:
    """A compared figure's change, with its interval where it has one."""
    forms = {"points": "{:+.2f}", "times as fast": "{:.3f}", "bytes": "{:+,.0f}"}
    form = forms[change["change_unit"]]
    words = f"{form.format(change['change'])} {change['change_unit']}"
    if change["low"] is None:
        return words
    return f"{words} ({form.format(change['low'])} to {form.format(change['high'])})"


def head(rows: Sequence[Row]) -> str:
    """What a trained head is worth, and the candidates that its strength was chosen from."""
    fit, *candidates = rows
    body = [
        [
            f"{row['strength']:g}",
            f"{row['n_heldout']:,}",
            f"{row['top1']:.2%}",
            f"{row['top1_low']:.2%} to {row['top1_high']:.2%}",
            f"{row['cross_entropy_nats']:.3f} nats",
            "<- chosen" if row["chosen"] else "",
        ]
        for row in candidates
    ]
    listing = table(["strength", "held out", "top-1", "95% interval", "cross-entropy", ""], body)
    chosen = next(row for row in candidates if row["chosen"])
    top1 = f"top-1 {fit['top1']:.2%} ({fit['top1_low']:.2%} to {fit['top1_high']:.2%})"
    if fit["held_out"]:
        worth = (
            f"On {fit['n_heldout']:,} other pictures, which no head has seen, it has {top1}. They are a "
            f"dataset of their own, {fit['held_out']}, to measure it on with `benchmark accuracy`."
        )
    else:
        worth = (
            f"On those {fit['n_heldout']:,} it had {top1}. `benchmark accuracy --model {fit['model']} "
            f"--dataset {fit['dataset']}` measures it on pictures that it has not seen."
        )
    return (
        f"{listing}\n\n{fit['model']}: a head for {fit['classes']:,} classes on the backbone of "
        f"{fit['backbone']}, trained on {fit['n_train']:,} training pictures of {fit['dataset']}. Each "
        f"strength was tried with {chosen['n_heldout']:,} of them held out; the one with the lowest "
        f"cross-entropy there was taken, and the head trained on all. {worth}"
    )


BY_KIND: dict[str, Callable[[Sequence[Row]], str]] = {
    "accuracy": tables.accuracy,
    "latency": tables.latency,
    "size": tables.size,
    "profile": tables.profile,
    "bits": tables.bits,
    "diagnosis": diagnosis_tables.text,
    "export": tables.exported,
    "calibration": calibration_tables.text,
    "study": calibration_tables.study,
    "head": head,
    "fetch": data_tables.fetched,
    "verify": data_tables.verified,
    "pictures": data_tables.pictures,
    "model": data_tables.model,
}
"""How a finished run of each kind is printed."""
