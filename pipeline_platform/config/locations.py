"""Where each key and value of a YAML or JSON file stands.

Lines and columns are counted from 1, as editors do. Values are those of YAML's safe loader, except
that dates stay texts; a key may stand only once.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_TEXT = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_QUOTED = re.compile(r"'(?!<[a-z -]+>').{2,}'|\"[^\"]{2,}\"")


@dataclass(frozen=True)
class Position:
    """A place in a file."""

    line: int
    column: int


@dataclass(frozen=True)
class KeyProblem:
    """A key that cannot stand where it stands."""

    position: Position
    field: str
    problem: str


class DocumentError(Exception):
    """The text cannot be read at all."""

    def __init__(self, problem: str, position: Position = Position(1, 1)) -> None:
        super().__init__(problem)
        self.problem = problem
        self.position = position


class _Loader(yaml.SafeLoader):
    """Safe loader that leaves dates to the model, which says what is wrong with them."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Locations:
    """Finds the line and column of a field in a document."""

    def __init__(self, root: yaml.Node | None = None, *, skipped: int = 0) -> None:
        self._root = root
        self._skipped = skipped

    def find(self, path: Sequence[str | int], *, key: bool = False) -> Position | None:
        """Where a field's value stands, or its key where the value is a section or `key` is true.

        Of a field that is missing, the key of the innermost section there is. None without a file.
        """
        node, found = self._root, self._root
        for step in path[self._skipped :]:
            pair = _child(node, step)
            if pair is None:
                return _position(found)
            found, node = pair
        if node is not None and not key and isinstance(node, yaml.ScalarNode):
            found = node
        return _position(found)

    def below(self, *path: str) -> "Locations":
        """The locations of one section, as if it were a document of its own."""
        node = self._root
        for step in path:
            pair = _child(node, step)
            node = pair[1] if pair else None
        return Locations(node)

    def above(self) -> "Locations":
        """The locations of a document in which this one would be a section."""
        return Locations(self._root, skipped=self._skipped + 1)


@dataclass(frozen=True)
class Document:
    """The values of a file, where they stand, and what is wrong with the keys."""

    values: Any
    locations: Locations
    problems: tuple[KeyProblem, ...] = ()


def read_documents(text: str, *, as_json: bool = False) -> list[Document]:
    """All documents of a text (YAML separates them by `---`); DocumentError if it is not one."""
    values = _read_json(text) if as_json else None
    # YAML has no tabs between tokens; inside a JSON text a tab is an error already.
    loader = _Loader(text.replace("\t", " ") if as_json else text)
    documents = []
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            problems = tuple(_bad_keys(node))
            found = values if as_json else loader.construct_document(node)
            documents.append(Document(found, Locations(node), problems))
    except yaml.YAMLError as error:
        raise _syntax_error(error) from None
    except (ValueError, RecursionError):
        raise DocumentError("the text cannot be read as YAML") from None
    finally:
        loader.dispose()
    return documents


def read_document(path: Path) -> Document:
    """The one document of a file, JSON if its name ends so; DocumentError if there is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DocumentError("there is no such file") from None
    except UnicodeDecodeError:
        raise DocumentError("the file is not UTF-8 text") from None
    except OSError as error:
        raise DocumentError(f"the file cannot be read: {error.strerror}") from None
    documents = read_documents(text, as_json=path.suffix.lower() == ".json")
    if not documents:
        raise DocumentError("the file is empty")
    if len(documents) > 1:
        raise DocumentError("the file has several documents, separated by ---")
    return documents[0]


def _read_json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise DocumentError(f"this is not JSON: {constant} is no number")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise DocumentError(
            f"this is not JSON: {error.msg}", Position(error.lineno, error.colno)
        ) from None
    except (ValueError, RecursionError):
        raise DocumentError("this is not JSON that can be read") from None


def _syntax_error(error: yaml.YAMLError) -> DocumentError:
    mark = getattr(error, "problem_mark", None)
    # Quoted parts come from the file and may be a secret; the error's own text shows a whole line.
    problem = _QUOTED.sub("...", str(getattr(error, "problem", None) or "unreadable"))
    return DocumentError(
        f"this is not YAML that can be read: {problem}",
        Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1),
    )


def _bad_keys(
    node: yaml.Node, path: tuple[str, ...] = (), above: tuple[yaml.Node, ...] = ()
) -> Iterator[KeyProblem]:
    """Keys that are no text or stand twice. DocumentError for a section that holds itself."""
    if any(node is one for one in above):
        raise DocumentError("the alias holds itself", _position(node) or Position(1, 1))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _bad_keys(item, (*path, str(number)), (*above, node))
    elif isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            at = _position(key) or Position(1, 1)
            if key.tag == _MERGE:
                continue
            if key.tag != _TEXT:
                yield KeyProblem(at, ".".join(path), "a key must be text; put it in quotes")
                continue
            field = (*path, key.value)
            if key.value in first:
                problem = f"stands twice, first in line {first[key.value]}"
                yield KeyProblem(at, ".".join(field), problem)
            first.setdefault(key.value, at.line)
            yield from _bad_keys(value, field, (*above, node))


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        # Merged keys come first, a section's own ones override them.
        for key, value in reversed(node.value):
            if key.value == step:
                return key, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


def _position(node: yaml.Node | None) -> Position | None:
    if node is None or node.start_mark is None:
        return None
    return Position(node.start_mark.line + 1, node.start_mark.column + 1)
