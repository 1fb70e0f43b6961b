"""What other tests rely on in toxiproxy, with a server behind it that says 100,000 bytes."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pipeline_platform_tests.servers.toxiproxy import Relay, Toxiproxy

SAYING = b"x" * 100_000


@pytest.fixture
def relay(toxiproxy: Toxiproxy) -> Iterator[Relay]:
    """A relay to a server that answers each byte with the same saying."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        relay = toxiproxy.relay(f"127.0.0.1:{listener.getsockname()[1]}")
        yield relay
        relay.remove()


def serve(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=answer, args=(client,), daemon=True).start()


def answer(client: socket.socket) -> None:
    with client, suppress(OSError):
        client.settimeout(30)
        while client.recv(1):
            client.sendall(SAYING)


def ask(relay: Relay, seconds: float = 10.0) -> bytes:
    """What comes back for one question, until the saying is whole or the connection ends."""
    with socket.create_connection(("127.0.0.1", relay.port), seconds) as client:
        client.sendall(b"?")
        answer = b""
        while len(answer) < len(SAYING) and (more := client.recv(65_536)):
            answer += more
        return answer


def test_without_faults_all_comes_through(relay: Relay) -> None:
    assert ask(relay) == SAYING


def test_a_hanging_link_says_nothing_until_it_is_healed(relay: Relay) -> None:
    with relay.hang(), pytest.raises(TimeoutError):
        ask(relay, seconds=0.3)
    assert ask(relay) == SAYING


def test_a_reset_is_an_error_of_the_connection(relay: Relay) -> None:
    with relay.reset(), pytest.raises(ConnectionResetError):
        ask(relay)
    assert ask(relay) == SAYING


def test_an_answer_is_cut_at_the_byte(relay: Relay) -> None:
    with relay.cut_after(1000):
        assert ask(relay) == SAYING[:1000]
    assert ask(relay) == SAYING


def test_latency_is_waited_for(relay: Relay) -> None:
    began = time.monotonic()
    with relay.latency(200):
        assert ask(relay) == SAYING
    assert time.monotonic() - began >= 0.2


def test_bandwidth_is_kept_to(relay: Relay) -> None:
    began = time.monotonic()
    with relay.bandwidth(200):  # the saying is 100 kilobytes
        assert ask(relay) == SAYING
    assert time.monotonic() - began >= 0.3


def test_a_link_that_is_down_refuses(relay: Relay) -> None:
    with relay.down(), pytest.raises(ConnectionRefusedError):
        ask(relay)
    assert ask(relay) == SAYING
