"""What the documentation asks its readers to type, so that tests can do it.

In a block marked ```console a line that begins with `$ ` is a command, and the lines under it are what it prints, in
which `…` stands for anything. A command ends 0 unless a comment behind it says otherwise: `# ends 1`. A block marked
with a language and a path, as ```csv air.csv, is a file that the reader saves. What runs until it is stopped, or needs
what a test has not, stands in a block marked ```text, where commands begin with `$ ` too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
DOCS = PROJECT / "docs"
GUIDES = sorted(DOCS.glob("guide-*.md"))
PAGES = [PROJECT / "README.md", *sorted(DOCS.rglob("*.md"))]

FENCE = re.compile(r"^```(\w*)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENDS = re.compile(r"#\s*ends (\d+)\s*$")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block; ``line`` is that of its first line in the page, from 1; ``file`` the path it is saved under."""

    page: Path
    language: str
    file: str
    line: int
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of a block with what the page says that it prints."""

    place: str
    text: str
    status: int
    prints: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            language=found[1],
            file=found[2] or "",
            line=text.count("\n", 0, found.start()) + 2,
            text=found[3],
        )
        for found in FENCE.finditer(text)
    ]


def commands(block: Block) -> Iterator[Command]:
    """Raises ``ValueError`` where a console block begins with something else than a command."""
    if not block.text.startswith("$ "):
        raise ValueError(f"{block.place}: a console block begins with a command, as `$ exchange releases`")
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        typed, _, printed = part.partition("\n")
        ends = ENDS.search(typed)
        yield Command(place=block.place, text=typed, status=int(ends[1]) if ends else 0, prints=printed.strip())


def prints(command: Command, output: str) -> bool:
    """Whether the output holds what the page shows, blanks and table columns aside."""
    pieces = (r"\s+".join(map(re.escape, piece.split())) for piece in command.prints.split("…"))
    pattern = ".*?".join(pieces)
    return re.search(pattern, output, re.DOTALL) is not None
