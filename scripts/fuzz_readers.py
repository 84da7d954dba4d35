"""Bytes that atheris makes, read as every form of file: what is not answered in one line stops it with the input.

Arguments are those of libFuzzer, such as -max_total_time=60. It begins with the files of tests/data/exports.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["layersel.data"]):
    from layersel.data.packing import PACKED
    from layersel.data.reviews.readers import EXTENSIONS
    from layersel.data.reviews.table import Table
from layersel.errors import UserError

FOLDER = Path(tempfile.mkdtemp())
EXPORTS = Path(__file__).resolve().parent.parent / "tests" / "data" / "exports"
NAMES = [f"a{extension}" for extension in EXTENSIONS] + [f"a.csv{packed}" for packed in PACKED]
"""The names of the files, by the first byte of an input."""


def read(data: bytes) -> None:
    """Reads the bytes after the first, which chooses the form, as a file of that form."""
    if not data:
        return
    path = FOLDER / NAMES[data[0] % len(NAMES)]
    path.write_bytes(data[1:])
    try:
        found = Table(path=str(path)).load()
    except UserError as error:
        if "\n" in str(error).strip():
            raise RuntimeError(f"more than one line: {error}") from error
        return
    if found.report.records != len(found.records):
        raise RuntimeError("the report counts other records than there are")


def seeds() -> str:
    """Returns a new folder of inputs, one for each export."""
    folder = Path(tempfile.mkdtemp())
    for number, file in enumerate(sorted(EXPORTS.rglob("*.*"))):
        if f"a{file.suffix}" in NAMES:
            (folder / str(number)).write_bytes(bytes([NAMES.index(f"a{file.suffix}")]) + file.read_bytes())
    return str(folder)


if __name__ == "__main__":
    atheris.Setup([sys.argv[0], f"-artifact_prefix={FOLDER}/", *sys.argv[1:], seeds()], read)
    atheris.Fuzz()
