"""Checkpoint files that are sound but not the ones asked for, and what loading them leaves behind."""

from pathlib import Path

import pytest
import torch

from vitquant import catalog, models
from vitquant.errors import InputError
from vitquant.weights import Weights, resolve

SMALL = "dinov2_vits14_reg_lc"
SPEC = catalog.model(SMALL)

State = dict[str, torch.Tensor]


def in_folder(folder: Path, backbone: object, head: object, **how: bool) -> Weights:
    torch.save(backbone, folder / SPEC.backbone_file, **how)
    torch.save(head, folder / SPEC.head_file, **how)
    return resolve(SMALL, str(folder))


def complaint(weights: Weights) -> str:
    with pytest.raises(InputError) as caught:
        models.load(weights)
    return str(caught.value)


def test_every_value_is_the_files(tmp_path: Path, backbone: State, head: State, state: State) -> None:
    # Not the random rule's, so that nothing but the files can have given them.
    changed = [{name: tensor + 1 for name, tensor in part.items()} for part in (backbone, head)]
    loaded = models.load(in_folder(tmp_path, *changed)).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name] + 1) for name in state)


def test_the_format_of_torch_before_1_6_loads_too(tmp_path: Path, backbone: State, head: State) -> None:
    old = in_folder(tmp_path, backbone, head, _use_new_zipfile_serialization=False)
    assert torch.equal(models.load(old).mask_token, backbone["mask_token"])


def test_a_file_that_is_overwritten_changes_no_loaded_model(
    tmp_path: Path, backbone: State, head: State
) -> None:
    weights = in_folder(tmp_path, backbone, head)
    model = models.load(weights)
    with weights.files[0].open("r+b") as file:
        file.truncate(100)
    assert torch.equal(model.pos_embed, backbone["pos_embed"])


@pytest.mark.parametrize("lacking", [SPEC.backbone_file, SPEC.head_file])
def test_a_file_that_is_gone_is_named(tmp_path: Path, backbone: State, head: State, lacking: str) -> None:
    weights = in_folder(tmp_path, backbone, head)
    (tmp_path / lacking).unlink()
    assert complaint(weights).startswith(f"{tmp_path / lacking} cannot be read: No such file or directory.")


def test_two_files_mixed_up_are_told_apart(tmp_path: Path, backbone: State, head: State) -> None:
    said = complaint(in_folder(tmp_path, head, backbone))
    assert said.startswith(f"{tmp_path / SPEC.backbone_file} is not the backbone's checkpoint of {SMALL}: ")
    assert said.endswith("It looks like the head's checkpoint of dinov2_vits14_lc or dinov2_vits14_reg_lc.")


def test_a_checkpoint_without_registers_is_recognised(tmp_path: Path, backbone: State, head: State) -> None:
    plain = {name: tensor for name, tensor in backbone.items() if name != "register_tokens"}
    said = complaint(in_folder(tmp_path, plain, head))
    assert "'register_tokens' is missing. It looks like the backbone's checkpoint of dinov2_vits14_lc." in said


def test_the_head_of_another_model_is_recognised(tmp_path: Path, backbone: State) -> None:
    other = {"weight": torch.zeros(1000, 5 * 1536), "bias": torch.zeros(1000)}
    said = complaint(in_folder(tmp_path, backbone, other))
    assert "'weight' has the shape (1000, 7680), not (1000, 1920)" in said
    assert said.endswith("the head's checkpoint of dinov2_vitg14_lc or dinov2_vitg14_reg_lc.")


def test_a_damaged_checkpoint_of_this_model_is_not_said_to_look_like_it(
    tmp_path: Path, backbone: State, head: State
) -> None:
    said = complaint(in_folder(tmp_path, backbone | {"norm.weight": torch.zeros(5)}, head))
    assert "'norm.weight' has the shape (5,), not (384,)" in said
    assert "looks like" not in said


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_number_that_is_not_finite_is_refused(
    tmp_path: Path, backbone: State, head: State, value: float
) -> None:
    bias = head["bias"].clone()
    bias[-1] = value
    said = complaint(in_folder(tmp_path, backbone, head | {"bias": bias}))
    assert said.startswith(f"{tmp_path / SPEC.head_file} is damaged: the tensor 'bias' holds NaN or infinity")


@pytest.mark.parametrize(
    ("mask_token", "wrong"),
    [
        (torch.zeros(1, 384).to_sparse(), "sparse or without values"),
        (torch.zeros(1, 384, device="meta"), "sparse or without values"),
        (torch.zeros(1, 384, dtype=torch.float64), "float64, not float32"),
    ],
    ids=["sparse", "meta", "float64"],
)
def test_only_plain_float32_is_taken(
    tmp_path: Path, backbone: State, head: State, mask_token: torch.Tensor, wrong: str
) -> None:
    said = complaint(in_folder(tmp_path, backbone | {"mask_token": mask_token}, head))
    assert "'mask_token'" in said and wrong in said


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {1: torch.zeros(3)}, {}], ids=repr)
def test_what_is_no_table_of_tensors_is_refused(tmp_path: Path, head: State, content: object) -> None:
    assert str(tmp_path / SPEC.backbone_file) in complaint(in_folder(tmp_path, content, head))
