"""Before something large is begun: whether there is room for it, and what is said where there is not."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from vitquant import catalog, database, formats, jobs, room
from vitquant.errors import InputError
from vitquant.measurements import BitsRequest, DiagnosisRequest, ExportRequest, SizeRequest
from vitquant.request import Request

GIANT = "dinov2_vitg14_reg_lc"


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Says how many bytes of memory the machine seems to have free."""

    def free(count: float) -> None:
        monkeypatch.setattr(
            psutil, "virtual_memory", lambda: SimpleNamespace(available=count, total=24 * 2**30)
        )

    return free


def test_a_model_too_large_names_the_estimate_and_a_smaller_one(memory: Callable[[float], None]) -> None:
    memory(3e9)
    problem = room.memory_problem(GIANT, "size")
    assert problem is not None
    assert GIANT in problem
    assert "19.2 GB" in problem  # 0.9 and 4 times 4 bytes for each of its 1,144,167,912 numbers
    assert "3.0 GB are free" in problem
    assert "take dinov2_vitb14_reg_lc" in problem  # the largest that fits
    memory(64e9)
    assert room.memory_problem(GIANT, "size") is None


def test_where_nothing_fits_no_model_is_offered(memory: Callable[[float], None]) -> None:
    memory(1e6)
    assert "free some." in str(room.memory_problem("sample", "onnx"))


@pytest.mark.parametrize(
    "ask",
    [
        lambda: SizeRequest(GIANT, "random", ("fp32",)),
        lambda: BitsRequest(GIANT, "random", "sample"),
        lambda: DiagnosisRequest(GIANT, "random", "sample"),
        lambda: ExportRequest(GIANT, "random", ("fp32",), "program", "sample", 8),
    ],
)
def test_what_does_not_fit_is_not_begun(
    data_dir: Path, memory: Callable[[float], None], ask: Callable[[], Request]
) -> None:
    memory(2e9)
    with database.opened() as db, pytest.raises(InputError, match=r"would need about .* GB of memory"):
        jobs.run_here(db, ask())
    assert not list(data_dir.glob("exports/*"))


def test_a_full_disk_is_said_before_an_export_is_begun(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "disk_usage", lambda folder: SimpleNamespace(free=10**6))
    request = ExportRequest("sample", "bundled", ("fp32",), "program", "sample", 8)
    with database.opened() as db, pytest.raises(InputError, match=r"needs about \d+ MB .* 1 MB are free there"):
        jobs.run_here(db, request)
    assert not list(data_dir.glob("exports/**/*.zip"))


def test_room_on_a_disk_is_asked_of_the_nearest_folder_that_is_there(tmp_path: Path) -> None:
    room.check_disk(tmp_path / "not" / "yet" / "there", 1, "Nothing")
    with pytest.raises(InputError, match=r"free some space, or take another folder"):
        room.check_disk(tmp_path / "not" / "yet" / "there", 10**18, "Too much")


def test_every_export_and_every_heavy_run_has_an_estimate() -> None:
    assert {*formats.FORMATS, "size", "bits", "diagnosis", "calibration", "study"} == set(room.COPIES)
    small, large = (room.needed_bytes(catalog.model(name), "size") for name in ("sample", GIANT))
    assert small < large
