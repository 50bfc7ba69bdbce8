"""Looking through a folder of pictures before it is added: what kind it is, what of it can be used, and why the
rest cannot. Changes nothing; imports no torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vitquant import labels as imagenet_classes
from vitquant import own_pictures_labels, own_pictures_walk
from vitquant.errors import InputError
from vitquant.own_pictures_classes import Matched, match
from vitquant.own_pictures_labels import Labelled
from vitquant.own_pictures_listing import UNLABELLED, Listed
from vitquant.own_pictures_walk import Group, Groups, Progress, Walked

IMAGE_FOLDER = "folders named for classes"
TABLE = "pictures with a table of labels"
PLAIN = "pictures without labels"
IMAGENET = "ImageNet's validation pictures"

SPLIT_FOLDERS = {"val": "val", "valid": "val", "validation": "val", "train": "train", "training": "train"}
IMAGENET_PICTURES = 50_000


@dataclass(frozen=True)
class Report:
    """What a folder has. Plain data but for `listed`, which plain() leaves out."""

    path: str
    kind: str = ""
    labelled: bool = True
    splits: Mapping[str, int] = field(default_factory=dict)  # pictures that can be used
    classes: int = 0
    bytes: int = 0  # of those pictures
    ambiguous: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)  # index, wnid, words
    unmatched: Mapping[str, Sequence[str]] = field(default_factory=dict)  # words that are near, by name
    unusable: Mapping[str, Group] = field(default_factory=dict)  # files that are left out, by why
    rows: Mapping[str, Group] = field(default_factory=dict)  # lines of a labels file, by what is wrong
    duplicates: Group = field(default_factory=Group)  # pictures with the content of another one; they stay
    checked: bool = False  # whether every picture was decoded
    problem: str | None = None  # why nothing can be added
    summary: str = ""
    listed: Mapping[str, tuple[Listed, ...]] = field(default_factory=dict, repr=False)  # by split

    def plain(self) -> dict[str, Any]:
        """All but the single pictures, for JSON."""
        return asdict(replace(self, listed={})) | {"unusable": _plain(self.unusable), "rows": _plain(self.rows)}


def _plain(groups: Mapping[str, Group]) -> dict[str, Any]:
    return {why: asdict(group) for why, group in groups.items()}


@dataclass(frozen=True)
class _Sorted:
    """A folder's pictures with their classes, before they are checked."""

    kind: str
    listed: Mapping[str, Sequence[Listed]]
    matched: Matched = field(default_factory=lambda: Matched({}))
    rows: Mapping[str, Group] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()


def look_through(
    path: Path,
    *,
    labels: Path | None = None,
    chosen: Mapping[str, int] | None = None,
    check: bool = True,
    progress: Progress | None = None,
) -> Report:
    """What a folder has that can be added as a dataset; what cannot be used is reported with why.

    labels: a table of labels (CSV) for pictures that do not lie in folders named for classes. chosen: class
    index by a folder's name, or by what the table calls a class, where that stands for several classes or none.
    check: decode every picture, a few ms each; progress(done, all) counts them and may raise to stop.

    A folder that cannot be used has a `problem`. Raises InputError where `chosen` names what is not there.
    """
    if wrong := _wrong_path(path):
        return _nothing(path, wrong)
    root = path.resolve()
    walked = own_pictures_walk.walk(root)
    if not walked.sizes:
        return _nothing(path, _no_pictures(path, walked), walked.left_out)
    left_out = walked.left_out
    try:
        ordered = _sorted(root, walked, labels, chosen)
    except InputError as error:
        if chosen:
            raise
        return _nothing(path, str(error), left_out)
    return _report(path, walked, ordered, check, progress)


def _wrong_path(path: Path) -> str | None:
    try:
        if path.is_dir():
            return None
        if path.exists():
            return f"{path} is a file: name the folder that the pictures lie in."
    except (OSError, ValueError) as error:  # a name that is too long, or has a null in it
        return f"{path} cannot be looked at ({error}): check the path."
    return f"There is no folder {path}: check the path."


def _nothing(path: Path, problem: str, left_out: Mapping[str, Group] | None = None) -> Report:
    return Report(str(path), unusable=left_out or {}, problem=problem, summary=problem)


def _no_pictures(path: Path, walked: Walked) -> str:
    unreadable = walked.left_out.get(own_pictures_walk.UNREADABLE)
    if unreadable:
        return (
            f"{path} has no pictures that can be read ({unreadable.examples[0]} cannot): check the permissions."
        )
    if not walked.others and not walked.left_out:
        return f"{path} is empty: name a folder with pictures."
    return f"{path} has no pictures (files such as .jpg, .png or .webp): name a folder that has."


