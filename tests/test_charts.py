"""The charts: that they show the figures they are given, and tell variants apart without colour."""

import pandas as pd
import pytest

from vitquant import charts, units, wording
from vitquant.variants import RECIPES

ACCURACY = [
    {"variant": "fp32", "n": 300, "top1": 0.8, "top1_low": 0.75, "top1_high": 0.84, "top5": 0.9,
     "top5_low": 0.86, "top5_high": 0.93, "broken": None, "fixed": None, "mcnemar_p": None},
    {"variant": "qint8", "n": 300, "top1": 0.1, "top1_low": 0.07, "top1_high": 0.14, "top5": 0.2,
     "top5_low": 0.16, "top5_high": 0.25, "broken": 211, "fixed": 1, "mcnemar_p": 1e-60},
]  # fmt: skip
LATENCY = [
    {"shape": shape, "variant": variant, "threads": 2, "median_s": s, "q1_s": s * 0.9, "q3_s": s * 1.2,
     "ratio_to_fp32": ratio}
    for shape in ("1x70", "8x70")
    for variant, s, ratio in (("fp32", 0.1, 1.0), ("qint8", 0.05, 2.0))
]  # fmt: skip
SIZE = [
    {"variant": "qint8", "disk_bytes": 26_554_327, "parameters_bytes": 3_131_904,
     "packed_bytes": 23_323_944, "buffers_bytes": 0, "total_bytes": 26_455_848},
]  # fmt: skip


def test_variants_are_told_apart_without_colour() -> None:
    looks = [charts.style(name) for name in RECIPES]
    assert len({look.symbol for look in looks}) == len({look.pattern for look in looks}) == len(RECIPES)


def test_a_variant_without_a_style_of_its_own_always_gets_the_same() -> None:
    assert charts.style("qint4") == charts.style("qint4")
    assert charts.style("qint4") not in charts.STYLES.values()


def test_accuracy_shows_the_share_with_its_interval() -> None:
    figure = charts.accuracy(pd.DataFrame(ACCURACY))
    top1 = figure.data[2]
    assert (top1.x, figure.layout.yaxis.ticktext[round(top1.y[0])]) == ((0.1,), "qint8")
    assert top1.x[0] + top1.error_x.array[0] == pytest.approx(0.14)
    assert top1.x[0] - top1.error_x.arrayminus[0] == pytest.approx(0.07)
    assert figure.layout.xaxis.range[0] <= 0 < 1 <= figure.layout.xaxis.range[1]


def test_latency_shows_milliseconds_and_keeps_equal_times_apart() -> None:
    figure = charts.latency(pd.DataFrame(LATENCY))
    fp32, qint8 = figure.data
    assert list(qint8.x) == pytest.approx([50, 50])
    assert set(fp32.y).isdisjoint(qint8.y)
    assert figure.layout.xaxis.type == "log"


@pytest.mark.parametrize(("unit", "shown"), [(units.MB, "26.6 MB"), (units.MIB, "25.3 MiB")])
def test_size_keeps_to_the_unit(unit: int, shown: str) -> None:
    rows = pd.DataFrame(SIZE)
    disk = charts.disk(rows, unit)
    assert disk.layout.annotations[0].text == shown
    assert disk.layout.xaxis.title.text == units.name(unit) == shown.split()[1]
    memory = charts.memory(rows, unit)
    assert sum(bar.x[0] for bar in memory.data) == pytest.approx(26_455_848 / unit)
    assert len({bar.marker.pattern.shape for bar in memory.data}) == 2


def test_backgrounds_are_transparent_for_both_themes() -> None:
    for figure in (
        charts.accuracy(pd.DataFrame(ACCURACY)),
        charts.latency(pd.DataFrame(LATENCY)),
        charts.disk(pd.DataFrame(SIZE), units.MB),
    ):
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"


def test_every_chart_can_be_read_aloud() -> None:
    assert "qint8: 10.0% first answers right (95% interval 7.0% to 14.0%)" in charts.accuracy_alt(
        pd.DataFrame(ACCURACY)
    )
    assert "qint8 at 8x70: 50 ms, 2.00 times as fast as fp32" in charts.latency_alt(pd.DataFrame(LATENCY))
    assert "qint8: 26.6 on disk, 26.5 in memory" in charts.size_alt(pd.DataFrame(SIZE), units.MB)


