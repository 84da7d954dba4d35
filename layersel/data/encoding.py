"""Reads text files whose encoding is not stated."""

import codecs
import gzip
import zlib
from pathlib import Path

from charset_normalizer import from_bytes

from layersel.errors import UserError

_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_text(path: Path) -> tuple[str, str]:
    """Returns the text of a file, unpacked when its name ends in `.gz`, and the encoding it was in.

    Raises:
        UserError: The file cannot be read, is damaged or is not text.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); check that the file exists and is whole") from error
    encoding = detect_encoding(raw)
    if encoding is None:
        raise _not_text(path)
    try:
        return raw.decode(encoding), encoding
    except UnicodeDecodeError as error:
        raise _not_text(path) from error


def detect_encoding(raw: bytes) -> str | None:
    """Returns the encoding by byte order mark, else UTF-8, else Windows-1252 where that fits, else the likeliest.

    Bytes that are not text have none.

    Example:
        >>> detect_encoding("Müller".encode("utf-8")), detect_encoding("Müller".encode("latin-1"))
        ('utf-8', 'cp1252')
    """
    for mark, encoding in _BOMS.items():
        if raw.startswith(mark):
            return encoding
    if b"\0" not in raw and _is_utf8(raw):
        return "utf-8"
    matches = from_bytes(raw)
    # the detector rates cp1250, cp1006, … above cp1252 for the few accents of an English file
    if any("cp1252" in match.could_be_from_charset for match in matches):
        return "cp1252"
    best = matches.best()
    return None if best is None else best.encoding


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _not_text(path: Path) -> UserError:
    return UserError(f"{path}: expected text, but got bytes of no known encoding; save it as UTF-8")
