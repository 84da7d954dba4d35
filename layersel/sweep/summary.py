"""Summarises the cells of a grid in files and on the terminal; what has not changed is not computed again."""

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from layersel.errors import DamagedError
from layersel.files import read_sealed, sha256, write_sealed
from layersel.runs.fingerprints import fingerprint
from layersel.runs.folder import FINISHED, RunFolder
from layersel.sweep.archive import write_archive
from layersel.sweep.grid import source_fingerprint
from layersel.sweep.rows import Rows, collect_rows
from layersel.terminal.tables import note

SUMMARY = "summary.json"
"""The file with the fingerprint of what the tables were made of, their checksums, and the text on the terminal."""
WIDTH = 160
"""The width of tables that do not go to a terminal, in characters."""


def summarise(
    out: Path,
    paths: Sequence[str | Path],
    reference: str | None = None,
    metric: str | None = None,
    archive: Path | None = None,
) -> bool:
    """Writes the tables and the report of some cells, and prints a summary.

    Where the files in `out` were made of the same cells by the same code, they stay as they are.

    Args:
        out: The folder that the files are written to.
        paths: The output folders, grids and cells, or globs of these.
        reference: The configuration to compare with, such as "selection=none".
        metric: The column of metrics to compare; None = the cells' own metric.
        archive: The file that the cells are written to; None writes none.

    Returns:
        Whether every cell has finished.

    Raises:
        UserError: A path leads to no cell, or there is no such reference or metric.
    """
    rows = collect_rows(paths, lambda folder: RunFolder(folder).state)
    made_of = _fingerprint(out, rows, reference, metric)
    parts = _stored(out, made_of)
    if parts is None:
        from layersel.sweep.collecting import printed, tables, write_files  # loads pandas

        found = tables(rows, reference, rows.metric(metric))
        parts = printed(found)
        files = write_files(out, found)
        write_sealed(out / SUMMARY, {"made_of": made_of, "files": files, "printed": parts})
    _show([*parts, f"The tables and report.html are in {out}"])
    if archive is not None:
        write_archive(archive, rows.rows, rows.commands)
    return all(row.state == FINISHED for row in rows.rows)


def _fingerprint(out: Path, rows: Rows, reference: str | None, metric: str | None) -> str:
    """Returns the hash of all that decides the files: cells, options, the report's title, the code, its libraries."""
    libraries = [version(name) for name in ("matplotlib", "numpy", "pandas", "pyarrow", "scipy")]
    return fingerprint([asdict(rows), reference, metric, out.resolve().name, source_fingerprint(), libraries])


def _stored(out: Path, made_of: str) -> list[Any] | None:
    """Returns the text that was printed of the same cells; None unless all files are as they were written then."""
    try:
        stored = read_sealed(out / SUMMARY)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        _show([f"made again: {error.brief}"])
        return None
    if stored["made_of"] != made_of:
        return None
    changed = [name for name, checksum in stored["files"].items() if not _is_whole(out / name, checksum)]
    if changed:
        _show([f"made again: {', '.join(changed)} changed since the last call"])
    return None if changed else list(stored["printed"])


def _is_whole(file: Path, checksum: str) -> bool:
    try:
        return sha256(file) == checksum
    except OSError:
        return False


def _show(parts: Sequence[str | dict[str, Any]]) -> None:
    console = Console(width=None if Console().is_terminal else WIDTH)
    for part in parts:
        if isinstance(part, str):
            note(part)
        else:
            console.print(_table(**part))


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=Text(title), title_justify="left")
    for heading in columns:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
