"""The docs as tests read them: headings, code blocks, inline code and links."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline_platform_tests.fresh_clone import ROOT

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Document:
    """One Markdown file of the project."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """The text without code blocks."""
        return _FENCE.sub("", self.text)

    def blocks(self, *languages: str) -> list[str]:
        """The contents of code blocks in one of the languages, in order."""
        return [body for language, body in _FENCE.findall(self.text) if language in languages]

    def code_lines(self) -> Iterator[str]:
        """What a reader could type: lines of console blocks, and inline code."""
        for block in self.blocks("", "console", "text", "shell", "bash"):
            yield from block.replace("\\\n", " ").splitlines()
        yield from re.findall(r"`([^`\n]+)`", self.prose)

    def links(self) -> list[str]:
        """Targets of links and images inside the project."""
        found = re.findall(r"\]\(([^)\s]+)\)", self.prose)
        return [link for link in found if "://" not in link and not link.startswith("mailto:")]

    @cached_property
    def anchors(self) -> set[str]:
        """The names that GitHub gives the headings."""
        seen: Counter[str] = Counter()
        names = set()
        for heading in re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE):
            name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
            names.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
        return names

    def table(self, header: str) -> list[list[str]]:
        """The cells of the table that begins with this header, row by row."""
        lines = self.text[self.text.index(header) :].split("\n\n")[0].splitlines()[2:]
        return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]


DOCUMENTS = {
    str(path.relative_to(ROOT)): Document(path)
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
