"""Pages run by Streamlit's AppTest on stores that the tests fill: no browser, no torch."""

from streamlit.testing.v1 import AppTest

from tests import drawn
from tests.conftest import ROOT
from vitquant import database, machine, measurements, runs
from vitquant.request import Request, to_plain

MEASURED = 30
READY = ("fp32", "qint8", "float16", "bfloat16", "qint8_channel")
"""The variants that can be run at once: those that nothing has to be calibrated for."""
WRONG = {"fp32": {0, 1}, "qint8": set(range(2, 30)), "float16": {0, 1}}


def visit(page: str = "explorer", **query: object) -> AppTest:
    at = AppTest.from_file(str(ROOT / "dashboard.py"), default_timeout=30)
    for name, value in query.items():
        at.query_params[name] = str(value)
    if page != "overview":
        at.switch_page(f"pages/{page}.py")
    at.run()
    assert not at.exception
    return at


def choose(at: AppTest, name: str, value: str) -> None:
    """Choose in the segmented control or pills that mirror this query parameter."""
    [group] = [g for g in at.get("button_group") if g.key == f"address:{name}"]
    group.set_value(value).run()
    assert not at.exception


def html_of(at: AppTest) -> str:
    return "\n".join(element.proto.body for element in at.get("html"))


def text_of(at: AppTest) -> str:
    kinds = ("markdown", "caption", "info", "warning", "error", "subheader", "title")
    return "\n".join(str(element.value) for kind in kinds for element in at.get(kind)) + html_of(at)


def opened(at: AppTest) -> list[str]:
    """The pictures on the page, as the buttons that open them name them."""
    return [button.key for button in at.button if str(button.key).startswith("open-")]


def store_run(request: Request, rows: runs.Rows, state: str = "done") -> runs.Run:
    with database.opened() as db:
        run = runs.add(
            db,
            request.kind,
            to_plain(request),
            request.identity(db),
            machine.environment(),
        )
        runs.finish(db, run.id, state, "Cut short." if state != "done" else "", result=rows or None)
        return runs.get(db, run.id)


SIZE = measurements.SizeRequest(drawn.MODEL, "random", ("fp32", "qint8"))
SIZE_ROWS = [
    {"variant": name, "disk_bytes": d, "parameters_bytes": p, "packed_bytes": q, "buffers_bytes": 0,
     "total_bytes": p + q}
    for name, d, p, q in (("fp32", 95_980_187, 95_916_448, 0), ("qint8", 26_554_327, 3_131_904, 23_323_944))
]  # fmt: skip
LATENCY = measurements.LatencyRequest(drawn.MODEL, "random", ("fp32", "qint8"), ("1x70",), (1,), 10.0)
LATENCY_ROWS = [
    {"shape": "1x70", "batch": 1, "image_size": 70, "variant": name, "threads": 1, "median_s": s,
     "q1_s": s, "q3_s": s, "runs": 9, "warmup_s": 1.0, "ratio_to_fp32": 0.03 / s}
    for name, s in (("fp32", 0.03), ("qint8", 0.015))
]  # fmt: skip
PROFILE = measurements.ProfileRequest(drawn.MODEL, "random", ("fp32",), "1x70", 1)
PROFILE_ROWS = [
    {"variant": "fp32", "name": "aten::addmm", "calls": 49, "self_cpu_s": 0.01, "total_cpu_s": 0.02,
     "self_memory_bytes": 5, "share": 0.7, "stack": []},
]  # fmt: skip