def test_sentences_claim_no_more_than_the_test_carries() -> None:
    assert "breaks 211 and fixes 1, worse than chance explains" in wording.accuracy_sentence(ACCURACY[1])
    doubtful = ACCURACY[1] | {"broken": 3, "fixed": 1, "mcnemar_p": 0.6}
    assert "no more uneven than chance" in wording.accuracy_sentence(doubtful)
    assert "(p = 0.6)" in wording.accuracy_sentence(doubtful)
    certain = ACCURACY[1] | {"mcnemar_p": 0.0}  # underflown: a probability of nothing is never claimed
    assert "(p < 0.0001)" in wording.accuracy_sentence(certain)
    assert "against" not in wording.accuracy_sentence(ACCURACY[0])
    same = ACCURACY[1] | {"broken": 0, "fixed": 0, "mcnemar_p": 1.0}
    assert "exactly where fp32 is" in wording.accuracy_sentence(same)


def test_speed_in_words_claims_nothing_where_the_quartiles_overlap() -> None:
    fp32, qint8 = LATENCY[:2]
    assert wording.speed_sentences([fp32, qint8]) == ["**qint8** at 1x70: 2.00 times as fast as fp32."]
    assert wording.speed_sentences([qint8]) == []
    [slower] = wording.speed_sentences([fp32, qint8 | {"median_s": 0.2, "q1_s": 0.19, "q3_s": 0.21}])
    assert slower == "**qint8** at 1x70: slower than fp32, taking 2.00 times as long."
    [noisy] = wording.speed_sentences([fp32, qint8 | {"q3_s": 0.3}])
    assert "no clear difference" in noisy


def kept(broken: int, fixed: int, n: int = 1000, right: int = 900, **costs: float) -> str:
    reference = {"variant": "fp32", "n": n, "top1": right / n, "broken": None, "fixed": None}
    row = {"variant": "qint8", "n": n, "top1": (right - broken + fixed) / n, "broken": broken, "fixed": fixed}
    return wording.kept_sentence(row, reference, **costs)


def test_what_a_variant_keeps_is_said_no_more_sharply_than_the_interval_allows() -> None:
    assert kept(0, 0) == "Recognises exactly the same pictures as the original."
    assert kept(3, 1).startswith("Recognises as many pictures as the original, to within one in a hundred")
    assert kept(810, 2).startswith("Gets 9 of 10 pictures wrong that the original gets right")
    assert kept(897, 2).startswith("Gets nearly every picture wrong")
    assert "of a hundred pictures wrong" in kept(60, 5)
    assert "more pictures in a hundred" in kept(5, 60)
    assert kept(3, 1, n=64, right=58).startswith("Not enough pictures yet to tell")
    assert kept(0, 0, n=64, right=58).startswith(
        "Not enough pictures yet to tell"
    )  # agreeing on 64 proves little


def test_the_space_it_takes_is_said_in_plain_words() -> None:
    assert kept(0, 0, times_smaller=3.98).endswith(", in a quarter of the space.")
    assert kept(0, 0, times_smaller=3.6).endswith(", in less than a third of the space.")
    assert kept(897, 2, times_smaller=3.6).endswith(", though in less than a third of the space.")
    assert kept(0, 0, times_smaller=1.0).endswith("as the original.")
    assert kept(0, 0, times_smaller=8.2).endswith(", in 12% of the space.")


def test_the_trade_off_shows_every_variant_with_its_interval() -> None:
    rows = pd.DataFrame([row | {"cost": 10.0 * place + 5} for place, row in enumerate(ACCURACY)])
    figure = charts.trade_off(rows, "cost", "MB")
    assert [trace.x[0] for trace in figure.data] == list(rows["cost"])
    assert all(trace.error_y.array[0] > 0 for trace in figure.data)
    assert "at 5.0 MB" in charts.trade_off_alt(rows, "cost", "MB")
