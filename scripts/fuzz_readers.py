"""Bytes that atheris makes, read as every form of file: what is not answered in one line stops it with the input.

`make fuzz` starts it on a copy of the exports beside; the arguments are those of libFuzzer.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["layersel.data"]):
    from layersel.data.reviews.readers import EXTENSIONS
    from layersel.data.reviews.table import Table
from layersel.errors import UserError

FOLDER = Path(tempfile.mkdtemp())


def read(data: bytes) -> None:
    """Reads the bytes after the first, which chooses the form, as a file of that form."""
    if not data:
        return
    path = FOLDER / f"a{EXTENSIONS[data[0] % len(EXTENSIONS)]}"
    path.write_bytes(data[1:])
    try:
        found = Table(path=str(path)).load()
    except UserError as error:
        if "\n" in str(error).strip():
            raise RuntimeError(f"more than one line: {error}") from error
        return
    if found.report.records != len(found.records):
        raise RuntimeError("the report counts other records than there are")


if __name__ == "__main__":
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
