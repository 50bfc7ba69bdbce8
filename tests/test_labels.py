"""Class labels: the shipped table is the one its sources give, and both ways of looking up agree."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools import make_labels
from vitquant import labels
from vitquant.errors import InputError


def test_the_shipped_table_is_what_its_sources_give(shared: Path) -> None:
    assert make_labels.TABLE.read_text("utf-8") == make_labels.table(shared / "tiny-imagenet-200-val.zip")


@pytest.mark.parametrize(
    ("index", "wnid", "words"),
    [
        (0, "n01440764", "tench, Tinca tinca"),
        (134, "n02012849", "crane"),  # the bird; the machine of the same name is 517
        (517, "n03126707", "crane"),
        (951, "n07749582", "lemon"),
        (999, "n15075141", "toilet tissue, toilet paper, bathroom tissue"),
    ],
)
def test_a_class_is_found_by_its_index_and_by_its_wnid(index: int, wnid: str, words: str) -> None:
    assert labels.by_index(index) == labels.by_wnid(wnid) == labels.ClassLabel(index, wnid, words)


def test_there_are_a_thousand_classes_each_at_its_own_index() -> None:
    assert [label.index for label in labels.CLASSES] == list(range(1000))
    assert len({label.wnid for label in labels.CLASSES}) == 1000
    assert all(label.words.strip() for label in labels.CLASSES)


def test_tiny_imagenets_classes_come_in_the_order_of_their_wnids() -> None:
    wnids = [label.wnid for label in labels.tiny_imagenet()]
    assert len(wnids) == 200
    assert wnids == sorted(wnids)
    assert labels.by_wnid("n07749582") in labels.tiny_imagenet()  # lemon
    assert labels.by_wnid("n01440764") not in labels.tiny_imagenet()  # tench


def test_the_short_name_is_the_first_word_or_words() -> None:
    assert labels.short("tench, Tinca tinca") == "tench"
    assert labels.short("great white shark, white shark") == "great white shark"
    assert labels.short("lemon") == "lemon"


@pytest.mark.parametrize("index", [-1, 1000])
def test_an_index_outside_the_classes_is_refused(index: int) -> None:
    with pytest.raises(InputError, match=f"no class {index}: .* 0 to 999"):
        labels.by_index(index)


def test_an_unknown_wnid_is_refused_and_named() -> None:
    with pytest.raises(InputError, match="'n00000000' is not one of ImageNet's 1000 classes"):
        labels.by_wnid("n00000000")


def test_labels_are_had_without_torch() -> None:
    code = "import sys, vitquant.labels; print([m for m in ('torch', 'timm', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
