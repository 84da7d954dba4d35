"""Collects, compares and reports the cells of grids: python -m layersel.sweep --help."""

import argparse
import glob
import sys
from collections.abc import Sequence
from pathlib import Path

from layersel.errors import UserError
from layersel.sweep.summary import summarise

ABOUT = """Collect cells into one table, compare their configurations, and write a report.

    python -m layersel.sweep runs                                       every cell in runs/
    python -m layersel.sweep runs/grids/NAME --reference selection=none the jobs of one grid, also those that never ran
    python -m layersel.sweep 'runs/NSAIDS-*' --out comparison           what a glob matches

Writes cells.csv, cells.parquet, groups.csv, comparisons.csv, curves.csv, chosen_layers.csv, agreement.csv, regrets.csv,
report.html and summary.json. The exit status is 0 if every cell has finished, 1 if not, 2 for options that cannot be
used.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        out = _out(options.out, options.folder)
        return 0 if summarise(out, options.folder, options.reference, options.metric) else 1
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
    except OSError as error:
        sys.stderr.write(f"error: folder: cannot use {error.filename!r} ({error.strerror})\n")
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m layersel.sweep", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="+", help="output folder, grid, cell, or a quoted glob of these")
    parser.add_argument("--reference", help='configuration to compare with, such as "selection=none" (the default)')
    parser.add_argument("--metric", help="column of cells.csv to compare (default: the cells' own)")
    parser.add_argument("--out", type=Path, help="folder for the files (default: the one folder that is given)")
    return parser


def _out(out: Path | None, folders: Sequence[str]) -> Path:
    if out is not None:
        return out
    if len(folders) == 1 and (Path(folders[0]).is_dir() or not glob.has_magic(folders[0])):
        return Path(folders[0])
    raise UserError("--out: expected a folder for the tables of several folders, but got none; give --out FOLDER")


if __name__ == "__main__":
    sys.exit(main())
