"""Tables in Markdown."""

from collections.abc import Sequence


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table whose columns but the first are aligned right; nothing without a row."""
    if not rows:
        return ""
    ruler = ["---", *("---:" for _ in columns[1:])]
    lines = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in (columns, ruler, *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)
