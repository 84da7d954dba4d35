"""Collects, compares and reports the cells of grids: python -m layersel.sweep --help."""

import argparse
import glob
import sys
from collections.abc import Sequence
from pathlib import Path

from layersel.errors import UserError
from layersel.sweep.archive import ENDING
from layersel.sweep.summary import summarise

ABOUT = """Collect cells into one table, compare their configurations, and write a report.

    python -m layersel.sweep runs                                       every cell in runs/
    python -m layersel.sweep runs/grids/NAME --reference selection=none the jobs of one grid, also those that never ran
    python -m layersel.sweep 'runs/NSAIDS-*' --out comparison           what a glob matches
    python -m layersel.sweep runs/grids/NAME --archive NAME.json        all cells in one file, to keep or to pass on,
    python -m layersel.sweep NAME.json --out comparison                 which is read as their folders are

Writes cells.csv, cells.parquet, groups.csv, results.md, comparisons.csv, curves.csv, chosen_layers.csv, agreement.csv,
regrets.csv, datasets.png and .svg, lengths.png and .svg, report.html and summary.json. The exit status is 0 if every
cell has finished, 1 if not, 2 for options that cannot be used.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        out = _out(options.out, options.folder)
        if options.archive is not None and options.archive.suffix != ENDING:
            raise UserError(f"--archive: expected a file that ends in {ENDING}, but got {str(options.archive)!r}")
        whole = summarise(out, options.folder, options.reference, options.metric, options.archive)
        return 0 if whole else 1
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
    except OSError as error:
        sys.stderr.write(f"error: folder: cannot use {error.filename!r} ({error.strerror})\n")
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m layersel.sweep", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="+", help="output folder, grid, cell, archive, or a quoted glob of these")
    parser.add_argument(
        "--reference", help='configuration to compare with, such as "selection=random" (default: selection=none)'
    )
    parser.add_argument("--metric", help="column of cells.csv to compare (default: the cells' own)")
    parser.add_argument("--archive", type=Path, help="file (.json) for all cells but their curves")
    parser.add_argument("--out", type=Path, help="folder for the files (default: the one folder that is given)")
    return parser


def _out(out: Path | None, folders: Sequence[str]) -> Path:
    if out is not None:
        return out
    only = Path(folders[0])
    if len(folders) == 1 and (only.is_dir() or not (only.is_file() or glob.has_magic(folders[0]))):
        return only
    what = "a file" if len(folders) == 1 and only.is_file() else "several folders"
    raise UserError(f"--out: expected a folder for the tables of {what}, but got none; give --out FOLDER")


if __name__ == "__main__":
    sys.exit(main())
