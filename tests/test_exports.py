"""Files to take away: without vitquant they answer what the variant answers in it, or are not offered."""

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import ROOT, missing
from tests.test_cli import vitquant
from vitquant import (
    children,
    database,
    datasets,
    exports,
    formats,
    images,
    jobs,
    machine,
    models,
    predict,
    runs,
    torch_files,
    variants,
    weights,
)
from vitquant.errors import InputError, VitquantError
from vitquant.measurements import ExportRequest

PICTURES = 24
ONNX = ("onnx", "onnxscript", "onnxruntime")

# What somebody with the folder and the packages that its card names would run: nothing of vitquant can be had.
WITHOUT_VITQUANT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("vitquant", *sys.argv[3:]):
            raise ModuleNotFoundError(f"no {name} in this test")

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, ".")
import numpy
from PIL import Image
from load import load

logits_of = load(".")
pictures = open(sys.argv[1]).read().splitlines()
numpy.save(sys.argv[2], [logits_of(Image.open(picture).convert("RGB")) for picture in pictures])
"""


@pytest.fixture(scope="module")
def pictures() -> list[Path]:
    """The first of the sample's pictures in the evaluation order."""
    dataset = datasets.open_dataset("sample")
    return [dataset.file(dataset.examples[i]) for i in datasets.evaluation_order(dataset)[:PICTURES]]


def made(request: ExportRequest) -> tuple[dict[str, object], Path]:
    """The export's row, and its archive."""
    with database.opened() as db:
        [row] = jobs.run_here(db, request)
    file = exports.file_of(row)
    assert file is not None
    return row, file


def ask(variant: str, format: str, model: str = "sample", pictures: int = PICTURES) -> ExportRequest:
    return ExportRequest(model, "bundled", (variant,), format, "sample", pictures)


def answers_without_vitquant(
    archive: Path, pictures: list[Path], at: Path, *, and_without: str = ""
) -> np.ndarray:
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(at)
    listing, found = at / "pictures.txt", at / "logits.npy"
    listing.write_text("\n".join(map(str, pictures)))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_VITQUANT, str(listing), str(found), *and_without.split()],
        cwd=at / archive.stem,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return np.asarray(np.load(found))


def in_vitquant(variant: str, pictures: list[Path], model: str = "sample") -> np.ndarray:
    built = variants.build(models.load(weights.resolve(model)), variant, machine.engine())
    inputs = predict.to_input([images.open_rgb(picture) for picture in pictures], 70)
    return predict.logits_of(built, inputs, one_by_one=True)


def usable(variant: str) -> str:
    if reason := variants.why_unavailable(variant, machine.engine()):
        pytest.skip(reason)
    return variant


def needs_onnx() -> None:
    lacking = [name for name in ONNX if util.find_spec(name) is None]
    if lacking:
        missing(f"the optional {' and '.join(lacking)}: python -m pip install -r {formats.ONNX_REQUIREMENTS}")


@pytest.mark.parametrize(
    ("variant", "format"),
    [
        ("qint8", "program"),
        *(
            pytest.param(variant, format, marks=pytest.mark.slow)
            for variant, format in [
                ("fp32", "program"),
                ("float16", "program"),
                ("fp32", "state-dict"),
                ("qint8", "state-dict"),
                ("float16", "state-dict"),
            ]
        ),
    ],
)
def test_a_file_for_torch_answers_as_the_variant_does(
    data_dir: Path, tmp_path: Path, pictures: list[Path], variant: str, format: str
) -> None:
    row, archive = made(ask(usable(variant), format))
    assert (row["n"], row["disagreements"]) == (PICTURES, 0)
    assert float(str(row["largest_logit_difference"])) < 1e-4
    without = "timm torchvision" if format == "program" else ""
    answers = answers_without_vitquant(archive, pictures, tmp_path / "elsewhere", and_without=without)
    assert np.abs(answers - in_vitquant(variant, pictures)).max() < 1e-4


