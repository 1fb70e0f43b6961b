"""What all measures share: how often, how big, and where the servers are."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from benchmarks.world import World, make_world
from pipeline_platform_tests.servers.postgres import Database, PostgresServer


@dataclass
class Bench:
    """One run of the benchmarks. `quick`: small sizes and few repeats, to see that they work."""

    server: PostgresServer
    quick: bool = False

    @property
    def repeats(self) -> int:
        """Rounds of interleaved samples."""
        return 2 if self.quick else 5

    def rows(self, number: int) -> int:
        """A window's size: less of it in a quick run."""
        return number // 20 if self.quick else number

    def world(self, kind: str, rows_of_days: list[int]) -> AbstractContextManager[World]:
        """A fresh world of this kind; gone on leaving."""
        return make_world(kind, self.server, rows_of_days)

    def postgres_version(self) -> str:
        """The server's version."""
        with Database(self.server.port, "postgres").connect() as connection:
            answer = connection.execute("SHOW server_version").fetchone()
        assert answer is not None
        return str(answer[0])
