"""Somebody's own pictures: what looking through a folder finds, what adding makes of it, what is refused."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vitquant import catalog, datasets, own_pictures, registry
from vitquant.errors import InputError, VitquantError
from vitquant.own_pictures import Report, look_through

TENCH, SHARK, GOLDFISH, LEMON, BUS = 0, 2, 1, 951, 779


def picture(file: Path, seed: int = 0) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 5), (seed % 256, seed // 256 % 256, 77)).save(file)
    return file


def pictures(root: Path, names: Iterable[str]) -> Path:
    for seed, name in enumerate(names):
        picture(root / name, seed)
    return root


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures of a tench, and one each of a shark and a goldfish, each folder named in another way."""
    return pictures(
        tmp_path / "photos",
        ("Tench/a.png", "Tench/b.png", "great_white-shark/a.png", "n01443537/deep/a.png"),
    )


def classes(report: Report, split: str = "val") -> dict[str, int]:
    return {one.path: one.class_index for one in report.listed[split]}


def groups(report: Report) -> dict[str, int]:
    return {why: group.count for why, group in report.unusable.items()}


def nothing_added(data_dir: Path) -> bool:
    """No entry, no listing, no picture, no folder in the making."""
    left = [path for path in (data_dir / "own").rglob("*") if path.name != ".lock" and not path.is_dir()]
    making = list((data_dir / "own").glob("pictures/*")) + list((data_dir / "own").glob("pictures/.writing-*"))
    return not registry.entries(registry.DATASETS) and not left and not making


# Folders named for classes


def test_folders_may_be_called_by_wnid_words_or_class_index(tmp_path: Path) -> None:
    root = pictures(tmp_path / "photos", ("951/a.png", "Great White_shark/a.png", "n01440764_tench/a.png"))
    report = look_through(root)
    assert classes(report) == {
        "951/a.png": LEMON,
        "Great White_shark/a.png": SHARK,
        "n01440764_tench/a.png": TENCH,
    }
    assert (report.problem, report.labelled, report.splits, report.classes) == (None, True, {"val": 3}, 3)
    assert report.summary.startswith("This folder's names are ")
    assert (
        "1 wnid" in report.summary and "1 class word" in report.summary and "1 class number" in report.summary
    )
    assert report.bytes == sum(file.stat().st_size for file in root.rglob("*.png"))


def test_any_synonym_of_a_class_names_it(tmp_path: Path) -> None:
    root = pictures(tmp_path / "photos", ("carcharodon carcharias/a.png", "tench, Tinca tinca/a.png"))
    assert set(classes(look_through(root)).values()) == {SHARK, TENCH}


def test_a_word_of_two_classes_has_to_be_chosen(tmp_path: Path) -> None:
    root = pictures(tmp_path / "photos", ("crane/a.png", "tench/a.png"))
    report = look_through(root)
    assert [one["index"] for one in report.ambiguous["crane"]] == [134, 517]
    assert "1 word that matches several classes: choose." in report.summary
    assert classes(report) == {"tench/a.png": TENCH}
    assert classes(look_through(root, chosen={"crane": 517})) == {"crane/a.png": 517, "tench/a.png": TENCH}


def test_a_name_that_matches_nothing_comes_with_near_words_and_is_left_out(tmp_path: Path) -> None:
    root = pictures(tmp_path / "photos", ("goldfsh/a.png", "tench/a.png"))
    report = look_through(root)
    assert "goldfish" in report.unmatched["goldfsh"]
    assert groups(report) == {"in a folder without a class": 1}
    assert classes(look_through(root, chosen={"goldfsh": GOLDFISH}))["goldfsh/a.png"] == GOLDFISH


@pytest.mark.parametrize(
    ("chosen", "said"), [({"tensh": 0}, "did you mean tench"), ({"tench": 1000}, "no class 1000")]
)
def test_a_choice_that_cannot_be_meant_is_refused(tmp_path: Path, chosen: dict[str, int], said: str) -> None:
    root = pictures(tmp_path / "photos", ("tench/a.png",))
    with pytest.raises(InputError, match=said):
        look_through(root, chosen=chosen)


def test_where_nothing_matches_a_sentence_says_what_to_do(tmp_path: Path) -> None:
    report = look_through(pictures(tmp_path / "photos", ("holiday/a.png", "birthday/a.png")))
    assert report.problem is not None and "'birthday'" in report.problem and "choose a class" in report.problem


def test_train_and_val_become_splits(tmp_path: Path, data_dir: Path) -> None:
    root = pictures(
        tmp_path / "photos", ("train/tench/a.png", "train/951/b.png", "val/tench/c.png", "loose.png")
    )
    report = look_through(root)
    assert report.splits == {"val": 1, "train": 2}
    assert groups(report) == {"outside the classes' folders": 1}
    own_pictures.add("photos", root, report=report)
    assert [one.path for one in datasets.open_dataset("photos", "train").examples] == [
        "train/951/b.png",
        "train/tench/a.png",
    ]
    assert datasets.has_training("photos")


