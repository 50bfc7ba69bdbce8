"""The models: Meta's logits, the hub's parameter counts, and no trust in checkpoint files."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vitquant import catalog, models
from vitquant.errors import InputError
from vitquant.weights import Weights, resolve

SMALL = "dinov2_vits14_reg_lc"
HUB_MODELS = [name for name, spec in catalog.MODELS.items() if spec.home == "hub"]
SLOW = ("vitl", "vitg")
ALL = [
    pytest.param(name, marks=[pytest.mark.slow] if any(size in name for size in SLOW) else [])
    for name in HUB_MODELS
]


def random(model: str) -> torch.nn.Module:
    return models.load(Weights(model, "random", ()))


def checkpoint(shapes: dict[str, list[int]], prefix: str = "") -> dict[str, torch.Tensor]:
    """A checkpoint filled by the reference's rule, which is ours for random weights."""
    return {name: models.random_tensor(prefix + name, tuple(shape)) for name, shape in shapes.items()}


@pytest.fixture(scope="session")
def shapes(shared: Path) -> dict[str, dict[str, dict[str, list[int]]]]:
    return dict(json.loads((shared / "reference" / "dinov2_lc_state_shapes.json").read_text()))


@pytest.fixture(scope="session")
def reference(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "reference" / "dinov2_lc_logits.npz") as stored:
        return {name: stored[name] for name in stored.files}


@pytest.fixture
def folder(tmp_path: Path, shapes: dict[str, dict[str, dict[str, list[int]]]]) -> Path:
    """A folder with whole and sound checkpoints of the small model."""
    spec = catalog.model(SMALL)
    torch.save(checkpoint(shapes[SMALL]["backbone"]), tmp_path / spec.backbone_file)
    torch.save(checkpoint(shapes[SMALL]["head"], "linear_head."), tmp_path / spec.head_file)
    return tmp_path


def check_logits(model: torch.nn.Module, name: str, reference: dict[str, np.ndarray]) -> None:
    sizes = [key.split("@")[1] for key in reference if key.split("@")[0] == name]
    assert sizes
    for size in sizes:
        height, width = map(int, size.split("x"))
        inputs = torch.randn((2, 3, height, width), generator=torch.Generator().manual_seed(1234))
        with torch.inference_mode():
            logits = model(inputs).numpy()
        # Forty blocks of rounding: 1.7e-4 between AVX2 and AVX-512. A wrong port is off by far more than 1e-2.
        tolerance = 5e-4 if catalog.model(name).depth == 40 else 1e-4
        assert np.abs(logits - reference[f"{name}@{size}"]).max() < tolerance, size


@pytest.mark.parametrize("name", ALL)
def test_logits_are_metas(name: str, reference: dict[str, np.ndarray]) -> None:
    check_logits(random(name), name, reference)


@pytest.mark.parametrize(
    "name", [SMALL, "dinov2_vits14_lc", pytest.param("dinov2_vitb14_reg_lc", marks=pytest.mark.slow)]
)
def test_logits_are_metas_from_checkpoint_files(
    name: str,
    reference: dict[str, np.ndarray],
    shapes: dict[str, dict[str, dict[str, list[int]]]],
    tmp_path: Path,
) -> None:
    spec = catalog.model(name)
    torch.save(checkpoint(shapes[name]["backbone"]), tmp_path / spec.backbone_file)
    torch.save(checkpoint(shapes[name]["head"], "linear_head."), tmp_path / spec.head_file)
    check_logits(models.load(resolve(name, str(tmp_path))), name, reference)


@pytest.mark.parametrize("name", HUB_MODELS)
def test_the_model_has_the_checkpoints_tensors_and_no_others(
    name: str, shapes: dict[str, dict[str, dict[str, list[int]]]]
) -> None:
    spec = catalog.model(name)
    with torch.device("meta"):
        model = models.new(spec)
    ours = {models.checkpoint_name(spec, n): list(t.shape) for n, t in model.named_parameters()}
    head = {f"linear_head.{n}": shape for n, shape in shapes[name]["head"].items()}
    assert ours == shapes[name]["backbone"] | head
    assert sum(p.numel() for p in model.parameters()) == spec.parameters
    assert list(model.buffers()) == []
    assert (spec.width, spec.depth) == (model.cls_token.shape[-1], len(model.blocks))
    assert spec.heads == model.blocks[0].attn.num_heads


