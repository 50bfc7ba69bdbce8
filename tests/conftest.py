"""Fixtures that every test file may use."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import drawn
from vitquant import accuracy, catalog, database, sample

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parent.parent


def missing(what: str) -> None:
    """A test needs something that is not here: skipped with the reason, but failed in CI, where it must be."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"needs {what}, and CI must have it")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="session")
def built_in_sample() -> None:
    """The sample that comes with the project, which a test needs as it is."""
    if not (ROOT / "data" / "sample" / sample.SUMS).is_file():
        missing("the built-in sample: git restore data/sample")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the project: the real Tiny-ImageNet archive, Meta's logits."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        missing("../shared, the reference data beside the project")
    return folder


@pytest.fixture(autouse=True)
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a test's own settings may be written; the developer's are no concern of the tests."""
    file = tmp_path / "vitquant.toml"
    monkeypatch.setenv("VITQUANT_SETTINGS", str(file))
    return file


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder of this test's own; child processes inherit it."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("VITQUANT_DATA", str(folder))
    return folder


@pytest.fixture
def no_sample(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A place for a sample that is not there; child processes look for it there too."""
    folder = tmp_path / "no-sample"
    monkeypatch.setenv("VITQUANT_SAMPLE", str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_imagenet(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A data folder ($VITQUANT_DATA) with the real Tiny-ImageNet prepared, for tests that only read it."""
    from vitquant.tiny_imagenet import prepare

    folder = tmp_path_factory.mktemp("prepared")
    prepare(shared / "tiny-imagenet-200-val.zip", folder / "tiny-imagenet")
    return folder


@pytest.fixture(scope="session")
def state() -> "dict[str, torch.Tensor]":
    """The tensors of dinov2_vits14_reg_lc with random weights, by the names of Torch Hub's model."""
    from vitquant import models, weights

    return dict(models.load(weights.resolve("dinov2_vits14_reg_lc", "random")).state_dict())


@pytest.fixture(scope="session")
def backbone(state: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Those of its backbone, as in its checkpoint."""
    return {name: tensor for name, tensor in state.items() if not name.startswith("linear_head.")}


@pytest.fixture(scope="session")
def head(state: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Those of its head, as in its checkpoint."""
    return {name: state[f"linear_head.{name}"] for name in ("weight", "bias")}


@pytest.fixture(scope="session")
def checkpoints(
    tmp_path_factory: pytest.TempPathFactory,
    backbone: "dict[str, torch.Tensor]",
    head: "dict[str, torch.Tensor]",
) -> Path:
    """A folder with both of its checkpoint files, as large as the real ones and named as they are."""
    import torch

    folder = tmp_path_factory.mktemp("checkpoints")
    spec = catalog.model("dinov2_vits14_reg_lc")
    torch.save(backbone, folder / spec.backbone_file)
    torch.save(head, folder / spec.head_file)
    return folder


@pytest.fixture(scope="session")
def _drawn_splits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn once: copying takes no time."""
    folder = tmp_path_factory.mktemp("drawn") / drawn.DATASET
    drawn.draw_split(folder / "train", 2)
    drawn.draw_split(folder / "val", 1, first=100)
    return folder


@pytest.fixture
def with_training(data_dir: Path, _drawn_splits: Path) -> Path:
    """A data folder with 24 drawn training pictures and 12 others to evaluate on."""
    shutil.copytree(_drawn_splits, data_dir / drawn.DATASET)
    return data_dir


@pytest.fixture
def plan(data_dir: Path) -> accuracy.Plan:
    """40 drawn pictures, of which fp32 and qint8 have answered the first 30, most of them rightly."""
    drawn.draw_split(data_dir / drawn.DATASET / "val", drawn.PER_CLASS, classes=drawn.CLASSES)
    return drawn.store_answers({"fp32": {0, 1}, "qint8": {1, 2, 3, 29}}, limit=drawn.MEASURED)


@pytest.fixture
def db(plan: accuracy.Plan) -> Iterator[sqlite3.Connection]:
    """The store, with the plan's answers."""
    with database.opened() as db:
        yield db
