"""Heads trained on a frozen backbone: what they read, what they know, and what is kept of the work."""

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize
from scipy.special import log_softmax, softmax

import vitquant
from tests import drawn
from vitquant import (
    catalog,
    database,
    datasets,
    features,
    head_training,
    heads,
    images,
    jobs,
    machine,
    measurements,
    models,
    paths,
    predict,
    registry,
    runs,
    variants,
    weights,
)
from vitquant.datasets import Example
from vitquant.errors import Cancelled, InputError
from vitquant.measurements import HeadRequest
from vitquant.request import to_plain
from vitquant.vit import Classifier

pytestmark = pytest.mark.usefixtures("built_in_sample")

CLASSES = 10
REQUEST = HeadRequest("sample", "bundled", "tiny-imagenet", "mine")
RANDOM = replace(REQUEST, model="dinov2_vits14_reg_lc", weights="random", image_size=28)


class Registered:
    """Stands for the registration of models and of views, and notes what was registered."""

    def __init__(self) -> None:
        self.views: list[tuple[str, str, Sequence[Example]]] = []

    def add_model(
        self, name: str, files: Sequence[Path], *, title: str, trained_on: str, timm_name: str | None
    ) -> None:
        """An own model of the same form as the one whose backbone the first file is of."""
        width = torch.load(files[1], weights_only=True)["weight"].shape[1] // 5
        like = next(spec for spec in reversed(catalog.MODELS.values()) if spec.width == width)
        own = replace(like, title=title, home="own", files=tuple(map(str, files)), stored_as="float32")
        spec = {name: value for name, value in asdict(own).items() if name not in ("name", "removed_at")}
        registry.add(registry.MODELS, name, {"spec": spec, "trained_on": trained_on})

    def add_view(self, name: str, of: str, pictures: Sequence[Example], title: str) -> None:
        self.views.append((name, of, pictures))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Registered:
    made = Registered()
    for name, module in (
        ("own_models", SimpleNamespace(add=made.add_model)),
        ("own_pictures", SimpleNamespace(add_view=made.add_view)),
    ):
        monkeypatch.setitem(sys.modules, f"vitquant.{name}", module)
        monkeypatch.setattr(vitquant, name, module, raising=False)
    return made


