"""The accuracy pass: what is measured once stays, what is asked for again is read back, nothing depends on
where an earlier run stopped. Small made-up models, so that each answer can be worked out by hand."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import entropy
from torch import nn

from vitquant import accuracy, database, labels, predict, predictions, sequential
from vitquant.errors import Cancelled, InputError

CLASSES = 5
PER_CLASS = 4
N = CLASSES * PER_CLASS
SIZE = 14


class Made(nn.Module):
    """Logits straight from the pixels, so that no two pictures get the same; remembers its batches.

    batch_scale: the answer depends on the batch's largest value, as dynamic int8's does.
    """

    def __init__(self, *, batch_scale: bool = False) -> None:
        super().__init__()
        self.batch_scale = batch_scale
        self.batches: list[torch.Tensor] = []
        generator = torch.Generator().manual_seed(1)
        self.weight = torch.randn(3 * SIZE * SIZE, 1000, generator=generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.batches.append(x)
        if self.batch_scale:
            step = x.abs().max() / 4
            x = torch.round(x / step) * step
        return x.flatten(1) @ self.weight / 100

    @property
    def pictures_seen(self) -> int:
        """Slots left empty are zero and do not count."""
        return sum(int((batch.abs().sum(dim=(1, 2, 3)) > 0).sum()) for batch in self.batches)


@pytest.fixture
def pictures(data_dir: Path) -> Path:
    """A dataset of 20 pictures of noise in 5 classes."""
    random = np.random.default_rng(0)
    root = data_dir / "tiny-imagenet" / "val"
    for label in labels.tiny_imagenet()[:CLASSES]:
        (root / label.wnid).mkdir(parents=True)
        for number in range(PER_CLASS):
            pixels = random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label.wnid / f"{number}.png")
    return root


@pytest.fixture
def db(pictures: Path) -> Iterator[sqlite3.Connection]:
    with database.opened() as opened:
        yield opened


def plan(db: sqlite3.Connection, *variants: str, weights_source: str = "random") -> accuracy.Plan:
    return accuracy.plan(
        db,
        model="dinov2_vits14_reg_lc",
        weights_source=weights_source,
        dataset_name="tiny-imagenet",
        variants=variants,
        image_size=SIZE,
    )


def measure(
    db: sqlite3.Connection,
    n: int,
    *variants: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Made]:
    made = {name: Made(batch_scale=name == "qint8") for name in ("fp32", *variants)}
    asked = plan(db, *variants)
    accuracy.measure(db, asked, accuracy.missing(db, asked, n), on_progress, load=lambda names: made)
    return made


def everything(db: sqlite3.Connection) -> list[tuple[object, ...]]:
    return [tuple(row) for row in db.execute("SELECT * FROM predictions ORDER BY series_id, position")]


def test_stored_answers_are_the_models_own(db: sqlite3.Connection, pictures: Path) -> None:
    measure(db, N, "qint8")
    asked = plan(db, "qint8")
    example = asked.dataset.examples[7]
    inputs = predict.to_input([Image.open(pictures / example.path).convert("RGB")], SIZE)
    for name, model in {"fp32": Made(), "qint8": Made(batch_scale=True)}.items():
        logits = model(inputs)[0].numpy()
        probabilities = np.exp(logits) / np.exp(logits).sum()
        stored = predictions.answers_to(db, [asked.series[name].id], 7)[asked.series[name].id]
        best = np.argsort(-logits)[:5]
        assert stored.indices == tuple(best)
        assert stored.probabilities == pytest.approx(probabilities[best], rel=1e-4)
        assert stored.true_rank == 1 + int((logits > logits[example.class_index]).sum())
        assert stored.true_probability == pytest.approx(probabilities[example.class_index], rel=1e-4)
        reference = Made()(inputs)[0].numpy()
        expected = entropy(np.exp(reference), np.exp(logits))
        assert stored.kl_nats == pytest.approx(expected, rel=1e-3, abs=1e-9)


def test_fp32s_logits_are_kept_whole(db: sqlite3.Connection) -> None:
    measure(db, N)
    series = plan(db).series["fp32"]
    kept = predictions.logits(db, series.id, range(N))
    assert len(kept) == N
    assert {(array.shape, array.dtype.str) for array in kept.values()} == {((1000,), "<f4")}


def test_a_variant_whose_answer_depends_on_the_batch_is_asked_one_picture_at_a_time(
    db: sqlite3.Connection,
) -> None:
    made = measure(db, N, "qint8")
    assert {len(batch) for batch in made["qint8"].batches} == {1}
    assert {len(batch) for batch in made["fp32"].batches} == {accuracy.BATCH}


def test_a_longer_run_extends_a_shorter_one_and_gives_what_one_long_run_gives(
    db: sqlite3.Connection, data_dir: Path
) -> None:
    measure(db, 5, "qint8")  # ends inside a batch
    first = everything(db)
    made = measure(db, N, "qint8")
    assert made["fp32"].pictures_seen == N - 5
    assert made["qint8"].pictures_seen == N - 5
    extended = everything(db)
    assert set(first) <= set(extended)
    with database.opened(data_dir / "other.sqlite") as other:
        measure(other, N, "qint8")
        assert everything(other) == extended


def test_a_run_stopped_in_the_middle_goes_on_where_it_stopped(db: sqlite3.Connection, data_dir: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        measure(db, N, "qint8", on_progress=stop)
    assert len(everything(db)) == 2 * accuracy.BATCH  # one batch of both variants is there
    made = measure(db, N, "qint8")
    assert made["fp32"].pictures_seen == N - accuracy.BATCH
    with database.opened(data_dir / "other.sqlite") as other:
        measure(other, N, "qint8")
        assert everything(other) == everything(db)


def test_a_variant_added_later_is_compared_with_fp32s_stored_logits(
    db: sqlite3.Connection, data_dir: Path
) -> None:
    measure(db, N)
    made = measure(db, N, "qint8")
    assert made["fp32"].pictures_seen == 0
    with database.opened(data_dir / "other.sqlite") as other:
        measure(other, N, "qint8")
        assert everything(other) == everything(db)


@pytest.fixture
def looks_of_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequential, "FIRST_LOOK", 8)


class Broken(Made):
    """Answers class 999, which is nobody's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 0 + torch.arange(1000)


