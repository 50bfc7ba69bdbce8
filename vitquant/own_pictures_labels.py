"""Files that say what pictures show: a table of labels (CSV), and ImageNet's own for its validation pictures.

Imports no torch.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from vitquant import labels
from vitquant.errors import InputError
from vitquant.own_pictures_classes import Matched, match
from vitquant.own_pictures_walk import Groups

FILE_COLUMNS = ("file", "filename", "image", "path")
CLASS_COLUMNS = ("wnid", "index", "label", "class", "words")
"""Where a table has several of these, the first one counts."""

KAGGLE_COLUMNS = ("imageid", "predictionstring")
KAGGLE_FILE = "LOC_val_solution.csv"
GROUND_TRUTH_FILE = "ILSVRC2012_validation_ground_truth.txt"
META_FILE = "meta.mat"

MAX_TABLE_BYTES = 200 * 10**6
_IMAGENET_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.jpe?g", re.IGNORECASE)


@dataclass(frozen=True)
class Labelled:
    """What a labels file says of the pictures that are there."""

    classes: Mapping[str, int]  # class index by path
    matched: Matched
    rows: Groups  # lines that cannot be used, by why
    without_row: tuple[str, ...] = ()  # pictures that no line names


def table(file: Path, there: Mapping[str, int], chosen: Mapping[str, int] | None = None) -> Labelled:
    """Read a table with a column of files and one of classes. there: the pictures that are in the folder.

    chosen: class index for what the table calls a class. Raises InputError where it is no such table.
    """
    header, lines = _read(file)
    columns = [_column(name) for name in header]
    if all(name in columns for name in KAGGLE_COLUMNS):
        stems = {PurePosixPath(path).stem: path for path in there}

        def kaggle(row: list[str]) -> tuple[str, str]:
            name, answer = (
                (row[columns.index(column)] for column in KAGGLE_COLUMNS) if len(row) > 1 else ("", "")
            )
            return stems.get(name, name), (answer.split() or [""])[0]

        return _labelled(lines, kaggle, there, chosen)
    of_file = next((columns.index(name) for name in FILE_COLUMNS if name in columns), None)
    of_class = next((columns.index(name) for name in CLASS_COLUMNS if name in columns), None)
    if of_file is None or of_class is None:
        raise InputError(
            f"{file.name} has the columns {', '.join(repr(name) for name in header) or '(none)'}: it needs one "
            f"called {' or '.join(FILE_COLUMNS)}, and one called {' or '.join(CLASS_COLUMNS)}."
        )
    needed = max(of_file, of_class)

    def plain(row: list[str]) -> tuple[str, str]:
        return (row[of_file], row[of_class]) if len(row) > needed else ("", "")

    return _labelled(lines, plain, there, chosen)


def is_table(file: Path) -> bool:
    """Whether a file has the columns of a table of labels."""
    try:
        columns = [_column(name) for name in _read(file)[0]]
    except InputError:
        return False
    named = [any(name in columns for name in needed) for needed in (FILE_COLUMNS, CLASS_COLUMNS)]
    return all(named) or all(name in columns for name in KAGGLE_COLUMNS)


def _labelled(
    lines: Iterator[tuple[int, list[str]]],
    read_row: Callable[[list[str]], tuple[str, str]],
    there: Mapping[str, int],
    chosen: Mapping[str, int] | None,
) -> Labelled:
    rows = Groups()
    said: dict[str, tuple[int, str]] = {}  # line and class by path
    contradicted = set()
    for number, row in lines:
        name, words = (value.strip() for value in read_row(row))
        path = _path(name, there)
        if not name or not words:
            rows.add("without a file or a class", f"line {number}: {name or words}")
        elif path is None:
            rows.add("naming a file outside the folder", f"line {number}: {name}")
        elif path not in there:
            rows.add("naming a picture that is not there", f"line {number}: {name}")
        elif path in said and said[path][1] != words:
            rows.add("giving a picture another class", f"lines {said[path][0]} and {number}: {name}")
            contradicted.add(path)
        elif path in said:
            rows.add("naming a picture again", f"lines {said[path][0]} and {number}: {name}")
        else:
            said[path] = (number, words)
    matched = match((words for _, words in said.values()), chosen)
    classes = {
        path: matched.classes[words]
        for path, (_, words) in said.items()
        if words in matched.classes and path not in contradicted
    }
    return Labelled(classes, matched, rows, tuple(path for path in there if path not in said))


def _path(name: str, there: Mapping[str, int]) -> str | None:
    """The path that a row names, relative to the folder; None where it leads out of it."""
    if name in there:
        return name
    if PureWindowsPath(name).drive or PureWindowsPath(name).root:
        return None
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return None if ".." in parts else "/".join(parts)


def _column(name: str) -> str:
    return name.strip().casefold()


def _read(file: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The header, and each row that is not blank with the number of the line that it ends on."""
    text = _text(file)
    try:
        delimiter = csv.Sniffer().sniff(text[: 2**16], ",;\t").delimiter
    except csv.Error:  # a single column, or rows too different to tell
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)

    def rows() -> Iterator[tuple[int, list[str]]]:
        try:
            for row in reader:
                if any(value.strip() for value in row):
                    yield reader.line_num, row
        except csv.Error as error:
            raise InputError(
                f"{file.name} cannot be read at line {reader.line_num} ({error}): mend that line."
            ) from error

    lines = rows()
    _, header = next(lines, (0, []))
    return header, lines


