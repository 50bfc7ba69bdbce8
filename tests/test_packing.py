"""From a cure to int8 layers: what each step does, and that a stored cure builds the same again."""

import io
import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from vitquant import catalog, cure, layers, machine, models, packing, predict, variants, weights
from vitquant.cure import Cure
from vitquant.errors import InputError
from vitquant.full_range import FullRangeLinear
from vitquant.vit import Classifier, Divide

OF_SAMPLE = layers.of(catalog.model("sample"))
N = 2


@pytest.fixture(scope="module")
def model() -> Classifier:
    variants.set_engine(machine.engine())
    return models.load(weights.resolve("sample"))


def built(model: Classifier, steps: Cure, *, has_float16: bool = True) -> Classifier:
    return packing.int8(
        model, steps, has_float16=has_float16 and variants.has_float16(torch.backends.quantized.engine)
    )


def answers(model: nn.Module) -> np.ndarray:
    pictures = torch.randn((N, 3, 70, 70), generator=torch.Generator().manual_seed(1))
    return predict.logits_of(model, pictures, one_by_one=True)


def every_step(model: Classifier) -> Cure:
    """A cure with all there is to a cure."""
    rng = np.random.default_rng(0)
    linears = {layer.name: model.get_submodule(layer.name) for layer in OF_SAMPLE}
    scales = {name: rng.uniform(0.5, 2, linear.in_features) for name, linear in linears.items()}
    width = linears[layers.HEAD].in_features // 5
    scales[layers.HEAD] = np.tile(scales[layers.HEAD][:width], 5)  # one norm serves all its segments
    return Cure(
        smooth={name: of.astype(np.float32) for name, of in scales.items()},
        bias={
            name: rng.normal(0, 1e-3, linear.out_features).astype(np.float32)
            for name, linear in linears.items()
        },
        per_channel=True,
        full_range=True,
        fold_layer_scale=True,
        in_float=("blocks.2.mlp.fc1", "blocks.5.attn.qkv"),
    )


def test_a_cure_without_steps_is_the_notebooks_int8(model: Classifier) -> None:
    np.testing.assert_array_equal(answers(built(model, Cure())), answers(packing.notebook(model, torch.qint8)))


def test_per_channel_gives_every_row_of_every_weight_a_scale(model: Classifier) -> None:
    for per_channel in (False, True):
        variant = built(model, Cure(per_channel=per_channel))
        for layer in OF_SAMPLE:
            weight = variant.get_submodule(layer.name).weight()
            if per_channel:
                scales = weight.q_per_channel_scales()
                rows = model.get_submodule(layer.name).weight.abs().amax(dim=1)
                assert scales.shape == rows.shape
                torch.testing.assert_close(scales.float(), rows / 127.5, rtol=1e-2, atol=1e-7)
            else:
                assert weight.qscheme() == torch.per_tensor_affine


def test_layers_that_are_left_stay_in_float(model: Classifier) -> None:
    left = ("blocks.2.mlp.fc1", layers.HEAD)
    halves, whole = (built(model, Cure(in_float=left), has_float16=has) for has in (True, False))
    for layer in OF_SAMPLE:
        half = halves.get_submodule(layer.name)
        if layer.name not in left:
            assert half.weight().dtype == torch.qint8
        else:
            assert whole.get_submodule(layer.name).weight is model.get_submodule(layer.name).weight
            if variants.has_float16(machine.engine()):
                assert half._packed_params.dtype == torch.float16


def test_a_layer_that_is_left_is_of_the_folded_model(model: Classifier) -> None:
    steps = replace(every_step(model), bias={})
    name = steps.in_float[0]
    in_float32 = built(model, steps, has_float16=False).get_submodule(name)
    torch.testing.assert_close(in_float32.weight, packing.floats_of(model, steps).get_submodule(name).weight)


