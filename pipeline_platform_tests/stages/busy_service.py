"""A small HTTP proxy before an S3 service that first answers as a busy one does."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

ANSWER = (
    "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code>"
    "<Message>Try less.</Message></Error>"
)


class BusyService(ThreadingHTTPServer):
    """Refuses `refusals` requests with `status` and `code`, then passes everything on."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.refusals = 0
        self.refused = 0
        self.status = 503
        self.code = "SlowDown"
        self.counting = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def refuses(self) -> bool:
        with self.counting:
            if self.refused >= self.refusals:
                return False
            self.refused += 1
            return True


@contextmanager
def busy_service(upstream: str) -> Iterator[BusyService]:
    with BusyService(upstream) as service:
        thread = threading.Thread(target=service.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield service
        service.shutdown()
        thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BusyService

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.refuses():
            text = ANSWER.format(code=self.server.code).encode()
            headers = [("x-amz-request-id", "R1")]
            self._answer(self.server.status, headers, text)
            return
        connection = http.client.HTTPConnection(self.server.upstream, timeout=30)
        sent = {name: value for name, value in self.headers.items() if name != "Expect"}
        connection.request(self.command, self.path, body, sent)
        answer = connection.getresponse()
        kept = [
            (name, value)
            for name, value in answer.getheaders()
            if name.lower() not in ("content-length", "transfer-encoding", "connection")
            or (name.lower() == "content-length" and self.command == "HEAD")
        ]
        self._answer(answer.status, kept, answer.read())
        connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""
