"""Downloads from a server on the loopback that cuts, stalls, lies and refuses."""

import hashlib
import itertools
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tests.loopback import Fault, Site, serving
from vitquant import download, room
from vitquant.download import Expected, Patience
from vitquant.errors import Cancelled, InputError

CONTENT = random.Random(1).randbytes(3_000_000)
QUICK = Patience(stalled_after_s=1.0, retries=3, backoff_factor_s=0.0)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving({"file.bin": CONTENT}) as site:
        yield site


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "file.bin"


def fetch(site: Site, target: Path, expected: Expected = download.ANYTHING, patience: Patience = QUICK) -> None:
    download.download(site.url("file.bin"), target, expected=expected, patience=patience)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_whole_file_is_in_its_place_alone_with_its_digest(site: Site, target: Path) -> None:
    shown: list[tuple[int, int]] = []
    done = download.download(
        site.url("file.bin"), target, progress=lambda came, total: shown.append((came, total))
    )
    assert target.read_bytes() == CONTENT
    assert (done.sha256, done.size_bytes) == (hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    assert left_in(target.parent) == ["file.bin"]
    assert shown == sorted(shown) and shown[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(cut_after=1_000_000), Fault(cut_after=500_000)],
        [Fault(stall_after=1_000_000)],
        [Fault(cut_after=0), Fault(cut_after=2_999_999)],
        [Fault(hangs_up=True), Fault(cut_after=700_000), Fault(hangs_up=True)],
        [Fault(status=500), Fault(status=502), Fault(status=503, headers={"Retry-After": "0"})],
        [Fault(status=429, headers={"Retry-After": "0"}), Fault(cut_after=10)],
        [Fault(speaks_otherwise=True)],
        [Fault(cut_after=1_000_000), Fault(wrong_range=True)],
    ],
    ids=[
        "cut twice",
        "stalled",
        "cut at once and at the end",
        "hung up",
        "5xx",
        "429",
        "no HTTP",
        "other part",
    ],
)
def test_what_fails_for_a_while_comes_in_the_end(site: Site, target: Path, faults: list[Fault]) -> None:
    site.faults["file.bin"] = list(faults)
    fetch(site, target)
    assert target.read_bytes() == CONTENT
    assert left_in(target.parent) == ["file.bin"]


def test_after_a_cut_only_what_is_missing_is_asked_for(site: Site, target: Path) -> None:
    site.faults["file.bin"] = [Fault(cut_after=1_000_000), Fault(cut_after=1_000_000)]
    fetch(site, target)
    _, second, third = [one.first for one in site.asked]
    # Sent again is at most the block that was being read when the connection was cut.
    assert 1_000_000 - download.BLOCK_BYTES < second <= 1_000_000 < third <= second + 1_000_000
    assert site.sent() <= len(CONTENT) + 2 * download.BLOCK_BYTES


def test_a_cancelled_download_is_taken_up_by_the_next_call(site: Site, target: Path) -> None:
    def stop(came: int, total: int) -> None:
        if came > 1_000_000:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        download.download(site.url("file.bin"), target, patience=QUICK, progress=stop)
    came = download.partial_bytes(target)
    assert came > 1_000_000 and not target.exists()
    done = download.download(site.url("file.bin"), target, patience=QUICK)
    assert done.began_at_bytes == came == site.asked[-1].first
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_gets_the_file_done_all_the_same(site: Site, target: Path) -> None:
    site.faults["file.bin"] = [Fault(cut_after=1_000_000), Fault(ignores_range=True)]
    fetch(site, target)
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_that_always_cuts_is_given_up(site: Site, target: Path) -> None:
    site.faults["file.bin"] = [Fault(cut_after=1_000_000, ignores_range=True)] * 20
    with pytest.raises(InputError, match=r"cut before the end.* bytes, is kept"):
        fetch(site, target)
    assert len(site.asked) < 8