def test_biases_are_corrected_in_int8_layers_alone(model: Classifier) -> None:
    steps = every_step(model)
    variant, without = built(model, steps), built(model, replace(steps, bias={}))
    for layer in OF_SAMPLE:
        change = (
            variant.get_submodule(layer.name).bias() - without.get_submodule(layer.name).bias()
            if callable(variant.get_submodule(layer.name).bias)
            else torch.zeros(1)
        )
        if layer.name in steps.in_float:
            assert not change.any()
        else:
            torch.testing.assert_close(
                change.detach(), torch.from_numpy(steps.bias[layer.name]), atol=1e-6, rtol=1e-3
            )


@pytest.mark.parametrize(
    "steps",
    [
        Cure(in_float=("blocks.9.mlp.fc1",)),
        Cure(bias={"blocks.9.mlp.fc1": np.zeros(3, np.float32)}),
        Cure(smooth={"blocks.9.mlp.fc1": np.ones(192, np.float32)}),
    ],
    ids=["in_float", "bias", "smooth"],
)
def test_another_models_cure_is_refused(model: Classifier, steps: Cure) -> None:
    with pytest.raises(InputError, match=r"no layer blocks\.9\.mlp\.fc1: this calibration is not its own"):
        built(model, steps)


# 8 bits for activations


@pytest.mark.parametrize("saturates", [False, True])
def test_8_bits_only_where_the_cpu_does_not_saturate(
    model: Classifier, monkeypatch: pytest.MonkeyPatch, saturates: bool
) -> None:
    monkeypatch.setattr(packing, "saturates", lambda: saturates)
    variant = built(model, Cure(full_range=True))
    kinds = {isinstance(variant.get_submodule(layer.name), FullRangeLinear) for layer in OF_SAMPLE}
    assert kinds == {not saturates}
    if saturates:
        np.testing.assert_array_equal(answers(variant), answers(built(model, Cure())))


def test_what_saturates_is_what_the_cpu_says_of_itself() -> None:
    features = machine.cpu_features()
    if machine.engine() != "x86" or "AVX2" not in features:
        pytest.skip("only x86's kernel is known")
    if not {"AVX-512 VNNI", "AMX int8"} & set(features) and "AVX-VNNI" in features:
        pytest.skip("which kernel torch takes with AVX-VNNI alone is not known")
    torch.backends.quantized.engine = "x86"
    assert packing.saturates() is not bool({"AVX-512 VNNI", "AMX int8"} & set(features))


def test_8_bits_come_nearer_to_float32(model: Classifier) -> None:
    if packing.saturates():
        pytest.skip("this CPU saturates with 8 bits")
    exact = answers(model)
    off = [np.square(answers(built(model, Cure(full_range=full))) - exact).mean() for full in (False, True)]
    assert off[1] < off[0]


# Stored and built again


def test_a_stored_cure_builds_the_same_answers(model: Classifier) -> None:
    steps = every_step(model)
    again = cure.from_bytes(steps.to_bytes())
    for field in fields(Cure):
        before, after = getattr(steps, field.name), getattr(again, field.name)
        if isinstance(before, dict):
            assert before.keys() == after.keys()
            assert all(np.array_equal(before[name], after[name]) for name in before)
        else:
            assert before == after, field.name
            assert before != field.default  # else nothing is shown
    assert steps.to_bytes() == again.to_bytes()
    variant = built(model, again)
    assert any(isinstance(module, Divide) for module in variant.modules())
    np.testing.assert_array_equal(answers(variant), answers(built(model, steps)))
    assert np.abs(answers(variant) - answers(built(model, Cure()))).max() > 1e-3


def test_a_cure_of_another_version_is_told_apart() -> None:
    buffer = io.BytesIO()
    plain = json.dumps({"format": cure.FORMAT + 1}).encode()
    np.savez_compressed(buffer, plain=np.frombuffer(plain, np.uint8))
    with pytest.raises(ValueError, match="another version"):
        cure.from_bytes(buffer.getvalue())
