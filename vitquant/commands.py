"""What the command line's commands do: ask the core, show progress, print the answer.

Each takes the parsed options (vitquant/cli.py has the words that can be typed).
"""

import argparse
import functools
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from vitquant import (
    bits,
    budget,
    calibration_tables,
    candidates,
    catalog,
    database,
    datasets,
    diagnosis,
    exports,
    fits,
    formats,
    gallery,
    jobs,
    machine,
    measurements,
    room,
    run_tables,
    shipped,
    size_tables,
    tables,
    terminal,
    units,
    variants,
    weights,
)
from vitquant.budget import Budget
from vitquant.errors import InputError, VitquantError
from vitquant.gallery import Subject
from vitquant.request import Request, to_plain
from vitquant.runs import Rows

NOTEBOOK_VARIANTS = ("fp32", "qint8", "float16")


def models_command(options: argparse.Namespace) -> None:
    rows = [
        {
            "model": spec.name,
            "title": spec.title,
            "parameters": spec.parameters,
            "width": spec.width,
            "depth": spec.depth,
            "download_bytes": spec.download_bytes,
            "backbone_url": spec.backbone_url if spec.home == "hub" else None,
            "head_url": spec.head_url if spec.home == "hub" else None,
            "weights": spec.home,
            "here": weights.is_here(weights.resolve(spec.name)),
        }
        for spec in catalog.models().values()
    ]
    terminal.answer(rows, options, tables.models)


def variants_command(options: argparse.Namespace) -> None:
    engine = machine.engine()
    rows = [
        {
            "variant": recipe.name,
            "title": recipe.title,
            "summary": recipe.summary,
            "batch_dependent": recipe.batch_dependent,
            "engine": engine,
            "unavailable": variants.why_unavailable(recipe.name, engine),
        }
        for recipe in variants.RECIPES.values()
    ]
    terminal.answer(rows, options, tables.variants)


def datasets_command(options: argparse.Namespace) -> None:
    rows = [
        {
            "dataset": spec.name,
            "title": spec.title,
            "pictures": spec.pictures,
            "classes": spec.classes,
            "here": datasets.is_here(spec.name),
            "how_to_get": spec.how_to_get,
        }
        for spec in catalog.datasets().values()
    ]
    terminal.answer(rows, options, tables.datasets)


def prepare_command(options: argparse.Namespace) -> None:
    catalog.dataset(options.dataset)
    with terminal.Bar("checking and laying out", " pictures") as bar:
        prepared = datasets.prepare_tiny_imagenet(
            options.archive, lambda done, total: bar.show(done, total, "")
        )
    what = (
        f"{prepared.validation:,} validation pictures of {prepared.classes} classes"
        f" and {prepared.training:,} training pictures in {prepared.root}"
    )
    print(f"Already there: {what}." if prepared.already_there else f"Prepared {what}.")


def predict_command(options: argparse.Namespace) -> None:
    from vitquant import walkthrough

    names = _names(options.variants)
    options.image_size = catalog.image_size(options.image_size, options.model)
    pictures = walkthrough.pictures_asked_for(options.files, options.dataset, options.index)
    source = _weights_here(options)
    used_on = options.dataset or datasets.usual(options.model)
    with database.opened() as db, terminal.Bar(f"calibrating {options.model}", " steps") as bar:
        cures = fits.cures(db, source, names, used_on, options.image_size, bar.show)
    with terminal.Bar("answering", " answers") as bar:
        answers = walkthrough.answers(
            pictures,
            source,
            names,
            machine.engine(),
            cures,
            image_size=options.image_size,
            top=options.top,
            on_progress=lambda done, total: bar.show(done, total, ""),
        )
    terminal.answer(answers, options, tables.predictions)
    if not options.json:
        print(f"\n{options.model}, {tables.weights_label(source.label)}.")


def accuracy_command(options: argparse.Namespace) -> None:
    names = _names(options.variants)
    options.image_size = catalog.image_size(options.image_size, options.model)
    datasets.open_dataset(options.dataset)  # what is missing is said before anything is downloaded
    _measure(
        options,
        measurements.AccuracyRequest(
            model=options.model,
            weights=_weights_here(options).label,
            variants=names,
            dataset=options.dataset,
            limit=options.limit,
            image_size=options.image_size,
            until_sure=options.until_sure,
        ),
        tables.accuracy,
    )


def latency_command(options: argparse.Namespace) -> None:
    from vitquant import latency

    names = _names(options.variants)
    shapes = (
        latency.parse_shapes(options.shapes, options.model)
        if options.shapes
        else latency.usual_shapes(options.model)
    )
    _measure(
        options,
        measurements.LatencyRequest(
            model=options.model,
            weights=_weights_here(options).label,
            variants=names,
            shapes=tuple(str(shape) for shape in shapes),
            threads=_thread_counts(options.threads),
            seconds_per_shape=options.seconds,
        ),
        tables.latency,
    )


