"""What all measures share: how often, how big, and where the systems are."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from benchmarks.world import World, make_world
from pipeline_platform_tests.servers.postgres import Database, PostgresServer


@dataclass
class Bench(ABC):
    """One run of the benchmarks. `quick`: small sizes and few repeats, to see that they work."""

    quick: bool

    @property
    def repeats(self) -> int:
        """Rounds of interleaved samples."""
        return 1 if self.quick else 5

    def rows(self, number: int) -> int:
        """A window's size: less of it in a quick run."""
        return number // 20 if self.quick else number

    @abstractmethod
    def world(self, kind: str, rows_of_days: list[int]) -> AbstractContextManager[World]:
        """A fresh world of this kind; gone on leaving."""

    @abstractmethod
    def versions(self) -> Mapping[str, str]:
        """Of the systems that take part beside Python's packages."""


@dataclass
class DatabaseBench(Bench):
    """Embedded and PostgreSQL."""

    server: PostgresServer

    def world(self, kind: str, rows_of_days: list[int]) -> AbstractContextManager[World]:
        """With a database of its own."""
        return make_world(kind, self.server, rows_of_days)

    def versions(self) -> Mapping[str, str]:
        """The server's."""
        with Database(self.server.port, "postgres").connect() as connection:
            answer = connection.execute("SHOW server_version").fetchone()
        assert answer is not None
        return {"PostgreSQL": str(answer[0])}


@contextmanager
def database_bench(quick: bool) -> Iterator[DatabaseBench]:
    """With a server of its own, which writes as durably as a real one."""
    with PostgresServer(durable=True) as server:
        yield DatabaseBench(quick, server)
