"""A failed test shows the end of the log of every server that it used."""

from collections.abc import Generator, Iterator
from typing import Protocol, runtime_checkable

import pytest


@runtime_checkable
class HasLog(Protocol):
    """A server whose `log()` is the end of what it wrote."""

    def log(self) -> str: ...


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        report.sections += [
            (f"end of the log of {name} at {report.when}", server.log())
            for name, server in servers_of(item)
        ]
    return report


def servers_of(test: pytest.Function) -> Iterator[tuple[str, HasLog]]:
    """The running servers among a test's fixtures, and among those its fixtures asked for."""
    shown: list[object] = []
    for name in test.fixturenames:
        server = test.funcargs.get(name)
        if server is None:
            definitions = test._fixtureinfo.name2fixturedefs.get(name)
            cached = definitions[-1].cached_result if definitions else None
            server = cached[0] if cached else None
        if not isinstance(server, HasLog) or not callable(server.log):
            continue
        if not any(server is each for each in shown):
            shown.append(server)
            yield name, server
