"""The model card that goes along with an exported model: what it is, how to load it, what was measured.

Every figure comes from the store and says on what it was measured; what was not measured is said to be so.
Imports no torch.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitquant import (
    catalog,
    exports,
    fits,
    formats,
    gallery,
    latency,
    machine,
    resident,
    tables,
    weights,
    wording,
)
from vitquant.accuracy import REFERENCE
from vitquant.fits import Fit
from vitquant.gallery import Conditions, Subject
from vitquant.runs import Run
from vitquant.variants import recipe

if TYPE_CHECKING:
    from vitquant.measurements import ExportRequest


def text(db: sqlite3.Connection, request: "ExportRequest", row: Mapping[str, Any]) -> str:
    """The card in Markdown. row: the export run's, with its proof."""
    subject = Subject(request.model, request.weights, request.dataset, request.image_size)
    today = gallery.conditions(db, subject, request.identity(db)["dataset_digest"])
    source = weights.resolve(request.model, request.weights)
    wanted = fits.wanted(db, source, request.variants, request.dataset, request.image_size)
    fit = next((fits.find(db, one.key) for one in wanted.values()), None)
    parts = [
        "\n".join([_what(request, row, today), *_calibrated(fit)]),
        _loading(request),
        _input(request),
        _proof(request, row),
        "\n".join(
            ["## What was measured of the variant in vitquant", "", *_measured(db, subject, today, request)]
        ),
        _limits(request, fit),
    ]
    return "\n\n".join(parts) + "\n"


def _what(request: "ExportRequest", row: Mapping[str, Any], today: Conditions) -> str:
    spec, wanted = catalog.model(request.model), formats.format_of(request.format)
    [variant] = request.variants
    sources = {
        "hub": "Torch Hub's checkpoints of facebookresearch/dinov2, whose licence holds for them",
        "bundled": "the ones that vitquant trained on pictures it rendered itself",
        "random": "**random: its answers mean nothing**; size and speed are the real model's",
        "own": "files of whoever made this one, who knows their licence",
    }
    # Of a folder only its name: where it lies is nobody's business.
    ruined = wording.ruined_sentence(row) if request.weights != "random" else None
    source = sources.get(request.weights, Path(request.weights).name)
    made = f"{wanted.title}. {wanted.summary}"
    title = wanted.title if wanted.converts else variant
    made_of = (
        f"ONNX Runtime's own 8-bit integers, made of {variant}"
        if wanted.converts
        else f"{variant} (recipe version {recipe(variant).version}). {recipe(variant).summary}"
    )
    return "\n".join(
        [
            f"# {request.model}, {title}",
            "",
            *([f"**{ruined}**", ""] if ruined else []),
            f"- model: {spec.title}, {spec.parameters:,} parameters in float32, 1000 ImageNet classes",
            f"- weights: {source} (digest {str(today.weights_digest)[:16]})",
            f"- variant: {made_of}",
            f"- format: {made}",
            f"- weights in this file: {row['weights_bytes']:,} bytes",
            f"- made by vitquant {machine.environment()['vitquant']} with torch {machine.version_of('torch')}",
        ]
    )


def _calibrated(fit: Fit | None) -> list[str]:
    """What a calibrated variant was fitted to, and what was found."""
    if fit is None:
        return []
    found = "; ".join(
        f"{name}: {', '.join(value) or 'none' if isinstance(value, list) else value}"
        for name, value in fit.parameters.items()
    )
    return [f"- calibrated on {fit.calibration.title()}, on {fit.made_at[:10]}: {found}"]


def _loading(request: "ExportRequest") -> str:
    wanted = formats.format_of(request.format)
    versions = [f"{name}=={version}" for name in wanted.needs if (version := machine.version_of(name))]
    engine = (
        "\n\n"
        f"torch's quantized engine must be able to run it; it was made for `{machine.engine()}`, and another "
        "one or another processor gives somewhat other answers."
        if recipe(request.variants[0]).uses_engine
        else ""
    )
    return (
        "## How to load it\n\n"
        f"Nothing of vitquant is needed. In this folder, with {', '.join(wanted.needs)} installed "
        f"(tried with {', '.join(versions)}):\n\n"
        "```sh\npython predict.py picture.jpg\n```\n\n"
        "or in your own code:\n\n"
        '```python\nfrom PIL import Image\n\nfrom load import load\n\nlogits_of = load(".")\n'
        'logits = logits_of(Image.open("picture.jpg"))  # (1000,) float32\n'
        "```\n\n"
        f"`sha256sum --check {exports.SUMS}` tells whether the files are as they were made. Whoever can change "
        "the archive can change that file, too: the archive's own digest stands where you got it." + engine
    )


def _input(request: "ExportRequest") -> str:
    size = request.image_size
    fixed = "Only this size: it was recorded with it." if request.format != "state-dict" else ""
    spec = catalog.model(request.model)
    own = (
        f" The model itself turns that into how its pictures were normalized when it was trained (mean "
        f"{spec.mean}, standard deviation {spec.std})."
        if spec.mean
        else ""
    )
    return (
        "## What goes in\n\n"
        "An RGB picture, scaled to 0..1, normalized with ImageNet's mean and standard deviation, and then "
        f"resized to {size} × {size} pixels (bilinear, antialiased), in this order: `transform.py` does it, "
        f"`config.json` has the numbers.{own} {fixed}".rstrip()
    )


