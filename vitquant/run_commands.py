"""What the command line's commands about stored runs do.

Each takes the parsed options (vitquant/cli.py has the words that can be typed).
"""

import argparse
from pathlib import Path

from vitquant import compare, database, jobs, run_tables, runs, terminal
from vitquant.errors import InputError, VitquantError


def list_command(options: argparse.Namespace) -> None:
    with database.opened() as db:
        runs.mark_interrupted(db)
        terminal.answer([run_tables.run_row(run) for run in runs.find(db)], options, run_tables.runs)


def show_command(options: argparse.Namespace) -> None:
    with database.opened() as db:
        runs.mark_interrupted(db)
        terminal.answer(run_tables.run_details(runs.get(db, options.id)), options, run_tables.run)


def continue_command(options: argparse.Namespace) -> None:
    with database.opened() as db:
        runs.mark_interrupted(db)
        run = runs.get(db, options.id)
        with terminal.bar_of(run.kind, run_tables.run_row(run)["model"]) as bar:
            rows = jobs.continue_here(db, run, on_progress=bar.show, on_wait=terminal.say)
    terminal.answer(rows, options, run_tables.BY_KIND[run.kind])


def compare_command(options: argparse.Namespace) -> None:
    with database.opened() as db:
        found = compare.compare(db, runs.get(db, options.first), runs.get(db, options.second))
    terminal.answer(found.plain(), options, run_tables.comparison)


def trace_command(options: argparse.Namespace) -> None:
    with database.opened() as db:
        run = runs.get(db, options.id)
        names = [name for name in runs.attachments(db, run.id) if name.startswith("trace/")]
        if not names:
            raise InputError(f"Run {run.id} has no trace: `python -m vitquant benchmark profile` makes one.")
        for name in names:
            file = options.out / f"run{run.id}-{Path(name).name}"
            try:
                file.write_bytes(runs.attachment(db, run.id, name) or b"")
            except OSError as error:
                raise VitquantError(f"{file} could not be written: {error.strerror or error}.") from error
            print(file)


def delete_command(options: argparse.Namespace) -> None:
    with database.opened() as db:
        runs.mark_interrupted(db)
        forgotten = jobs.forget(db, options.id)
    what = f", with {forgotten:,} predictions that no other run rests on" if forgotten else ""
    print(f"Deleted run {options.id}{what}.")
