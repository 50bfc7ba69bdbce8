"""What is measured on somebody's own pictures: the same as on the same pictures elsewhere, and agreement with
fp32 where nobody has said what they show."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitquant import (
    accuracy,
    browse,
    catalog,
    database,
    datasets,
    gallery,
    labels,
    own_pictures,
    predict,
    sample,
)
from vitquant.datasets import Example
from vitquant.gallery import Subject
from vitquant.own_pictures_listing import UNLABELLED

CLASSES, PER_CLASS = 3, 3
VARIANTS = ("fp32", "qint8")
MODEL = "sample_outliers"

pytestmark = pytest.mark.usefixtures("built_in_sample")


@pytest.fixture(scope="module")
def some() -> tuple[Example, ...]:
    """A few pictures of the sample, of several classes."""
    examples = datasets.open_dataset("sample").examples
    wnids = sorted({one.wnid for one in examples})[5 : 5 + CLASSES]
    return tuple(one for wnid in wnids for one in [e for e in examples if e.wnid == wnid][:PER_CLASS])


def measured(dataset: str, split: str = "val") -> list[dict[str, Any]]:
    with database.opened() as db:
        plan = accuracy.plan(
            db,
            model=MODEL,
            weights_source="bundled",
            dataset_name=dataset,
            variants=VARIANTS,
            image_size=70,
            split=split,
        )
        n = plan.count(None)
        accuracy.measure(db, plan, accuracy.missing(db, plan, n))
        return accuracy.rows(db, plan, VARIANTS, n)


def copied(root: Path, some: Sequence[Example], *, by_words: bool) -> Path:
    """These pictures in folders named by words, or all in one folder."""
    source = datasets.root_of("sample")
    for example in some:
        words = labels.short(labels.by_wnid(example.wnid).words).upper().replace(" ", "_")
        place = root / words if by_words else root
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / example.path, place / example.path.replace("/", "-"))
    return root


@pytest.mark.slow
def test_own_labelled_pictures_give_the_samples_rows(
    data_dir: Path, tmp_path: Path, some: Sequence[Example]
) -> None:
    own_pictures.add("renamed", copied(tmp_path / "photos", some, by_words=True))
    own_pictures.add_view("some-of-sample", "sample", some, "Some of the sample")
    found, expected = measured("renamed"), measured("some-of-sample")
    divergences = [[row.pop("mean_kl_nats") or 0.0 for row in rows] for rows in (found, expected)]
    assert divergences[0] == pytest.approx(divergences[1], rel=1e-4)  # the last bits depend on the order
    assert found == expected
    assert found[0]["top1"] > 0.5 and "agreement_with" not in found[0]


@pytest.mark.slow
def test_without_labels_fp32_is_the_measure(data_dir: Path, tmp_path: Path, some: Sequence[Example]) -> None:
    root = copied(tmp_path / "photos", some, by_words=False)
    own_pictures.add("unlabelled", root)
    fp32, qint8 = measured("unlabelled")
    assert (fp32["top1"], fp32["n"], fp32["agreement_with"]) == (1.0, len(some), "fp32")
    assert qint8["fixed"] == 0 and qint8["broken"] == round((1 - qint8["top1"]) * len(some)) > 0
    with database.opened() as db:
        [answers] = gallery.answer_sets(db, Subject(MODEL, "bundled", "unlabelled", 70))
        series = answers.series
        differ = browse.differing(db, series["fp32"].id, {"qint8": series["qint8"].id})
        assert differ["qint8"] == qint8["broken"]
        exported = list(browse.export(db, answers.dataset_id, answers.series_ids, browse.Filter()))
        assert {row["true_wnid"] for row in exported} == {None}
        assert {row["fp32_true_rank"] for row in exported} == {1}
        told = [
            browse.picture(db, answers.dataset_id, {}, number)
            for number in browse.telling(db, answers, "qint8")
        ]
        assert {one.class_index for one in told if one} == {UNLABELLED}

    # The same pictures with labels, under the same name, are other pictures to the store.
    own_pictures.remove("unlabelled")
    lines = [f"{one.path.replace('/', '-')},{one.wnid}" for one in some]
    (root / "labels.csv").write_text("\n".join(["file,label", *lines]))
    own_pictures.add("unlabelled", root)
    assert catalog.dataset("unlabelled").labelled
    assert "agreement_with" not in measured("unlabelled")[0]


@pytest.mark.slow
def test_fp32_answers_along_where_it_has_not_yet(
    data_dir: Path, tmp_path: Path, some: Sequence[Example]
) -> None:
    own_pictures.add("unlabelled", copied(tmp_path / "photos", some, by_words=False))
    with database.opened() as db:
        plan = accuracy.plan(
            db,
            model="sample",
            weights_source="bundled",
            dataset_name="unlabelled",
            variants=["bfloat16"],
            image_size=70,
        )
        accuracy.measure(db, plan, {"bfloat16": [0, 3]})
        assert accuracy.missing(db, plan, 4) == {"fp32": [1, 2], "bfloat16": [1, 2]}


def test_truth_is_the_label_or_fp32s_answer() -> None:
    logits = np.zeros((3, 1000), dtype=np.float32)
    logits[:, 7] = 1
    logits[2, 5] = 1  # as probable: the lower index comes first, as in the answers
    assert predict.truth([3, UNLABELLED, UNLABELLED], logits).tolist() == [3, 7, 5]


def test_the_digest_tells_labels_apart(data_dir: Path, tmp_path: Path, some: Sequence[Example]) -> None:
    root = copied(tmp_path / "photos", some, by_words=False)
    own_pictures.add("one", root)
    (root / "labels.csv").write_text(f"file,label\n{some[0].path.replace('/', '-')},tench\n")
    own_pictures.add("two", root)
    shutil.copy(root / "labels.csv", tmp_path / "other.csv")
    (tmp_path / "other.csv").write_text((root / "labels.csv").read_text().replace("tench", "goldfish"))
    own_pictures.add("three", root, labels=tmp_path / "other.csv")
    found = {name: datasets.digest(datasets.open_dataset(name)) for name in ("one", "two", "three")}
    assert len(set(found.values())) == 3
    assert sample.is_here()
