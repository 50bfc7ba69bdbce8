"""Errands in the queue: beside measurements, waiting while times are taken, going on where they were."""

import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import drawn
from tests.loopback import Fault, Site, serving
from tests.test_prepare import contents, pack
from vitquant import catalog, database, datasets, errands, fetching, jobs, paths, runs
from vitquant.errands import Errand, FetchRequest, ModelRequest, PicturesRequest, VerifyRequest
from vitquant.errors import InputError

pytestmark = pytest.mark.usefixtures("data_dir")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving({fetching.ARCHIVE: pack(tmp_path / "archive.zip", contents())}) as site:
        yield site


def test_an_errand_goes_on_beside_a_measurement(site: Site) -> None:
    with jobs._alone(jobs.MEASURING, None), database.opened() as db:  # somebody measures
        rows = jobs.run_here(db, FetchRequest("tiny-imagenet", mirror=site.address))
    assert rows[0]["pictures"] == 18
    assert datasets.is_here("tiny-imagenet")


def test_a_second_errand_waits_for_the_first_and_says_so(site: Site) -> None:
    said: list[str] = []
    done = threading.Event()

    def second() -> None:
        with database.opened() as db:
            jobs.run_here(db, FetchRequest("tiny-imagenet", mirror=site.address), on_wait=_note)
        done.set()

    waits = threading.Event()

    def _note(sentence: str) -> None:
        said.append(sentence)
        waits.set()

    with jobs._alone(jobs.ERRANDS, None):
        threading.Thread(target=second, daemon=True).start()
        assert waits.wait(30)
        assert not done.is_set()
    assert done.wait(30)
    assert said == ["Another errand is under way on this machine: waiting for it to end."]


def test_an_errand_waits_while_times_are_taken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LOOK_FOR_QUIET_EVERY_S", 0.01)
    done = threading.Event()

    def fetch() -> None:
        with database.opened() as db:
            jobs.run_here(db, FetchRequest("tiny-imagenet", mirror=site.address))
        done.set()

    def waits() -> bool:
        with database.opened() as db:
            found = runs.find(db, states=("running",), errands=True)
        return any(run.message == "waits: times are being taken" for run in found)

    with jobs.quiet():
        threading.Thread(target=fetch, daemon=True).start()
        until = threading.Event()
        for _ in range(3000):
            if waits():
                break
            until.wait(0.01)
        assert waits() and not done.is_set()
    assert done.wait(30)


def test_a_failed_errand_keeps_its_sentence_and_goes_on_by_the_same_command(site: Site) -> None:
    site.faults[fetching.ARCHIVE] = [Fault(status=403)]
    request = FetchRequest("tiny-imagenet", mirror=site.address)
    with database.opened() as db:
        with pytest.raises(InputError, match="403"):
            jobs.run_here(db, request)
        [failed] = runs.find(db, states=("failed",), errands=True)
        assert "answers 403" in failed.message
        assert runs.find(db) == []  # no measurement
        jobs.run_here(db, request)
        [again] = runs.find(db, states=("done",), errands=True)
        assert again.id == failed.id


def test_the_queue_carries_errands_out_by_itself(site: Site) -> None:
    with database.opened() as db:
        run = jobs.start(db, FetchRequest("tiny-imagenet", mirror=site.address))
    jobs.dispatch(jobs.ERRANDS)  # the detached one may have been quicker
    with database.opened() as db:
        until = threading.Event()
        for _ in range(3000):
            if runs.get(db, run.id).is_over:
                break
            until.wait(0.02)
        assert runs.get(db, run.id).state == "done"
    assert datasets.is_here("tiny-imagenet")


def test_an_errand_that_stopped_is_shown_and_goes_on_in_the_terminal(site: Site) -> None:
    site.faults[fetching.ARCHIVE] = [Fault(status=403)]
    assert cli("fetch", "tiny-imagenet", "--mirror", site.address).returncode == 2
    with database.opened() as db:
        [failed] = runs.find(db, states=("failed",), errands=True)
    shown = cli("runs", "show", str(failed.id))
    assert shown.returncode == 0 and "answers 403" in shown.stdout
    compared = cli("runs", "compare", str(failed.id), str(failed.id))
    assert (compared.returncode, compared.stderr.count("\n")) == (2, 1)
    done = cli("runs", "continue", str(failed.id))
    assert done.returncode == 0 and "not the official archive" in done.stdout


