"""What a person has added: entries that appear whole, names that can be had, and what stays of removed ones."""

from pathlib import Path

import pytest

from vitquant import catalog, registry, weights
from vitquant.errors import InputError

MODEL = {
    "title": "My ViT-S",
    "home": "own",
    "timm_name": "vit_small_patch14_dinov2",
    "hub_base": "dinov2_vits14",
    "hub_full": "dinov2_vits14",
    "width": 384,
    "depth": 12,
    "heads": 6,
    "registers": 0,
    "backbone_parameters": 22_056_576,
    "head_parameters": 1_921_000,
    "files": ["/somewhere/backbone.pth", "/somewhere/head.pth"],
}

pytestmark = pytest.mark.usefixtures("data_dir")


def test_what_is_added_is_known_by_its_name_everywhere() -> None:
    registry.add(registry.MODELS, "mine", {"spec": MODEL})
    spec = catalog.model("mine")
    assert (spec.title, spec.width, spec.home) == ("My ViT-S", 384, "own")
    assert "mine" in catalog.models()
    assert weights.resolve("mine").files == (Path("/somewhere/backbone.pth"), Path("/somewhere/head.pth"))


def test_a_removed_one_is_offered_no_more_but_keeps_its_name_and_can_be_added_again() -> None:
    registry.add(registry.MODELS, "mine", {"spec": MODEL})
    registry.remove(registry.MODELS, "mine")
    assert "mine" not in catalog.models()
    assert catalog.model("mine").removed_at
    with pytest.raises(InputError, match="nothing to remove"):
        registry.remove(registry.MODELS, "mine")
    registry.add(registry.MODELS, "mine", {"spec": {**MODEL, "title": "Another"}})
    assert catalog.models()["mine"].title == "Another"


@pytest.mark.parametrize("name", ["../mine", "a/b", "", ".hidden", "two words", "x" * 41, "tail.", "ü", "-x"])
def test_names_that_are_paths_or_no_file_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="is no name for it"):
        registry.add(registry.DATASETS, name, {"spec": {}})
    assert not registry.folder(registry.DATASETS).exists()


def test_names_that_differ_in_capitals_only_collide() -> None:
    registry.add(registry.MODELS, "mine", {"spec": MODEL})
    with pytest.raises(InputError, match="There is mine already"):
        registry.check_name(registry.MODELS, "Mine")


def test_a_name_says_what_is_meant() -> None:
    registry.add(registry.MODELS, "mine", {"spec": MODEL})
    with pytest.raises(InputError, match="There is mine already"):
        catalog.check_new_name(registry.DATASETS, "mine")
    registry.remove(registry.MODELS, "mine")
    catalog.check_new_name(registry.DATASETS, "mine")
    with pytest.raises(InputError, match="There was mine, and Mine differs in capitals alone"):
        catalog.check_new_name(registry.MODELS, "Mine")


@pytest.mark.parametrize("name", ["sample", "Sample", "dinov2_vits14_lc", "tiny-imagenet"])
def test_vitquants_own_names_cannot_be_taken(name: str) -> None:
    with pytest.raises(InputError, match="one of vitquant's own names"):
        catalog.check_new_name(registry.MODELS, name)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "other"}', '{"name": "odd", "spec": {"no": 1}}'])
def test_a_damaged_entry_hides_itself_and_nothing_else(content: str) -> None:
    registry.add(registry.MODELS, "mine", {"spec": MODEL})
    (registry.folder(registry.MODELS) / "odd.json").write_text(content)
    assert "odd" not in catalog.models() and "mine" in catalog.models()
