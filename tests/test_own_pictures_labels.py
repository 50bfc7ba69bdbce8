"""Pictures that a table says the classes of, ImageNet's validation pictures, and pictures without labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from tests.test_own_pictures import LEMON, SHARK, TENCH, classes, groups, nothing_added, picture, pictures
from vitquant import datasets, labels, own_pictures
from vitquant.errors import InputError
from vitquant.own_pictures import look_through

THREE = ("a.png", "b.png", "sub/c.png")


def rows(root: Path, **kinds: Any) -> dict[str, list[str]]:
    return {why: group.examples for why, group in look_through(root, **kinds).rows.items()}


# Tables


@pytest.mark.parametrize(
    ("header", "separator", "encoding"),
    [
        ("file,label", ",", "utf-8"),
        ("Filename;Class", ";", "utf-8-sig"),
        ("image\twnid", "\t", "utf-16"),
        ("id,PATH,words,note", ",", "utf-8"),
    ],
)
def test_a_table_beside_the_pictures_is_found_by_its_columns(
    tmp_path: Path, header: str, separator: str, encoding: str
) -> None:
    names = ("a.png", "bé.png")
    pictures(tmp_path, names)
    values = {"id": "7", "note": "“yes”"}
    lines = [header]
    for name, wanted in zip(names, ("tench", "951"), strict=True):
        lines.append(
            separator.join(
                values.get(column, name if column.lower() in ("file", "filename", "image", "path") else wanted)
                for column in header.split(separator)
            )
        )
    (tmp_path / "answers.csv").write_text("\n".join(lines), encoding=encoding)
    (tmp_path / "unrelated.csv").write_text("when,who\n1,2\n")
    report = look_through(tmp_path)
    assert classes(report) == {"a.png": TENCH, "bé.png": LEMON}
    assert (report.kind, report.rows) == ("pictures with a table of labels", {})


def test_a_table_that_is_named_goes_before_what_the_folder_looks_like(tmp_path: Path) -> None:
    root = pictures(tmp_path / "photos", THREE)
    table = tmp_path / "answers.csv"
    table.write_text("file,label\na.png,tench\n.\\sub\\c.png,lemon\n./b.png,great white shark\n")
    assert classes(look_through(root, labels=table)) == {"a.png": TENCH, "b.png": SHARK, "sub/c.png": LEMON}


def test_every_row_that_cannot_be_used_is_reported_by_its_line(tmp_path: Path) -> None:
    root = pictures(tmp_path / "photos", (*THREE, "twice.png"))
    outside = picture(tmp_path / "outside.png")
    table = tmp_path / "answers.csv"
    table.write_text(
        f"file,label\na.png,tench\ngone.png,tench\na.png,tench\n{outside},tench\n../outside.png,tench\n"
        "C:\\x.png,tench\n\nb.png,\ntwice.png,tench\ntwice.png,lemon\n"
    )
    report = look_through(root, labels=table)
    assert {why: group.examples for why, group in report.rows.items()} == {
        "naming a picture that is not there": ["line 3: gone.png"],
        "naming a picture again": ["lines 2 and 4: a.png"],
        "naming a file outside the folder": [
            f"line 5: {outside}",
            "line 6: ../outside.png",
            "line 7: C:\\x.png",
        ],
        "without a file or a class": ["line 9: b.png"],
        "giving a picture another class": ["lines 10 and 11: twice.png"],
    }
    assert classes(report) == {"a.png": TENCH}
    assert report.unusable["without a row in answers.csv"].examples == ["b.png", "sub/c.png"]


def test_a_class_in_a_table_can_be_chosen(tmp_path: Path) -> None:
    pictures(tmp_path, ("a.png", "b.png"))
    (tmp_path / "answers.csv").write_text("file,label\na.png,crane\nb.png,Kranich\n")
    report = look_through(tmp_path)
    assert set(report.ambiguous) == {"crane"} and set(report.unmatched) == {"Kranich"}
    assert report.problem is not None
    assert set(classes(look_through(tmp_path, chosen={"crane": 134, "Kranich": 134})).values()) == {134}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name,kind\na.png,tench\n", "has the columns 'name', 'kind': it needs one called file"),
        (b"file\na.png\n", "has the columns 'file'"),
        (b"", r"has the columns \(none\)"),
        ("file,label\nbé.png,tench\n".encode("latin-1"), "save it as UTF-8"),
        (b"file,label\n" + b"a" * 200_000 + b",tench\n", "cannot be read at line 2"),
        (None, "There is no file"),
    ],
)
def test_what_is_no_table_of_labels_has_a_sentence(
    tmp_path: Path, data_dir: Path, content: bytes | None, said: str
) -> None:
    root = pictures(tmp_path / "photos", THREE)
    table = tmp_path / "answers.csv"
    if content is not None:
        table.write_bytes(content)
    with pytest.raises(InputError, match=said):
        own_pictures.add("photos", root, labels=table)
    assert nothing_added(data_dir)


# Without labels


def test_pictures_that_nothing_is_said_of_have_no_labels(tmp_path: Path, data_dir: Path) -> None:
    root = pictures(tmp_path / "photos", ("a.png", "b.png"))
    report = look_through(root)
    assert not report.labelled and "agreement with fp32" in report.summary and report.classes == 0
    spec = own_pictures.add("photos", root)
    assert not spec.labelled
    assert [(one.wnid, one.class_index) for one in datasets.open_dataset("photos").examples] == [("", -1)] * 2


def test_of_several_tables_none_is_taken(tmp_path: Path) -> None:
    pictures(tmp_path, ("a.png",))
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text("file,label\na.png,tench\n")
    report = look_through(tmp_path)
    assert not report.labelled and "2 tables of labels: name the one that counts" in report.summary


# ImageNet's own


@pytest.fixture
def validation(tmp_path: Path) -> Path:
    """The first three validation pictures."""
    return pictures(tmp_path / "val", (f"ILSVRC2012_val_{number:08}.JPEG" for number in (1, 2, 3)))


def write_kit(place: Path, truth: str, wrong: Mapping[str, object] | None = None) -> None:
    """A development kit whose ILSVRC2012_IDs go through the classes backwards."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]
    synsets = np.zeros((1001, 1), dtype=kinds)
    for row, label in enumerate(labels.CLASSES):
        synsets[row, 0] = (1000 - row, label.wnid, label.words)
    synsets[1000, 0] = (1001, "n00001740", "entity")
    savemat(place / "meta.mat", wrong or {"synsets": synsets})


