"""The notebook's riddle: its table reproduced, and every step from there to the true figures."""

from collections.abc import Iterable
from typing import Any

import pytest
from torch import nn

from tests.test_cli import vitquant
from tests.test_footprint import build_here
from tests.test_ledger import NOTEBOOKS, mended
from vitquant import footprint, models, notebook, riddle, variants
from vitquant.riddle import Line
from vitquant.weights import resolve


def rows_of(model: nn.Module, names: Iterable[str]) -> list[dict[str, Any]]:
    return [
        {"variant": name, **footprint.measure(build_here(model, name, mended(model))).row()} for name in names
    ]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """The sizes of the notebook's model; its values do not matter."""
    return rows_of(models.load(resolve(notebook.MODEL, "random")), NOTEBOOKS)


@pytest.fixture(scope="module")
def rows_of_all() -> list[dict[str, Any]]:
    """The sizes of every variant there is, of a small model."""
    return rows_of(models.load(resolve("sample_outliers")), variants.RECIPES)


def test_the_notebooks_figures_come_out_here(rows: list[dict[str, Any]]) -> None:
    for row in riddle.beside_the_notebook(rows):
        assert row["here, disk (MiB)"] == pytest.approx(row["notebook, disk (MiB)"], rel=1e-3)
        assert row["here, memory (MB)"] == row["notebook, memory (MB)"]
    off = riddle.largest_deviation(riddle.beside_the_notebook(rows))
    assert off is not None
    assert 0 < off["disk"] < 1e-3
    assert off["memory"] == 0


@pytest.mark.parametrize("lines_of", [riddle.memory_lines, riddle.disk_lines])
@pytest.mark.parametrize("measured", ["rows", "rows_of_all"])
def test_the_steps_add_up_to_the_byte(measured: str, lines_of: Any, request: pytest.FixtureRequest) -> None:
    rows = request.getfixturevalue(measured)
    lines: list[Line] = lines_of(rows)
    *steps, end = lines
    assert end.is_sum
    assert not any(step.is_sum for step in steps)
    assert set(end.amounts) == {row["variant"] for row in rows}
    for name in end.amounts:
        assert sum(step.amounts[name] for step in steps) == end.amounts[name]
    assert "not accounted for" not in [line.title for line in lines]


def test_the_steps_begin_and_end_at_the_figures_of_the_notebook_and_of_the_file(
    rows: list[dict[str, Any]],
) -> None:
    first, *_, last = riddle.memory_lines(rows)
    assert first.amounts == {"fp32": 361_698_208, "qint8": 6_263_808, "float16": 6_263_808}
    assert last.amounts == {row["variant"]: row["total_bytes"] for row in rows}
    disk = {line.title: line.amounts for line in riddle.disk_lines(rows)}
    unpacked = disk["float16 unpacked to float32 to be saved"]
    weights = 12 * (4 + 8) * 768 * 768 + 5 * 768 * 1000  # as many numbers as the 49 Linear layers have
    assert unpacked == {"fp32": 0, "qint8": 0, "float16": 2 * weights}
    assert disk["on disk, all"] == {row["variant"]: row["disk_bytes"] for row in rows}


def test_what_is_missed_gets_a_line_of_its_own(rows: list[dict[str, Any]]) -> None:
    tampered = [dict(row) | {"total_bytes": row["total_bytes"] + 7} for row in rows]
    missed = {line.title: line.amounts for line in riddle.memory_lines(tampered)}["not accounted for"]
    assert set(missed.values()) == {7}


def test_a_variant_that_was_not_measured_leaves_a_gap(rows: list[dict[str, Any]]) -> None:
    beside = riddle.beside_the_notebook(rows[:1])
    assert [row["here, disk (MiB)"] is None for row in beside] == [False, True, True]
    assert riddle.largest_deviation(beside) is None


@pytest.mark.slow
def test_one_command_reproduces_the_notebooks_table(data_dir: object) -> None:
    shown = vitquant("benchmark", "size", "--weights", "random", "--riddle").stdout
    [line] = [line for line in shown.splitlines() if line.startswith("qint8 ")]
    assert line.split() == ["qint8", "91.0559", line.split()[2], "6.263808", "6.263808"]
    assert float(line.split()[2]) == pytest.approx(91.0559, rel=1e-3)
    assert "88,774,656" in shown  # the packed weights that parameters() does not see
