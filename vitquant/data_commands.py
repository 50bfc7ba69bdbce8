"""What the command line's commands about data and models do: list, fetch, verify, add, remove, settings, space.

Each takes the parsed options (vitquant/cli.py has the words that can be typed).
"""

import argparse
from collections.abc import Mapping
from typing import Any

from vitquant import (
    catalog,
    data_tables,
    database,
    inventory,
    jobs,
    labels,
    paths,
    run_tables,
    settings,
    space,
    terminal,
)
from vitquant.errands import Errand, FetchRequest, ModelRequest, PicturesRequest, VerifyRequest
from vitquant.errors import InputError
from vitquant.measurements import HeadRequest
from vitquant.runs import Rows


def here_command(options: argparse.Namespace) -> None:
    terminal.answer([item.row() for item in inventory.items()], options, data_tables.items)


def fetch_command(options: argparse.Namespace) -> None:
    files = tuple(str(paths.as_said(file)) for file in options.files or ())
    request = FetchRequest(options.name, mirror=options.mirror, files=files)
    terminal.answer(_carry_out(request), options, data_tables.fetched)


def verify_command(options: argparse.Namespace) -> None:
    terminal.answer(_carry_out(VerifyRequest(options.name)), options, data_tables.verified)


def remove_command(options: argparse.Namespace) -> None:
    print(space.remove_named(options.name))


def add_pictures_command(options: argparse.Namespace) -> None:
    request = PicturesRequest(
        options.name,
        path=str(paths.as_said(options.path)),
        title=options.title or "",
        labels=str(paths.as_said(options.labels)) if options.labels else None,
        classes=_chosen(options.classes or []),
        copy=options.copy,
        add=not options.look,
    )
    rows = _carry_out(request)
    [report] = rows
    failed = bool(report["problem"]) and not options.look
    terminal.answer(rows, options, data_tables.not_used if failed else data_tables.pictures)
    if failed:
        raise InputError(f"{report['problem']} Nothing was added.")


def _chosen(pairs: list[str]) -> dict[str, int]:
    """FOLDER=CLASS pairs, the class by its index, wnid or words."""
    found = {}
    for pair in pairs:
        folder, equals, said = pair.rpartition("=")
        if not equals or not folder:
            raise InputError(
                f"{pair!r} chooses no class: write FOLDER=CLASS, the class by its index, wnid or words."
            )
        is_index = said.isascii() and said.isdigit() and len(said) < 5
        found[folder] = (labels.by_index(int(said)) if is_index else labels.by_name(said)).index
    return found


def add_model_command(options: argparse.Namespace) -> None:
    files = tuple(str(paths.as_said(file)) for file in options.files)
    request = ModelRequest(options.name, files=files, title=options.title or "", timm=options.timm)
    terminal.answer(_carry_out(request), options, data_tables.model)


def head_train_command(options: argparse.Namespace) -> None:
    request = HeadRequest(
        model=options.model,
        weights=options.weights or "",
        dataset=options.dataset,
        name=options.name,
        backbone=str(paths.as_said(options.backbone)) if options.backbone else None,
        pictures=options.pictures,
        image_size=catalog.image_size(options.image_size, options.model),
        seed=options.seed,
    )
    with database.opened() as db, terminal.Bar(f"training the head {options.name}", "") as bar:
        rows = jobs.run_here(db, request, on_progress=bar.show, on_wait=terminal.say)
    terminal.answer(rows, options, run_tables.head)


def settings_command(options: argparse.Namespace) -> None:
    rows: list[Mapping[str, Any]] = []
    for name in settings.SETTINGS:
        chosen = settings.chosen(name)
        rows.append(
            {
                "setting": name,
                "value": chosen.value,
                "usual": chosen.setting.usual,
                "said_by": chosen.origin,
                "variable": chosen.setting.variable,
                "meaning": chosen.setting.meaning,
            }
        )
    found = {"file": str(settings.file()), "is_there": settings.file().is_file(), "settings": rows}
    terminal.answer(found, options, data_tables.settings)


def space_command(options: argparse.Namespace) -> None:
    with database.opened() as db:
        if options.remove:
            print(space.remove(db, *_piece(options.remove)))
            return
        found = [
            {"kind": piece.kind, "key": piece.key, "title": piece.title, "bytes": piece.size_bytes}
            for piece in space.pieces(db)
        ]
    terminal.answer({"store_bytes": space.store_bytes(), "pieces": found}, options, data_tables.space)


def _piece(said: str) -> tuple[str, str]:
    kind, slash, key = said.partition("/")
    if not slash or kind not in space.TITLES:
        kinds = ", ".join(space.TITLES)
        raise InputError(f"{said!r} is nothing to remove: write KIND/KEY as `space` lists it ({kinds}).")
    return kind, key


def _carry_out(request: Errand) -> Rows:
    what = {"fetch": "fetching", "verify": "verifying", "pictures": "looking through", "model": "reading"}
    with database.opened() as db, terminal.Bar(f"{what[request.kind]} {request.name}", "") as bar:
        return jobs.run_here(db, request, on_progress=bar.show, on_wait=terminal.say)
