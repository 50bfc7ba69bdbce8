"""The int8 grid as the kernel lays it, and what a layer's channels get of it."""

import numpy as np
import pytest
import torch
from torch import nn

from vitquant import activations, diagnosis_words, grid, machine, packing, variants
from vitquant.activations import Ranges, Seen
from vitquant.errors import InputError
from vitquant.layers import Layer

ENGINES = [name for name in machine.ENGINES if name in torch.backends.quantized.supported_engines]
QKV = Layer("blocks.3.attn.qkv", 3, "qkv")
LEVELS = 128


@pytest.fixture(autouse=True)
def own_engine() -> None:
    """As this machine chooses, whatever a test has set before."""
    variants.set_engine(machine.engine())


def one_weight(engine: str, weight: float = 1.0) -> tuple[nn.Linear, nn.Module]:
    variants.set_engine(engine)
    linear = nn.Linear(1, 1, bias=False)
    linear.weight = nn.Parameter(torch.full((1, 1), weight), requires_grad=False)
    return linear, packing.packed(linear, torch.qint8)


def outputs(layer: nn.Module, low: float, high: float) -> np.ndarray:
    """What the kernel makes of 4,096 numbers from low to high, in the numbers' own unit, sorted."""
    with torch.inference_mode():
        found = layer(torch.linspace(low, high, 4096)[:, None])[:, 0].unique().numpy()
    return found / layer.weight().dequantize().item()


# The grid


@pytest.mark.skipif("x86" not in ENGINES, reason="torch's x86 engine is not here")
def test_the_x86_kernel_gives_activations_seven_bits() -> None:
    assert grid.levels("x86") == 128
    assert grid.bits(128) == 7


def test_the_levels_are_those_of_the_layer_itself() -> None:
    engine = machine.engine()
    torch.manual_seed(0)
    linear = nn.Linear(48, 32)
    layer = packing.packed(linear, torch.qint8)
    assert grid.levels_of(layer, linear) == grid.levels(engine)
    assert grid.levels_of(packing.packed(linear, torch.qint8, per_channel=True), linear) == grid.levels(engine)
    assert grid.levels_of(linear, linear) is None
    if engine == "x86":
        assert grid.levels_of(packing.packed(linear, torch.qint8, in_8_bits=True), linear) == 256
        assert grid.levels_of(packing.packed(linear, torch.float16), linear) is None


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 3.0), (2.0, 7.0), (-5.0, -1.0), (-1e-4, 1e-3)])
def test_the_step_is_the_kernels(engine: str, low: float, high: float) -> None:
    _, layer = one_weight(engine)
    found = np.diff(outputs(layer, low, high))
    step = grid.step(low, high, grid.levels(engine))
    assert found == pytest.approx(np.full(len(found), step), rel=1e-2)
    assert step >= grid.SMALLEST_STEP


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 3.0), (-1e-4, 1e-3)])
def test_the_levels_within_a_range_are_counted_as_the_kernel_rounds(low: float, high: float) -> None:
    """A range in the midst of a wider one: as many values come out as are said to lie in it."""
    engine = machine.engine()
    _, layer = one_weight(engine)
    inner = torch.linspace(low, high, 4096)
    wide = torch.cat([inner, torch.tensor([-6.0, 30.0])])
    with torch.inference_mode():
        found = len(layer(wide[:, None])[: len(inner)].unique())
    step = grid.step(-6.0, 30.0, grid.levels(engine))
    assert grid.levels_within(low, high, step) == found


# Rows


def seen(pictures: int = 3, channels: int = 192, outliers: int = 0, factor: float = 256.0) -> Seen:
    """Every channel reaches from about -1 to about 1, but for the outliers."""
    reach = np.random.default_rng(0).uniform(0.9, 1.1, (pictures, channels)).astype(np.float32)
    reach[:, :outliers] *= factor
    return Seen(-reach, reach)


def row(of: Seen, levels: int | None = LEVELS) -> dict[str, object]:
    weight = np.linspace(-1, 1, 2 * of.low.shape[1], dtype=np.float32).reshape(2, -1)
    return activations.row(QKV, of, activations.ranges(of, weight), levels)


