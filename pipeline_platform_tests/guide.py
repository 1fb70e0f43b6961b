"""Plays a guide as a reader would: its commands in a shell, its edits in the files it names.

Blocks are taken by language. `console`: commands, a line each; `sql`: run in the database; `text`:
lines that the last command must have printed; `yaml`: lines to change, below the comment that names
the file; `python`: a whole file, named the same way.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipeline_platform_tests.fresh_clone import ROOT, run
from pipeline_platform_tests.servers.postgres import Database, PostgresServer

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r"# (\S+)\n(.*)", re.DOTALL)
_KEY = re.compile(r"^( *)(#?)(\w+):")


class Guide:
    """A guide of docs/ on its way. `place` and `environment` are those of the reader's shell."""

    def __init__(
        self,
        name: str,
        place: Path,
        environment: Mapping[str, str],
        replaced: Mapping[str, str],
    ) -> None:
        self.text = (ROOT / "docs" / name).read_text()
        self.blocks: list[tuple[str, str]] = _BLOCK.findall(self.text)
        self.place = place
        self.environment = dict(environment)
        self.outputs: list[tuple[str, str]] = []
        self._replaced = replaced

    def play(self, database: Database) -> None:
        """Everything, in order; what fails says which command."""
        for language, text in self.blocks:
            for was, becomes in self._replaced.items():
                text = text.replace(was, becomes)
            if language == "sql":
                with database.connect() as connection:
                    connection.execute(text.encode())
            elif language == "console":
                for command in text.splitlines():
                    self._enter(command)
            elif language == "text":
                for line in text.splitlines():
                    assert line in self.outputs[-1][1], self.outputs[-1]
            else:
                named = _NAMED.fullmatch(text)
                assert named is not None, f"which file is this? {text}"
                file = self.place / named[1]
                if language == "python":
                    file.write_text(named[2].rstrip("\n").lstrip("\n") + "\n")
                else:
                    assert language == "yaml"
                    file.write_text(edited(file.read_text(), named[2]))

    def output_of(self, command: str) -> str:
        """What the last command that begins so has printed."""
        return next(out for ran, out in reversed(self.outputs) if ran.startswith(command))

    def run(self, command: str) -> str:
        """A command in the reader's shell; it must succeed."""
        done = run(command, self.place, env=self.environment, timeout=240)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        self.outputs.append((command, done.stdout + done.stderr))
        return done.stdout

    def _enter(self, command: str) -> None:
        word, _, rest = command.partition(" ")
        if word == "cd":
            self.place = self.place / rest
        elif word == "export":
            name, _, value = rest.partition("=")
            self.environment[name] = value.strip("'").replace("$PWD", str(self.place))
        elif word == "source":
            self._activate(self.place / rest)
        else:
            self.run(command)

    def _activate(self, script: Path) -> None:
        """As the script does, but without the environment of the tests behind it."""
        assert script.exists()
        before = os.path.join(self.environment["VIRTUAL_ENV"], "bin")
        folders = self.environment["PATH"].split(os.pathsep)
        behind = [folder for folder in folders if folder != before]
        self.environment["PATH"] = os.pathsep.join([str(script.parent), *behind])
        self.environment["VIRTUAL_ENV"] = str(script.parent.parent)


def edited(text: str, changes: str) -> str:
    """`text` with the lines of `changes` in place of those with the same keys, on or off."""
    lines = text.splitlines()
    keys = [_KEY.sub(r"\1\3:", found[0]) if (found := _KEY.match(one)) else "" for one in lines]
    at = 0
    for change in changes.splitlines():
        at = keys.index(change[: change.index(":") + 1], at)
        lines[at] = change
    return "\n".join(lines) + "\n"


@contextmanager
def shop_database(server: PostgresServer) -> Iterator[Database]:
    """The database `shop` of the guides; the role that they create goes with it."""
    with Database(server.port, "postgres").connect() as connection:
        connection.execute("CREATE DATABASE shop")
        try:
            yield Database(server.port, "shop")
        finally:
            server.drop(Database(server.port, "shop"))
            connection.execute("DROP ROLE IF EXISTS reader")
