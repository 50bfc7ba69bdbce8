"""Smoothing moves difficulty into the weights and leaves the float32 function as it was, for every model."""

import copy
import math

import numpy as np
import pytest
import torch

from vitquant import catalog, layers, models, packing, predict, smoothing, vit, weights
from vitquant.cure import Cure

HUB_MODELS = [name for name, spec in catalog.MODELS.items() if spec.home == "hub"]
LARGEST = 30.0


@pytest.fixture(scope="module")
def model() -> vit.Classifier:
    return models.load(weights.resolve("sample"))


def pictures(n: int) -> torch.Tensor:
    return torch.randn((n, 3, 70, 70), generator=torch.Generator().manual_seed(1))


def random_scales(model: vit.Classifier, names: list[str]) -> dict[str, np.ndarray]:
    """Between 1/LARGEST and LARGEST for every channel of these layers' inputs, the head's segments alike."""
    rng = np.random.default_rng(0)
    found = {}
    for name in names:
        channels = model.get_submodule(name).in_features
        shared = channels // (vit.DinoV2.head_blocks + 1) if name == layers.HEAD else channels
        scales = np.exp(rng.uniform(-math.log(LARGEST), math.log(LARGEST), shared))
        found[name] = np.tile(scales, channels // shared).astype(np.float32)
    return found


def off(model: vit.Classifier, cure: Cure, exact: np.ndarray, inputs: torch.Tensor) -> float:
    """By how much the folded model's logits are off at most, relative to the largest where that is above 1."""
    folded = predict.logits_of(packing.floats_of(model, cure), inputs)
    return float(np.abs(folded - exact).max() / max(1.0, np.abs(exact).max()))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "dinov2_vits14_lc" else pytest.mark.slow)
        for name in (*HUB_MODELS, "sample", "sample_outliers")
    ],
)
def test_the_float32_function_stays_for_every_model(name: str) -> None:
    spec = catalog.model(name)
    inputs = pictures(2)
    model = models.load(weights.resolve(name, "random"))
    exact = predict.logits_of(model, inputs)
    assert exact.std() > 0.1  # else nothing is shown
    scales = random_scales(model, [layer.name for layer in layers.of(spec)])
    assert len(scales) == 4 * spec.depth + 1
    assert off(model, Cure(smooth=scales, fold_layer_scale=True), exact, inputs) < 1e-4


@pytest.mark.parametrize("kind", layers.KINDS)
@pytest.mark.parametrize("form", ["small", "giant"])
def test_each_kind_of_layer_alone_leaves_the_function(form: str, kind: str) -> None:
    """In small: the giant's MLPs are gated, the others' are not."""
    torch.manual_seed(0)
    model = vit.DinoV2(
        timm_name=f"vit_{form}_patch14_reg4_dinov2",
        width=96,  # that the gated MLP's two halves are equal
        depth=4,
        heads=2,
        registers=4,
        pretraining_size=70,
    ).eval()
    state = {name: models.random_tensor(name, tuple(t.shape)) for name, t in model.state_dict().items()}
    model.load_state_dict(state)
    model.requires_grad_(False)
    inputs = pictures(2)
    exact = predict.logits_of(model, inputs)
    names = [
        name for name, _ in model.named_modules() if name.startswith("blocks") and name.endswith(f".{kind}")
    ]
    cure = Cure(smooth=random_scales(model, names or [layers.HEAD]))
    assert off(model, cure, exact, inputs) < 1e-4
    folded = packing.floats_of(model, cure)
    divided = [name for name, module in folded.named_modules() if isinstance(module, vit.Divide)]
    # Only behind a GELU is there nothing that could take the division for free.
    costs_time = form == "small" and kind == "fc2"
    assert divided == ([f"blocks.{place}.mlp.norm" for place in range(4)] if costs_time else [])
    assert smoothing.can_fold(model, next(iter(cure.smooth))) is not costs_time
    for name in cure.smooth:  # the layer itself is what changes: nothing would be gained otherwise
        before, after = model.get_submodule(name).weight, folded.get_submodule(name).weight
        torch.testing.assert_close(after, before * torch.from_numpy(cure.smooth[name]))


def test_the_model_itself_stays_as_it_was(model: vit.Classifier) -> None:
    state = copy.deepcopy(model.state_dict())
    names = [layer.name for layer in layers.of(catalog.model("sample"))]
    packing.floats_of(model, Cure(smooth=random_scales(model, names), fold_layer_scale=True))
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert model.state_dict().keys() == state.keys()


def test_where_nothing_is_folded_no_weight_lies_in_memory_twice(model: vit.Classifier) -> None:
    floats = packing.floats_of(model, Cure(per_channel=True))
    assert floats is not model
    assert floats.blocks[0].mlp.fc1.weight is model.blocks[0].mlp.fc1.weight


def test_folded_layer_scales_are_gone_and_the_answers_stay(model: vit.Classifier) -> None:
    inputs = pictures(2)
    folded = packing.floats_of(model, Cure(fold_layer_scale=True))
    assert any("gamma" in name for name in model.state_dict())
    assert not any("gamma" in name for name in folded.state_dict())
    np.testing.assert_allclose(
        predict.logits_of(folded, inputs), predict.logits_of(model, inputs), atol=1e-4, rtol=1e-5
    )


# The scales


def test_scales_are_the_papers() -> None:
    activations = np.array([8.0, 2.0, 0.5], np.float32)
    weight = torch.tensor([[0.5, -2.0, 0.25], [-0.125, 1.0, 0.5]])
    found = smoothing.scales(activations, weight, 0.75)
    expected = activations**0.75 / np.array([0.5, 2.0, 0.5]) ** 0.25
    np.testing.assert_allclose(found / found[0], expected / expected[0], rtol=1e-6)
    assert np.log(found).mean() == pytest.approx(0, abs=1e-6)  # around 1
    assert found.dtype == np.float32


def test_alpha_decides_where_the_difficulty_goes() -> None:
    activations = np.array([100.0, 1.0, 1.0, 1.0], np.float32)
    weight = torch.tensor([[1.0, 1.0, 1.0, 8.0]])

    def spread(alpha: float) -> tuple[float, float]:
        scales = smoothing.scales(activations, weight, alpha)
        x, w = activations / scales, np.abs(weight.numpy()[0]) * scales
        return float(x.max() / x.min()), float(w.max() / w.min())

    assert spread(1.0)[0] == pytest.approx(1, rel=1e-5)  # activations all alike
    assert spread(0.0)[1] == pytest.approx(1, rel=1e-5)  # weights all alike
    assert spread(0.5) == pytest.approx((10, 10), rel=1e-5)  # shared: the root of what they spread together


def test_a_channel_without_activations_or_without_weights_is_left_alone() -> None:
    activations = np.array([4.0, 0.0, 4.0, 1.0], np.float32)
    weight = torch.tensor([[1.0, 1.0, 0.0, 1.0]])
    found = smoothing.scales(activations, weight, 0.5)
    assert np.isfinite(found).all() and (found > 0).all()
    assert found[1] == found[2] == 1
    assert found[0] / found[3] == pytest.approx(2)


def test_the_heads_segments_share_the_scales_of_their_one_norm() -> None:
    segments = vit.DinoV2.head_blocks + 1
    activations = np.ones(2 * segments, np.float32)
    activations[2 * 3] = 9  # of one segment alone
    weight = torch.ones(1, 2 * segments)
    found = smoothing.scales(activations, weight, 0.5, segments).reshape(segments, 2)
    assert (found == found[0]).all()
    assert found[0, 0] / found[0, 1] == pytest.approx(3)