# What kind of folder it is


def _sorted(root: Path, walked: Walked, labels: Path | None, chosen: Mapping[str, int] | None) -> _Sorted:
    tops = {path.split("/", 1)[0] for path in walked.sizes if "/" in path}
    splits = _split_folders(tops, walked)
    if labels is not None:
        return _from_table(labels, walked, chosen)
    if splits:
        return _from_folders(walked, splits, chosen)
    if tops:
        return _from_folders(walked, {"": "val"}, chosen)
    if own_pictures_labels.is_imagenet(walked.sizes) and (truth := own_pictures_labels.imagenet_labels(root)):
        return _from_imagenet(truth, walked)
    tables = [
        root / name for name in sorted(walked.others) if name.lower().endswith(".csv") and "/" not in name
    ]
    tables = [file for file in tables if own_pictures_labels.is_table(file)]
    if len(tables) == 1:
        return _from_table(tables[0], walked, chosen)
    return _without_labels(walked, tables)


def _split_folders(tops: set[str], walked: Walked) -> dict[str, str]:
    """The folder of each split, of "train" and "val" however they are written; nothing where the folders are
    classes."""
    found = {top: SPLIT_FOLDERS[top.lower()] for top in sorted(tops) if top.lower() in SPLIT_FOLDERS}
    deep = all(
        any(path.startswith(f"{top}/") and path.count("/") > 1 for path in walked.sizes) for top in found
    )
    return {split: top for top, split in found.items()} if found and deep else {}


def _from_folders(walked: Walked, splits: Mapping[str, str], chosen: Mapping[str, int] | None) -> _Sorted:
    """splits: the folder of each split, by its name; {"": "val"} where the classes lie in the root."""
    places = {"val": ""} if "" in splits else {split: f"{folder}/" for split, folder in splits.items()}
    if "val" not in places:
        raise InputError(
            f"There is {splits['train']}/ but no val/, which accuracy is measured on: put pictures for it in "
            "folders of classes in val/."
        )
    folders = {split: _by_class_folder(walked, place) for split, place in places.items()}
    matched = match((name for of in folders.values() for name in of), chosen)
    listed = {
        split: [
            Listed(path, matched.classes[name])
            for name in sorted(of)
            if name in matched.classes
            for path in of[name]
        ]
        for split, of in folders.items()
    }
    kept = {picture.path for of in listed.values() for picture in of}
    for path in walked.sizes:
        if path not in kept:
            inside = any(
                path.startswith(place) and "/" in path.removeprefix(place) for place in places.values()
            )
            walked.left_out.add(
                "in a folder without a class" if inside else "outside the classes' folders", path
            )
    return _Sorted(IMAGE_FOLDER, listed, matched, sentences=(matched.sentence("This folder's names"),))


def _by_class_folder(walked: Walked, place: str) -> dict[str, list[str]]:
    """The pictures in each folder directly below a place ("" or "val/"), with all that is below it."""
    found: dict[str, list[str]] = {}
    for path in walked.sizes:
        name, slash, _ = path.removeprefix(place).partition("/")
        if path.startswith(place) and slash:
            found.setdefault(name, []).append(path)
    return found


def _from_table(file: Path, walked: Walked, chosen: Mapping[str, int] | None) -> _Sorted:
    if file.name == own_pictures_labels.GROUND_TRUTH_FILE:
        return _from_imagenet(file, walked)
    found = own_pictures_labels.table(file, walked.sizes, chosen)
    sentences = (found.matched.sentence(f"The classes in {file.name}"),)
    return _Sorted(TABLE, {"val": _listed(found, file, walked)}, found.matched, found.rows, sentences)


def _from_imagenet(truth: Path, walked: Walked) -> _Sorted:
    if truth.name == own_pictures_labels.KAGGLE_FILE:
        found = own_pictures_labels.table(truth, walked.sizes)
    else:
        found = own_pictures_labels.imagenet(truth, walked.sizes)
    listed = _listed(found, truth, walked)
    few = f", {len(listed):,} of its {IMAGENET_PICTURES:,}" if len(listed) < IMAGENET_PICTURES else ""
    sentence = (
        f"These are pictures of ImageNet's validation set{few}, with the classes that {truth.name} gives."
    )
    return _Sorted(IMAGENET, {"val": listed}, rows=found.rows, sentences=(sentence,))


def _listed(found: Labelled, file: Path, walked: Walked) -> list[Listed]:
    """The pictures that a labels file gives a class; the others are left out."""
    without_row = set(found.without_row)
    for path in walked.sizes:
        if path not in found.classes:
            what = "row" if path in without_row else "class that is known"
            walked.left_out.add(f"without a {what} in {file.name}", path)
    return [Listed(path, found.classes[path]) for path in walked.sizes if path in found.classes]


