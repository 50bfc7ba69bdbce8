"""Names what is in pictures: python predict.py picture.jpg …  (what must be installed: README.md)

--logits FILE: also writes the logits of all pictures, (pictures, 1000) float32, in numpy's .npy format.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from load import load
from PIL import Image

HERE = Path(__file__).resolve().parent


def main() -> None:
    # An argument @FILE stands for the lines of that file: a command line holds only so many pictures.
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], fromfile_prefix_chars="@")
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--logits", help="write all logits to this .npy file")
    options = parser.parse_args()
    logits_of = load(HERE)
    labels = json.loads((HERE / "labels.json").read_text(encoding="utf-8"))
    found = []
    for file in options.pictures:
        try:
            with Image.open(file) as picture:
                logits = logits_of(picture)
        except OSError as error:
            raise SystemExit(f"{file} cannot be read as a picture: {error}") from error
        found.append(logits)
        if not options.logits:
            print(file)
            probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            for index in np.argsort(-logits, kind="stable")[:5]:
                print(f"  {probabilities[index]:7.2%}  {labels[index]['wnid']}  {labels[index]['words']}")
    if options.logits:
        np.save(options.logits, np.stack(found))


if __name__ == "__main__":
    main()