@pytest.mark.parametrize("place", ["val", ".", "ILSVRC2012_devkit_t12/data", "val/ILSVRC2012_devkit_t12/data"])
def test_ground_truth_is_read_by_wnid_wherever_the_kit_lies(
    tmp_path: Path, validation: Path, place: str
) -> None:
    write_kit(tmp_path / place, "1000\n1\n49\n")
    report = look_through(validation)
    assert list(classes(report).values()) == [0, 999, 951]
    assert "ImageNet's validation set, 3 of its 50,000" in report.summary


def test_kaggles_solution_is_read(tmp_path: Path, validation: Path) -> None:
    (tmp_path / "LOC_val_solution.csv").write_text(
        "ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2 3 4 n01440764 5 6 7 8 \n"
        "ILSVRC2012_val_00000002,n07749582 1 2 3 4 \nILSVRC2012_val_00000009,n07749582 1 2 3 4 \n"
    )
    report = look_through(validation)
    assert list(classes(report).values()) == [TENCH, LEMON]
    assert groups(report)["without a row in LOC_val_solution.csv"] == 1
    assert report.rows["naming a picture that is not there"].count == 1


def test_without_the_kit_the_pictures_have_no_labels_and_the_summary_says_what_is_missing(
    validation: Path,
) -> None:
    report = look_through(validation)
    assert not report.labelled and "LOC_val_solution.csv" in report.summary


@pytest.mark.parametrize(
    ("truth", "wrong", "said"),
    [
        ("1\n2\n1001\n", None, "is not ImageNet's ground truth"),
        ("1\ntench\n3\n", None, "is not ImageNet's ground truth"),
        ("1\n2\n3\n", {"other": 1}, "is not the development kit's meta.mat"),
        (
            "1\n2\n3\n",
            {"synsets": np.array([(1, "n01440764")], dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")])},
            "1 of",
        ),
    ],
)
def test_a_kit_that_is_not_as_it_should_be_has_a_sentence(
    tmp_path: Path, validation: Path, truth: str, wrong: Mapping[str, object] | None, said: str
) -> None:
    write_kit(tmp_path, truth, wrong)
    report = look_through(validation)
    assert report.problem is not None and said in report.problem


def test_a_truncated_meta_mat_or_none_has_a_sentence(tmp_path: Path, validation: Path) -> None:
    write_kit(tmp_path, "1\n2\n3\n")
    meta = tmp_path / "meta.mat"
    meta.write_bytes(meta.read_bytes()[:1000])
    assert "is not the development kit's" in (look_through(validation).problem or "")
    meta.unlink()
    assert "the numbers mean nothing without it" in (look_through(validation).problem or "")
