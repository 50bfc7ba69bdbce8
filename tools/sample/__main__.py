"""`python -m tools.sample`: draw the built-in sample's pictures."""

import argparse
from pathlib import Path

import tools.sample.things  # noqa: F401  (registers what can be drawn)
from tools.sample import sheet
from tools.sample.thing import MAKERS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.sample", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("sheet", help="a contact sheet of freshly drawn pictures")
    command.add_argument("--classes", default=",".join(sorted(MAKERS)), help="wnids, separated by commas")
    command.add_argument("--each", type=int, default=10)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--out", type=Path, required=True)
    command.set_defaults(run=lambda a: sheet.draw(a.classes.split(","), a.each, a.seed, a.out))
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
