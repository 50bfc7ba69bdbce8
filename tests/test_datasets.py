"""A dataset's pictures, their order, and the digest that tells one dataset from another."""

import random
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from vitquant import datasets, labels
from vitquant.datasets import Dataset, Example, digest, evaluation_order, file_digests, open_dataset
from vitquant.errors import InputError

WNIDS = ("n01443537", "n01629819", "n02124075")  # goldfish, salamander, cat


@pytest.fixture
def laid_out(data_dir: Path) -> Path:
    """A data folder with a small dataset in place of Tiny-ImageNet: 3, 1 and 2 pictures in three classes."""
    root = data_dir / "tiny-imagenet" / "val"
    for wnid, count in zip(WNIDS, (3, 1, 2), strict=True):
        (root / wnid).mkdir(parents=True)
        for number in range(count):
            colour = (number * 40, len(wnid), int(wnid[1:]) % 256)
            Image.new("RGB", (8, 8), colour).save(root / wnid / f"val_{number}.JPEG")
    return root


def names(dataset: Dataset) -> list[str]:
    return [example.path for example in dataset.examples]


def made_up(counts: dict[str, int]) -> Dataset:
    """A dataset without files: so many pictures of each class."""
    pictures = [(wnid, number) for wnid, count in counts.items() for number in range(count)]
    examples = [Example(i, f"{wnid}/{number}.png", wnid, 0) for i, (wnid, number) in enumerate(pictures)]
    return Dataset("made-up", "val", Path("nowhere"), tuple(examples))


def test_examples_know_their_file_and_class(laid_out: Path) -> None:
    dataset = open_dataset("tiny-imagenet")
    assert (dataset.name, dataset.split, dataset.root) == ("tiny-imagenet", "val", laid_out)
    assert [example.index for example in dataset.examples] == list(range(6))
    last = dataset.examples[-1]
    assert last == Example(5, "n02124075/val_1.JPEG", "n02124075", 285)
    assert dataset.file(last) == laid_out / "n02124075" / "val_1.JPEG"


def test_order_is_imagefolders(laid_out: Path) -> None:
    torchvision = pytest.importorskip("torchvision.datasets")
    goldfish = laid_out / WNIDS[0]
    for name in ("val_10.jpg", "val_9.PNG", "VAL_2.webp", "a.tiff", "z.pgm", "é.ppm", ".hidden.bmp"):
        (goldfish / name).touch()
    for name in ("notes.txt", "val_1.JPEG.part", "picture.gif", "jpeg"):
        (goldfish / name).touch()
    for folder in ("z", "b", "m/x", "a", "m-x"):
        (goldfish / folder).mkdir(parents=True)
        (goldfish / folder / "val_0.JPEG").touch()
    (laid_out / "loose.JPEG").touch()
    theirs = torchvision.ImageFolder(laid_out)
    ours = open_dataset("tiny-imagenet")
    assert [str(ours.file(example)) for example in ours.examples] == [file for file, _ in theirs.samples]