def test_a_file_that_changes_meanwhile_is_never_mixed(site: Site, target: Path) -> None:
    site.faults["file.bin"] = [Fault(cut_after=1_000_000)]
    changed = bytes(reversed(CONTENT))

    def change(asked: object) -> None:
        if len(site.asked) == 1:
            site.etags["file.bin"], site.files["file.bin"] = '"new"', changed

    site.before_piece = change
    fetch(site, target)
    assert target.read_bytes() == changed


def test_a_partial_file_as_long_as_the_whole_is_whole(site: Site, target: Path) -> None:
    site.faults["file.bin"] = [Fault(cut_after=1_000_000)]
    with pytest.raises(InputError):
        fetch(site, target, patience=replace(QUICK, retries=0))
    (target.parent / ".file.bin.partial").write_bytes(CONTENT)
    fetch(site, target)
    assert site.asked[-1].first == len(CONTENT) and site.asked[-1].sent == 0
    assert target.read_bytes() == CONTENT


def test_a_partial_file_longer_than_the_whole_is_begun_anew(site: Site, target: Path) -> None:
    site.faults["file.bin"] = [Fault(cut_after=1_000_000)]
    with pytest.raises(InputError):
        fetch(site, target, patience=replace(QUICK, retries=0))
    (target.parent / ".file.bin.partial").write_bytes(CONTENT + b"more")
    fetch(site, target)
    assert target.read_bytes() == CONTENT


def test_without_a_length_the_end_is_the_end(site: Site, target: Path) -> None:
    site.faults["file.bin"] = [Fault(is_chunked=True)]
    fetch(site, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("fault", "expected", "sentence"),
    [
        (Fault(status=403), Expected(), "answers 403 Forbidden, it refuses"),
        (Fault(status=404), Expected(), "answers 404 Not Found, the file is not there"),
        (Fault(status=401), Expected(), "it asks for a password"),
        (Fault(status=204), Expected(), "that is no file"),
        (Fault(body=b"  <!DOCTYPE html><title>Log in</title>"), Expected(), "what comes is a web page"),
        (Fault(), Expected(digests={"md5": "0" * 32}), "its md5 is .*, and the file's is 000"),
        (Fault(), Expected(exact_bytes=7), "has a file of 3,000,000 bytes, and it has 7"),
        (Fault(), Expected(least_bytes=4_000_000), "are not the whole file, which has more than 4,000,000"),
        (Fault(), Expected(most_bytes=1_000_000), "has 3,000,000 bytes, more than the 1,000,000"),
        (Fault(is_chunked=True, is_endless=True), Expected(most_bytes=4_000_000), "more bytes come than"),
        (Fault(is_chunked=True), Expected(exact_bytes=4_000_000), "3,000,000 bytes have come, and it has 4,0"),
        (Fault(), Expected(check=lambda file: "it is upside down"), "not what was expected: it is upside down"),
    ],
)
def test_what_no_other_attempt_mends_is_one_sentence_and_leaves_nothing(
    site: Site, target: Path, fault: Fault, expected: Expected, sentence: str
) -> None:
    site.faults["file.bin"] = [fault]
    with pytest.raises(InputError, match=sentence) as caught:
        fetch(site, target, expected)
    assert site.url("file.bin") in str(caught.value)
    assert left_in(target.parent) == []
    assert len(site.asked) == 1


def test_a_length_that_is_too_large_is_a_cut_and_what_came_is_kept(site: Site, target: Path) -> None:
    site.faults["file.bin"] = [Fault(announced=9_000_000)] * 5
    with pytest.raises(InputError, match=r"in \d+ attempts: .*(cut before the end|another one now)"):
        fetch(site, target)
    assert not target.exists()


def test_a_length_that_is_too_small_does_not_pass_a_known_one(site: Site, target: Path) -> None:
    site.faults["file.bin"] = [Fault(announced=1_000_000)]
    with pytest.raises(InputError, match="has a file of 1,000,000 bytes, and it has 3,000,000"):
        fetch(site, target, Expected(exact_bytes=3_000_000))


