"""`python -m tools.sample`: draws the built-in sample's pictures and trains its model.

python -m tools.sample pictures                     what the repository ships, into data/sample
python -m tools.sample pictures --count 5000 --seed 7 --out FOLDER   other pictures, never the shipped ones
python -m tools.sample train                        the model: draws its own pictures, then trains
python -m tools.sample sheet --out sheet.png        a contact sheet
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tools.sample import pictures, sheet
from tools.sample.thing import MAKERS
from vitquant import paths

SHIPPED_EACH = {"val": 25, "train": 4}
"""Pictures of each class: to be evaluated, and for calibration."""
TRAINING_PICTURES = 24_000
TRAINING_SEED = 1
HELD_OUT_PICTURES = 2_000
HELD_OUT_SEED = 2
EPOCHS = 15


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.sample", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("pictures", help="draw the shipped pictures, or any number of others")
    command.add_argument("--count", type=int, help="draw so many others, of all classes in turn")
    command.add_argument("--seed", type=int, default=1, help="which others: a number")
    command.add_argument("--out", type=Path, help="the dataset's folder; its val/ gets the others")
    command.add_argument("--processes", type=int, help="how many draw at once (all cores)")
    command.set_defaults(run=_pictures)

    command = commands.add_parser("train", help="draw pictures for training, train, write data/sample/model")
    command.add_argument("--work", type=Path, default=Path("data/training"), help="for pictures, state and log")
    command.add_argument("--epochs", type=int, default=EPOCHS)
    command.set_defaults(run=_train)

    command = commands.add_parser("results", help="measure what is shipped, into data/sample/results.json.gz")
    command.set_defaults(run=_results)

    command = commands.add_parser("sheet", help="a contact sheet of freshly drawn pictures")
    command.add_argument("--classes", default=",".join(sorted(MAKERS)), help="wnids, separated by commas")
    command.add_argument("--each", type=int, default=10)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--out", type=Path, required=True)
    command.set_defaults(run=lambda a: sheet.draw(a.classes.split(","), a.each, a.seed, a.out))

    parsed = parser.parse_args(arguments)
    parsed.run(parsed)


def _pictures(wanted: argparse.Namespace) -> None:
    if wanted.count is None:
        from vitquant import sample

        root = paths.sample_dir()
        for split, each in SHIPPED_EACH.items():
            numbers = pictures.evenly(each * len(MAKERS))
            drawn = pictures.draw(
                pictures.jobs(pictures.shipped(split), root / split, numbers), wanted.processes
            )
            print(f"{root / split}: {drawn} drawn, {len(numbers)} in all")
        sample.write_sums(root)
        return
    if wanted.out is None:
        raise SystemExit("--count needs --out: the folder that the pictures go to.")
    _draw_fresh(wanted.count, wanted.seed, wanted.out / "val", wanted.processes)


def _draw_fresh(count: int, seed: int, root: Path, processes: int | None = None) -> None:
    numbers = pictures.evenly(count)
    drawn = pictures.draw(pictures.jobs(pictures.fresh(seed), root, numbers), processes)
    print(f"{root}: {drawn} drawn, {len(numbers)} in all")


def _results(wanted: argparse.Namespace) -> None:
    from tools.sample import results

    results.write()


def _train(wanted: argparse.Namespace) -> None:
    from tools.sample import train

    fresh, held_out = wanted.work / "pictures", wanted.work / "held_out"
    _draw_fresh(TRAINING_PICTURES, TRAINING_SEED, fresh)
    _draw_fresh(HELD_OUT_PICTURES, HELD_OUT_SEED, held_out)
    model = train.train(
        train.read(fresh),
        train.read(held_out),
        wanted.epochs,
        wanted.work / "state.pth",
        wanted.work / "training.jsonl",
    )
    train.export(model, paths.sample_dir() / "model")


if __name__ == "__main__":
    main()