@pytest.mark.slow
def test_onnx_answers_as_fp32_does_without_torch(data_dir: Path, tmp_path: Path, pictures: list[Path]) -> None:
    needs_onnx()
    row, archive = made(ask("fp32", "onnx"))
    assert row["disagreements"] == 0
    answers = answers_without_vitquant(archive, pictures, tmp_path / "elsewhere", and_without="torch timm")
    assert np.abs(answers - in_vitquant("fp32", pictures)).max() < 1e-3


@pytest.mark.slow
def test_onnx_int8_is_a_conversion_with_an_accuracy_of_its_own(
    data_dir: Path, tmp_path: Path, pictures: list[Path]
) -> None:
    needs_onnx()
    row, archive = made(ask("fp32", "onnx-int8", pictures=200))
    assert row["compared_with"] == "fp32"
    assert float(str(row["largest_logit_difference"])) > 1e-3  # it is another model
    assert float(str(row["top1"])) > 0.8  # and on the healthy sample a good one
    outlying, _ = made(ask("fp32", "onnx-int8", "sample_outliers", 200))
    assert float(str(outlying["top1"])) < 0.5  # whose activations are no easier for ONNX Runtime
    card = (_unpacked(archive, tmp_path) / "README.md").read_text()
    assert f"top-1 of this file on them: {float(str(row['top1'])):.1%}" in card
    assert "conversion of its own" in card
    assert int(str(row["weights_bytes"])) < 0.35 * 4 * 4_642_600


def _unpacked(archive: Path, at: Path) -> Path:
    exports.unpack(archive, at / "unpacked")
    return at / "unpacked"


@pytest.mark.slow
def test_float16_is_half_as_large_in_both_forms(data_dir: Path) -> None:
    usable("float16")
    for format in ("program", "state-dict"):
        whole, half = (int(str(made(ask(name, format))[0]["weights_bytes"])) for name in ("fp32", "float16"))
        assert 0.5 < half / whole < 0.53, format


def test_float16_keeps_its_values_when_it_is_saved() -> None:
    usable("float16")
    model = nn.Sequential(nn.Linear(40, 30), nn.LayerNorm(30), nn.Linear(30, 5, bias=False)).eval()
    variant = variants.build(model, "float16", machine.engine())
    state = torch_files.compact_state(variant)
    assert {name: tensor.dtype for name, tensor in state.items() if tensor.dtype == torch.float16}.keys() == {
        "0.weight",
        "2.weight",
    }
    assert state.keys() == model.state_dict().keys()
    assert torch.equal(state["0.weight"].float(), model[0].weight.half().float())


@pytest.mark.slow
def test_an_export_has_all_that_goes_along(data_dir: Path, tmp_path: Path, pictures: list[Path]) -> None:
    row, archive = made(ask("fp32", "program"))
    assert archive.name == "sample-fp32-program-70px.zip"
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == row["sha256"]
    folder = _unpacked(archive, tmp_path)
    names = {file.name for file in folder.iterdir()}
    assert names == {
        "README.md",
        "SHA256SUMS",
        "config.json",
        "full_range.py",
        "labels.json",
        "load.py",
        "model.pt",
        "predict.py",
        "transform.py",
    }
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        names.discard(name)
    assert names == {"SHA256SUMS"}
    assert len(json.loads((folder / "labels.json").read_text())) == 1000
    card = (folder / "README.md").read_text()
    assert "another first answer: 0 of 24 pictures" in card
    assert "accuracy on sample: not measured" in card  # nothing is in this store
    shown = subprocess.run(
        [sys.executable, "predict.py", str(pictures[0])],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert len(shown.splitlines()) == 6
    assert not list(data_dir.glob("exports/.*"))


@pytest.mark.slow
def test_what_was_made_is_not_made_again_unless_it_is_gone(data_dir: Path) -> None:
    request = ask("fp32", "program", pictures=2)
    _, archive = made(request)
    with database.opened() as db:
        assert jobs.run_here(db, request)
        assert len(runs.find(db, kind="export")) == 1
    archive.unlink()
    _, again = made(request)
    assert again == archive
    with database.opened() as db:
        assert len(runs.find(db, kind="export")) == 2
    vitquant("runs", "delete", "2")
    assert not archive.exists()  # what nobody knows of any more must not fill the disk


def test_a_program_takes_any_number_of_pictures_at_once(tmp_path: Path) -> None:
    model = models.load(weights.resolve("sample"))
    for name in ("fp32", "qint8", "float16"):
        if variants.why_unavailable(name, machine.engine()):
            continue
        variant = variants.build(model, name, machine.engine())
        torch_files.save_program(variant, tmp_path / f"{name}.pt", 70)
        program = torch.jit.load(tmp_path / f"{name}.pt")
        for batch in (1, 3, 5):
            inputs = torch.randn(batch, 3, 70, 70, generator=torch.Generator().manual_seed(batch))
            with torch.inference_mode():
                assert torch.allclose(program(inputs), variant(inputs), atol=1e-4), (name, batch)


@pytest.mark.slow
def test_a_cancelled_export_leaves_nothing_behind(data_dir: Path) -> None:
    with database.opened() as db:
        run = jobs.start(db, ask("fp32", "state-dict", pictures=100))
        exported = data_dir / "exports"
        wait_until(lambda: any(exported.glob(".making-*/export/*")) or runs.get(db, run.id).is_over)
        runs.request_cancel(db, run.id)
        wait_until(lambda: runs.get(db, run.id).is_over)
        assert runs.get(db, run.id).state == "cancelled"
    assert [file for file in exported.rglob("*") if file.is_file()] == []


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.02)  # between two looks; nothing tells us from outside