def test_redirects_are_followed_but_not_for_ever(site: Site, target: Path) -> None:
    site.faults["old.bin"] = [Fault(status=302, headers={"Location": site.url("file.bin")})]
    assert download.download(site.url("old.bin"), target).url == site.url("file.bin")
    site.faults["old.bin"] = [Fault(status=302, headers={"Location": site.url("old.bin")})] * 40
    with pytest.raises(InputError, match="from one address to the next without an end"):
        download.download(site.url("old.bin"), target.with_name("other"))


def test_a_server_that_is_always_busy_is_given_up_with_what_it_said(site: Site, target: Path) -> None:
    site.faults["file.bin"] = [Fault(status=503)] * 9
    said: list[str] = []
    with pytest.raises(InputError, match=r"in 4 attempts: the server answers 503 Service Unavailable\."):
        download.download(site.url("file.bin"), target, patience=QUICK, wait=said.append)
    assert len(site.asked) == 4
    assert said[0] == "the server answers 503 Service Unavailable: trying again"


def test_retry_after_is_waited_for_but_within_bounds(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count(0.0, 0.5)
    slept: list[float] = []
    monkeypatch.setattr(download, "time", SimpleNamespace(monotonic=lambda: next(now), sleep=slept.append))
    site.faults["file.bin"] = [
        Fault(status=429, headers={"Retry-After": "3"}),
        Fault(status=429, headers={"Retry-After": "86400"}),
    ]
    said: list[str] = []
    patience = replace(QUICK, longest_wait_s=7.0)
    download.download(site.url("file.bin"), target, patience=patience, wait=said.append)
    assert said[0] == "the server answers 429 Too Many Requests: trying again in 3 s"
    assert "the server answers 429 Too Many Requests: trying again in 7 s" in said
    assert slept and max(slept) <= 0.5  # so that a run that is to stop does so at once


@pytest.mark.parametrize("url", ["ftp://x/file", "file:///etc/passwd", "nonsense", "http://", ""])
def test_only_web_addresses_are_asked(target: Path, url: str) -> None:
    with pytest.raises(InputError, match="begins with http:// or https://"):
        download.download(url, target)


def test_nobody_there_is_a_sentence_after_few_attempts(target: Path) -> None:
    with pytest.raises(InputError, match="in 3 attempts: the server could not be reached"):
        download.download("http://127.0.0.1:9/file.bin", target, patience=QUICK)


def test_a_proxy_is_honoured(site: Site, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", site.address)
    monkeypatch.setenv("no_proxy", "")
    download.download("http://far.example/file.bin", target, patience=QUICK)
    assert site.asked[0].path == "http://far.example/file.bin"


def test_a_disk_without_room_is_told_before_anything_comes(
    site: Site, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = psutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(room.psutil, "disk_usage", lambda path: full)
    with pytest.raises(InputError, match=r"file\.bin needs about 3 MB on the disk"):
        fetch(site, target)
    assert left_in(target.parent) == []


def test_a_second_process_at_the_same_file_is_refused(site: Site, target: Path) -> None:
    site.faults["file.bin"] = [Fault(stall_after=1_000_000)]
    patient = replace(QUICK, stalled_after_s=60.0)
    came = threading.Event()

    def first() -> None:
        download.download(site.url("file.bin"), target, patience=patient, progress=lambda *_: came.set())

    thread = threading.Thread(target=first, daemon=True)
    thread.start()
    assert came.wait(30)
    with pytest.raises(InputError, match=r"Another process is downloading file\.bin"):
        fetch(site, target)
    site.stop.set()
    thread.join(60)
    assert target.read_bytes() == CONTENT


MEGABYTES = 250
BY_ITSELF = "import sys; from pathlib import Path; from vitquant import download; "
BY_ITSELF += "download.download(sys.argv[1], Path(sys.argv[2]))"


@pytest.mark.slow
def test_a_fetch_of_250_mb_is_killed_three_times_and_finished(site: Site, target: Path, tmp_path: Path) -> None:
    source = tmp_path / "large"
    block = random.Random(2).randbytes(10**6)
    with source.open("wb") as out:
        for number in range(MEGABYTES):
            out.write(number.to_bytes(4, "big") + block[4:])
    site.files["file.bin"] = source
    size = source.stat().st_size
    partial = target.parent / ".file.bin.partial"
    for share in (0.2, 0.5, 0.8):
        halt = threading.Event()
        site.before_piece = lambda asked, share=share, halt=halt: (  # type: ignore[misc]
            halt.wait() if asked.first + asked.sent >= share * size else None
        )
        process = subprocess.Popen([sys.executable, "-c", BY_ITSELF, site.url("file.bin"), str(target)])
        until = time.monotonic() + 120
        while not (partial.exists() and partial.stat().st_size >= share * size - 2**20):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)  # nothing tells from outside how much another process has written
        process.send_signal(signal.SIGKILL)
        process.wait()
        halt.set()
    site.before_piece = lambda asked: None
    subprocess.run([sys.executable, "-c", BY_ITSELF, site.url("file.bin"), str(target)], check=True)
    with source.open("rb") as one, target.open("rb") as other:
        assert hashlib.file_digest(one, "sha256").digest() == hashlib.file_digest(other, "sha256").digest()
    firsts = [asked.first for asked in site.asked]
    assert len(firsts) == 4 and firsts == sorted(firsts) and firsts[0] == 0 < firsts[1]
    # Sent again is at most what was on its way when a process was killed: the sockets' buffers.
    assert site.sent() <= size + 3 * 16 * 2**20
    assert left_in(target.parent) == ["file.bin"]


@pytest.mark.parametrize("address", ["http://[x/y", "ftp://a.example/b", "nowhere", "http:///x"])
def test_what_is_no_address_is_a_sentence(target: Path, address: str) -> None:
    with pytest.raises(InputError, match="is no address that can be downloaded from"):
        download.download(address, target)


def test_a_server_that_says_in_words_when_to_come_again_is_asked_again(site: Site, target: Path) -> None:
    site.faults["file.bin"] = [Fault(status=503, headers={"Retry-After": "soon"})]
    fetch(site, target)
    assert target.read_bytes() == CONTENT


def test_what_one_place_gave_is_not_gone_on_with_from_another(site: Site, target: Path) -> None:
    site.faults["file.bin"] = [Fault(cut_after=1_000_000)]
    once = replace(QUICK, retries=0)
    with pytest.raises(InputError, match="is kept"):
        fetch(site, target, patience=once)
    other = random.Random(2).randbytes(len(CONTENT))
    with serving({"file.bin": other}) as elsewhere:
        fetch(elsewhere, target)
        assert [one.first for one in elsewhere.asked] == [0]
    assert target.read_bytes() == other


def test_with_a_published_digest_another_place_goes_on(site: Site, target: Path) -> None:
    published = Expected(digests={"sha256": hashlib.sha256(CONTENT).hexdigest()})
    site.faults["file.bin"] = [Fault(cut_after=1_000_000)]
    with pytest.raises(InputError, match="is kept"):
        fetch(site, target, published, replace(QUICK, retries=0))
    with serving({"file.bin": CONTENT}) as elsewhere:
        elsewhere.etags["file.bin"] = site.etags.get("file.bin", "")
        fetch(elsewhere, target, published)
    assert target.read_bytes() == CONTENT


def test_a_part_of_another_version_is_not_added_where_if_range_is_ignored(site: Site, target: Path) -> None:
    site.faults["file.bin"] = [Fault(cut_after=1_000_000)]
    with pytest.raises(InputError, match="is kept"):
        fetch(site, target, patience=replace(QUICK, retries=0))
    other = random.Random(3).randbytes(len(CONTENT))
    site.files["file.bin"] = other
    begin = download.partial_bytes(target)
    part = f"bytes {begin}-{len(other) - 1}/{len(other)}"
    site.faults["file.bin"] = [Fault(status=206, headers={"ETag": '"another"', "Content-Range": part})]
    fetch(site, target)
    assert target.read_bytes() == other
    assert [one.first for one in site.asked] == [0, begin, 0]