def test_outliers_are_counted_and_take_the_levels() -> None:
    found = row(seen(outliers=4))
    assert (found["channels"], found["outliers"], found["levels_left"]) == (192, 4, 1)
    assert found["outlier_ratio"] == pytest.approx(256, rel=0.1)
    assert found["ordinary"] == pytest.approx(1, rel=0.1)
    assert found["absmax"] == pytest.approx(256 * 1.1, rel=0.1)
    spared = row(seen(outliers=4, factor=5))  # under six times: nothing stands out
    assert (spared["outliers"], spared["outlier_ratio"]) == (0, None)
    assert spared["levels_left"] == 128
    some = row(seen(outliers=1, factor=16))
    assert some["outliers"] == 1
    assert 7 <= int(str(some["levels_left"])) <= 11  # 128 / 16


def test_the_levels_left_are_those_of_the_median_pictures_own_grid() -> None:
    of = seen(pictures=3, outliers=1, factor=8)
    for ends in (of.low, of.high):
        ends[2, 0] *= 1000  # one picture's outlier takes nothing from the other two
    assert 13 <= int(str(row(of)["levels_left"])) <= 19


def test_channels_that_are_always_zero_do_not_make_all_others_stand_out() -> None:
    of = seen(channels=10)
    of.low[:, :7] = of.high[:, :7] = 0
    found = row(of)
    assert (found["outliers"], found["ordinary"]) == (0, pytest.approx(1, abs=0.1))


def test_a_layer_left_in_float_has_no_levels() -> None:
    found = row(seen(outliers=4), levels=None)
    assert (found["levels"], found["levels_left"], found["outliers"]) == (None, None, 4)


def test_ranges_come_back_as_they_were_stored() -> None:
    of = seen()
    weight = np.arange(2 * 192, dtype=np.float32).reshape(2, 192)
    ranges = activations.ranges(of, weight)
    content = activations.to_bytes({QKV.name: ranges, "linear_head": activations.ranges(of, -weight)})
    back = activations.from_bytes(content, QKV.name)
    np.testing.assert_array_equal(back.act_min, of.low.min(axis=0))
    np.testing.assert_array_equal(back.act_max, of.high.max(axis=0))
    np.testing.assert_array_equal(back.weight_min, weight[0])
    np.testing.assert_array_equal(back.weight_max, weight[1])
    assert not activations.outliers(back).any()
    with pytest.raises(KeyError):
        activations.from_bytes(content, "blocks.9.attn.qkv")


def test_outlier_channels_are_marked() -> None:
    reach = np.ones(8, np.float32)
    reach[[2, 5]] = 20, 6.1
    found = activations.outliers(Ranges(-reach, reach / 2, reach, reach))
    assert list(np.flatnonzero(found)) == [2, 5]


# What has no range


def test_nothing_but_zeros_is_a_sentence() -> None:
    nothing = np.zeros((3, 8), np.float32)
    with pytest.raises(InputError, match=r"reaches block 3, qkv of sample is zero .* not blank\."):
        activations.check(Seen(nothing, nothing), QKV, "sample")


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_what_is_no_number_is_a_sentence(value: float, name: str) -> None:
    of = seen(pictures=3, channels=8)
    of.low[1, 2:4] = value
    with pytest.raises(InputError, match=f"contains {name}, in 2 of 8 channels on 1 of 3 pictures.*check the"):
        activations.check(of, QKV, "sample")
    activations.check(seen(), QKV, "sample")


# Words


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "4 of 192 channels are 256 times larger than the rest; at int8 the others get 1 level."),
        ({"outliers": 1, "levels_left": 9, "outlier_ratio": 7.25},
         "1 of 192 channels is 7.2 times larger than the rest; at int8 the others get 9 levels."),
        ({"outliers": 1, "channels": 2}, "1 of 2 channels is 256 times larger than the rest; at int8 the other "
         "gets 1 level."),
        ({"levels_left": None, "levels": None},
         "4 of 192 channels are 256 times larger than the rest; this layer is not rounded to int8."),
        ({"outliers": 0, "levels_left": 128},
         "No channel of 192 stands out: the widest reaches 3.0 times as far as the median one; at int8 they "
         "share 128 of 128 levels."),
    ],
)  # fmt: skip
def test_a_range_is_told_in_a_sentence(change: dict[str, object], said: str) -> None:
    found = {
        "channels": 192,
        "outliers": 4,
        "outlier_ratio": 256.2,
        "levels": 128,
        "levels_left": 1,
        "absmax": 6.0,
        "ordinary": 2.0,
    }
    assert diagnosis_words.of_range(found | change) == said
