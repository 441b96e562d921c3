"""Tables as plain text, for log lines and files."""

import io
from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table

# Wider than any table: no cell is broken into two lines.
_WIDTH = 10_000


def plain_table(header: Sequence[str], rows: Iterable[Sequence[str]], words: Collection[int] = (0,)) -> list[str]:
    """The lines of a table, columns two spaces apart.

    Args:
        header: The names of the columns.
        rows: Cells; as many as there are names.
        words: The columns that hold words, ranged left; the others hold numbers, ranged right.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for number, name in enumerate(header):
        table.add_column(name, justify="left" if number in words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]
