"""Writes a page of evidence from finished grids: python -m layersel.sweep.evidence --help."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from layersel.errors import UserError
from layersel.files import write_text
from layersel.sweep.evidence.outline import read_outline

ABOUT = """Write a page of evidence in Markdown: questions, and what finished grids answer.

    python -m layersel.sweep.evidence docs/evidence.yaml        writes docs/evidence.md

OUTLINE is a YAML file:

    title: Evidence
    about: Text that stands first.                  may be left out
    questions:
      - question: What is the selection of layers worth?
        grids: [runs/grids/selection]               or archives of grids; several are taken together
        factor: selection                           each of its values is compared, where all other options are equal …
        reference: none                             … with this one
        about: Text below the question.             may be left out
        metric: auroc                               may be left out: the cells' own
      - question: Which configuration is best?
        grids: [runs/grids/budget]
        reference: selection=none                   without a factor configurations are compared with this one, or,
                                                    where it is left out, with the pretrained model and so on alone

The exit status is 0 if the page is written, 2 if the outline or a grid cannot be used.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m layersel.sweep.evidence",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("outline", type=Path, help="the YAML file")
    parser.add_argument("--out", type=Path, help="the page (default: the outline's name with .md)")
    options = parser.parse_args(arguments)
    try:
        outline = read_outline(options.outline)
        from layersel.sweep.evidence.page import page  # loads pandas

        out = options.outline.with_suffix(".md") if options.out is None else options.out
        write_text(out, page(outline))
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
    except OSError as error:
        sys.stderr.write(f"error: out: cannot write {error.filename!r} ({error.strerror})\n")
    else:
        sys.stdout.write(f"The evidence is in {out}\n")
        return 0
    return 2


if __name__ == "__main__":
    sys.exit(main())
