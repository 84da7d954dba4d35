"""Reads the text of a review's protocol."""

from pathlib import Path

from layersel.data.encoding import decode
from layersel.data.packing import read_unpacked
from layersel.errors import UserError

EXTENSIONS = (".txt", ".md")


def read_protocol(path: Path) -> tuple[str, tuple[str, ...]]:
    """Returns the text of a file, and a line where characters were guessed.

    Raises:
        UserError: It cannot be read, or has no words.
    """
    decoded = decode(read_unpacked(path), str(path))
    text = " ".join(decoded.text.split())
    if not any(map(str.isalpha, text)):
        raise UserError(f"data.protocol: expected the review's question or criteria, but {str(path)!r} has no words")
    return text, tuple(f"data.protocol: {line}" for line in decoded.guesses)
