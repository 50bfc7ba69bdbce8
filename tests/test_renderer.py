"""The renderer of the sample's pictures: the same again, and others on demand."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import missing
from tools.sample import __main__ as command
from tools.sample import pictures
from tools.sample.thing import MAKERS
from vitquant import labels, paths

REAL = paths.PROJECT_ROOT / "data" / "sample"
TOLERANCE = 1.0
"""Mean absolute difference, of 255: CPUs differ in the last bit of float32 functions."""


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float32)


@pytest.mark.parametrize("wnid", sorted(MAKERS))
def test_the_shipped_pictures_are_drawn_again(wnid: str) -> None:
    for split, number in (("val", 0), ("val", 13), ("train", 1)):
        file = REAL / split / wnid / f"{wnid}_{number:04d}.JPEG"
        if not file.is_file():
            missing(f"the built-in sample's {file.name}: git restore data/sample")
        again = pixels(pictures.encoded(pictures.shipped(split), wnid, number))
        assert np.abs(again - pixels(file.read_bytes())).mean() < TOLERANCE


def test_every_class_is_one_of_tiny_imagenets() -> None:
    tiny = {label.wnid for label in labels.tiny_imagenet()}
    assert len(MAKERS) >= 40
    assert set(MAKERS) <= tiny


def test_the_command_draws_unseen_pictures_into_a_dataset_folder_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["pictures", "--count", "61", "--seed", "7", "--out", str(tmp_path), "--processes", "2"]
    command.main(asked)
    files = sorted((tmp_path / "val").rglob("*.JPEG"))
    assert len(files) == 61
    assert {file.parent.name for file in files} == set(MAKERS)  # each class before any has a second
    first = {file: file.read_bytes() for file in files}
    files[5].unlink()
    command.main(asked)
    assert "1 drawn, 61 in all" in capsys.readouterr().out
    assert {file: file.read_bytes() for file in files} == first


def test_fresh_pictures_are_other_than_the_shipped_ones_and_than_another_seeds() -> None:
    wnid = "n07747607"
    drawn = {
        pictures.encoded(of, wnid, 0)
        for of in (pictures.shipped("val"), pictures.shipped("train"), pictures.fresh(0), pictures.fresh(1))
    }
    assert len(drawn) == 4