def test_training_pictures_alone_are_no_dataset(tmp_path: Path) -> None:
    report = look_through(pictures(tmp_path / "photos", ("train/tench/a.png",)))
    assert report.problem is not None and "no val/" in report.problem


def test_the_report_is_plain_data(photos: Path) -> None:
    (photos / "notes.txt").write_text("no picture")
    plain = json.loads(json.dumps(look_through(photos).plain()))
    assert plain["splits"] == {"val": 4}
    assert plain["unusable"] == {"not a picture": {"count": 1, "examples": ["notes.txt"]}}


# What cannot be used


@pytest.fixture
def spoilt(photos: Path) -> Path:
    tench = photos / "Tench"
    (tench / "empty.png").touch()
    (tench / "text.jpg").write_text("This is no picture.")
    (tench / "cut.png").write_bytes((tench / "a.png").read_bytes()[:-30])
    shutil.copy(tench / "a.png", photos / "n01443537" / "same.png")
    shutil.copy(tench / "b.png", tench / "B.png")
    picture(tench / "tab\tbed.png")
    picture(tench / ".hidden.png")
    return photos


def test_every_file_that_cannot_be_used_is_reported_with_why(spoilt: Path) -> None:
    report = look_through(spoilt)
    assert groups(report) == {
        "empty": 1,
        "not a picture": 1,
        "damaged": 1,
        "a name that differs from another in capitals only": 1,
        "a name with a tab, a line break or no text": 1,
        "hidden": 1,
    }
    assert report.duplicates.count == 1
    assert report.splits == {"val": 5}
    assert report.checked


def test_without_checking_only_what_the_names_and_sizes_say_is_known(spoilt: Path) -> None:
    report = look_through(spoilt, check=False)
    assert {"empty": 1}.items() <= groups(report).items() and "damaged" not in groups(report)
    assert not report.checked and report.duplicates.count == 0