def test_a_name_that_cannot_be_fetched_is_refused_before_it_is_queued() -> None:
    with database.opened() as db:
        with pytest.raises(InputError, match="no model or dataset to fetch called 'nothing'"):
            jobs.start(db, FetchRequest("nothing"))
        assert runs.find(db, errands=True) == []


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (FetchRequest("tiny-imagenet"), "fetching tiny-imagenet"),
        (FetchRequest("tiny-imagenet", mirror="http://m"), "fetching tiny-imagenet from http://m"),
        (VerifyRequest("sample"), "verifying sample"),
    ],
)
def test_an_errand_says_what_it_is(request_: errands.Errand, words: str) -> None:
    from vitquant.request import to_plain

    assert errands.title(request_.kind, to_plain(request_)) == words


def test_an_archive_of_pictures_is_looked_through_and_then_added(tmp_path: Path) -> None:
    drawn.draw_split(tmp_path / "mine", 2, classes=2)
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for file in sorted((tmp_path / "mine").rglob("*.png")):
            zipped.write(file, file.relative_to(tmp_path))
    with database.opened() as db:
        [found] = jobs.run_here(db, PicturesRequest("mine", path=str(archive), add=False))
        assert (found["added"], found["classes"], "mine" in catalog.datasets()) == (False, 2, False)
        [found] = jobs.run_here(db, PicturesRequest("mine", path=str(archive)))
    assert found["added"] and len(datasets.open_dataset("mine").examples) == 4
    with database.opened() as db, pytest.raises(InputError, match="There is mine already"):
        jobs.run_here(db, PicturesRequest("mine", path=str(archive)))


def test_a_folder_that_is_none_adds_nothing_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with database.opened() as db:
        [found] = jobs.run_here(db, PicturesRequest("mine", path=str(tmp_path / "empty")))
    assert not found["added"] and found["problem"]
    assert "mine" not in catalog.datasets()


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (PicturesRequest("mine", path="/nowhere"), "There is nothing at /nowhere"),
        (PicturesRequest("mine", path="/", labels="/nowhere.csv"), "path of the table of labels"),
        (PicturesRequest("mine", path=__file__, labels=__file__), "A table of labels goes with a folder"),
        (PicturesRequest("a/b", path="/", add=False), "a/b"),
        (PicturesRequest("sample", path="/"), "is one of vitquant's own"),
        (ModelRequest("mine", files=("/nowhere.pth",)), "There is nothing at /nowhere.pth"),
        (ModelRequest("../mine", files=("/",)), "../mine"),
        (VerifyRequest("dinov2_vitl14_lc"), "`python -m vitquant fetch dinov2_vitl14_lc` brings it"),
        (VerifyRequest("tiny-imagnet"), "did you mean tiny-imagenet"),
        (FetchRequest("tiny-imagenet", files=("/nowhere.zip",)), "There is no file /nowhere.zip"),
        (FetchRequest("dinov2_vits14_lc", files=("/nowhere.pth",)), "is the two files"),
    ],
)
def test_what_cannot_be_is_said_at_once_and_leaves_no_errand(request_: Errand, said: str) -> None:
    with database.opened() as db:
        for ask in (jobs.start, jobs.run_here):
            with pytest.raises(InputError) as caught:
                ask(db, request_)
            assert said in str(caught.value)
        assert runs.find(db, errands=True) == []


def test_asked_for_again_an_errand_takes_the_place_of_one_that_failed(tmp_path: Path) -> None:
    page = tmp_path / "page.pth"
    page.write_text("<!DOCTYPE html>")
    with database.opened() as db:
        for _ in range(2):
            with pytest.raises(InputError, match="it is a web page"):
                jobs.run_here(db, ModelRequest("mine", files=(str(page),)))
        page.with_name("other.pth").write_text("<!DOCTYPE html>")
        with pytest.raises(InputError):
            jobs.run_here(db, ModelRequest("mine", files=(str(page.with_name("other.pth")),)))
        [left] = runs.find(db, errands=True)
        assert left.state == "failed" and left.request["files"] == [str(page.with_name("other.pth"))]


def test_the_terminal_says_by_its_exit_status_that_nothing_was_added(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = cli("add", "pictures", "mine", str(tmp_path / "empty"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.rstrip().endswith("Nothing was added.") and not done.stdout.strip()
    assert cli("add", "pictures", "mine", str(tmp_path / "empty"), "--look").returncode == 0


def cli(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "vitquant", *arguments], capture_output=True, text=True, check=False
    )


def test_the_terminal_fetches_verifies_and_removes(site: Site) -> None:
    done = cli("fetch", "tiny-imagenet", "--mirror", site.address)
    assert done.returncode == 0 and "not the official archive" in done.stdout
    assert "each can be decoded" in cli("verify", "tiny-imagenet").stdout
    assert "Removed tiny-imagenet" in cli("remove", "tiny-imagenet").stdout
    refused = cli("remove", "tiny-imagenet")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert not (paths.data_dir() / "tiny-imagenet").exists()