def size_command(options: argparse.Namespace) -> None:
    names = _names(options.variants)
    as_table = size_tables.tree if options.tree else size_tables.riddle if options.riddle else tables.size
    if options.layers:
        as_table = functools.partial(size_tables.layers, catalog.model(options.model))
    # For machines they are long: every tensor, or every layer, of every variant.
    left_out = {"ledger", "layers"} - ({"ledger"} if options.tree else {"layers"} if options.layers else set())
    _measure(
        options,
        measurements.SizeRequest(options.model, _weights_here(options).label, names),
        as_table,
        as_rows=lambda rows: [{k: v for k, v in row.items() if k not in left_out} for row in rows],
    )


def export_command(options: argparse.Namespace) -> None:
    wanted = formats.format_of(options.format)
    variant = variants.recipe(options.variant or (wanted.variants or ("fp32",))[0]).name
    variants.check_available((variant,), machine.engine())
    formats.check(wanted.name, variant)
    out = exports.check_out(options.out)
    options.image_size = catalog.image_size(options.image_size, options.model)
    dataset = options.dataset or datasets.usual(options.model)
    pictures = exports.usual_pictures(options.model) if options.pictures is None else options.pictures
    exports.opened(dataset, pictures)  # what is missing is said before anything is downloaded
    room.check_disk(out, 4 * catalog.model(options.model).parameters, "The export")
    request = measurements.ExportRequest(
        options.model,
        _weights_here(options).label,
        (variant,),
        wanted.name,
        dataset,
        pictures,
        options.image_size,
    )
    [row] = _measure(options, request, tables.exported)
    with database.opened() as db:
        archive = exports.sound_file(db, row)
    if archive is None:
        raise VitquantError(f"{row['file']} was removed or changed meanwhile: give the command again.")
    exports.unpack(archive, out)
    print(f"\nWritten to {out}", file=sys.stderr if options.json else sys.stdout)


def bits_command(options: argparse.Namespace) -> None:
    options.image_size = catalog.image_size(options.image_size, options.model)
    # What is missing is said before anything is downloaded.
    bits.opened(options.model, options.dataset, options.pictures, options.image_size)
    _measure(
        options,
        measurements.BitsRequest(
            model=options.model,
            weights=_weights_here(options).label,
            dataset=options.dataset,
            pictures=options.pictures,
            image_size=options.image_size,
        ),
        tables.bits,
    )


def diagnose_command(options: argparse.Namespace) -> None:
    from vitquant import diagnosis_tables

    variants.check_available((options.variant,), machine.engine())
    options.variant = variants.recipe(options.variant).name
    options.image_size = catalog.image_size(options.image_size, options.model)
    # What is missing is said before anything is downloaded.
    diagnosis.opened(options.model, options.dataset, options.pictures, options.image_size, (options.variant,))
    _measure(
        options,
        measurements.DiagnosisRequest(
            model=options.model,
            weights=_weights_here(options).label,
            dataset=options.dataset,
            pictures=options.pictures,
            image_size=options.image_size,
            variants=(options.variant,),
        ),
        diagnosis_tables.text,
    )


def calibrate_command(options: argparse.Namespace) -> None:
    names = _names(options.variants or ",".join(variants.calibrated()))
    options.image_size = catalog.image_size(options.image_size, options.model)
    datasets.open_dataset(options.dataset)  # what is missing is said before anything is downloaded
    source = _weights_here(options).label
    if options.study:
        _measure(
            options,
            measurements.StudyRequest(options.model, source, options.dataset, image_size=options.image_size),
            calibration_tables.study,
        )
        return
    _measure(
        options,
        measurements.CalibrationRequest(options.model, source, names, options.dataset, options.image_size),
        calibration_tables.text,
    )


def profile_command(options: argparse.Namespace) -> None:
    from vitquant import latency

    names = _names(options.variants)
    [shape, *more] = latency.parse_shapes(options.shape, options.model)
    if more:
        raise InputError(f"The profiler takes one shape, and {options.shape!r} names {1 + len(more)}.")
    _measure(
        options,
        measurements.ProfileRequest(
            model=options.model,
            weights=_weights_here(options).label,
            variants=names,
            shape=str(shape),
            threads=_threads(options.threads),
            stacks=options.stacks,
        ),
        tables.profile,
    )


def report_command(options: argparse.Namespace) -> None:
    from vitquant import report  # and with it plotly and pandas, which take a second

    with database.opened() as db:
        _bring_in_shipped(db)
        subject = _reported(db, options.model, options.weights, options.dataset, options.image_size)
        sets = gallery.answer_sets(db, subject)
        report.write(options.out, report.collect(db, subject, sets[0] if sets else None))
    print(f"{options.out}: {subject.model}, {tables.weights_label(subject.weights)}, {subject.dataset}.")


