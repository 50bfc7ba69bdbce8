"""The pictures that calibrated recipes are fitted to: training pictures, and never those of the evaluation."""

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests import drawn
from vitquant import calibration, database, datasets, judging
from vitquant.calibration import Chosen
from vitquant.errors import InputError

SETTINGS = {"pictures": 8, "seed": 0}


@pytest.fixture
def db(with_training: Path) -> Iterator[sqlite3.Connection]:
    """A store beside a dataset that has training pictures."""
    with database.opened() as opened:
        yield opened


def choose(db: sqlite3.Connection, **settings: float) -> Chosen:
    return calibration.choose(db, drawn.DATASET, 70, SETTINGS | settings)


def training_files(data_dir: Path) -> list[Path]:
    return sorted((data_dir / drawn.DATASET / "train").rglob("*.png"))


# Which pictures


def test_the_ranges_and_the_judgement_are_of_different_training_pictures(
    db: sqlite3.Connection, data_dir: Path
) -> None:
    chosen = choose(db)
    fitted, judges = ([chosen.file(e) for e in part] for part in (chosen.fitted_to, chosen.judges))
    assert len(fitted) == len(set(fitted)) == 8
    assert set(judges) == set(training_files(data_dir)) - set(fitted)
    assert chosen.calibration.judges == len(judges) == 16
    assert (chosen.calibration.dataset, chosen.calibration.split) == (drawn.DATASET, "train")
    assert "8 training pictures of tiny-imagenet (seed 0, 70 × 70 pixels), judged on 16" in (
        chosen.calibration.title()
    )


def test_the_evaluated_pictures_are_never_among_them(db: sqlite3.Connection) -> None:
    chosen = choose(db)
    evaluated = datasets.open_dataset(drawn.DATASET)
    files = {evaluated.file(example) for example in evaluated.examples}
    assert files
    assert not files & {chosen.file(example) for example in chosen.examples}
    calibration.check_apart(db, chosen, drawn.DATASET)  # nor is any of the same content


def test_no_more_judge_than_it_takes(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "JUDGES", 9)
    assert choose(db).calibration.judges == 9


def test_the_same_choice_has_the_same_key_and_any_other_has_another(
    db: sqlite3.Connection, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = choose(db)
    assert choose(db) == first
    others = [
        choose(db, seed=1),
        choose(db, pictures=9),
        calibration.choose(db, drawn.DATASET, 84, SETTINGS),
        calibration.choose(db, "sample", 70, SETTINGS),
    ]
    drawn.draw("n07749582", 55).save(first.file(first.examples[-1]))  # the same name, another picture
    others.append(choose(db))
    keys = {of.calibration.key for of in (first, *others)}
    assert len(keys) == 1 + len(others)
    assert set(choose(db, seed=1).fitted_to) != set(first.fitted_to)


def test_where_a_dataset_has_no_training_pictures_the_samples_serve(
    db: sqlite3.Connection, data_dir: Path
) -> None:
    shutil.rmtree(data_dir / drawn.DATASET / "train")
    found = choose(db)
    assert (found.calibration.dataset, found.calibration.split) == ("sample", "train")
    calibration.check_apart(db, found, drawn.DATASET)


def test_plain_data_gives_the_same_calibration(db: sqlite3.Connection) -> None:
    of = choose(db).calibration
    plain: dict[str, Any] = asdict(of)
    assert calibration.from_plain(plain) == of


# What cannot serve


@pytest.mark.parametrize("pictures", [0, 4, 7])
def test_too_few_pictures_are_a_sentence(db: sqlite3.Connection, pictures: int) -> None:
    with pytest.raises(InputError, match=rf"{pictures} calibration pictures are too few.*take 8 or more"):
        choose(db, pictures=pictures)


def test_more_pictures_than_there_are_is_a_sentence_whose_remedy_holds(db: sqlite3.Connection) -> None:
    with pytest.raises(InputError, match=r"tiny-imagenet has 24 training pictures.*Take pictures=12\."):
        choose(db, pictures=20)
    assert choose(db, pictures=12).calibration.judges == 12


def test_a_handful_of_training_pictures_is_a_sentence_whose_remedy_holds(
    db: sqlite3.Connection, data_dir: Path
) -> None:
    for file in training_files(data_dir)[10:]:
        file.unlink()
    with pytest.raises(InputError, match=r"tiny-imagenet has 10 training pictures.*Add 6 or more to .*train"):
        choose(db)


def test_a_training_picture_that_is_also_evaluated_is_named(db: sqlite3.Connection, data_dir: Path) -> None:
    chosen = choose(db)
    twice = chosen.file(chosen.judges[3])
    evaluated = datasets.open_dataset(drawn.DATASET)
    shutil.copy(twice, evaluated.file(evaluated.examples[5]).with_name("another name.png"))
    with pytest.raises(InputError) as caught:
        calibration.check_apart(db, chosen, drawn.DATASET)
    said = str(caught.value)
    assert said.startswith("1 of the calibration pictures are also among those that accuracy is measured on")
    assert f"({twice} is one)" in said
    assert said.endswith(f"Remove them from {chosen.dataset.root}.")


def test_nothing_is_twice_where_there_is_nothing_to_evaluate(db: sqlite3.Connection, data_dir: Path) -> None:
    chosen = choose(db)
    shutil.rmtree(data_dir / drawn.DATASET / "val")
    calibration.check_apart(db, chosen, drawn.DATASET)


@pytest.mark.parametrize("place", ["fitted_to", "judges"])
def test_a_picture_of_a_single_colour_is_named(db: sqlite3.Connection, place: str) -> None:
    chosen = choose(db)
    [example, *_] = getattr(chosen, place)
    Image.new("RGB", (64, 64), "#4080c0").save(chosen.file(example))
    with pytest.raises(InputError, match=r"is of a single colour.*remove it.*seed=1") as caught:
        judging.read(chosen)
    assert str(caught.value).startswith(str(chosen.file(example)))


def test_pictures_are_read_in_their_order(db: sqlite3.Connection) -> None:
    chosen = choose(db)
    pictures = judging.read(chosen)
    assert pictures.fitted_to.shape == (8, 3, 70, 70)
    assert pictures.judges.shape == (16, 3, 70, 70)
    assert pictures.classes.tolist() == [example.class_index for example in chosen.judges]