@pytest.fixture
def db(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    """A store of this test's own, and ten of the sample's classes as a dataset of their own."""
    monkeypatch.setattr(head_training, "STRENGTHS", (0.01, 1.0))
    for split in ("train", "val"):
        for folder in sorted((paths.sample_dir() / split).iterdir())[:CLASSES]:
            (data_dir / drawn.DATASET / split / folder.name).mkdir(parents=True)
            for picture in sorted(folder.iterdir())[:6]:
                shutil.copy(picture, data_dir / drawn.DATASET / split / folder.name)
    with database.opened() as opened:
        yield opened


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each forward pass since then had."""
    noted: list[int] = []
    run = predict.logits_of

    def counted(model: Any, inputs: torch.Tensor, **how: bool) -> np.ndarray:
        noted.append(len(inputs))
        return run(model, inputs, **how)

    monkeypatch.setattr(predict, "logits_of", counted)
    return noted


def stop_when(stops: Callable[[int, str], bool]) -> Callable[[int, int, str], None]:
    def tell(done: int, total: int, what: str) -> None:
        if stops(done, what):
            raise Cancelled("enough")

    return tell


def with_head(file: str) -> Classifier:
    """The sample with another head."""
    model = models.load(weights.resolve("sample"))
    state = torch.load(file, weights_only=True)
    model.linear_head.load_state_dict(state)
    return model


def evaluated() -> tuple[torch.Tensor, list[int]]:
    dataset = datasets.open_dataset(drawn.DATASET)
    pictures = [images.open_rgb(dataset.file(example)) for example in dataset.examples]
    return predict.to_input(pictures, 70), [example.class_index for example in dataset.examples]


@pytest.mark.parametrize("request_", [REQUEST, replace(RANDOM, pictures=40, seed=3, backbone="b.pth")])
def test_a_request_survives_json(request_: HeadRequest) -> None:
    assert measurements.from_plain("head", json.loads(json.dumps(to_plain(request_)))) == request_


def test_a_head_recognises_pictures_that_it_has_not_seen(db: sqlite3.Connection) -> None:
    fit, *candidates = jobs.run_here(db, REQUEST)
    assert (fit["part"], fit["classes"], fit["n_train"]) == ("fit", CLASSES, 40)
    assert [row["strength"] for row in candidates] == list(head_training.STRENGTHS)
    [chosen] = [row for row in candidates if row["chosen"]]
    assert chosen["cross_entropy_nats"] == min(row["cross_entropy_nats"] for row in candidates)
    assert (fit["strength"], fit["top1"], fit["n_heldout"]) == (chosen["strength"], chosen["top1"], CLASSES)
    assert fit["top1_low"] <= fit["top1"] <= fit["top1_high"]

    inputs, classes = evaluated()
    model = with_head(fit["head_file"])
    known = sorted(set(classes))
    for name, least in (("fp32", 0.7), ("float16", 0.7), ("qint8", 0.6)):
        logits = predict.logits_of(variants.build(model, name, machine.engine()), inputs, one_by_one=True)
        assert np.isfinite(logits).all()
        assert (logits.argmax(axis=1) == classes).mean() > least  # by chance: 0.1
        probabilities = torch.tensor(logits).double().softmax(dim=1)
        assert float((1 - probabilities[:, known].sum(dim=1)).max()) < 1e-6


def test_a_fit_is_where_its_loss_is_smallest() -> None:
    rng = np.random.default_rng(0)
    targets = np.arange(60) % 3
    of = (rng.normal(size=(60, 4)) + targets[:, None] * [1, 0, -1, 0]).astype("<f4") * [1, 10, 0.1, 1] + 5
    strength = 0.1
    standard = (of - of.mean(axis=0)) / of.std(axis=0)

    def loss(flat: np.ndarray) -> float:
        weight, bias = flat[:12].reshape(3, 4), flat[12:]
        log_p = log_softmax(standard @ weight.T + bias, axis=1)
        return float(-log_p[np.arange(60), targets].mean() + strength / 2 * (weight**2).sum())

    best = optimize.minimize(loss, np.zeros(15)).x
    expected = softmax(standard @ best[:12].reshape(3, 4).T + best[12:], axis=1)
    found = softmax(head_training.fit(of.astype("<f4"), targets, strength).logits(of), axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_lacking_classes_never_win_whatever_reaches_the_head() -> None:
    rng = np.random.default_rng(0)
    head = head_training.Head(rng.normal(size=(3, 10)), rng.normal(size=3) - 500, 1)
    state = head.expanded((5, 7, 900), 4.0)
    wild = rng.normal(size=(1000, 10)).astype("<f4") * 100
    logits = torch.from_numpy(wild) @ state["weight"].T + state["bias"]
    probabilities = logits.double().softmax(dim=1)
    assert float((1 - probabilities[:, [5, 7, 900]].sum(dim=1)).max()) < 1e-6
    expected = torch.tensor(head.logits(wild)).double().softmax(dim=1)
    torch.testing.assert_close(probabilities[:, [5, 7, 900]], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("model", ["sample", "dinov2_vits14_reg_lc"])
def test_the_features_are_what_the_models_own_head_reads(model: str) -> None:
    of = heads.backbone(model, "bundled" if model == "sample" else "random")
    whole = models.load(of.weights)
    inputs = torch.randn(2, 3, 70, 70, generator=torch.Generator().manual_seed(0))
    read = torch.from_numpy(predict.logits_of(head_training.load(of), inputs))
    assert torch.equal(whole.linear_head(read), torch.from_numpy(predict.logits_of(whole, inputs)))


def test_a_stopped_run_goes_on_with_the_features_that_it_has(
    db: sqlite3.Connection, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "BATCH", 8)
    with pytest.raises(Cancelled):
        jobs.run_here(db, REQUEST, on_progress=stop_when(lambda done, what: done >= 16))
    assert not list(features.folder().glob("*.npy"))
    passes.clear()
    jobs.run_here(db, REQUEST)
    assert sum(passes) == 40 - 16

    passes.clear()
    [other, *_] = jobs.run_here(db, replace(REQUEST, name="other", seed=1))
    assert passes == []
    assert with_head(other["head_file"]).linear_head.bias.isfinite().all()


def test_a_stopped_run_keeps_the_candidates_that_it_has(db: sqlite3.Connection) -> None:
    with pytest.raises(Cancelled):
        jobs.run_here(db, REQUEST, on_progress=stop_when(lambda _, what: what == "fitting, strength 1"))
    [stopped] = runs.find(db)
    assert [row["strength"] for row in stopped.result or ()] == [0.01]
    assert "mine" not in catalog.models()
    _, first, _ = jobs.run_here(db, REQUEST)
    assert first["seconds"] == (stopped.result or [])[0]["seconds"]


def test_damaged_features_are_computed_again(db: sqlite3.Connection, passes: list[int]) -> None:
    [fit, *_] = jobs.run_here(db, REQUEST)
    whole = torch.load(fit["head_file"], weights_only=True)
    [file] = features.folder().glob("*.npy")
    with file.open("r+b") as opened:
        opened.truncate(10_000)
    passes.clear()
    [again, *_] = jobs.run_here(db, replace(REQUEST, name="again"))
    assert sum(passes) == 40
    torch.testing.assert_close(torch.load(again["head_file"], weights_only=True), whole)


def test_a_stored_head_answers_until_it_is_removed(db: sqlite3.Connection, passes: list[int]) -> None:
    rows = jobs.run_here(db, REQUEST)
    assert REQUEST.stored(db) == rows
    assert jobs.run_here(db, REQUEST) == rows
    with pytest.raises(InputError, match="There is mine already"):
        jobs.run_here(db, replace(REQUEST, seed=1))
    registry.remove(registry.MODELS, "mine")
    assert REQUEST.stored(db) is None
    passes.clear()
    assert jobs.run_here(db, REQUEST)[0]["head_sha256"] == rows[0]["head_sha256"]
    assert passes == []


def test_a_random_backbone_becomes_a_file_and_the_model_can_be_loaded(
    db: sqlite3.Connection, registered: Registered
) -> None:
    [fit, *_] = jobs.run_here(db, RANDOM)
    model = models.load(weights.resolve("mine"))
    whole = models.load(weights.resolve(RANDOM.model, "random"))
    state = torch.load(fit["head_file"], weights_only=True)
    assert torch.equal(model.mask_token, whole.mask_token)
    assert torch.equal(model.blocks[3].mlp.fc1.weight, whole.blocks[3].mlp.fc1.weight)
    assert torch.equal(model.linear_head.weight, state["weight"])
    assert state["weight"].shape == (1000, 5 * 384)
    assert "random numbers" in catalog.model("mine").title


def test_a_backbone_alone_is_enough(db: sqlite3.Connection, tmp_path: Path) -> None:
    shutil.copy(paths.sample_dir() / "model" / "sample_pretrain.pth", tmp_path / "b.pth")
    [fit, *_] = jobs.run_here(db, replace(REQUEST, backbone=str(tmp_path / "b.pth")))
    assert fit["backbone_file"] == str(tmp_path / "b.pth")
    [whole, *_] = jobs.run_here(db, replace(REQUEST, model="sample_outliers", name="twin"))
    torch.testing.assert_close(*(torch.load(row["head_file"], weights_only=True) for row in (fit, whole)))


def test_without_training_pictures_a_fifth_is_held_out_for_good(
    db: sqlite3.Connection, data_dir: Path, registered: Registered
) -> None:
    shutil.rmtree(data_dir / drawn.DATASET / "train")
    [fit, *candidates] = jobs.run_here(db, REQUEST)
    [(name, of, pictures)] = registered.views
    assert (name, of) == ("tiny-imagenet-rest", "tiny-imagenet")
    everything = {example.path for example in datasets.open_dataset(drawn.DATASET).examples}
    found = heads.pictures(db, drawn.DATASET, None, 0)
    assert {example.path for example in found.training} | {example.path for example in pictures} == everything
    assert len(found.training) + len(pictures) == len(everything)
    assert len({example.wnid for example in pictures}) == CLASSES
    assert (fit["held_out"], fit["n_heldout"]) == (name, len(pictures))
    assert fit["top1"] > 0.5  # by chance: 0.1
    assert {row["n_heldout"] for row in candidates} == {CLASSES}
    # Whatever the seed, no head is trained on what another one was judged by.
    assert heads.pictures(db, drawn.DATASET, None, 5).rest == found.rest


def test_a_training_picture_that_is_also_evaluated_is_left_out(db: sqlite3.Connection, data_dir: Path) -> None:
    root = data_dir / drawn.DATASET
    evaluated = next((root / "val").rglob("*.jpg"), None) or next((root / "val").rglob("*.JPEG"))
    shutil.copy(evaluated, root / "train" / evaluated.parent.name / f"copy{evaluated.suffix}")
    found = heads.pictures(db, drawn.DATASET, None, 0)
    assert (found.left_out, len(found.training)) == (1, 40)


def test_a_class_with_a_single_picture_is_trained_on_and_told(db: sqlite3.Connection, data_dir: Path) -> None:
    folder = sorted((data_dir / drawn.DATASET / "train").iterdir())[0]
    for picture in sorted(folder.iterdir())[1:]:
        picture.unlink()
    [fit, *candidates] = jobs.run_here(db, REQUEST)
    assert fit["single_picture_classes"] == [folder.name]
    assert fit["classes"] == CLASSES
    assert {row["n_heldout"] for row in candidates} == {CLASSES - 1}


def test_so_many_pictures_at_most_come_evenly_from_all_classes(db: sqlite3.Connection) -> None:
    found = heads.pictures(db, drawn.DATASET, 20, 0)
    assert [example.wnid for example in found.training].count(found.training[0].wnid) == 2
    assert (len(found.training), len(found.classes)) == (20, CLASSES)


def unlabelled(_: Path) -> None:
    spec = {"title": "", "pictures": 1, "classes": 0, "how_to_get": "", "root": "/", "labelled": False}
    registry.add(registry.DATASETS, "plain", {"spec": spec})


def only_classes(count: int) -> Callable[[Path], None]:
    def remove_others(root: Path) -> None:
        for folder in sorted((root / "train").iterdir())[count:]:
            shutil.rmtree(folder)

    return remove_others


def only_pictures(count: int) -> Callable[[Path], None]:
    def remove_others(root: Path) -> None:
        for folder in (root / "train").iterdir():
            for picture in sorted(folder.iterdir())[count:]:
                picture.unlink()

    return remove_others


def nothing(_: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("request_", "prepare", "says"),
    [
        (replace(REQUEST, dataset="plain"), unlabelled, "does not say what its pictures show"),
        (REQUEST, only_classes(1), "of 1 class"),
        (REQUEST, only_pictures(1), "has a second training picture"),
        (replace(REQUEST, pictures=5), nothing, "take 20 or more"),
        (replace(REQUEST, name="sample"), nothing, "vitquant's own names"),
        (replace(REQUEST, name="a/b"), nothing, "is no name"),
        (replace(REQUEST, image_size=71), nothing, "does not fit the 14-pixel patches"),
        (replace(RANDOM, weights="hub"), nothing, "The backbone of dinov2_vits14_reg_lc is not here"),
        (replace(RANDOM, backbone="/nowhere.pth"), nothing, "There is no file /nowhere.pth"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_trained_is_a_sentence_before_anything_is_computed(
    db: sqlite3.Connection,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    passes: list[int],
    request_: HeadRequest,
    prepare: Callable[[Path], None],
    says: str,
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(data_dir / "no-hub"))
    prepare(data_dir / drawn.DATASET)
    with pytest.raises(InputError, match=says):
        jobs.run_here(db, request_)
    assert runs.find(db) == []
    assert passes == []


def test_another_models_backbone_is_refused_by_name(db: sqlite3.Connection) -> None:
    file = paths.sample_dir() / "model" / "sample_pretrain.pth"
    with pytest.raises(InputError, match=r"sample_pretrain\.pth is not the backbone's checkpoint of"):
        jobs.run_here(db, replace(RANDOM, backbone=str(file)))


def test_features_that_are_no_numbers_name_the_picture(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = predict.logits_of

    def broken(model: Any, inputs: torch.Tensor) -> np.ndarray:
        found = run(model, inputs)
        found[-1, 7] = np.nan
        return found

    monkeypatch.setattr(predict, "logits_of", broken)
    with pytest.raises(InputError, match=r"The backbone makes NaN or infinity of .*train"):
        jobs.run_here(db, REQUEST)
    assert "mine" not in catalog.models()