def test_tiny_imagenet_is_in_imagefolders_order(tiny_imagenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision = pytest.importorskip("torchvision.datasets")
    monkeypatch.setenv("VITQUANT_DATA", str(tiny_imagenet))
    for split, pictures in (("val", 10_000), ("train", 4_000)):
        theirs = torchvision.ImageFolder(tiny_imagenet / "tiny-imagenet" / split)
        ours = open_dataset("tiny-imagenet", split)
        assert [str(ours.file(example)) for example in ours.examples] == [file for file, _ in theirs.samples]
        assert [example.wnid for example in ours.examples] == [theirs.classes[c] for c in theirs.targets]
        assert len(ours.examples) == pictures
        assert [example.index for example in ours.examples] == list(range(pictures))
    assert {example.wnid for example in ours.examples} == {label.wnid for label in labels.tiny_imagenet()}


def test_opening_ten_thousand_pictures_is_quick(tiny_imagenet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITQUANT_DATA", str(tiny_imagenet))
    times_s = []
    for _ in range(5):
        start = time.perf_counter()
        open_dataset("tiny-imagenet")
        times_s.append(time.perf_counter() - start)
    # About 0.05 s; the bound is for a busy machine, and far below one call to stat for each picture.
    assert min(times_s) < 0.2


def test_a_dataset_that_is_not_here_says_how_to_get_it(data_dir: Path) -> None:
    assert not datasets.is_here("tiny-imagenet")
    with pytest.raises(InputError, match="python -m vitquant fetch tiny-imagenet"):
        open_dataset("tiny-imagenet")
    with pytest.raises(InputError, match="tiny-imagenet"):
        open_dataset("tinyimagenet")


def test_a_split_that_is_not_here_says_which_are(laid_out: Path) -> None:
    assert datasets.is_here("tiny-imagenet")
    with pytest.raises(InputError, match="no split 'train' here, only val"):
        open_dataset("tiny-imagenet", "train")


def test_a_folder_that_is_no_class_is_named(laid_out: Path) -> None:
    (laid_out / "holiday").mkdir()
    with pytest.raises(InputError, match=f"{laid_out / 'holiday'} is not named for an ImageNet class"):
        open_dataset("tiny-imagenet")


def test_a_dataset_without_pictures_is_refused(laid_out: Path) -> None:
    shutil.rmtree(laid_out)
    (laid_out / WNIDS[0]).mkdir(parents=True)
    with pytest.raises(InputError, match="has no pictures"):
        open_dataset("tiny-imagenet")


@pytest.mark.parametrize(
    "counts",
    [
        dict.fromkeys("abcdefghij", 5),
        {"a": 7, "b": 1, "c": 3, "d": 3},
        {"only": 4},
    ],
    ids=["even", "uneven", "one class"],
)
def test_every_prefix_is_a_fair_sample_of_the_classes(counts: dict[str, int]) -> None:
    dataset = made_up(counts)
    order = evaluation_order(dataset)
    assert sorted(order) == list(range(len(dataset.examples)))
    taken: Counter[str] = Counter(dict.fromkeys(counts, 0))
    for index in order:
        taken[dataset.examples[index].wnid] += 1
        ahead = max(taken.values())
        for wnid, count in taken.items():
            assert count >= ahead - 1 or count == counts[wnid], f"{wnid} has fallen behind"


def test_the_order_depends_on_seed_and_paths_alone() -> None:
    dataset = made_up(dict.fromkeys(WNIDS, 4))
    assert evaluation_order(dataset, 0) == evaluation_order(dataset)
    assert evaluation_order(dataset, 1) != evaluation_order(dataset)
    # Written down once: stored predictions are found again by their place in this order.
    assert evaluation_order(dataset) == [6, 9, 1, 7, 3, 8, 5, 11, 2, 4, 0, 10]
    shuffled = list(dataset.examples)
    random.Random(3).shuffle(shuffled)
    again = Dataset(dataset.name, "val", dataset.root, tuple(shuffled))
    assert evaluation_order(again) == evaluation_order(dataset)


def test_the_order_does_not_go_through_the_classes_alphabetically() -> None:
    dataset = made_up({f"class{number:03}": 10 for number in range(100)})
    order = evaluation_order(dataset)
    rounds = [[dataset.examples[i].wnid for i in order[start : start + 100]] for start in range(0, 1000, 100)]
    assert all(len(set(wnids)) == 100 for wnids in rounds)
    assert len({tuple(wnids) for wnids in rounds}) == 10, "every round has an order of its own"


def test_the_digest_follows_content_and_names_and_nothing_else(laid_out: Path) -> None:
    def now() -> str:
        return digest(open_dataset("tiny-imagenet"))

    first = now()
    assert len(first) == 64
    assert now() == first
    picture = laid_out / WNIDS[0] / "val_0.JPEG"
    original = picture.read_bytes()
    (laid_out / WNIDS[0] / "notes.txt").write_text("not a picture")
    picture.touch()
    assert now() == first, "neither dates nor other files count"

    picture.write_bytes(original + b"\0")
    altered = now()
    picture.write_bytes(original)
    assert now() == first
    renamed = picture.rename(picture.with_name("val_00.JPEG"))
    after_renaming = now()
    renamed.rename(picture)
    picture.unlink()
    assert len({first, altered, after_renaming, now()}) == 4


def test_the_digest_takes_the_contents_from_whoever_remembers_them(laid_out: Path) -> None:
    dataset = open_dataset("tiny-imagenet")
    asked = []

    def remembered(files: list[Path]) -> list[str]:
        asked.extend(files)
        return file_digests(files)

    assert digest(dataset, remembered) == digest(dataset)
    assert asked == [dataset.file(example) for example in dataset.examples]


def test_a_file_that_vanished_is_named(laid_out: Path) -> None:
    dataset = open_dataset("tiny-imagenet")
    dataset.file(dataset.examples[2]).unlink()
    with pytest.raises(InputError, match=r"val_2\.JPEG cannot be read"):
        digest(dataset)
