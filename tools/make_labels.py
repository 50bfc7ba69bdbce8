"""Makes vitquant/imagenet_classes.tsv: the 1000 ImageNet-1k classes, and which are Tiny-ImageNet's.

    python -m tools.make_labels --archive tiny-imagenet-200.zip

The classes and their words come from timm's label files, read as files: importing timm.data would import
torch. Tiny-ImageNet's 200 wnids come from its archive. The table is kept in the repository, so that nobody
needs either to read it.
"""

import argparse
import importlib.util
import zipfile
from pathlib import Path

TABLE = Path(__file__).resolve().parent.parent / "vitquant" / "imagenet_classes.tsv"
COLUMNS = ("index", "wnid", "in_tiny_imagenet", "words")


def table(archive: Path) -> str:
    """The whole table as text: a header and one line a class, in the order of the class indices."""
    wnids = (_timm_labels() / "imagenet_synsets.txt").read_text("utf-8").split()
    words = _words_by_wnid(_timm_labels() / "imagenet_synset_to_lemma.txt")
    tiny = _tiny_imagenet_wnids(archive)
    if len(wnids) != 1000 or len(tiny) != 200 or not tiny <= set(wnids):
        raise SystemExit(f"{len(wnids)} classes and {len(tiny)} of Tiny-ImageNet's: expected 200 among 1000.")
    rows = [(str(i), wnid, "yes" if wnid in tiny else "no", words[wnid]) for i, wnid in enumerate(wnids)]
    return "".join("\t".join(row) + "\n" for row in [COLUMNS, *rows])


def _timm_labels() -> Path:
    found = importlib.util.find_spec("timm")
    if found is None or found.origin is None:
        raise SystemExit("timm is not installed: its label files are what the table is made from.")
    return Path(found.origin).parent / "data" / "_info"


def _words_by_wnid(file: Path) -> dict[str, str]:
    lines = file.read_text("utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines)


def _tiny_imagenet_wnids(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        (entry,) = [name for name in opened.namelist() if name.count("/") == 1 and name.endswith("/wnids.txt")]
        return set(opened.read(entry).decode().split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, required=True, help="Tiny-ImageNet's zip archive")
    TABLE.write_text(table(parser.parse_args().archive), "utf-8", newline="\n")
    print(f"wrote {TABLE}")


if __name__ == "__main__":
    main()