@pytest.mark.slow
def test_the_card_tells_no_path_of_this_machine(data_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "secret-project" / "mine"
    folder.mkdir(parents=True)
    for file in weights.resolve("sample").files:
        (folder / file.name).write_bytes(file.read_bytes())
    request = ExportRequest("sample", str(folder), ("fp32",), "program", "sample", 2)
    _, archive = made(request)
    with zipfile.ZipFile(archive) as zipped:
        card = zipped.read(f"{archive.stem}/README.md").decode()
    assert "secret-project" not in card
    assert "- weights: mine (digest " in card
    assert "accuracy on sample: not measured" in card  # what is stored is of other weights


@pytest.mark.slow
def test_a_file_that_answers_otherwise_is_not_offered(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tampered(folder: Path, pictures: list[Path]) -> np.ndarray:
        return np.zeros((len(pictures), 1000), dtype=np.float32)

    monkeypatch.setattr(exports, "answers_of", tampered)
    with database.opened() as db, pytest.raises(VitquantError, match="so it is not offered"):
        jobs.run_here(db, ask("fp32", "program"))
    assert not list(data_dir.glob("exports/**/*.zip"))


def test_a_file_that_does_not_load_again_is_a_sentence(tmp_path: Path, pictures: list[Path]) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for name, source in formats.FORMATS["program"].code.items():
        (folder / name).write_bytes((ROOT / "vitquant" / source).read_bytes())
    with pytest.raises(VitquantError, match=r"did not work when it was loaded again: FileNotFoundError"):
        exports.answers_of(folder, pictures)


# ---- what cannot be done -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--variant", "qint8", "--format", "onnx"], "ONNX cannot hold torch's quantized layers"),
        (["--format", "onx"], "did you mean onnx"),
        (["--variant", "int4"], "no variant called 'int4'"),
        (["--pictures", "-1"], "take 1 or more"),
        (["--image-size", "71"], "70 or 84"),
        (["--dataset", "tiny-imagenet"], "tiny-imagenet is not here yet"),
        (["--model", "sampel"], "did you mean sample"),
        (["--pictures", "0"], "take 1 or more"),
    ],
)
def test_what_cannot_be_exported_is_a_sentence(
    data_dir: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    refused = vitquant("export", "--model", "sample", "--out", tmp_path / "out", *words, status=2)
    assert sentence in refused.stderr
    assert not (tmp_path / "out").exists()


def test_an_export_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "mine.zip").write_text("mine")
    for out in ("mine", "mine.zip", "mine.zip/below", "x" * 300, "mine.tar.gz"):
        with pytest.raises(InputError, match=r"is there already|Nothing can be written|ends with .zip"):
            exports.check_out(tmp_path / out)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(InputError, match="is there already"):
        exports.check_out(Path("."))  # it could not be replaced by the export
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
    assert (tmp_path / "mine.zip").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_a_sentence_and_keeps_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "some-export.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("some-export/model.pt", b"numbers")
    with pytest.raises(VitquantError, match=r"could not be written"):
        exports.unpack(archive, Path("/proc/vitquant-export"))  # nobody can make a folder there
    for out in (tmp_path / "a" / "folder", tmp_path / "b" / "file.zip"):
        exports.unpack(archive, out)
        assert out.exists()
        assert [entry.name for entry in out.parent.iterdir()] == [out.name]
    (tmp_path / "empty").mkdir()
    exports.unpack(archive, tmp_path / "empty")
    assert (tmp_path / "empty" / "model.pt").read_bytes() == b"numbers"
    with pytest.raises(InputError, match="is there already"):
        exports.check_out(tmp_path / "empty")