def _reported(
    db: sqlite3.Connection, model: str | None, source: str | None, dataset: str | None, image_size: int | None
) -> Subject:
    """The subject asked for; what is left out is as in the last measurement, or else as the sample's."""
    measured = gallery.subjects(db)
    if model:
        catalog.model(model)
    fitting = [
        subject
        for subject in measured
        if model in (None, subject.model)
        and source in (None, subject.weights)
        and dataset in (None, subject.dataset)
        and image_size in (None, subject.image_size)
    ]
    if fitting:
        return fitting[0]
    model = model or catalog.FIRST_SIGHT
    return Subject(
        model,
        source or catalog.model(model).home,
        catalog.dataset(dataset).name if dataset else datasets.usual(model),
        catalog.image_size(image_size, model),
    )


def _bring_in_shipped(db: sqlite3.Connection) -> None:
    try:
        shipped.bring_in(db)
    except InputError as error:  # what was measured here can be told all the same
        print(error, file=sys.stderr)


def budget_command(options: argparse.Namespace) -> None:
    amounts = [amount for amount in (options.disk, options.memory) if amount is not None]
    limits = Budget(
        disk_bytes=None if options.disk is None else budget.parse_bytes(options.disk, "an amount of disk"),
        memory_bytes=(
            None if options.memory is None else budget.parse_bytes(options.memory, "an amount of memory")
        ),
        latency_s=None if options.latency is None else budget.parse_seconds(options.latency, "a latency"),
    )
    # Told in the unit that was asked in.
    unit = units.MIB if any("ib" in amount.lower() for amount in amounts) else units.MB
    if options.dataset:
        catalog.dataset(options.dataset)
    if options.image_size is not None:
        candidates.check_image_size(options.image_size)
    with database.opened() as db:
        _bring_in_shipped(db)
        subject = _reported(db, None, None, options.dataset, options.image_size)
        pictures = gallery.register(db, subject.dataset)[1] if datasets.is_here(subject.dataset) else None
        found = candidates.find(db, subject.dataset, subject.image_size, pictures)
    judged = budget.ranked(found, limits)
    plain = {
        "dataset": subject.dataset,
        "image_size": subject.image_size,
        "budget": asdict(limits),
        "candidates": [budget.plain(candidate, verdict, unit) for candidate, verdict in judged],
    }
    terminal.answer(plain, options, lambda plain: tables.budget(plain["candidates"], unit))
    if not options.json:
        sentences = " ".join(budget.answer_sentences(judged, limits, unit)).replace("**", "")
        edge = subject.image_size
        if any(verdict.answer == budget.UNKNOWN for _, verdict in judged):
            sentences += (
                " `benchmark size`, `benchmark latency` and `benchmark accuracy`, each with --model, measure "
                "what is missing."
            )
        print(
            f"\n{sentences}\n"
            f"Accuracy on {subject.dataset} at {edge} × {edge} pixels, unless another size is said, and time "
            f"for one such picture, on the machine where it was measured. {budget.WHAT_DISK_IS} "
            f"{budget.WHAT_MEMORY_IS}."
        )


def _measure(
    options: argparse.Namespace,
    request: Request,
    as_table: Callable[[Any], str],
    *,
    as_rows: Callable[[Any], Any] | None = None,
) -> Rows:
    """Answer a request from the store or by measuring, print the answer, and return its rows. as_rows: what
    machines are given of them, where that is less than all."""
    with (
        database.opened() as db,
        terminal.bar_of(request.kind, request.model) as bar,
    ):
        rows = jobs.run_here(
            db,
            request,
            again=options.again,
            on_progress=bar.show,
            on_wait=terminal.say,
        )
        origin = run_tables.origin(to_plain(request), *request.origin(db))
    terminal.answer(as_rows(rows) if as_rows and options.json else rows, options, as_table)
    if not options.json:
        print(f"\n{origin}")
    return rows


def _names(listed: str | None) -> tuple[str, ...]:
    """The variants named, or those of the notebook's that this machine can run."""
    engine = machine.engine()
    if listed is None:
        return tuple(name for name in NOTEBOOK_VARIANTS if not variants.why_unavailable(name, engine))
    names = tuple(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))
    if not names:
        raise InputError("No variant is named: take one or more of " + ", ".join(variants.RECIPES) + ".")
    # By the one name of each, whatever way its settings were typed.
    return tuple(dict.fromkeys(variants.recipe(name).name for name in variants.check_available(names, engine)))


def _thread_counts(listed: str | None) -> tuple[int, ...]:
    from vitquant import latency

    cores = machine.default_threads()
    return latency.parse_threads(listed, cores) if listed is not None else (cores,)


def _threads(asked: int | None) -> int:
    cores = machine.default_threads()
    if asked is not None and not 1 <= asked <= 1024:
        raise InputError(f"{asked} threads cannot be: this machine has {cores} cores.")
    return asked or cores


def _weights_here(options: argparse.Namespace) -> weights.Weights:
    """The weights asked for, else the model's own; those of the hub are downloaded first where they are not
    in its cache yet."""
    source = weights.resolve(options.model, options.weights)
    if not weights.is_here(source):
        with terminal.Bar(f"downloading {options.model}", "B") as bar:
            weights.fetch(source, lambda done, total: bar.show(done, total, ""))
    return source
