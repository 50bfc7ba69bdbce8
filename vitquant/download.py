"""Downloading one large file: it goes on where it was cut, and is there whole or not at all. Imports no torch.
 requests is the transport (it honours proxies), urllib3's Retry keeps the account of attempts and says how long
to wait. What has come lies beside the target as .NAME.partial, with a record of which file that is the
beginning of."""

import contextlib
import errno
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import InvalidHeader, MaxRetryError
from urllib3.util.retry import Retry

from vitquant import room, whole
from vitquant.errors import InputError

BLOCK_BYTES = 2**16
RETRIED = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be others a moment later (RFC 9110 and RFC 6585)."""

_REFUSED = {
    401: "it asks for a password",
    403: "it refuses",
    404: "the file is not there",
    410: "the file is not there any more",
    451: "it may not give it out",
}


@dataclass(frozen=True)
class Expected:
    """What is known of a file before it comes."""

    exact_bytes: int | None = None
    least_bytes: int = 0
    most_bytes: int = 16 * 2**30  # against answers without an end
    digests: Mapping[str, str] = field(default_factory=dict)  # by hashlib's name: {"md5": "90528d7c…"}
    check: Callable[[Path], str | None] = lambda file: None  # what is wrong with the content, in words


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often to try again."""

    connect_s: float = 15.0
    stalled_after_s: float = 60.0  # how long the next bytes may take
    retries: int = 6  # in a row, without a byte that is new
    unreachable_retries: int = 2  # where there was no answer at all yet
    backoff_factor_s: float = 1.0  # urllib3's: waits of 0, 2, 4, 8, … times that
    longest_wait_s: float = 300.0


USUAL = Patience()
ANYTHING = Expected()


@dataclass(frozen=True)
class Downloaded:
    """A file that is whole and in its place."""

    path: Path
    size_bytes: int
    sha256: str
    began_at_bytes: int  # what had come before this call
    url: str  # after redirects


class _Again(Exception):
    """The attempt failed in a way that may be another the next time."""

    def __init__(self, why: str, reply: requests.Response | None = None) -> None:
        super().__init__(why)
        self.reply = reply


@dataclass
class _Record:
    """Which file a partial one is the beginning of."""

    url: str = ""
    etag: str | None = None  # a strong one
    last_modified: str | None = None
    total: int | None = None  # bytes of the whole file

    @property
    def validator(self) -> str | None:
        """What If-Range takes."""
        return self.etag or self.last_modified


def download(
    url: str,
    target: Path,
    *,
    expected: Expected = ANYTHING,
    patience: Patience = USUAL,
    progress: Callable[[int, int], None] | None = None,
    wait: Callable[[str], None] | None = None,
) -> Downloaded:
    """Download a file, going on with what an earlier call left of it.

    progress: called with the bytes that have come and all of them (0: not known); what it raises stops the
    download and keeps what has come. wait: called with a sentence before every new attempt that has to wait.

    Raises InputError, saying what to do: for an address that cannot be, a server that refuses, does not have
    the file or does not answer, a file that is not what was expected (nothing of it is kept), a disk without
    room, or another process at the same file.
    """
    if not _is_address(url):
        raise InputError(
            f"{url} is no address that can be downloaded from: it begins with http:// or https://."
        )
    with _sentences(target), _alone(target):
        began = partial_bytes(target)
        fetching = _Fetching(url, target, expected, patience, progress or (lambda done, total: None))
        came_from = fetching.until_whole(wait or (lambda sentence: None))
        return _put_in_place(target, expected, came_from, began)


