"""A TCP relay that cuts the connection at a COMMIT, before or after the server got it."""

import contextlib
import socket
import threading
from typing import Literal

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"


class LossyProxy:
    """Relays to a server on loopback. Once armed, the next COMMIT ends its connection:
    `before` the server sees it, or `after` the server answered, without the answer."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._armed: Literal["before", "after"] | None = None
        self.cuts = 0

    def __enter__(self) -> "LossyProxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def arm(self, moment: Literal["before", "after"]) -> None:
        self._armed = moment

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port), 10)
                server.settimeout(60)
                client.settimeout(60)
                silent = threading.Event()
                for pump, ends in (
                    (self._to_server, (client, server, silent)),
                    (self._to_client, (server, client, silent)),
                ):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

    def _to_server(
        self, client: socket.socket, server: socket.socket, silent: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                if COMMIT in data and self._armed is not None:
                    moment, self._armed = self._armed, None
                    self.cuts += 1
                    if moment == "before":
                        break
                    silent.set()
                server.sendall(data)
        _close(client, server)

    def _to_client(
        self, server: socket.socket, client: socket.socket, silent: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                if silent.is_set():
                    break
                client.sendall(data)
        _close(client, server)


def _close(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
