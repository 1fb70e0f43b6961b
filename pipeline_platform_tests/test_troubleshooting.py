"""What the troubleshooting guide quotes is what the code says, sentence by sentence."""

import ast
import re
from collections.abc import Iterator
from functools import lru_cache

import pytest

from pipeline_platform_tests.documents import DOCUMENTS
from pipeline_platform_tests.fresh_clone import ROOT

GUIDE = DOCUMENTS["docs/troubleshooting.md"]
LINES = [line for block in GUIDE.blocks("text") for line in block.splitlines() if line.strip()]
VALUE = "\0"
# A template that is nearly all value would match anything.
_TELLING = re.compile(r"(?:[^A-Za-z]*[A-Za-z]){12}|[^A-Za-z\0]*(?:[A-Za-z][^A-Za-z\0]*){5}")


def templates_of(tree: ast.AST) -> Iterator[str]:
    """All texts in the code that may become a message; values are `VALUE`. No docstrings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
             for part in node.values}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings | parts
        ):
            yield node.value


def sentences(text: str) -> list[str]:
    return [one for one in re.split(r"(?<=[.!])(?<!e\.g\.)\s+", text.strip()) if one]


@lru_cache(maxsize=1)
def patterns() -> tuple[re.Pattern[str], ...]:
    found = set()
    for path in sorted((ROOT / "pipeline_platform").rglob("*.py")):
        for template in templates_of(ast.parse(path.read_text(encoding="utf-8"))):
            found.update(sentences(template))
    kept = [one for one in found if _TELLING.match(one)]
    # The end of a template is a message's end, or a colon after which something else is said.
    return tuple(
        re.compile(
            re.escape(one.rstrip(".")).replace(re.escape(VALUE), ".+")
            + (".*" if one.endswith(":") else r"\.?"),
            re.DOTALL,
        )
        for one in sorted(kept)
    )


def is_said(sentence: str) -> bool:
    return any(pattern.fullmatch(sentence) for pattern in patterns())


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[:50])
def test_every_quoted_message_is_in_the_code(line: str) -> None:
    for sentence in sentences(re.sub(r"<[^>]*>", " ", line)):
        assert is_said(sentence), sentence


def test_a_message_that_is_nowhere_would_be_found() -> None:
    assert len(LINES) > 30
    assert not is_said("The window 2025-11-15 is ripe at noon.")
    assert not is_said("The window 2025-11-15 is ready at noon, 2h after its start.")
    assert not is_said("Another run holds the window.")