def _is_address(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
    except ValueError:
        return False


def partial_bytes(target: Path) -> int:
    """How much of a file an unfinished download has left here."""
    file = _partial(target)
    return file.stat().st_size if file.is_file() else 0


def leftovers(target: Path) -> tuple[Path, ...]:
    """The files that an unfinished download has left beside its target."""
    return tuple(file for file in (_partial(target), _record_file(target)) if file.exists())


def forget(target: Path) -> None:
    """Delete what an unfinished download has left. Raises InputError where it is under way."""
    if leftovers(target):
        with _sentences(target), _alone(target):
            discard(target)


def discard(target: Path) -> None:
    """Forget what an unfinished download has left."""
    _partial(target).unlink(missing_ok=True)
    _record_file(target).unlink(missing_ok=True)


class _Fetching:
    """The attempts at one file."""

    def __init__(
        self,
        url: str,
        target: Path,
        expected: Expected,
        patience: Patience,
        progress: Callable[[int, int], None],
    ) -> None:
        self.url, self.target, self.expected, self.patience = url, target, expected, patience
        self.progress = progress
        self.furthest = partial_bytes(target)
        self.is_whole = False
        self.has_answered = False

    def until_whole(self, wait: Callable[[str], None]) -> str:
        """Try until all bytes are in the partial file; returns the address they came from in the end."""
        retry = self._fresh()
        with requests.Session() as session:
            while True:
                before = self.furthest
                try:
                    return self._attempt(session)
                except _Again as error:
                    if self.furthest > before:  # something new came: the account begins again
                        retry = self._fresh()
                    retry = self._counted(retry, error)
                    self._pause(retry, error, wait)

    def _fresh(self) -> Retry:
        return Retry(
            total=self.patience.retries,
            backoff_factor=self.patience.backoff_factor_s,
            backoff_max=self.patience.longest_wait_s,
            status_forcelist=RETRIED,
        )

    def _counted(self, retry: Retry, error: _Again) -> Retry:
        """One attempt fewer is left; InputError where none is."""
        tried = len(retry.history) + 1
        raw = error.reply.raw if error.reply is not None else None
        try:
            counted = retry.increment("GET", self.url, response=raw, error=None if raw else error)
            if self.has_answered or tried <= self.patience.unreachable_retries:
                return counted
        except MaxRetryError:
            pass
        came = partial_bytes(self.target)
        on = f" What has come, {came:,} bytes, is kept: the same again goes on from there." if came else ""
        raise InputError(f"{self.url} could not be downloaded in {tried} attempts: {error}.{on}") from error

    def _pause(self, retry: Retry, error: _Again, wait: Callable[[str], None]) -> None:
        asked = None
        if error.reply is not None:
            with contextlib.suppress(InvalidHeader):  # a server may say when in words
                asked = retry.get_retry_after(error.reply.raw)
        pause_s = min(asked or retry.get_backoff_time(), self.patience.longest_wait_s)
        wait(f"{error}: trying again" + (f" in {pause_s:.0f} s" if pause_s >= 1 else ""))
        until = time.monotonic() + pause_s
        while (left_s := until - time.monotonic()) > 0:
            time.sleep(min(left_s, 0.5))
            wait(f"{error}: trying again in {max(left_s, 1):.0f} s")  # also how a run is told to stop

    def _attempt(self, session: requests.Session) -> str:
        """Ask for what is missing and take it; _Again where more attempts may help."""
        record, begin = _record_of(self.target), partial_bytes(self.target)
        headers = {"Accept-Encoding": "identity"}
        if begin and self._may_go_on(record):
            headers["Range"] = f"bytes={begin}-"
            if record.validator:
                headers["If-Range"] = record.validator
        times = (self.patience.connect_s, self.patience.stalled_after_s)
        try:
            with session.get(self.url, headers=headers, stream=True, timeout=times) as reply:
                self.has_answered = True
                if reply.status_code == 416 and begin:
                    return self._at_the_end(reply, begin)
                self._check_status(reply)
                self._take(reply, record, begin)
                return str(reply.url)
        except requests.exceptions.TooManyRedirects as error:
            raise InputError(f"{self.url} leads from one address to the next without an end.") from error
        except requests.exceptions.SSLError as error:
            raise InputError(
                f"{self.url} could not be downloaded: the server's certificate cannot be trusted. Check the "
                "machine's date, and whether a proxy stands between."
            ) from error
        except ValueError as error:  # what requests raises of an address, and what urllib3 and Python do
            raise InputError(
                f"{self.url} cannot be downloaded: it leads to an address that cannot be."
            ) from error
        except requests.exceptions.ProxyError as error:
            raise _Again("the proxy does not answer") from error
        except (requests.exceptions.Timeout, requests.exceptions.ConnectionError) as error:
            raise _Again(self._broken(error)) from error
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
            raise _Again("the connection was cut before the end") from error

    def _may_go_on(self, record: _Record) -> bool:
        """Whether what has come can be told from the beginning of another file: by the digest in the end, or by
        what the same address says of its file."""
        if self.expected.digests:
            return bool(record.validator or record.total)
        return record.validator is not None and record.url == self.url

    def _broken(self, error: Exception) -> str:
        if "timed out" in str(error).lower() or isinstance(error, requests.exceptions.Timeout):
            return "the server fell silent"
        return "the connection was cut" if self.has_answered else "the server could not be reached"

    def _at_the_end(self, reply: requests.Response, begin: int) -> str:
        """416: there is nothing after what has come. That is all of it, or else the beginning of another
        file."""
        said = re.fullmatch(r"bytes \*/(\d+)", reply.headers.get("Content-Range", ""))
        if said and int(said[1]) == begin:
            return str(reply.url)
        self._start_over()
        raise _Again("the file on the server is another one now")

    def _check_status(self, reply: requests.Response) -> None:
        status = reply.status_code
        if status in RETRIED:
            raise _Again(f"the server answers {status} {reply.reason}".rstrip(), reply)
        if status not in (200, 206):
            why = _REFUSED.get(status, "that is no file")
            raise InputError(
                f"{self.url} cannot be downloaded: the server answers {status} {reply.reason}, {why}. Check "
                "the address, or name a mirror or a file that you have."
            )

    def _take(self, reply: requests.Response, record: _Record, begin: int) -> None:
        """Write what comes behind what has come before."""
        total = self._total(reply, begin)
        if reply.status_code == 200:
            begin = 0  # all of it comes: there was nothing before, or it is another file, or ranges are ignored
        elif (record.total is not None and total != record.total) or _is_other(record, reply):
            self._start_over()
            raise _Again("the file on the server is another one now")
        self._check_total(total)
        if total is not None:
            room.check_disk(self.target, total - begin, self.target.name)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if begin == 0:
            discard(self.target)
            _write_record(self.target, _record_from(reply, self.url, total))
        with _partial(self.target).open("ab", buffering=0) as out:
            for block in reply.iter_content(BLOCK_BYTES):
                if out.tell() == 0:
                    self._check_no_page(block)
                out.write(block)
                done = out.tell()
                if done > min(self.expected.most_bytes, total or self.expected.most_bytes):
                    break
                self.furthest = max(self.furthest, done)
                self.progress(done, total or 0)
        self._check_done(total)

    def _total(self, reply: requests.Response, begin: int) -> int | None:
        """How long the whole file is, as the server says."""
        if reply.status_code == 206:
            said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", reply.headers.get("Content-Range", ""))
            if not said or int(said[1]) != begin:
                self._start_over()
                raise _Again("the server sends another part than was asked for")
            return None if said[2] == "*" else int(said[2])
        length = reply.headers.get("Content-Length", "")
        return int(length) if length.isascii() and length.isdigit() else None

    def _check_total(self, total: int | None) -> None:
        expected = self.expected
        if total is None:
            return
        if expected.exact_bytes is not None and total != expected.exact_bytes:
            self._refuse(f"the server has a file of {total:,} bytes, and it has {expected.exact_bytes:,}")
        if total < expected.least_bytes:
            self._refuse(
                f"the {total:,} bytes of the server are not the whole file, which has more than "
                f"{expected.least_bytes:,}"
            )
        if total > expected.most_bytes:
            self._refuse(f"the server has {total:,} bytes, more than the {expected.most_bytes:,} it can have")

    def _check_no_page(self, block: bytes) -> None:
        if block.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
            self._refuse("what comes is a web page, not the file")

    def _check_done(self, total: int | None) -> None:
        done = partial_bytes(self.target)
        if total is not None and done < total:
            raise _Again("the connection was cut before the end")
        if done > (total or self.expected.most_bytes):
            self._refuse("more bytes come than the file can have")

    def _start_over(self) -> None:
        discard(self.target)

    def _refuse(self, why: str) -> None:
        discard(self.target)
        raise InputError(
            f"{self.url} could not be downloaded: {why}. Nothing of it was kept; name a mirror or a file that "
            "you have."
        )


def _put_in_place(target: Path, expected: Expected, url: str, began: int) -> Downloaded:
    """Check the whole partial file and move it to its place; InputError, and nothing kept, where it is
    another."""
    partial = _partial(target)
    size_bytes = partial.stat().st_size
    found = digests(partial, {"sha256", *expected.digests})
    wrong = expected.check(partial)
    for name, digest in expected.digests.items():
        if found[name] != digest:
            wrong = f"its {name} is {found[name]}, and the file's is {digest}"
    exact = expected.exact_bytes
    if size_bytes < expected.least_bytes or (exact is not None and size_bytes != exact):
        wrong = f"{size_bytes:,} bytes have come, and it has {'more than ' if exact is None else ''}"
        wrong += f"{exact or expected.least_bytes:,}"
    if wrong:
        discard(target)
        raise InputError(
            f"{url} is not what was expected: {wrong}. Nothing of it was kept; try another mirror."
        )
    with partial.open("rb") as whole:
        os.fsync(whole.fileno())
    os.replace(partial, target)
    discard(target)
    return Downloaded(target, size_bytes, found["sha256"], began, url)


def digests(file: Path, names: set[str]) -> dict[str, str]:
    """A file's digests in hexadecimal, by the names that hashlib has for them."""
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in names}
    with file.open("rb") as opened:
        while block := opened.read(2**20):
            for one in hashes.values():
                one.update(block)
    return {name: one.hexdigest() for name, one in hashes.items()}


