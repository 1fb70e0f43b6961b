"""An HTTP proxy in front of a real server that records requests and spoils answers when told to."""

import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

UPSTREAM_SECONDS = 120.0
PASSED_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


@dataclass(frozen=True)
class Request:
    """One request as the client sent it; `at` is `time.monotonic()`, in seconds."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """Status, headers and body; of the body `sent` bytes, then the connection is closed."""

    status: int
    headers: dict[str, str]
    body: bytes
    sent: int | None = None


Upstream = Callable[[], Answer]
Spoil = Callable[[Request, Upstream], Answer | None]


@dataclass
class Fault:
    """What happens to requests, until `times` of them met it or the moment `until` is over."""

    spoil: Spoil
    when: Callable[[Request], bool]
    times: int | None
    until: float | None
    met: int = field(default=0)

    def meets(self, request: Request) -> bool:
        if self.times is not None and self.met >= self.times:
            return False
        if self.until is not None and time.monotonic() >= self.until:
            return False
        return self.when(request)


def any_request(_: Request) -> bool:
    return True


def is_search(request: Request) -> bool:
    """A page of hits: `POST .../_search`."""
    return urlsplit(request.path).path.endswith("/_search")


class HttpProxy:
    """Start with `with HttpProxy(server.url) as proxy`; clients speak http to `proxy.url`.

    Faults are in force for the next `times` requests, or for `seconds`, or until `heal()`; `when`
    says which requests they are about. Of several the oldest one counts.
    """

    def __init__(self, upstream: str, ca_file: Path | None = None) -> None:
        self.upstream = urlsplit(upstream)
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self._trust = ssl.create_default_context(cafile=ca_file)
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(ProxyHandler):
            served_by = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "HttpProxy":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def log(self) -> str:
        """The last requests, a line each."""
        with self._lock:
            return "\n".join(f"{each.method} {each.path}" for each in self.requests[-50:])

    def refuse(self, status: int, body: Any = None, **which: Any) -> Fault:
        """Answer with an error of the server, 429 or 503; the request does not reach it."""
        text = body if body is not None else _error(status, "unavailable", "too much to do")
        answer = Answer(status, {"Content-Type": "application/json"}, json.dumps(text).encode())
        return self.spoil(lambda _, __: answer, **which)

    def break_circuit(self, **which: Any) -> Fault:
        """Answer as Elasticsearch does when a request would take too much of its memory."""
        reason = "[parent] Data too large, data for [<http_request>] would be larger than the limit"
        body = _error(429, "circuit_breaking_exception", reason)
        body["error"].update(bytes_wanted=1 << 30, bytes_limit=1 << 28, durability="TRANSIENT")
        return self.refuse(429, body, **which)

    def cut_body(self, sent: int, **which: Any) -> Fault:
        """Close the connection after so many bytes of the server's body, of which all was said."""

        def cut(_: Request, upstream: Upstream) -> Answer:
            answer = upstream()
            return Answer(answer.status, answer.headers, answer.body, sent)

        return self.spoil(cut, **which)

    def corrupt(self, **which: Any) -> Fault:
        """Send a whole body, the middle of which is not JSON any more."""

        def corrupted(_: Request, upstream: Upstream) -> Answer:
            answer = upstream()
            middle = len(answer.body) // 2
            body = answer.body[:middle] + b"\x00\xff{" + answer.body[middle + 3 :]
            return Answer(answer.status, answer.headers, body)

        return self.spoil(corrupted, **which)

    def rewrite(self, change: Callable[[Any], Any], **which: Any) -> Fault:
        """Send `change(<JSON of the server's answer>)`, or the JSON itself if that is None."""

        def rewritten(_: Request, upstream: Upstream) -> Answer:
            answer = upstream()
            content = json.loads(answer.body)
            changed = change(content)
            text = json.dumps(content if changed is None else changed)
            return Answer(answer.status, answer.headers, text.encode())

        return self.spoil(rewritten, **which)

    def hang(self, seconds_per_request: float = 3600.0, **which: Any) -> Fault:
        """Say nothing for so long, then close the connection."""

        def silent(_: Request, __: Upstream) -> None:
            self.stopping.wait(seconds_per_request)

        return self.spoil(silent, **which)

    def spoil(
        self,
        spoil: Spoil,
        *,
        times: int | None = None,
        seconds: float | None = None,
        when: Callable[[Request], bool] = any_request,
    ) -> Fault:
        """Any fault: `spoil(request, upstream)` makes the answer; None closes the connection."""
        until = None if seconds is None else time.monotonic() + seconds
        fault = Fault(spoil, when, times, until)
        with self._lock:
            self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """No faults any more."""
        with self._lock:
            self._faults.clear()

    def fault_for(self, request: Request) -> Fault | None:
        """Record a request; the fault that it meets, if any."""
        with self._lock:
            self.requests.append(request)
            for fault in self._faults:
                if fault.meets(request):
                    fault.met += 1
                    return fault
        return None

    def connect(self) -> HTTPConnection:
        place = self.upstream.hostname or "127.0.0.1", self.upstream.port
        if self.upstream.scheme == "https":
            return HTTPSConnection(*place, timeout=UPSTREAM_SECONDS, context=self._trust)
        return HTTPConnection(*place, timeout=UPSTREAM_SECONDS)


class ProxyHandler(BaseHTTPRequestHandler):
    """One connection of a client, with one of its own to the server."""

    served_by: HttpProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = UPSTREAM_SECONDS

    def setup(self) -> None:
        super().setup()
        self._server_side = self.served_by.connect()

    def finish(self) -> None:
        self._server_side.close()
        super().finish()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (OSError, HTTPException):
            self.close_connection = True

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, self.path, dict(self.headers), body, time.monotonic())
        fault = self.served_by.fault_for(request)
        if fault is None:
            self._send(self._ask(request))
            return
        answer = fault.spoil(request, lambda: self._ask(request, plain=True))
        if answer is None:
            self.close_connection = True
        else:
            self._send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _pass_on

    def _ask(self, request: Request, plain: bool = False) -> Answer:
        left_out = PASSED_BY_HOP | ({"accept-encoding"} if plain else set())
        headers = {k: v for k, v in request.headers.items() if k.lower() not in left_out}
        try:
            answer = self._request(request, headers)
        except (ConnectionError, HTTPException):
            self._server_side.close()  # it was idle for too long, or the server is a new one
            answer = self._request(request, headers)
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in PASSED_BY_HOP}
        return Answer(answer.status, kept, answer.read())

    def _request(self, request: Request, headers: dict[str, str]) -> HTTPResponse:
        path = self.served_by.upstream.path.rstrip("/") + request.path
        self._server_side.request(request.method, path, request.body or None, headers)
        return self._server_side.getresponse()

    def _send(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(answer.body if answer.sent is None else answer.body[: answer.sent])
        if answer.sent is not None:
            self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing on stderr: requests are recorded."""


def _error(status: int, kind: str, reason: str) -> dict[str, Any]:
    cause = {"type": kind, "reason": reason}
    return {"error": {"root_cause": [cause], **cause}, "status": status}
