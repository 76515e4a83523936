"""Text and tables on stdout.

As wide as the terminal, without colour where there is none, in ASCII where it must be.
"""

import sys
from collections.abc import Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

# What Vesica itself prints beyond ASCII; what else may come (a column's name) is escaped by the stream.
_ASCII: Final = str.maketrans(
    {"±": "+/-", "ε": "eps", "·": "-", "–": "-", "…": "...", "█": "#", "░": "."},
)


class _PipedConsole(Console):
    """Rich would exit with 1 when the reader of a pipe goes away.

    Vesica has an exit code of its own for that.
    """

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Screen:
    """Stdout. Text is never taken for markup: what a room says stays what it is."""

    def __init__(self, width: int | None = None) -> None:
        self.console = _PipedConsole(width=width, markup=False, highlight=False, emoji=False)
        self.unicode = (sys.stdout.encoding or "ascii").lower().replace("-", "") in {"utf8", "utf16", "utf32"}

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return self.console.width

    def plain(self, text: str) -> str:
        """The text, in ASCII where stdout has no more."""
        return text if self.unicode else text.translate(_ASCII)

    def line(self, text: str = "", style: str = "") -> None:
        """One line, not broken: what is longer than the terminal is wide can still be copied whole."""
        self.console.print(Text(self.plain(text), style=style), soft_wrap=True)

    def paragraph(self, text: str, style: str = "", indent: int = 0) -> None:
        """Text, broken between words."""
        from rich.padding import Padding

        self.console.print(Padding(Text(self.plain(text), style=style), (0, 0, 0, indent)))

    def lines(self, lines: Sequence[str], style: str = "") -> None:
        """Lines of a picture, as they are."""
        for line in lines:
            self.line(line, style)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
        """A table; the first ``left`` columns are text, the others figures."""
        table = Table(box=box.SIMPLE_HEAD if self.unicode else box.ASCII2, pad_edge=False, header_style="bold")
        for i, head in enumerate(heads):
            table.add_column(Text(self.plain(head)), justify="left" if i < left else "right", overflow="fold")
        for row in rows:
            table.add_row(*(Text(self.plain(cell)) for cell in row))
        self.console.print(table)