class Right(Made):
    """Answers whatever the table says for the picture that it is given."""

    def __init__(self, asked: accuracy.Plan) -> None:
        super().__init__()
        self.table = [
            (predict.to_input([Image.open(asked.dataset.file(e)).convert("RGB")], SIZE)[0], e.class_index)
            for e in asked.dataset.examples
        ]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        super().forward(x)
        logits = torch.zeros(len(x), 1000)
        for row, picture in enumerate(x):
            for known, class_index in self.table:
                if torch.equal(known, picture):
                    logits[row, class_index] = 1.0
        return logits


@pytest.mark.usefixtures("looks_of_eight")
def test_until_sure_a_settled_variant_is_measured_no_further(db: sqlite3.Connection, data_dir: Path) -> None:
    asked = plan(db, "qint8", "float16")
    made = {"fp32": Right(asked), "qint8": Broken(), "float16": Right(asked)}
    seen: list[tuple[int, int]] = []
    accuracy.measure_until_sure(db, asked, N, lambda *at: seen.append(at), load=lambda names: made)
    assert {name: model.pictures_seen for name, model in made.items()} == {
        "fp32": N,
        "qint8": 8,
        "float16": N,
    }
    assert (seen[0], seen[-1]) == ((0, N), (N, N))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)

    rows = accuracy.settled_rows(db, asked, ["fp32", "qint8", "float16"], N)
    assert rows is not None
    assert [(row["n"], row["conclusion"]) for row in rows] == [
        (N, None),
        (8, "differs"),
        (N, "unsettled"),  # 20 pictures are too few for one point
    ]
    assert rows[1]["difference"] == -1.0
    assert rows[2]["difference_high"] > rows[2]["difference"] == 0.0

    accuracy.measure_until_sure(db, asked, N, load=lambda names: pytest.fail("all is stored"))
    with database.opened(data_dir / "other.sqlite") as other:  # a full pass before changes nothing
        whole = accuracy.missing(other, plan(other, "qint8", "float16"), N)
        accuracy.measure(other, plan(other, "qint8", "float16"), whole, load=lambda names: made)
        again = accuracy.settled_rows(other, plan(other, "qint8", "float16"), ["fp32", "qint8", "float16"], N)
    assert again == rows