@pytest.mark.parametrize("what", [*formats.FORMATS, "size"])
@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_no_partial_file(data_dir: Path, tmp_path: Path, what: str) -> None:
    """No file may grow beyond some megabytes here, which is what a full disk is to whoever writes one."""
    if "onnx" in what:
        needs_onnx()

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_500_000, 4_500_000))

    words = ["export", "--model", "sample", "--pictures", "2", "--format", what, "--out", str(tmp_path / "out")]
    if what == "size":
        words = ["benchmark", "size", "--model", "sample"]
    done = subprocess.run(
        [sys.executable, "-m", "vitquant", *words],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limited,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "could not be written" in done.stderr
    assert not (tmp_path / "out").exists()
    assert [entry for entry in (data_dir / "exports").rglob("*") if entry.is_file()] == []


def test_without_the_optional_packages_onnx_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found: Callable[[str], object] = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name in ONNX else found(name))
    problem = formats.why_not("onnx", "fp32")
    assert problem is not None
    assert "pip install -r requirements-onnx.txt" in problem
    assert formats.why_not("program", "fp32") is None


def test_a_damaged_archive_is_a_sentence_and_no_export(data_dir: Path, tmp_path: Path) -> None:
    archive = tmp_path / "damaged.zip"
    archive.write_bytes(b"PK no more")
    with pytest.raises(VitquantError, match="could not be written"):
        exports.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_process_that_is_killed_is_told_as_such(tmp_path: Path) -> None:
    words = "import os, sys; print('some warning', file=sys.stderr); os.kill(os.getpid(), 9)"
    with pytest.raises(VitquantError, match="ended by signal 9, most likely because memory ran out"):
        children.run(["-c", words], what="The process", cwd=tmp_path)
    with pytest.raises(VitquantError, match=r"^it is broken$"):
        children.run(["-c", "import sys; sys.exit('it is broken')"], what="The process", cwd=tmp_path)


def test_what_a_killed_export_left_is_cleared_by_the_next(data_dir: Path) -> None:
    left = data_dir / "exports" / ".making-abc" / "export"
    left.mkdir(parents=True)
    (left / "model.pt").write_bytes(b"half")
    with exports.making() as folder:
        assert not left.exists()
        assert list(folder.iterdir()) == []
    assert list((data_dir / "exports").iterdir()) == []


@pytest.mark.slow
def test_the_terminal_gives_a_folder_or_an_archive(data_dir: Path, tmp_path: Path) -> None:
    words = ["export", "--model", "sample", "--variant", "fp32", "--pictures", "2"]
    shown = vitquant(*words, "--out", tmp_path / "mine.zip")
    assert "0 (fp32)" in shown.stdout
    assert zipfile.is_zipfile(tmp_path / "mine.zip")
    again = vitquant(*words, "--out", tmp_path / "mine", "--json")
    assert "imported: []" in again.stderr  # it was made before, and is only copied
    [row] = json.loads(again.stdout)
    assert row["disagreements"] == 0
    assert (tmp_path / "mine" / "model.pt").is_file()