def _without_labels(walked: Walked, tables: Sequence[Path]) -> _Sorted:
    sentences = ["Nothing says what the pictures show: agreement with fp32 takes the place of accuracy."]
    if tables:
        sentences.append(f"There are {len(tables)} tables of labels: name the one that counts.")
    elif own_pictures_labels.is_imagenet(walked.sizes):
        sentences.append(
            "They are called as ImageNet's validation pictures are: for their classes put "
            f"{own_pictures_labels.GROUND_TRUTH_FILE} with {own_pictures_labels.META_FILE}, or "
            f"{own_pictures_labels.KAGGLE_FILE}, beside them."
        )
    return _Sorted(
        PLAIN, {"val": [Listed(path, UNLABELLED) for path in walked.sizes]}, sentences=tuple(sentences)
    )


# What of it can be used


def _report(path: Path, walked: Walked, ordered: _Sorted, check: bool, progress: Progress | None) -> Report:
    candidates = [picture.path for of in ordered.listed.values() for picture in of]
    unusable = {name: own_pictures_walk.EMPTY for name in candidates if not walked.sizes[name]}
    duplicates = Group()
    if check:
        whole = [name for name in candidates if name not in unusable]
        checked = own_pictures_walk.check(path.resolve(), whole, progress)
        unusable |= checked.unusable
        for first, *others in checked.duplicates:
            for other in others:
                duplicates.add(f"{other} is the same as {first}")
    left_out = _grouped(walked, unusable)
    listed = {
        split: tuple(picture for picture in of if picture.path not in unusable)
        for split, of in ordered.listed.items()
    }
    listed = {split: of for split, of in listed.items() if of}
    classes = {picture.class_index for picture in listed.get("val", ())} - {UNLABELLED}
    report = Report(
        path=str(path),
        kind=ordered.kind,
        labelled=ordered.kind != PLAIN,
        splits={split: len(of) for split, of in listed.items()},
        classes=len(classes),
        bytes=sum(walked.sizes[picture.path] for of in listed.values() for picture in of),
        ambiguous={
            name: [_as_plain(index) for index in found] for name, found in ordered.matched.ambiguous.items()
        },
        unmatched=ordered.matched.unmatched,
        unusable=left_out,
        rows=ordered.rows,
        duplicates=duplicates,
        checked=check,
        listed=listed,
    )
    problem = None if listed.get("val") else _why_nothing(report)
    return replace(report, problem=problem, summary=_summary(report, ordered.sentences))


def _grouped(walked: Walked, unusable: Mapping[str, str]) -> Groups:
    found = walked.left_out
    for name, why in unusable.items():
        found.add(why, name)
    for name in sorted(walked.others):
        found.add(own_pictures_walk.NO_PICTURE, name)
    return found


def _as_plain(index: int) -> dict[str, Any]:
    return asdict(imagenet_classes.by_index(index))


def _why_nothing(report: Report) -> str:
    if report.ambiguous or report.unmatched:
        name = next(iter([*report.ambiguous, *report.unmatched]))
        what = "stands for several classes" if report.ambiguous else "is not an ImageNet class"
        return (
            f"{report.path} has nothing with a class ({name!r}, for one, {what}): name folders by wnid, class "
            "words or class index, or choose a class for them."
        )
    why, group = max(report.unusable.items(), key=lambda item: item[1].count, default=("empty", Group()))
    example = f": {group.examples[0]}" if group.examples else ""
    left_out = f"{group.count:,} {why}{example}"
    return f"None of the pictures in {report.path} can be used ({left_out}): look at those files."


def _summary(report: Report, sentences: Sequence[str]) -> str:
    pictures = report.splits.get("val", 0)
    training = f", and {report.splits['train']:,} to train on" if "train" in report.splits else ""
    classes = f" of {report.classes:,} class{'' if report.classes == 1 else 'es'}" if report.labelled else ""
    told = [*sentences, f"{pictures:,} picture{'' if pictures == 1 else 's'}{classes} can be used{training}."]
    lost = sum(group.count for group in report.unusable.values())
    if lost:
        told.append(f"{lost:,} file{' is' if lost == 1 else 's are'} left out.")
    bad_rows = sum(group.count for group in report.rows.values())
    if bad_rows:
        told.append(f"{bad_rows:,} line{'' if bad_rows == 1 else 's'} of the labels cannot be used.")
    if report.duplicates.count:
        told.append(f"{report.duplicates.count:,} are the same as others.")
    return " ".join(told)
