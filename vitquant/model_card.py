"""The model card that goes along with an exported model: what it is, how to load it, what was measured.

Every figure comes from the store and says on what it was measured; what was not measured is said to be so.
Imports no torch.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vitquant import catalog, exports, gallery, latency, machine, tables
from vitquant.accuracy import REFERENCE
from vitquant.gallery import Subject
from vitquant.variants import recipe

if TYPE_CHECKING:
    from vitquant.measurements import ExportRequest


def text(db: sqlite3.Connection, request: "ExportRequest", row: Mapping[str, Any]) -> str:
    """The card in Markdown. row: the export run's, with its proof."""
    subject = Subject(request.model, request.weights, request.dataset, request.image_size)
    parts = [
        _what(request, row),
        _loading(request, row),
        _input(request),
        _proof(request, row),
        "\n".join(["## What was measured of the variant in vitquant", "", *_measured(db, subject, request)]),
        _limits(request),
    ]
    return "\n\n".join(parts) + "\n"


def _what(request: "ExportRequest", row: Mapping[str, Any]) -> str:
    spec, wanted = catalog.model(request.model), exports.format_of(request.format)
    [variant] = request.variants
    sources = {
        "hub": "Torch Hub's checkpoints of facebookresearch/dinov2, whose licence holds for them",
        "bundled": "the ones that vitquant trained on pictures it rendered itself",
        "random": "**random: its answers mean nothing**; size and speed are the real model's",
    }
    made = f"{wanted.title}. {wanted.summary}"
    return "\n".join(
        [
            f"# {request.model}, {variant}",
            "",
            f"- model: {spec.title}, {spec.parameters:,} parameters in float32, 1000 ImageNet classes",
            f"- weights: {sources.get(request.weights, request.weights)}",
            f"- variant: {variant} (recipe version {recipe(variant).version}). {recipe(variant).summary}",
            f"- format: {made}",
            f"- weights in this file: {row['weights_bytes']:,} bytes",
            f"- made by vitquant {machine.environment()['vitquant']} with torch {machine.version_of('torch')}",
        ]
    )


def _loading(request: "ExportRequest", row: Mapping[str, Any]) -> str:
    wanted = exports.format_of(request.format)
    versions = [f"{name}=={version}" for name in wanted.needs if (version := machine.version_of(name))]
    engine = (
        "\n"
        "\n"
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
        'logits = logits_of(Image.open("picture.jpg").convert("RGB"))  # (1000,) float32\n'
        "```\n"
        "\n"
        f"`sha256sum --check {exports.SUMS}` tells whether the files are as they were made. Whoever can change "
        "the "
        "archive can change that file, too: the archive's own digest stands where you got it." + engine
    )


def _input(request: "ExportRequest") -> str:
    size = request.image_size
    fixed = "Only this size: the program was recorded with it." if request.format != "state-dict" else ""
    return (
        "## What goes in\n"
        "\n"
        "An RGB picture, scaled to 0..1, normalized with ImageNet's mean and standard deviation, and then "
        f"resized to {size} × {size} pixels (bilinear, antialiased), in this order: `transform.py` does it, "
        "`config.json` has the "
        f"numbers. {fixed}".rstrip()
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


def _measured(db: sqlite3.Connection, subject: Subject, request: "ExportRequest") -> Iterator[str]:
    wanted = exports.format_of(request.format)
    if wanted.converts:
        yield (
            "This file is a conversion of its own, so figures of vitquant's variants are not its own: above "
            "are those that are. For comparison, of fp32:"
        )
        yield ""
    yield from _accuracy(db, subject, request.variants[0])
    yield from _size(db, subject, request.variants[0])
    yield from _speed(db, subject, request.variants[0])


def _accuracy(db: sqlite3.Connection, subject: Subject, variant: str) -> Iterator[str]:
    for answers in gallery.answer_sets(db, subject):
        rows = {row["variant"]: row for row in gallery.accuracy_rows(db, answers)}
        if variant not in rows:
            continue
        row = rows[variant]
        environment = answers.series[variant].environment
        against = f"; against {REFERENCE} on the same pictures: {tables.points(row)} points"
        yield (
            f"- accuracy on {row['n']:,} pictures of {subject.dataset}: top-1 {row['top1']:.2%} (95% interval "
            f"{row['top1_low']:.2%} to {row['top1_high']:.2%}), top-5 {row['top5']:.2%}"
            f"{against if row['difference'] is not None else ''} {_when(environment, answers.measured_at)}"
        )
        return
    yield f"- accuracy on {subject.dataset}: not measured"


def _size(db: sqlite3.Connection, subject: Subject, variant: str) -> Iterator[str]:
    row = gallery.size_rows(db, subject).get(variant)
    if row is None:
        yield "- size: not measured"
        return
    yield (
        f"- size: {row['disk_bytes']:,} bytes as torch saves it, {row['total_bytes']:,} bytes of tensors in "
        "memory"
        + (
            f"; loading it and one prediction take {row['peak_bytes'] - row['baseline_bytes']:,} bytes more at "
            f"the peak than the {row['baseline_bytes']:,} of a process that has torch imported"
            if row.get("peak_bytes")
            else ""
        )
    )


def _speed(db: sqlite3.Connection, subject: Subject, variant: str) -> Iterator[str]:
    found = gallery.latency_rows(db, subject)
    row = next((row for row in found[1] if row["variant"] == variant), None) if found else None
    if found is None or row is None or row.get("is_noisy"):
        yield "- speed: not measured"
        return
    run = found[0]
    yield (
        f"- speed: {tables.seconds(row['median_s'])} for one picture (median, "
        f"{latency.threads_title(row['threads'])}"
        + (f", {row['ratio_to_fp32']:.2f} times as fast as {REFERENCE}" if row["ratio_to_fp32"] else "")
        + f") {_when(run.environment, run.ended_at or run.created_at)}"
    )


def _when(environment: Mapping[str, Any], at: str) -> str:
    return (
        f"[{environment['machine']}; {', '.join(environment['cpu_features']) or 'no special instructions'}; "
        f"engine {environment['engine']}; torch {environment['torch']}; {at}]"
    )


def _limits(request: "ExportRequest") -> str:
    lines = [
        "- It knows ImageNet's 1000 classes and gives every picture one of them, also what is none of them.",
    ]
    if request.weights == "bundled":
        lines = [
            "- It knows 59 kinds of things, as one program renders them; the other 941 of its 1000 outputs "
            "were never trained to be right. It shows what quantization does, and is no classifier of "
            "photographs."
        ]
    if recipe(request.variants[0]).batch_dependent:
        lines.append(
            "- Its answer for a picture depends on the pictures in the same batch (dynamic int8 has one scale "
            "for all of a batch's activations). Give it one picture at a time, as predict.py does."
        )
    return "\n".join(["## Limits", "", *lines])
