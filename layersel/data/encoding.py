"""Decodes text whose encoding is not stated, and tells what was guessed."""

import codecs
import re
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from layersel.errors import UserError
from layersel.terminal.tables import counted

_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

# the accents of western European languages and what word processors put in; a sign within a word is no such thing
_LETTERS = "áàâäãåæçéèêëíìîïñóòôöõøœúùûüßÁÀÂÄÃÅÆÇÉÈÊËÍÑÓÔÖØÚÜ\u2018\u2019\u2013"
_SIGNS = "“”„\u201a—…•·°±µ\xd7®©™€£§½¼¹²³«»\xa0"
_WESTERN = re.compile(f"[{_LETTERS}]|(?<![^\\W\\d_])[{_SIGNS}]|[{_SIGNS}](?![^\\W\\d_])")
_EXAMPLES = 3
_NO_ASCII = re.compile("[^\x00-\x7f]")
_NO_UTF_8 = re.compile("[\udc80-\udcff]")
"""Finds the surrogates that stand for bytes that are not UTF-8."""
_WESTERN_ENCODINGS = ("cp1252", "mac_roman")
_FEWEST_LINES = 5
"""Lines by which one western encoding is told from another at least."""

_MOST_BYTES_A_NULL = 100
"""Text with fewer zero bytes than one in so many is of no encoding that has them in every line end."""
_WITH_NULS = ["utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_32_be", "utf_32_le"]
"""Encodings in which every line end has a zero byte."""


@dataclass(frozen=True, slots=True)
class DecodedText:
    """The text of a file.

    Attributes:
        text: The characters, line ends as they are in the file; where files were joined, byte order marks may stand
            within.
        encoding: The encoding that they were in.
        guesses: A line for the terminal if characters were guessed, else none.
    """

    text: str
    encoding: str
    guesses: tuple[str, ...] = ()


def decode(raw: bytes, source: str, encoding: str | None = None) -> DecodedText:
    r"""Returns the text of a file's bytes; `source` names the file in errors.

    Without an encoding it is the one of the byte order mark, else UTF-8. Where single bytes are not UTF-8 in a file
    that is, these are read as Windows-1252, and so are lines of a file of which others are UTF-8 (two files joined), in
    this or another western encoding. A file that is not UTF-8 at all is read as Windows-1252 or Mac Roman if
    that gives the characters of western languages, else in the likeliest encoding. What was guessed is told.

    Raises:
        UserError: The bytes are not text, or not in the encoding that is given.

    Example:
        >>> decode("title\nMüller".encode("latin-1"), "a.csv").guesses[0]
        "not UTF-8: 1 character in 1 line read as cp1252 (line 2: 'Müller'); data.encoding=NAME names another encoding"
    """
    nulls = raw.count(b"\0")
    notes = []
    if encoding is None and 0 < _MOST_BYTES_A_NULL * nulls < len(raw) and not raw.startswith(tuple(_BOMS)):
        raw = raw.replace(b"\0", b"")
        notes.append(f"{counted(nulls, 'NUL character')} in a file of text, left out")
    text, encoding, read_as, places = _decoded(raw, source, encoding)
    notes += [_guess_line(text, places, read_as)] if places else []
    return DecodedText(text.removeprefix("\ufeff"), encoding, tuple(notes))


def _decoded(raw: bytes, source: str, encoding: str | None) -> tuple[str, str, str, list[int]]:
    """Returns the text, its encoding, and in which encoding characters at which places were guessed."""
    stated = encoding or next((name for mark, name in _BOMS.items() if raw.startswith(mark)), None)
    if stated is not None:
        return _strict(raw, source, stated), stated, stated, []
    if b"\0" not in raw:
        text = raw.decode("utf-8", "surrogateescape")
        invalid = [found.start() for found in _NO_UTF_8.finditer(text)]
        joined = _joined(text) if invalid else None
        if joined is not None:
            return joined
        if len(invalid) <= len(_NO_ASCII.findall(text)) - len(invalid):
            return _NO_UTF_8.sub(_cp1252, text), "utf-8", "cp1252", invalid
    likeliest = detect_encoding(raw)
    if likeliest is None:
        raise UserError(f"{source}: expected text, but got bytes of no known encoding; save it as UTF-8")
    text = _strict(raw, source, likeliest)
    return text, likeliest, likeliest, [found.start() for found in _NO_ASCII.finditer(text)]