def test_random_weights_are_the_same_every_time_and_answer_differently_to_different_pictures() -> None:
    inputs = torch.randn(4, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        first, again = random(SMALL)(inputs), random(SMALL)(inputs)
    assert torch.equal(first, again)
    assert len(set(first.argmax(dim=1).tolist())) > 1


def test_a_size_that_does_not_fit_the_patches_names_the_nearest() -> None:
    with pytest.raises(InputError, match="14-pixel patches of dinov2_vits14_reg_lc: take 70 or 84"):
        catalog.check_image_size(71, SMALL)
    with pytest.raises(ValueError, match="do not fit patches of 14 pixels"):
        random(SMALL)(torch.zeros(1, 3, 70, 71))


Damage = Callable[[Path], None]


def edited(edit: Callable[[dict[str, object]], object], *, head: bool = False) -> Damage:
    def damage(folder: Path) -> None:
        spec = catalog.model(SMALL)
        file = folder / (spec.head_file if head else spec.backbone_file)
        tensors = torch.load(file, weights_only=True)
        edit(tensors)
        torch.save(tensors, file)

    return damage


def rewritten(content: Callable[[bytes], bytes]) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / catalog.model(SMALL).backbone_file
        file.write_bytes(content(file.read_bytes()))

    return damage


def with_nan(tensors: dict[str, object]) -> None:
    tensor = tensors["blocks.7.attn.qkv.weight"]
    assert isinstance(tensor, torch.Tensor)
    tensor[3, 3] = torch.nan


def of_another_width(tensors: dict[str, object]) -> None:
    tensors["cls_token"] = torch.zeros(1, 1, 768)


DAMAGES = {
    "missing": (edited(lambda t: t.pop("blocks.3.norm1.bias")), "blocks.3.norm1.bias"),
    "missing in head": (edited(lambda t: t.pop("bias"), head=True), "'bias'"),
    "extra": (edited(lambda t: t.update(surprise=torch.zeros(1))), "'surprise'"),
    "misshapen": (edited(lambda t: t.update(mask_token=torch.zeros(1, 385))), r"'mask_token'.*\(1, 385\)"),
    "other type": (edited(lambda t: t.update(mask_token=torch.zeros(1, 384).half())), "'mask_token'.*float16"),
    "no tensor": (edited(lambda t: t.update(mask_token="text")), "'mask_token' is no tensor but a str"),
    "not finite": (edited(with_nan), "blocks.7.attn.qkv.weight.*NaN"),
    "another model": (edited(of_another_width), "checkpoint of dinov2_vitb14_reg_lc"),
    "truncated": (rewritten(lambda content: content[: len(content) // 2]), "cut short"),
    "empty": (rewritten(lambda content: b""), "cannot be read"),
    "web page": (rewritten(lambda content: b"\n<!DOCTYPE html><html>"), "web page"),
    "noise": (rewritten(lambda content: bytes(range(256)) * 40), "cannot be read|refused"),
    "nested": (edited(lambda t: [t.clear(), t.update(model={})]), "cls_token"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(folder: Path, damage: str) -> None:
    apply, said = DAMAGES[damage]
    apply(folder)
    file = catalog.model(SMALL).head_file if "head" in damage else catalog.model(SMALL).backbone_file
    with pytest.raises(InputError, match=said) as caught:
        models.load(resolve(SMALL, str(folder)))
    assert str(folder / file) in str(caught.value)


class RunsCode:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("legacy", [False, True], ids=["torch's format", "bare pickle"])
def test_no_code_in_a_checkpoint_is_run(folder: Path, legacy: bool) -> None:
    trace = folder / "the code was run"
    file = folder / catalog.model(SMALL).backbone_file
    if legacy:
        file.write_bytes(pickle.dumps(RunsCode(trace), protocol=2))
    else:
        torch.save({"cls_token": RunsCode(trace)}, file)
    with pytest.raises(InputError, match=r"(?s)refused.*No code in it was run|cannot be read") as caught:
        models.load(resolve(SMALL, str(folder)))
    assert str(file) in str(caught.value)
    assert not trace.exists()
    torch.load(file, weights_only=False) if not legacy else pickle.loads(file.read_bytes())
    assert trace.exists(), "the file would have run code, had it been trusted"


def parameters_bytes(model: torch.nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(torch.backends.quantized.engine == "none", reason="this torch has no quantized engine")
def test_parameters_and_file_are_as_large_as_the_notebooks(tmp_path: Path) -> None:
    model = random("dinov2_vitb14_reg_lc")
    assert parameters_bytes(model) == 361_698_208
    torch.save(model.state_dict(), tmp_path / "state.pth")
    mebibytes = (tmp_path / "state.pth").stat().st_size / 2**20
    assert mebibytes == pytest.approx(345.026460647583, rel=1e-3)

    quantized = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    assert parameters_bytes(quantized) == 6_263_808
    assert not [name for name, module in quantized.named_modules() if type(module) is torch.nn.Linear]
    with torch.inference_mode():
        logits = quantized(torch.zeros(1, 3, 70, 70))
    assert logits.shape == (1, 1000) and bool(logits.isfinite().all())
    assert parameters_bytes(model) == 361_698_208, "quantizing must leave the float32 model as it was"


@pytest.mark.parametrize("name", [SMALL, "dinov2_vits14_lc"])
def test_a_pictures_logits_do_not_depend_on_the_pictures_beside_it(name: str) -> None:
    inputs = torch.randn(3, 3, 42, 28, generator=torch.Generator().manual_seed(0))
    model = random(name)
    with torch.inference_mode():
        together, alone = model(inputs), torch.cat([model(picture[None]) for picture in inputs])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_a_loaded_model_is_ready_to_predict() -> None:
    model = random(SMALL)
    assert not any(module.training for module in model.modules())
    assert {(p.dtype, p.device.type, p.requires_grad) for p in model.parameters()} == {
        (torch.float32, "cpu", False)
    }
