"""timm's ViTs: which can be served, that they answer as timm's own modules do, and that every recipe, diagnosis
and export takes them."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer

from tests.test_cli import answer
from vitquant import (
    catalog,
    follow,
    head_training,
    heads,
    inventory,
    latency,
    layers,
    machine,
    models,
    own_models,
    packing,
    predict,
    registry,
    smoothing,
    timm_models,
    variants,
    vit,
    weights,
)
from vitquant.cure import Cure
from vitquant.errors import InputError
from vitquant.weights import Weights

TINY = "test_vit"
"""timm's own for tests: 64 channels, 6 blocks, patches of 16 pixels, pictures of 160 and not as ImageNet's."""

State = dict[str, torch.Tensor]


def vitquant_small(pretrained: bool = False, **form: Any) -> VisionTransformer:
    """For forms that timm has only in large."""
    of_timms_registry = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
    own = {name: value for name, value in form.items() if name not in of_timms_registry}
    return VisionTransformer(**({"patch_size": 16, "embed_dim": 48, "depth": 3, "num_heads": 2} | own))


register_model(vitquant_small)

FORMS: dict[str, dict[str, Any]] = {
    "as most are": {},
    "mean of the patches": {"global_pool": "avg"},
    "mean of all tokens": {"global_pool": "avg", "pool_include_prefix": True, "fc_norm": False},
    "registers": {"reg_tokens": 2},
    "positions for the patches alone": {"no_embed_class": True, "reg_tokens": 1},
    "CLIP's": {"pre_norm": True},
    "layer scales": {"init_values": 0.1},
    "no bias": {"qkv_bias": False, "proj_bias": False},
    "gated": {"mlp_layer": timm.layers.SwiGLUPacked, "mlp_ratio": 4},
    "normalised queries": {"qk_norm": True},
}


def random_state(model: torch.nn.Module) -> State:
    return {name: models.random_tensor(name, tuple(t.shape)) for name, t in model.named_parameters()}


def pair(form: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[VisionTransformer, vit.TimmViT]:
    """timm's own module and vitquant's of the same numbers."""
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **given: create(name, **{**form, **given}))
    timms: Any = timm.create_model("vitquant_small", img_size=64, num_classes=1000, dynamic_img_size=True)
    ours = vit.TimmViT(
        timm_name="vitquant_small", pretraining_size=64, mean=vit.IMAGENET_MEAN, std=vit.IMAGENET_STD
    )
    state = random_state(timms)
    timms.load_state_dict(state)
    ours.load_state_dict({name.replace("head.", "linear_head."): tensor for name, tensor in state.items()})
    return timms.eval().requires_grad_(False), ours.eval().requires_grad_(False)


def inputs_of(size: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(size))


@pytest.fixture(scope="module")
def state() -> State:
    return random_state(timm.create_model(TINY, num_classes=1000))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, state: State) -> Path:
    found = tmp_path_factory.mktemp("timm") / "test_vit.safetensors"
    save_file(state, found)
    return found


@pytest.fixture
def added(data_dir: Path, file: Path) -> catalog.ModelSpec:
    return own_models.add("mine", [file], timm_name=TINY)


# Answers


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
@pytest.mark.parametrize("size", [64, 48, 96])
def test_answers_are_timms(form: dict[str, Any], size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    timms, ours = pair(form, monkeypatch)
    expected = timms(inputs_of(size))
    assert expected.std() > 0.05  # else nothing is shown
    torch.testing.assert_close(ours(inputs_of(size)), expected, atol=1e-4, rtol=1e-4)


def test_pictures_come_in_as_the_model_was_trained_on_them(added: catalog.ModelSpec, state: State) -> None:
    timms = timm.create_model(TINY, num_classes=1000).eval()
    timms.load_state_dict(state)
    assert added.mean != vit.IMAGENET_MEAN
    pixels = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(1))

    def normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
        return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    ours = models.load(weights.resolve("mine"))
    with torch.inference_mode():
        expected = timms(normalised(added.mean, added.std))
        found = ours(normalised(vit.IMAGENET_MEAN, vit.IMAGENET_STD))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_smoothing_leaves_the_float32_function(form: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = pair(form, monkeypatch)
    rng = np.random.default_rng(0)
    scales = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):  # norms, too, where nothing but one Linear reads them
            scales[name] = np.exp(rng.uniform(-2, 2, module.in_features)).astype(np.float32)
    assert len(scales) == 4 * 3 + 1
    cure = Cure(smooth=scales, fold_layer_scale=smoothing.has_layer_scales(model))
    exact = predict.logits_of(model, inputs_of(64))
    np.testing.assert_allclose(
        predict.logits_of(packing.floats_of(model, cure), inputs_of(64)), exact, atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("form", ["no bias", "mean of the patches", "layer scales"])
def test_every_step_of_a_cure_takes_every_form(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = pair(FORMS[form], monkeypatch)
    variants.set_engine(machine.engine())
    widths = {name: m.out_features for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    shifted = {name: np.full(width, 1e-3, np.float32) for name, width in widths.items()}
    cure = Cure(per_channel=True, bias=shifted, in_float=("linear_head",))
    built = packing.int8(model, cure, has_float16=False)
    found, exact = (predict.logits_of(one, inputs_of(64, 1)) for one in (built, model))
    assert np.isfinite(found).all()
    assert np.corrcoef(found[0], exact[0])[0, 1] > 0.99


def test_following_a_picture_reads_its_last_block_alone(added: catalog.ModelSpec) -> None:
    model = models.load(weights.resolve("mine"))
    variants.set_engine(machine.engine())
    int8: Any = variants.build(model, "qint8", machine.engine())
    followed = follow.follow(model, int8, inputs_of(160, 1))
    assert len(followed.class_cosine) == added.depth
    assert followed.mixed[0] == followed.fp32.indices[0]
    assert len(followed.mixed) == added.depth + 1
    assert followed.fp32_attention.shape == (added.depth, added.heads, 10, 10)


# What can be served


def test_what_it_is_like_is_read_off_the_name() -> None:
    found = timm_models.look_up("vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    assert (found.width, found.depth, found.heads, found.registers) == (192, 12, 3, 0)
    assert (found.patch_size, found.image_size, found.mean) == (16, 224, (0.5, 0.5, 0.5))
    assert timm_models.look_up("deit_tiny_patch16_224").mean == vit.IMAGENET_MEAN


REFUSED = {
    "a near name": ("vit_tiny_patch15_224", "did you mean vit_tiny_patch16_224"),
    "nothing near": ("zzzz", "vit_tiny_patch16_224 is one, for example"),
    "a path": ("../test_vit", "timm has no model called '../test_vit'"),
    "a hub's address": ("hf-hub:timm/test_vit", "timm has no model called"),
    "unknown weights": ("test_vit.imagenet", "no weights 'imagenet' of test_vit: there are r160_in1k"),
    "no transformer": ("resnet18", "resnet18 cannot be served: it is not one of timm's VisionTransformers"),
    "another transformer": ("swin_tiny_patch4_window7_224", "it is a SwinTransformer"),
    "two class tokens": ("deit_tiny_distilled_patch16_224", "it is a VisionTransformerDistilled"),
    "no class token": ("vit_base_patch16_siglip_224", "it has no class token"),
    "other blocks": ("vit_small_patch16_18x2_224", "its blocks are ParallelThingsBlocks"),
    "convolutions first": ("vit_small_r26_s32_224", "its patches come from a HybridEmbed"),
    "no last norm": ("vit_base_patch16_radio_v3", "nothing normalises what its head reads"),
}


@pytest.mark.parametrize(("name", "said"), REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_served_is_refused_with_the_reason(name: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        timm_models.look_up(name)
    assert said in str(caught.value)


# From a file


def test_a_file_becomes_a_model(added: catalog.ModelSpec, file: Path, state: State) -> None:
    assert catalog.models()["mine"] == added
    assert (added.family, added.patch_size, added.pretraining_size) == ("timm", 16, 160)
    assert (added.usual_image_size, added.image_sizes) == (160, (64, 160, 224))
    assert added.parameters == sum(tensor.numel() for tensor in state.values())
    assert added.head_parameters == 1000 * 64 + 1000
    assert added.files == (str(file),)
    loaded = models.load(weights.resolve("mine"))
    assert torch.equal(loaded.linear_head.weight, state["head.weight"])
    assert [layer.name for layer in layers.of(added)] == [
        name for name, module in loaded.named_modules() if isinstance(module, torch.nn.Linear)
    ]


def test_a_pickle_of_tensors_does_as_well(data_dir: Path, tmp_path: Path, state: State) -> None:
    torch.save({"model": {f"module.{name}": t for name, t in state.items()}, "epoch": 3}, tmp_path / "a.pth")
    own_models.add("mine", [tmp_path / "a.pth"], timm_name=TINY)
    assert torch.equal(models.load(weights.resolve("mine")).pos_embed, state["pos_embed"])


def test_the_image_size_is_that_of_the_positions_in_the_file(
    data_dir: Path, tmp_path: Path, state: State
) -> None:
    save_file(
        state | {"pos_embed": state["pos_embed"][:, : 1 + 6 * 6].contiguous()}, tmp_path / "small.safetensors"
    )
    spec = own_models.add("mine", [tmp_path / "small.safetensors"], timm_name=TINY)
    assert spec.pretraining_size == spec.usual_image_size == 96
    assert np.isfinite(predict.logits_of(models.load(weights.resolve("mine")), inputs_of(96))).all()


def test_sizes_go_by_its_patches(added: catalog.ModelSpec) -> None:
    assert catalog.check_image_size(64, "mine") == 64
    with pytest.raises(InputError, match="70 does not fit the 16-pixel patches of mine: take 64 or 80"):
        catalog.check_image_size(70, "mine")
    assert [str(shape) for shape in latency.usual_shapes("mine")] == ["1x160", "8x160"]
    with pytest.raises(InputError, match="16-pixel patches"):
        latency.parse_shapes("1x70", "mine")


def test_random_weights_can_be_had_too(added: catalog.ModelSpec) -> None:
    logits = predict.logits_of(models.load(weights.resolve("mine", "random")), inputs_of(160))
    assert np.isfinite(logits).all() and logits.std() > 0.1


WRONG: dict[str, tuple[Callable[[State], State], str]] = {
    "of another model": (
        lambda s: s | {"cls_token": torch.zeros(1, 1, 192)},
        "cannot be timm's test_vit: the tensor 'cls_token' has the shape (1, 1, 192), not (1, 1, 64)",
    ),
    "a head alone": (lambda s: {"head.weight": s["head.weight"]}, "holds a head alone"),
    "no transformer": (
        lambda s: {"fc.weight": torch.zeros(3, 3)},
        "is no DINOv2 backbone and none of timm's ViTs",
    ),
    "no square of positions": (
        lambda s: s | {"pos_embed": torch.zeros(1, 7, 64)},
        "'pos_embed' has the shape (1, 7, 64), not (1, 101, 64)",
    ),
    "NaN": (lambda s: s | {"norm.bias": torch.full((64,), math.nan)}, "NaN or infinity"),
}


@pytest.mark.parametrize(("change", "said"), WRONG.values(), ids=list(WRONG))
def test_a_file_that_is_not_this_model_is_refused(
    data_dir: Path, tmp_path: Path, state: State, change: Callable[[State], State], said: str
) -> None:
    save_file(change(dict(state)), tmp_path / "wrong.safetensors")
    with pytest.raises(InputError) as caught:
        own_models.add("mine", [tmp_path / "wrong.safetensors"], timm_name=TINY)
    assert said in str(caught.value)
    assert not registry.entries(registry.MODELS)


BACKBONES: dict[str, Callable[[State], State]] = {
    "without a head": lambda s: {name: t for name, t in s.items() if not name.startswith("head.")},
    "of other classes": lambda s: s | {"head.weight": torch.zeros(10, 64), "head.bias": torch.zeros(10)},
}


@pytest.mark.parametrize("change", BACKBONES.values(), ids=list(BACKBONES))
def test_without_imagenets_head_it_is_a_backbone_to_train_one_on(
    data_dir: Path, tmp_path: Path, state: State, change: Callable[[State], State]
) -> None:
    save_file(change(dict(state)), tmp_path / "backbone.safetensors")
    spec = own_models.add("mine", [tmp_path / "backbone.safetensors"], timm_name=TINY)
    assert not spec.has_head and spec.head_parameters == 0
    assert "mine" not in catalog.models() and "mine" in catalog.models(backbones=True)
    with pytest.raises(InputError, match=r"backbone alone.*head train NAME --model mine --dataset D"):
        weights.resolve("mine")
    assert [item.name for item in inventory.items() if item.can_be_removed] == ["mine"]
    features = head_training.load(heads.backbone("mine", ""))(inputs_of(160))
    whole = models.load(Weights("mine", "own", (tmp_path / "backbone.safetensors",)))
    assert features.shape == (2, 64)
    assert torch.equal(features, whole.head_norm(last_class_tokens(whole, inputs_of(160))))
    own_models.remove("mine")
    assert "mine" not in catalog.models(backbones=True)


def last_class_tokens(model: vit.Classifier, inputs: torch.Tensor) -> torch.Tensor:
    tokens = model.embed(inputs)
    for block in model.blocks:
        tokens = block(tokens)
    return tokens[:, 0]


def test_without_its_name_the_file_asks_for_it(file: Path) -> None:
    with pytest.raises(InputError, match="If it is one of timm's ViTs, say which"):
        own_models.look_at([file])


# The command line


@pytest.mark.slow
def test_all_recipes_and_measurements_take_it(data_dir: Path, file: Path, tmp_path: Path) -> None:
    answer("add", "model", "mine", file, "--timm", TINY, "--json")
    every = variants.usable(machine.engine())
    on = ("--model", "mine", "--dataset", "sample", "--json")
    rows = answer("benchmark", "accuracy", *on, "--limit", "16", "--variants", ",".join(every))
    assert [row["variant"] for row in rows] == list(every)
    diagnosed = answer("diagnose", *on, "--pictures", "4")
    assert len([row for row in diagnosed if row["part"] == "layer"]) == 4 * 6 + 1
    assert answer("benchmark", "bits", *on, "--pictures", "4")
    of_mine = ("--model", "mine", "--json")
    assert len(answer("benchmark", "size", *of_mine, "--variants", "fp32,qint8,qint8_best")) == 3
    timed = answer("benchmark", "latency", *of_mine, "--shapes", "1x64", "--seconds", "0.1")
    assert {row["shape"] for row in timed} == {"1x64"}
    for format in ("state-dict", "program", "onnx"):
        variant = "fp32" if format == "onnx" else "qint8_best"
        made = (
            "--variant",
            variant,
            "--format",
            format,
            "--pictures",
            "4",
            "--out",
            tmp_path / f"{format}.zip",
        )
        [row] = answer("export", *of_mine, *made)
        assert row["disagreements"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("has_head", [True, False])
def test_a_head_is_trained_on_its_backbone(
    data_dir: Path, tmp_path: Path, state: State, has_head: bool
) -> None:
    change = (lambda whole: whole) if has_head else BACKBONES["of other classes"]
    save_file(change(dict(state)), tmp_path / "mine.safetensors")
    [added] = answer("add", "model", "mine", tmp_path / "mine.safetensors", "--timm", TINY, "--json")
    assert added["has_head"] is has_head
    fit, *_ = answer("head", "train", "known", "--model", "mine", "--dataset", "sample", "--json")
    assert fit["backbone"] == "mine"
    assert catalog.model("known").timm_name == TINY
    rows = answer("benchmark", "accuracy", "--model", "known", "--dataset", "sample", "--limit", "16", "--json")
    assert "fp32" in [row["variant"] for row in rows]
