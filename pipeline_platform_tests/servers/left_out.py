"""A server that this machine cannot run leaves the tests that need it out.

Pytest's last lines say which and how to get it. With CI=true nothing is left out: the same is a
failure.
"""

from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

import pytest

from pipeline_platform_tests.servers.availability import MissingServerError, is_ci

LEFT_OUT = "left out: "
Server = TypeVar("Server")


@contextmanager
def or_left_out(server: AbstractContextManager[Server]) -> Iterator[Server]:
    """`with server`; where this machine cannot run it, the test that asks is left out."""
    with ExitStack() as stack:
        try:
            started = stack.enter_context(server)
        except MissingServerError as missing:
            if is_ci():
                raise
            pytest.skip(f"{LEFT_OUT}{' '.join(str(missing).split())}")
        yield started


@contextmanager
def in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set the variables that a server's config sections refer to."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
) -> Generator[None, None, None]:
    """Say in the last lines which tests were left out, why, and how to have them run."""
    yield
    reasons = [
        report.longrepr[2]
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    ]
    marked = [reason.split(LEFT_OUT, 1)[1] for reason in reasons if LEFT_OUT in reason]
    if marked:
        terminalreporter.section("left out on this machine", yellow=True)
        for reason, tests in Counter(marked).items():
            terminalreporter.line(f"{tests} test{'s' if tests > 1 else ''} with {reason}")
