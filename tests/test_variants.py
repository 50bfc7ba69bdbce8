"""The recipes: what they make, what they leave alone, and what they say where they cannot run."""

import copy
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from vitquant import machine, models, predict, torch_files, variants
from vitquant.cure import Cure
from vitquant.errors import InputError
from vitquant.weights import Weights

QUANTIZED = [name for name, recipe in variants.RECIPES.items() if recipe.uses_engine]


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    return models.load(Weights("dinov2_vits14_reg_lc", "random", ()))


@pytest.fixture
def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 8)).eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def _engine_restored() -> Iterator[None]:
    before = torch.backends.quantized.engine
    yield
    torch.backends.quantized.engine = before


def pictures(n: int) -> torch.Tensor:
    return torch.randn((n, 3, 70, 70), generator=torch.Generator().manual_seed(1))


def build_here(model: nn.Module, name: str) -> nn.Module:
    reason = variants.why_unavailable(name, machine.engine())
    if reason:
        pytest.skip(reason)
    return variants.build(model, name, machine.engine(), uncalibrated(name))


def uncalibrated(name: str) -> Cure | None:
    """What a calibrated recipe takes where nothing of what it does depends on the calibration."""
    return Cure() if variants.recipe(name).is_calibrated else None


def test_listing_the_recipes_imports_no_torch() -> None:
    code = "import sys, vitquant.variants as v; print(*v.RECIPES); assert 'torch' not in sys.modules"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split()[:3] == ["fp32", "qint8", "float16"]


def test_unknown_variant_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no variant called 'int8'.*qint8"):
        variants.recipe("int8")


def test_every_recipe_is_described_for_people() -> None:
    for name, recipe in variants.RECIPES.items():
        assert recipe.name == name
        assert recipe.title
        assert recipe.summary.endswith(".")
        assert recipe.version >= 1
        assert set(recipe.unavailable) <= set(machine.ENGINES)


@pytest.mark.parametrize("name", variants.RECIPES)
def test_the_float32_model_stays_as_it_was(vit: nn.Module, name: str) -> None:
    batch = pictures(2)
    state = copy.deepcopy(vit.state_dict())
    kinds = [type(module) for module in vit.modules()]
    with torch.inference_mode():
        answer = vit(batch)
        build_here(vit, name)(batch)
        again = vit(batch)
    assert [type(module) for module in vit.modules()] == kinds
    assert all(torch.equal(value, state[key]) for key, value in vit.state_dict().items())
    assert torch.equal(answer, again)


def test_fp32_is_the_model_itself_and_needs_no_engine(
    small: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["none"])
    assert variants.build(small, "fp32", "x86") is small


@pytest.mark.parametrize(("name", "dtype"), [("qint8", torch.qint8), ("float16", torch.float16)])
def test_the_notebooks_recipe(vit: nn.Module, name: str, dtype: torch.dtype) -> None:
    variant = build_here(vit, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        notebook = torch.ao.quantization.quantize_dynamic(vit, {nn.Linear}, dtype=dtype)
    with torch.inference_mode():
        torch.testing.assert_close(variant(pictures(1)), notebook(pictures(1)))
    linears = [key for key, module in vit.named_modules() if isinstance(module, nn.Linear)]
    assert len(linears) == 4 * 12 + 1
    for key in linears:
        replaced = variant.get_submodule(key)
        assert isinstance(replaced, torch.ao.nn.quantized.dynamic.Linear)
        assert replaced._packed_params.dtype == dtype


@pytest.mark.parametrize("name", variants.RECIPES)
def test_a_recipe_knows_whether_neighbours_change_its_answer(vit: nn.Module, name: str) -> None:
    """A picture alone, and the same picture beside one that is twenty times as bright."""
    variant = build_here(vit, name)
    quiet = pictures(1)
    with torch.inference_mode():
        alone = variant(quiet)[0]
        beside = variant(torch.cat([quiet, 20 * quiet]))[0]
    change = float((alone - beside).abs().max() / alone.abs().max())
    if variants.recipe(name).batch_dependent:
        assert change > 1e-2
    else:  # another batch size may take another kernel, which sums in another order
        assert change < (0.05 if name == "bfloat16" else 1e-4)


@pytest.mark.parametrize("engine", [e for e in torch.backends.quantized.supported_engines if e != "none"])
@pytest.mark.parametrize("name", QUANTIZED)
def test_torch_agrees_on_what_an_engine_can_run(small: nn.Module, name: str, engine: str) -> None:
    if variants.why_unavailable(name, engine):
        torch.backends.quantized.engine = engine
        with pytest.raises(RuntimeError, match="not supported"):
            variants.recipe(name).apply(small, Cure())
    else:
        variant = variants.build(small, name, engine, uncalibrated(name))
        assert torch.backends.quantized.engine == engine
        pictures = torch.randn(3, 32)
        torch.testing.assert_close(variant(pictures), small(pictures), atol=0.05, rtol=0)


def test_an_engine_that_cannot_run_the_variant_says_why(small: nn.Module) -> None:
    with pytest.raises(InputError, match=r"float16.*cannot pack float16 weights for the engine onednn"):
        variants.build(small, "float16", "onednn")


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        (["none", "onednn"], r"no quantized engine 'x86': it has onednn\..*VITQUANT_ENGINE"),
        (["none"], r"no engine for quantized layers, so only fp32"),
    ],
)
def test_an_engine_that_torch_lacks(
    small: nn.Module, monkeypatch: pytest.MonkeyPatch, there: list[str], sentence: str
) -> None:
    monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", there)
    with pytest.raises(InputError, match=sentence):
        variants.build(small, "qint8", "x86")


