"""A web server for tests: it knows ranges, and how to misbehave."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Files:
    """What the server serves, how, and what it was asked."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.breaks: list[int] = []
        """Bytes after which each next answer with a body of more than one byte ends."""
        self.status: dict[str, int] = {}
        """Path -> what is answered instead of the file."""
        self.token: str | None = None
        """Who does not send it gets 401."""
        self.ranges = True
        self.tags = True
        self.stated: dict[str, str] = {}
        """Path -> sha256 that is told as the hub does."""
        self.redirects: dict[str, str] = {}
        """Path -> address that is answered with instead."""
        self.asked: list[tuple[str, str | None]] = []
        """(path, range) of every request."""
        self.tokens: list[str | None] = []
        """What every request said of who asks."""
        self.address = ""

    def offer(self, path: str, content: bytes) -> str:
        """Serve `content` there; returns its address."""
        self.content[path] = content
        return self.address + path


@contextmanager
def serving() -> Iterator[Files]:
    files = Files()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            files.asked.append((self.path, self.headers.get("Range")))
            files.tokens.append(self.headers.get("Authorization"))
            if self.path in files.redirects:
                self._answer(302, b"", {"Location": files.redirects[self.path]})
                return
            status = files.status.get(self.path, 200 if self.path in files.content else 404)
            if files.token and self.headers.get("Authorization") != f"Bearer {files.token}":
                status = 401
            if status != 200:
                self._answer(status, b"", {})
                return
            content = files.content[self.path]
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            headers = {"ETag": tag} if files.tags else {}
            if self.path in files.stated:
                headers["X-Linked-Etag"] = f'"{files.stated[self.path]}"'
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if asked and files.ranges and self.headers.get("If-Range", tag) == tag:
                start, end = int(asked[1]), int(asked[2] or len(content) - 1)
                if start >= len(content):
                    self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                    return
                headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
                self._answer(206, content[start : end + 1], headers)
            else:
                self._answer(200, content, headers)

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if len(body) > 1 and files.breaks:
                body = body[: files.breaks.pop(0)]
                self.close_connection = True
            try:
                self.wfile.write(body)
            except OSError:  # who asked has heard enough
                self.close_connection = True

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Who asked may hang up at any time."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    files.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