def _proof(request: "ExportRequest", row: Mapping[str, Any]) -> str:
    share = f"{row['top1']:.1%} ({row['top1_low']:.1%} to {row['top1_high']:.1%})"
    lines = [
        f"Loaded again by itself in {row['runtime']}, it answered {row['n']:,} pictures of {request.dataset}; "
        f"compared with {row['compared_with']} in vitquant:",
        "",
        f"- another first answer: {row['disagreements']:,} of {row['n']:,} pictures",
        f"- largest difference of a logit: {row['largest_logit_difference']:.3g}",
        f"- top-1 of this file on them: {share}, of {row['compared_with']} {row['reference_top1']:.1%}",
    ]
    if request.weights == "random":
        lines.append("- random weights: that share says nothing about the model")
    return "\n".join(["## Put to the test", "", *lines])


def _measured(
    db: sqlite3.Connection, subject: Subject, today: Conditions, request: "ExportRequest"
) -> Iterator[str]:
    """What is stored under today's conditions, so that it holds for the weights in the file."""
    if formats.format_of(request.format).converts:
        yield (
            "This file is a conversion of its own, so figures of vitquant's variants are not its own: above "
            "are those that are. For comparison, of fp32:"
        )
        yield ""
    [variant] = request.variants
    yield _accuracy(db, subject, today, variant)
    yield _size(db, subject, today, variant)
    yield _speed(db, subject, today, variant)


def _accuracy(db: sqlite3.Connection, subject: Subject, today: Conditions, variant: str) -> str:
    for answers in gallery.answer_sets(db, subject):
        series = answers.series.get(variant)
        row = next((row for row in gallery.accuracy_rows(db, answers) if row["variant"] == variant), None)
        if series is None or row is None or series.identity.weights_digest != today.weights_digest:
            continue
        if not answers.shipped and gallery.changes(series.identity, today):
            continue
        against = f"; against {REFERENCE} on the same pictures: {tables.points(row)} points"
        return (
            f"- accuracy on {row['n']:,} pictures of {subject.dataset}: {wording.measure_in(row).name} "
            f"{row['top1']:.2%} (95% interval "
            f"{row['top1_low']:.2%} to {row['top1_high']:.2%}), top-5 "
            f"{row['top5']:.2%}{against if row['difference'] is not None else ''} "
            f"{_when(series.environment, series.measured_at)}"
        )
    return f"- accuracy on {subject.dataset}: not measured"


def _size(db: sqlite3.Connection, subject: Subject, today: Conditions, variant: str) -> str:
    for run in gallery.finished_runs(db, "size", subject):
        row = next((row for row in run.result or [] if row["variant"] == variant), None)
        if row is None or _is_of_others(run, today):
            continue
        adds = resident.added(row)
        memory = (
            f"; a process that loads it and makes one prediction takes {adds.peak_bytes:,} bytes more at its "
            f"peak than the {row['baseline_bytes']:,} that it has with torch imported"
            if adds
            else ""
        )
        return (
            f"- size: {row['disk_bytes']:,} bytes as torch saves it, {row['total_bytes']:,} bytes of tensors "
            f"in memory{memory} {_when(run.environment, run.ended_at or run.created_at)}"
        )
    return "- size: not measured"


def _speed(db: sqlite3.Connection, subject: Subject, today: Conditions, variant: str) -> str:
    found = gallery.latency_rows(db, subject)
    row = next((row for row in found[1] if row["variant"] == variant), None) if found else None
    if found is None or row is None or row.get("is_noisy") or _is_of_others(found[0], today):
        return "- speed: not measured"
    run = found[0]
    ratio = row["ratio_to_fp32"]
    return (
        f"- speed: {tables.seconds(row['median_s'])} for one picture (median, "
        f"{latency.threads_title(row['threads'])}"
        f"{f', {ratio:.2f} times as fast as {REFERENCE}' if ratio else ''}) "
        f"{_when(run.environment, run.ended_at or run.created_at)}"
    )


def _is_of_others(run: Run, today: Conditions) -> bool:
    """Whether a run was of other weights, or under conditions that no longer hold; what came with the project
    was measured elsewhere, and says so."""
    if run.identity.get("weights_digest") != today.weights_digest:
        return True
    return bool(gallery.run_changes(run, today))


def _when(environment: Mapping[str, Any], at: str) -> str:
    return (
        f"[{environment['machine']}; {', '.join(environment['cpu_features']) or 'no special instructions'}; "
        f"engine {environment['engine']}; torch {environment['torch']}; {at}]"
    )


def _limits(request: "ExportRequest", fit: Fit | None) -> str:
    lines = [
        "- It knows ImageNet's 1000 classes and gives every picture one of them, also what is none of them.",
    ]
    if request.weights == "bundled":
        lines = [
            f"- It knows {catalog.dataset('sample').classes} kinds of things, as one program renders them; its "
            "other outputs were never trained to be right. It shows what quantization does, and is no "
            "classifier of photographs."
        ]
    if recipe(request.variants[0]).batch_dependent:
        lines.append(
            "- Its answer for a picture depends on the pictures in the same batch (dynamic int8 has one scale "
            "for all of a batch's activations). Give it one picture at a time, as predict.py does."
        )
    if fit and fit.cure.full_range:
        lines.append(
            "- Its activations have 8 bits, which overflow the sums of x86 CPUs without VNNI. load.py looks: "
            "as a state dict it keeps to 7 bits there, as a program it refuses."
        )
    if formats.format_of(request.format).runtime == "torch":
        lines.append(
            "- torch has announced the end of TorchScript and of its quantized tensors. This was tried with "
            f"torch {machine.version_of('torch')}: keep to it, or try the file again before you take a later "
            "one."
        )
    return "\n".join(["## Limits", "", *lines])