def _text(file: Path) -> str:
    content = _content(file)
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file.name} is not text in UTF-8, nor in UTF-16 with a byte order mark ({error.reason} at byte "
            f"{error.start:,}): save it as UTF-8 (a spreadsheet calls that “CSV UTF-8”)."
        ) from error


def _content(file: Path) -> bytes:
    try:
        if not file.is_file():
            raise InputError(f"There is no file {file}: check the path to the labels.")
        if file.stat().st_size > MAX_TABLE_BYTES:
            raise InputError(
                f"{file.name} takes more than {MAX_TABLE_BYTES:,} bytes: it is no table of labels."
            )
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): check its permissions.") from error


# ImageNet's own validation pictures


def is_imagenet(there: Mapping[str, int]) -> bool:
    """Whether these pictures are called as ImageNet's validation pictures are, all of them."""
    return bool(there) and all(_IMAGENET_NAME.fullmatch(path) for path in there)


def imagenet_labels(root: Path) -> Path | None:
    """The file with the classes of ImageNet's validation pictures: in the folder, beside it, in the development
    kit, or where Kaggle's archive has it; None where there is none."""
    near = [root, *root.parents[:4]]
    kits = [
        place / kit
        for place in near[:2]
        for kit in (".", "ILSVRC2012_devkit_t12", "data", "ILSVRC2012_devkit_t12/data")
    ]
    candidates = [kit / GROUND_TRUTH_FILE for kit in kits] + [place / KAGGLE_FILE for place in near]
    return next((file for file in candidates if file.is_file()), None)


def imagenet(file: Path, there: Mapping[str, int]) -> Labelled:
    """The classes of ImageNet's validation pictures by the development kit's ground truth: on line n the
    ILSVRC2012_ID of picture n. That is not the class index: meta.mat beside it says which wnid it is.

    Raises InputError where either file is not as it should be.
    """
    indices = _class_indices(file.with_name(META_FILE))
    try:
        numbers = [int(line) for line in _text(file).split()]
        truth = [indices[number] for number in numbers]
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{file.name} is not ImageNet's ground truth, whose lines are numbers from 1 to 1000 ({error}): "
            "take it from ILSVRC2012_devkit_t12."
        ) from error
    numbers_of = {path: int(name[1]) for path in there if (name := _IMAGENET_NAME.fullmatch(path))}
    classes = {path: truth[number - 1] for path, number in numbers_of.items() if 1 <= number <= len(truth)}
    return Labelled(classes, Matched({}), Groups(), tuple(path for path in there if path not in classes))


def _class_indices(meta: Path) -> dict[int, int]:
    """The class index by ILSVRC2012_ID."""
    from scipy.io import loadmat

    if not meta.is_file():
        raise InputError(
            f"{META_FILE} is not beside {GROUND_TRUTH_FILE} in {meta.parent}: both come in data/ of "
            "ILSVRC2012_devkit_t12, and the numbers mean nothing without it."
        )
    try:
        synsets = loadmat(meta, squeeze_me=True)["synsets"]
        pairs = [(int(one["ILSVRC2012_ID"]), str(one["WNID"])) for one in synsets.ravel()]
        found = {number: labels.by_wnid(wnid).index for number, wnid in pairs if number <= len(labels.CLASSES)}
    except Exception as error:  # scipy raises nearly anything on a damaged file
        raise InputError(
            f"{meta} is not the development kit's {META_FILE} ({error}): take it from ILSVRC2012_devkit_t12."
        ) from error
    if len(found) != len(labels.CLASSES):
        raise InputError(
            f"{meta} names {len(found):,} of ImageNet's {len(labels.CLASSES):,} classes: take it from "
            "ILSVRC2012_devkit_t12."
        )
    return found