def _joined(text: str) -> tuple[str, str, str, list[int]] | None:
    """Reads lines that are UTF-8 as such and the others in their western encoding, as `_decoded` returns it.

    It returns None unless there are both, and no line is of both.

    Args:
        text: The bytes as UTF-8, with surrogates for what is none.
    """
    lines = text.split("\n")
    others = [line for line in lines if _NO_UTF_8.search(line) is not None]
    mixed = not all(_NO_UTF_8.sub("", line).isascii() for line in others)
    if mixed or len(others) < _FEWEST_LINES or len(others) == sum(not line.isascii() for line in lines):
        return None
    encoding = detect_encoding("\n".join(others).encode("utf-8", "surrogateescape"))
    if encoding not in _WESTERN_ENCODINGS:
        return None
    read, places, start = [], [], 0
    for line in lines:
        read.append(line)
        if _NO_UTF_8.search(line) is not None:
            read[-1] = line.encode("utf-8", "surrogateescape").decode(encoding, "replace")
            places += [start + found.start() for found in _NO_ASCII.finditer(read[-1])]
        start += len(read[-1]) + 1
    return "\n".join(read), "utf-8", encoding, places


def detect_encoding(raw: bytes) -> str | None:
    """Returns the likeliest encoding of bytes that are not UTF-8; bytes that are not text have none.

    Example:
        >>> detect_encoding("Müller".encode("latin-1")), detect_encoding("Müller, naïve".encode("mac_roman"))
        ('cp1252', 'mac_roman')
    """
    from charset_normalizer import from_bytes

    telling = raw if b"\0" in raw else b"\n".join(re.findall(rb"[^\r\n]*[\x80-\xff][^\r\n]*", raw))
    if b"\0" not in raw and re.search(rb"[\x80-\xff]{4}", telling) is None:
        shares = {encoding: _western_share(telling, encoding) for encoding in _WESTERN_ENCODINGS}
        best = max(shares, key=lambda encoding: shares[encoding])
        if shares[best] > 0.9 or re.search(rb"[\x80-\xff]{2}", telling) is None:
            return best  # other alphabets have words of such bytes, not single ones
    matches = from_bytes(telling, cp_exclusion=[] if b"\0" in raw else _WITH_NULS)
    # the detector rates cp1250, cp1006, … above cp1252 for the few accents of an English file
    if any("cp1252" in match.could_be_from_charset for match in matches):
        return "cp1252"
    likeliest = matches.best()
    return None if likeliest is None else likeliest.encoding


def _western_share(raw: bytes, encoding: str) -> float:
    text = raw.decode(encoding, "replace")
    return len(_WESTERN.findall(text)) / max(1, len(re.findall("[^\x00-\x7f]", text)))


def _cp1252(escaped: re.Match[str]) -> str:
    return bytes([ord(escaped[0]) - 0xDC00]).decode("cp1252", "replace")


def _guess_line(text: str, offsets: Sequence[int], encoding: str) -> str:
    ends = [found.start() for found in re.finditer("\n", text)]
    lines = [bisect(ends, offset) + 1 for offset in offsets]
    found = dict.fromkeys((line, _word_at(text, offset)) for line, offset in zip(lines, offsets, strict=True))
    examples = [f"line {line}: {word!r}" for line, word in list(found)[:_EXAMPLES]]
    more = ", …" if len(found) > _EXAMPLES else ""
    counts = f"{counted(len(offsets), 'character')} in {counted(len(set(lines)), 'line')}"
    read = f"not UTF-8: {counts} read as {encoding} ({', '.join(examples)}{more})"
    return f"{read}; data.encoding=NAME names another encoding"


def _word_at(text: str, offset: int) -> str:
    start = re.search(r"[\w'-]{0,20}$", text[max(0, offset - 20) : offset])
    end = re.match(r"[\w'-]{0,20}", text[offset + 1 : offset + 21])
    return (start[0] if start else "") + text[offset] + (end[0] if end else "")


def _strict(raw: bytes, source: str, encoding: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{source}: expected text in {encoding}, but line {line} has bytes that are none "
            f"({raw[error.start : error.end].hex(' ')}); give its own with data.encoding=NAME, or save it as UTF-8"
        ) from error