def test_progress_counts_the_pictures_and_may_stop(photos: Path) -> None:
    told: list[tuple[int, int]] = []
    look_through(photos, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look_through(photos, progress=stop)


def test_links_that_leave_the_folder_are_not_followed_and_loops_end(photos: Path, tmp_path: Path) -> None:
    outside = picture(tmp_path / "outside" / "secret.png")
    (photos / "Tench" / "link.png").symlink_to(outside)
    (photos / "tank").symlink_to(outside.parent)
    (photos / "Tench" / "loop").symlink_to(photos)
    (photos / "Tench" / "inside.png").symlink_to(photos / "Tench" / "a.png")
    report = look_through(photos)
    assert groups(report) == {"a link that leaves the folder": 2, "a link to a folder that is here already": 1}
    assert "Tench/inside.png" in classes(report)


def test_a_folder_that_cannot_be_read_is_reported(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refusing(place: Any) -> Any:
        if str(place).endswith("Tench"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refusing)
    report = look_through(photos)
    assert report.unusable["unreadable"].examples == ["Tench"]
    assert report.splits == {"val": 2}


@pytest.mark.parametrize("what", ["missing", "a file", "empty", "without pictures", "\0"])
def test_what_is_no_folder_of_pictures_has_a_sentence(tmp_path: Path, data_dir: Path, what: str) -> None:
    path = tmp_path / what
    if what == "a file":
        path.touch()
    elif what in ("empty", "without pictures"):
        path.mkdir()
    if what == "without pictures":
        (path / "notes.txt").touch()
    report = look_through(path)
    assert report.problem and report.problem.endswith((".", "check the path.")) and not report.listed
    with pytest.raises(InputError):
        own_pictures.add("photos", path)
    assert nothing_added(data_dir)


@pytest.mark.slow
def test_a_hundred_thousand_files_are_looked_through(tmp_path: Path) -> None:
    for name in ("tench", "goldfish", "crane", "what"):
        (tmp_path / name).mkdir()
        for number in range(25_000):
            (tmp_path / name / f"{number}.jpg").write_bytes(b"x" * (number % 2))
    report = look_through(tmp_path, check=False)
    assert report.splits == {"val": 25_000}
    assert groups(report) == {"empty": 25_000, "in a folder without a class": 50_000}


# Adding and removing


def test_an_added_folder_is_a_dataset_where_it_lies(photos: Path, data_dir: Path) -> None:
    spec = own_pictures.add("photos", photos, title="My photos")
    assert spec == catalog.dataset("photos")
    assert (spec.title, spec.pictures, spec.classes, spec.root) == ("My photos", 4, 3, str(photos))
    opened = datasets.open_dataset("photos")
    assert opened.root == datasets.root_of("photos") == photos
    assert [(one.index, one.path, one.wnid, one.class_index) for one in opened.examples] == [
        (0, "Tench/a.png", "n01440764", TENCH),
        (1, "Tench/b.png", "n01440764", TENCH),
        (2, "great_white-shark/a.png", "n01484850", SHARK),
        (3, "n01443537/deep/a.png", "n01443537", GOLDFISH),
    ]
    assert datasets.is_here("photos") and not datasets.has_training("photos")
    assert not (data_dir / "own" / "pictures").exists()


def test_a_copy_outlives_the_folder_and_goes_with_the_dataset(photos: Path, data_dir: Path) -> None:
    own_pictures.add("photos", photos, copy=True)
    shutil.rmtree(photos)
    opened = datasets.open_dataset("photos")
    assert all(opened.file(example).is_file() for example in opened.examples)
    own_pictures.remove("photos")
    assert not any((data_dir / "own" / "pictures").iterdir())
    assert catalog.dataset("photos").title == "photos"
    assert "photos" not in catalog.datasets() and not datasets.is_here("photos")
    with pytest.raises(InputError, match="was removed"):
        datasets.open_dataset("photos")


def test_removing_leaves_the_persons_own_files(photos: Path, data_dir: Path) -> None:
    own_pictures.add("photos", photos)
    own_pictures.remove("photos")
    assert len(list(photos.rglob("*.png"))) == 4
    with pytest.raises(InputError, match="nothing to remove"):
        own_pictures.remove("photos")
    own_pictures.add("photos", photos)
    assert datasets.is_here("photos")


@pytest.mark.parametrize("name", ["../up", "a/b", "", "sample", "Tiny-ImageNet", ".hidden", "a\nb"])
def test_a_name_that_cannot_be_had_adds_nothing(photos: Path, data_dir: Path, name: str) -> None:
    with pytest.raises(InputError):
        own_pictures.add(name, photos, copy=True)
    assert nothing_added(data_dir)


def test_a_name_in_use_keeps_what_it_stands_for(photos: Path, data_dir: Path, tmp_path: Path) -> None:
    own_pictures.add("photos", photos)
    with pytest.raises(InputError, match="There is photos already"):
        own_pictures.add("PHOTOS", pictures(tmp_path / "others", ("tench/z.png",)))
    assert len(datasets.open_dataset("photos").examples) == 4


def test_a_copy_without_room_leaves_nothing(
    photos: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(InputError, match="free some space"):
        own_pictures.add("photos", photos, copy=True)
    assert nothing_added(data_dir)


def test_an_entry_that_cannot_be_written_leaves_nothing(
    photos: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(kind: str, name: str, values: object) -> None:
        raise VitquantError("The disk is full.")

    monkeypatch.setattr(registry, "add", full)
    with pytest.raises(VitquantError):
        own_pictures.add("photos", photos, copy=True)
    assert nothing_added(data_dir)


def test_a_picture_that_is_gone_is_named_with_the_remedy(photos: Path, data_dir: Path) -> None:
    own_pictures.add("photos", photos)
    (photos / "Tench" / "b.png").unlink()
    with pytest.raises(InputError, match=r"Tench/b\.png is not there any more.*add it again"):
        datasets.open_dataset("photos")
    shutil.rmtree(photos)
    assert not datasets.is_here("photos")
    with pytest.raises(InputError, match="put it back"):
        datasets.open_dataset("photos")


def test_the_fingerprint_notices_pictures_and_listing(photos: Path, data_dir: Path) -> None:
    seen = []

    def look() -> None:
        seen.append(datasets.fingerprint("photos"))

    own_pictures.add("photos", photos)
    look()
    assert datasets.fingerprint("photos") == seen[0]
    (photos / "Tench" / "b.png").unlink()
    look()
    own_pictures.remove("photos")
    own_pictures.add("photos", photos)
    look()
    shutil.rmtree(photos)
    look()
    assert len(set(seen)) == 4


def test_a_view_has_some_of_anothers_pictures(photos: Path, data_dir: Path) -> None:
    own_pictures.add("photos", photos, copy=True)
    examples = datasets.open_dataset("photos").examples
    own_pictures.add_view("held-out", "photos", examples[:1], "Held out", training=examples[1:])
    assert [one.path for one in datasets.open_dataset("held-out").examples] == ["Tench/a.png"]
    assert len(datasets.open_dataset("held-out", "train").examples) == 3
    with pytest.raises(InputError, match="remove held-out first"):
        own_pictures.remove("photos")
    own_pictures.remove("held-out")
    assert datasets.is_here("photos")


def test_a_view_of_a_built_in_dataset(with_training: Path) -> None:
    for split in ("val", "train"):
        opened = datasets.open_dataset("tiny-imagenet", split)
        own_pictures.add_view(f"view-{split}", "tiny-imagenet", opened.examples[:2], "A view", split=split)
        view = datasets.open_dataset(f"view-{split}")
        assert [view.file(one) for one in view.examples] == [opened.file(one) for one in opened.examples[:2]]
