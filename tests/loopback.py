"""A server on the loopback that serves files as a mirror does, ranges included, and fails in every way when
told to."""

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

PIECE_BYTES = 2**16


@dataclass(frozen=True)
class Fault:
    """How one answer differs from the right one."""

    status: int | None = None  # instead of 200 or 206, with an empty body
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None  # instead of the file's
    cut_after: int | None = None  # bytes of this answer, then the connection ends
    stall_after: int | None = None  # bytes of this answer, then nothing more comes
    announced: int | None = None  # Content-Length, whatever comes
    ignores_range: bool = False
    is_chunked: bool = False  # no Content-Length
    is_endless: bool = False
    wrong_range: bool = False  # the Content-Range of another part
    hangs_up: bool = False  # before any answer
    speaks_otherwise: bool = False  # no HTTP


@dataclass
class Asked:
    """One request, and how many bytes of body were sent for it."""

    path: str
    first: int  # the first byte asked for
    sent: int = 0


@dataclass
class Site:
    """What is served and what was asked for."""

    address: str = ""
    files: dict[str, bytes | Path] = field(default_factory=dict)  # by name, wherever below the address
    etags: dict[str, str] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))  # by name, the next first
    asked: list[Asked] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    before_piece: Callable[[Asked], None] = lambda asked: None

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"

    def sent(self) -> int:
        """All bytes of bodies that were sent."""
        return sum(one.sent for one in self.asked)


@contextmanager
def serving(files: Mapping[str, bytes | Path] | None = None) -> Iterator[Site]:
    """A site on a port of its own, until the end of the block."""
    site = Site(files=dict(files or {}))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(ConnectionError):
                _answer(self, site)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield site
    finally:
        site.stop.set()
        server.shutdown()
        server.server_close()


def _answer(request: BaseHTTPRequestHandler, site: Site) -> None:
    name = Path(request.path).name
    said = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    asked = Asked(request.path, int(said[1]) if said else 0)
    site.asked.append(asked)
    fault = site.faults[name].pop(0) if site.faults[name] else Fault()
    if fault.hangs_up:
        request.close_connection = True
        return
    if fault.speaks_otherwise:
        request.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        return
    if fault.status is not None:
        request.send_response(fault.status)
        for header, value in {"Content-Length": "0", **fault.headers}.items():
            request.send_header(header, value)
        request.end_headers()
        return
    if name not in site.files and fault.body is None:
        request.send_error(404)
        return
    _send(request, site, name, asked, fault)


def _send(request: BaseHTTPRequestHandler, site: Site, name: str, asked: Asked, fault: Fault) -> None:
    content = site.files[name] if fault.body is None else fault.body
    total = content.stat().st_size if isinstance(content, Path) else len(content)
    etag = site.etags.get(name, f'"{name}-{total}"')
    if_range = request.headers.get("If-Range")
    is_part = asked.first > 0 and not fault.ignores_range and if_range in (None, etag)
    first = asked.first if is_part else 0
    if is_part and first >= total:
        request.send_response(416)
        request.send_header("Content-Range", f"bytes */{total}")
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    request.send_response(206 if is_part else 200)
    request.send_header("ETag", etag)
    if not fault.is_chunked:
        request.send_header(
            "Content-Length", str(total - first if fault.announced is None else fault.announced)
        )
    if is_part:
        shown = first + 7 if fault.wrong_range else first
        request.send_header("Content-Range", f"bytes {shown}-{total - 1}/{total}")
    for header, value in fault.headers.items():
        request.send_header(header, value)
    request.end_headers()
    for piece in _pieces(content, first, fault):
        site.before_piece(asked)
        request.wfile.write(piece)
        asked.sent += len(piece)
    if fault.stall_after is not None:
        request.wfile.flush()
        site.stop.wait()


def _pieces(content: bytes | Path, first: int, fault: Fault) -> Iterator[bytes]:
    limits = [limit for limit in (fault.cut_after, fault.stall_after) if limit is not None]
    left = min(limits) if limits else None
    if isinstance(content, bytes):
        yield from _limited(iter([content[first:]]), left)
    else:
        with content.open("rb") as file:
            file.seek(first)
            yield from _limited(_read(file), left)
    while fault.is_endless:
        yield bytes(PIECE_BYTES)


def _read(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece


def _limited(pieces: Iterator[bytes], left: int | None) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), PIECE_BYTES):
            part = piece[start : start + PIECE_BYTES]
            if left is not None:
                part, left = part[:left], left - len(part[:left])
            if part:
                yield part