def _record_of(target: Path) -> _Record:
    try:
        return _Record(**json.loads(_record_file(target).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return _Record()


def _record_from(reply: requests.Response, url: str, total: int | None) -> _Record:
    etag = reply.headers.get("ETag")
    return _Record(
        url=url,
        etag=etag if etag and not etag.startswith("W/") else None,
        last_modified=reply.headers.get("Last-Modified"),
        total=total,
    )


def _is_other(record: _Record, reply: requests.Response) -> bool:
    """Whether a part that was sent says that it is of another file than the record's, whatever was asked."""
    now = _record_from(reply, record.url, None)
    if record.etag and now.etag:
        return record.etag != now.etag
    return bool(record.last_modified and now.last_modified and record.last_modified != now.last_modified)


def _write_record(target: Path, record: _Record) -> None:
    _record_file(target).write_text(json.dumps(asdict(record)) + "\n", encoding="utf-8")


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial")


def _record_file(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial.json")


def _lock_file(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """No other process downloads the same file meanwhile."""
    otherwise = f"Another process is downloading {target.name} at this moment: wait for it."
    with whole.alone(_lock_file(target), otherwise):
        try:
            yield
        finally:
            _lock_file(target).unlink(missing_ok=True)


@contextmanager
def _sentences(target: Path) -> Iterator[None]:
    """What the file system says becomes a sentence."""
    try:
        yield
    except OSError as error:
        if isinstance(error, requests.RequestException):
            raise InputError(f"{target.name} could not be downloaded: {error}.") from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"The disk of {target.parent} is full. What has come of {target.name} is kept: free some "
                "space, and the same again goes on from there."
            ) from error
        raise InputError(
            f"{target.name} cannot be written into {target.parent}: {error.strerror or error}."
        ) from error
