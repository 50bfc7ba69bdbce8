"""Everything that is stored of a model on a dataset in one file: HTML to read and print, JSON and CSV to go on
with. The same rows as on the pages; imports no torch.
"""

import csv
import html
import io
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vitquant import (
    bits,
    bits_charts,
    catalog,
    charts,
    gallery,
    latency,
    ledger,
    predictions,
    run_charts,
    runs,
    sequential,
    shares,
    tables,
    units,
    wording,
)
from vitquant.accuracy import REFERENCE, looks_of_series
from vitquant.errors import InputError, VitquantError
from vitquant.gallery import AnswerSet, Subject
from vitquant.runs import Run

FORMATS = (".html", ".json", ".csv")

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2733; max-width: 60rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { margin-top: 2.2rem; border-bottom: 1px solid #ccd5de; }
table { border-collapse: collapse; margin: .8rem 0; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #dde4ea; text-align: right; }
th:first-child, td:first-child { text-align: left; } .scroll { overflow-x: auto; }
.origin, .note { color: #51606e; font-size: .85rem; }
.warning { border-left: 4px solid #d9661f; padding-left: .8rem; }
@media print {
  body { margin: 0; max-width: none; }
  .chart, tr, li { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""


def collect(
    db: sqlite3.Connection,
    subject: Subject,
    answers: AnswerSet | None,
    *,
    chosen: Mapping[str, Run] | None = None,
) -> dict[str, Any]:
    """Every figure with what it was measured on, ready for JSON.

    answers: the stored answers to report on; chosen: by kind, the run to report on instead of the newest.
    """
    found: dict[str, Any] = {
        "made_at": predictions.now(),
        "model": subject.model,
        "weights": subject.weights,
        "dataset": subject.dataset,
        "image_size": subject.image_size,
        "parts": [],
    }
    if answers and (rows := gallery.accuracy_rows(db, answers)):
        series = list(answers.series.values())[-1]
        found["parts"].append(
            {
                "kind": "accuracy",
                "rows": rows,
                "measured_at": answers.measured_at,
                "shipped": answers.shipped,
                "environment": dict(series.environment),
                "conditions": {"pictures": f"{subject.dataset}, {answers.answered:,} answered"},
                "conclusions": _conclusions(db, answers),
            }
        )
    for kind in ("latency", "profile", "size", "bits"):
        of_kind = gallery.runs_on_pictures if kind == "bits" else gallery.finished_runs
        stored = of_kind(db, kind, subject)
        run = (chosen or {}).get(kind) or (stored[0] if stored else None)
        if run is not None:
            found["parts"].append(
                {
                    "kind": kind,
                    "rows": run.result,
                    "run": None if run.shipped else run.id,
                    "measured_at": run.ended_at or run.created_at,
                    "shipped": run.shipped,
                    "environment": dict(run.environment),
                    "conditions": {k: v for k, v in run.request.items() if k not in ("model", "weights")},
                    "raw_times_s": _raw_times(db, run),
                }
            )
    return found


def _conclusions(db: sqlite3.Connection, answers: AnswerSet) -> list[str]:
    """What is settled about each variant, or how far it is from that, as the page says it."""
    if REFERENCE not in answers.series:
        return []
    last = gallery.pictures_of(db, answers.dataset_id)
    looks = looks_of_series(db, answers.series, last)
    measure = wording.measure_of(catalog.dataset(answers.series[REFERENCE].identity.dataset))
    return wording.until_sure_sentences(looks, last, sequential.error_per_look(last, len(looks)), measure)


def _raw_times(db: sqlite3.Connection, run: Run) -> dict[str, Sequence[float]]:
    """Every raw time of a latency run: by "shape/threads/variant"."""
    names = [name for name in runs.attachments(db, run.id) if name.startswith("times/")]
    return {
        name.removeprefix("times/"): latency.unpack_times(runs.attachment(db, run.id, name) or b"")
        for name in names
    }


def write(file: Path, collected: Mapping[str, Any]) -> None:
    """Write a report in the format that the file's name ends with.

    Raises InputError for another ending or a folder that is not there; VitquantError, leaving no partial file,
    where it cannot be written.
    """
    formats = {".html": as_html, ".json": as_json, ".csv": as_csv}
    if file.suffix.lower() not in formats:
        raise InputError(f"{file} is no report's name: let it end with {', '.join(FORMATS)}.")
    if not file.parent.is_dir():
        raise InputError(f"The folder {file.parent} is not there.")
    content = formats[file.suffix.lower()](collected)
    partial = file.with_name(f"{file.name}.part")
    try:
        partial.write_text(content, encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise VitquantError(f"{file} could not be written: {error.strerror or error}.") from error


def as_json(collected: Mapping[str, Any]) -> str:
    return json.dumps(collected, indent=2)


def as_csv(collected: Mapping[str, Any]) -> str:
    """One line a figure: part, variant, at (shape, threads, layer, bits), figure, value; then its
    environment."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["part", "variant", "at", "figure", "value"])
    for name in ("model", "weights", "dataset", "image_size", "made_at"):
        writer.writerow(["report", "", "", name, collected[name]])
    for part in collected["parts"]:
        for at, variant, figure, value in _figures(part):
            writer.writerow([part["kind"], variant, at, figure, value])
        for name in ("measured_at", "shipped"):
            writer.writerow([part["kind"], "", "environment", name, part[name]])
        for name, value in {**part["conditions"], **part["environment"]}.items():
            writer.writerow([part["kind"], "", "environment", name, _plain(value)])
        for name, times in (part.get("raw_times_s") or {}).items():
            shape, threads, variant = name.split("/")
            for time_s in times:
                writer.writerow([part["kind"], variant, f"{shape} threads {threads}", "time_s", time_s])
    return out.getvalue()


_NAMES_A_ROW = ("variant", "shape", "threads", "level", "name", "bits", "granularity")


def _figures(part: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    for row in part["rows"]:
        at = " ".join(
            f"{name} {row[name]}" if name in ("threads", "bits") else str(row[name])
            for name in _NAMES_A_ROW[1:]
            if name in row
        )
        for entry in ledger.of_row(row):
            where = f"{entry.layer} {entry.name}".strip()
            yield where, row["variant"], f"memory_bytes, {entry.dtype}", entry.memory_bytes
            yield where, row["variant"], f"disk_bytes, {entry.disk_dtype}", entry.disk_bytes
        for layer in row.get("layers") or []:
            for figure, value in layer.items():
                if figure != "layer" and value not in (None, []):
                    yield layer["layer"], row["variant"], figure, _plain(value)
        for figure, value in row.items():
            if figure not in (*_NAMES_A_ROW, "ledger", "layers") and value is not None:
                yield at, row.get("variant", REFERENCE), figure, _plain(value)


def _plain(value: Any) -> Any:
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else value


# HTML


def as_html(collected: Mapping[str, Any]) -> str:
    """One file that needs nothing else: text, tables, charts with their script, and all figures as JSON."""
    import plotly.offline

    title = f"{collected['model']}: what quantization does to it"
    subject = (
        f"{collected['model']}, {tables.weights_label(collected['weights'])}, {collected['dataset']}, "
        f"{collected['image_size']} × {collected['image_size']} pixels. Made {collected['made_at']}."
    )
    body = [f"<h1>{html.escape(title)}</h1>", f'<p class="origin">{html.escape(subject)}</p>']
    if collected["weights"] == "random":
        body.append(
            '<p class="warning">Random weights: accuracy figures show that the measurement works, and nothing '
            "about the model.</p>"
        )
    if not collected["parts"]:
        body.append("<p>Nothing is measured yet.</p>")
    sections = {
        "accuracy": _accuracy,
        "latency": _latency,
        "profile": _profile,
        "size": _size,
        "bits": _bits,
    }
    for part in collected["parts"]:
        body += [*sections[part["kind"]](part), _origin(part)]
    # "</" would end the script element that holds the figures.
    figures = json.dumps(collected).replace("</", "<\\/")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{_STYLE}</style>\n'
        f"<script>{plotly.offline.get_plotlyjs()}</script></head>\n<body>\n"
        + "\n".join(body)
        + f'\n<script type="application/json" id="figures">{figures}</script>\n</body></html>\n'
    )


def _accuracy(part: Mapping[str, Any]) -> list[str]:
    rows = pd.DataFrame(part["rows"])
    return [
        "<h2>Accuracy</h2>",
        f'<p class="note">Filled: {wording.measure_in(part["rows"][0]).name}. Open: top-5. 95% intervals.</p>',
        _chart(charts.accuracy(rows), charts.accuracy_alt(rows)),
        _sentences(wording.accuracy_sentence(row) for row in part["rows"]),
        _table(tables.accuracy_cells(part["rows"])),
        "<h3>Is that enough pictures to be sure?</h3>",
        _sentences(part["conclusions"]),
    ]


def _latency(part: Mapping[str, Any]) -> list[str]:
    rows = pd.DataFrame(part["rows"])
    return [
        "<h2>Latency</h2>",
        '<p class="note">Medians with quartiles, variants timed in turns in one process.</p>',
        _chart(charts.latency(rows), charts.latency_alt(rows)),
        _sentences(wording.speed_sentences(part["rows"])),
        _table(tables.latency_cells(part["rows"])),
        *([_table(cells)] if (cells := tables.start_cells(part["rows"])) else []),
    ]


def _profile(part: Mapping[str, Any]) -> list[str]:
    rows = part["rows"]
    found = ["<h2>Where the time goes</h2>"]
    if shares.has_layers(rows):
        parts = shares.by_kind(rows)
        found.append(_chart(run_charts.kinds(parts), run_charts.kinds_alt(parts)))
        found.append(_sentences(wording.profile_sentences(rows)))
    for name in shares.variants(rows):
        found.append(f"<h3>{html.escape(name)}</h3>")
        found.append(_table(tables.operator_cells(shares.at(rows, "operator", name)[: tables.TOP_OPERATORS])))
    return found


def _size(part: Mapping[str, Any]) -> list[str]:
    rows = pd.DataFrame(part["rows"])
    return [
        "<h2>Size</h2>",
        _chart(charts.disk(rows, units.MB), charts.size_alt(rows, units.MB)),
        _chart(charts.memory(rows, units.MB), charts.size_alt(rows, units.MB)),
        f'<p class="note">{html.escape(charts.MEMORY_LEGEND.replace("`", ""))}</p>',
        _table(tables.size_cells(part["rows"])),
        *([_table(cells)] if (cells := tables.resident_cells(part["rows"])) else []),
    ]


def _bits(part: Mapping[str, Any]) -> list[str]:
    rows = pd.DataFrame(part["rows"])
    return [
        "<h2>Fewer bits</h2>",
        f'<p class="note">{html.escape(bits.SIMULATED)} Sizes are computed. 95% intervals.</p>',
        _chart(bits_charts.agreement(rows), bits_charts.agreement_alt(rows)),
        _sentences(wording.bits_sentences(part["rows"])),
        _table(tables.bits_cells(part["rows"])),
    ]


def _origin(part: Mapping[str, Any]) -> str:
    environment = part["environment"]
    facts = {
        "measured": part["measured_at"] + (", before it was shipped with vitquant" if part["shipped"] else ""),
        **part["conditions"],
        **environment,
    }
    lines = "".join(
        f"<li>{html.escape(name.replace('_', ' '))}: {html.escape(str(_plain(value)))}</li>"
        for name, value in facts.items()
        if value not in (None, "", [])
    )
    return f'<details class="origin" open><summary>Measured on</summary><ul>{lines}</ul></details>'


def _chart(figure: Any, alt: str) -> str:
    figure.update_layout(template="plotly_white", width=None, autosize=True)
    drawn = figure.to_html(
        full_html=False, include_plotlyjs=False, config={"displayModeBar": False, "responsive": True}
    )
    return f'<div class="chart" role="img" aria-label="{html.escape(alt, quote=True)}">{drawn}</div>'


def _sentences(sentences: Any) -> str:
    items = "".join(f"<li>{_bold(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def _bold(markdown: str) -> str:
    """A sentence of wording's, whose only markup is bold and code."""
    parts = html.escape(markdown).replace("`", "").split("**")
    return "".join(f"<b>{part}</b>" if place % 2 else part for place, part in enumerate(parts))


def _table(cells: Sequence[Sequence[object]]) -> str:
    head, *rows = [[html.escape(str(cell)) for cell in row] for row in cells]
    titles = "".join(f"<th>{cell}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table></div>'