def test_a_torch_without_torch_ao(small: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vitquant.packing", raising=False)  # as in a process that never had it
    monkeypatch.delattr("vitquant.packing", raising=False)
    monkeypatch.setitem(sys.modules, "torch.ao.quantization", None)
    with pytest.raises(InputError, match=r"no longer has torch\.ao\.quantization.*requirements\.txt"):
        build_here(small, "qint8")


@pytest.mark.parametrize("name", QUANTIZED)
def test_building_warns_of_nothing(small: nn.Module, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_here(small, name)


def test_other_warnings_reach_the_user(small: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    def quantize_dynamic(model: nn.Module, *_: object, **__: object) -> nn.Module:
        warnings.warn("something else is wrong", DeprecationWarning, stacklevel=1)
        return model

    monkeypatch.setattr("vitquant.packing.quantize_dynamic", quantize_dynamic)
    with pytest.warns(DeprecationWarning, match="something else"):
        build_here(small, "qint8")


# Names with settings


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("qint8_mixed", "qint8_mixed"),
        ("qint8_mixed:limit=0.5", "qint8_mixed"),  # what is usual is left out
        ("qint8_mixed:pictures=64:seed=0:limit=.50", "qint8_mixed"),
        ("qint8_mixed:limit=1.0", "qint8_mixed:limit=1"),
        ("qint8_mixed:limit=1:seed=3:pictures=16", "qint8_mixed:pictures=16:seed=3:limit=1"),
        ("qint8_smooth:pictures=1e2", "qint8_smooth:pictures=100"),
        ("qint8_best:limit=0", "qint8_best:limit=0"),
        ("qint8_mixed:limit=0.123456789", "qint8_mixed:limit=0.123457"),
    ],
)
def test_settings_have_one_name_however_they_are_told(told: str, name: str) -> None:
    found = variants.recipe(told)
    assert found.name == name
    assert variants.recipe(name) == found  # the name alone gives the same recipe again
    assert variants.own_name(name) == told.split(":")[0]


def test_settings_are_the_recipes_own_unless_told() -> None:
    assert variants.recipe("qint8_mixed:seed=3").settings == {"pictures": 64, "seed": 3, "limit": 0.5}
    assert variants.recipe("qint8_smooth").settings == {"pictures": 64, "seed": 0}
    assert variants.recipe("qint8").settings is None
    assert variants.RECIPES["qint8_mixed"].settings == {"pictures": 64, "seed": 0, "limit": 0.5}


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ("qint8_mixed:alpha=1", r"qint8_mixed cannot be told 'alpha': it takes pictures=…, seed=…, limit=…\."),
        ("qint8_smooth:limit=1", r"qint8_smooth cannot be told 'limit': it takes pictures=…, seed=…\."),
        ("qint8_smooth:", r"cannot be told ''"),
        ("qint8_smooth:pictures", r"pictures takes a whole number, such as pictures=64\."),
        ("qint8_smooth:pictures=many", r"pictures takes a whole number"),
        ("qint8_smooth:pictures=8.5", r"pictures takes a whole number"),
        ("qint8_smooth:pictures=inf", r"pictures takes a whole number"),
        ("qint8_smooth:seed=-1", r"seed takes a whole number, such as seed=0\."),
        ("qint8_mixed:limit=nan", r"limit takes a number of percentage points, such as limit=0\.5\."),
        ("qint8_mixed:limit=-1", r"limit takes a number of percentage points"),
        ("qint8:limit=1", r"qint8 is not calibrated, so it takes no settings: leave out 'limit=1'"),
        ("qint8_smoth:seed=1", r"no variant called 'qint8_smoth'.*did you mean.*qint8_smooth"),
    ],
)
def test_a_setting_that_cannot_be_is_a_sentence(told: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        variants.recipe(told)


@pytest.mark.parametrize("name", [*variants.calibrated(), "qint8_mixed:limit=1"])
def test_a_calibrated_recipe_is_never_built_without_its_calibration(small: nn.Module, name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} has to be calibrated first: `python -m vitquant calibrate`"):
        variants.build(small, name, machine.engine())


# bfloat16


def test_bfloat16_is_half_as_large_in_every_number(vit: nn.Module) -> None:
    state = torch_files.compact_state(build_here(vit, "bfloat16"))
    whole = torch_files.compact_state(vit)
    assert state.keys() == whole.keys()
    assert {tensor.dtype for tensor in state.values()} == {torch.bfloat16}
    assert 2 * sum(t.nbytes for t in state.values()) == sum(t.nbytes for t in whole.values())


def test_bfloat16_computes_in_bfloat16_and_answers_nearly_as_fp32(vit: nn.Module) -> None:
    variant = build_here(vit, "bfloat16")
    inputs, seen = pictures(3), []
    hook = variant.get_submodule("blocks.5.mlp.fc2").register_forward_hook(
        lambda module, given, out: seen.append((given[0].dtype, out.dtype))
    )
    logits, exact = predict.logits_of(variant, inputs), predict.logits_of(vit, inputs)
    hook.remove()
    assert seen == [(torch.bfloat16, torch.bfloat16)]
    assert logits.dtype == exact.dtype  # float32 again for whoever reads them
    off = abs(logits - exact).max() / exact.std()
    assert 1e-4 < off < 0.2  # 8 bits of every number: not the same, and near