@pytest.mark.usefixtures("looks_of_eight")
def test_until_sure_stopped_between_looks_measures_nothing_twice(db: sqlite3.Connection) -> None:
    asked = plan(db, "float16")
    made = {"fp32": Right(asked), "float16": Right(asked)}

    def stop(done: int, last: int) -> None:
        if done >= 16:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        accuracy.measure_until_sure(db, asked, N, stop, load=lambda names: made)
    assert accuracy.settled_rows(db, asked, ["float16"], N) is None
    stored = len(everything(db))
    again = {"fp32": Right(asked), "float16": Right(asked)}
    accuracy.measure_until_sure(db, asked, N, load=lambda names: again)
    assert again["float16"].pictures_seen == N - stored // 2


def test_rows_count_what_is_stored(db: sqlite3.Connection) -> None:
    measure(db, 12, "qint8")
    asked = plan(db, "qint8")
    stored = {
        name: [
            p.true_rank
            for picture in asked.order[:12]
            for p in predictions.answers_to(db, [series.id], picture).values()
        ]
        for name, series in asked.series.items()
    }
    for row in accuracy.rows(db, asked, ["fp32", "qint8"], 12):
        ranks = stored[row["variant"]]
        assert row["n"] == 12
        assert row["top1"] == sum(rank == 1 for rank in ranks) / 12
        assert row["top5"] == sum(rank <= 5 for rank in ranks) / 12
        assert row["top1_low"] <= row["top1"] <= row["top1_high"]
    fp32, qint8 = accuracy.rows(db, asked, ["fp32", "qint8"], 12)
    assert fp32["broken"] is None
    pairs = list(zip(stored["fp32"], stored["qint8"], strict=True))
    assert qint8["broken"] == sum(a == 1 and b > 1 for a, b in pairs)
    assert qint8["fixed"] == sum(a > 1 and b == 1 for a, b in pairs)


def test_a_changed_picture_is_another_dataset(db: sqlite3.Connection, pictures: Path) -> None:
    measure(db, N)
    before = plan(db).series["fp32"].identity
    changed = next(pictures.rglob("*.png"))
    Image.new("RGB", (SIZE, SIZE), "red").save(changed)
    after = plan(db)
    assert after.series["fp32"].identity.dataset_digest != before.dataset_digest
    assert len(accuracy.missing(db, after, N)["fp32"]) == N


def test_a_damaged_picture_ends_the_pass_with_its_name_and_keeps_the_rest(
    db: sqlite3.Connection, pictures: Path
) -> None:
    asked = plan(db)
    last = asked.example(N - 1)
    (pictures / last.path).write_bytes(b"no longer a picture")
    with pytest.raises(InputError, match=last.path):
        measure(db, N)
    assert len(everything(db)) >= accuracy.BATCH


def test_the_same_weights_under_another_name_are_the_same_series_found_by_the_newest_name(
    db: sqlite3.Connection, tmp_path: Path
) -> None:
    names = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        for name in ("dinov2_vits14_reg4_pretrain.pth", "dinov2_vits14_reg4_linear4_head.pth"):
            (folder / name).write_bytes(b"read by digest only")
        names.append(str(folder))
    series = [plan(db, weights_source=name).series["fp32"] for name in names]
    assert series[0].id == series[1].id
    assert series[1].identity.weights == names[1]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_leaves_nothing_is_refused(db: sqlite3.Connection, limit: int) -> None:
    with pytest.raises(InputError, match="leaves nothing"):
        plan(db).count(limit)
