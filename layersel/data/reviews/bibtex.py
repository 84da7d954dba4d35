"""BibTeX files, parsed by bibtexparser: unlike pybtex it goes on after a broken entry and knows its line."""

import logging
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from layersel.errors import UserError

if TYPE_CHECKING:
    from bibtexparser.model import Block, Entry

_COLUMNS = {"author": "authors", "note": "notes", "booktitle": "journal", "journaltitle": "journal", "date": "year"}
_NAMES = ("author", "editor")
_VERBATIM = ("url", "doi", "file", "eprint")
_LATEX = re.compile(r"[\\{}$]")
# more than braces and single characters with a backslash: what needs pylatexenc, which takes 5 ms for an abstract
_COMMAND = re.compile(r"\\(?![%&_#])|[`$]|''|(?<!\\)&")
_ENTRY = re.compile(r"^\s*(?:@\w+\s*[{(]|TY  - |<records?>|<xml>)", re.MULTILINE)
# a field that begins within the value of another one, as a comma is missing between them
_FIELD_WITHIN = re.compile(r"^\s*[a-z][\w-]*\s*=\s*[{\"]", re.IGNORECASE | re.MULTILINE)
_TIE = re.compile(r"(?<=\S)~(?=\S)")
# what pylatexenc does not know; macros that neither knows are kept as they are
_SIGNS = {"textless": "<", "textgreater": ">", "textbar": "|", "textminus": "\u2212", "textquotedbl": '"'}
_SIGNS |= {"micro": "µ", "copyright": "©", "LaTeX": "LaTeX", "TeX": "TeX"}
_STYLES = ("it", "bf", "em", "rm", "sc", "sl", "tt", "sf", "small", "large", "normalsize", "noindent")
_UPRIGHT = re.compile(r"\\(?:text|up)(?=(?:alpha|beta|gamma|delta|epsilon|kappa|lambda|sigma|tau|chi|psi|omega)\b)")


def parse_bibtex(text: str, source: str) -> list[dict[str, str]]:
    r"""Returns one row an entry: its key as `record_id`, its kind as `entry_type`, its fields with LaTeX as text.

    Values of a field that an entry has twice are joined by "; "; entries of one key are all kept.

    Raises:
        UserError: Entries are broken; the lines that they begin in are named.

    Example:
        >>> parse_bibtex("@article{k, title = {M{\\\"u}ller}, author = {A, B and C, D}}", "file")
        [{'record_id': 'k', 'entry_type': 'article', 'title': 'Müller', 'authors': 'A, B; C, D'}]
    """
    rows, broken = [], []
    for block in _blocks(text):
        entry = _entry(block)
        if entry is not None and not any(_holds_another(str(field.value)) for field in entry.fields):
            rows.append(_row(entry))
        elif entry is not None or _is_lost(block):
            broken.append(str((block.start_line or 0) + 1))
    if broken:
        lines = ", ".join(broken[:5]) + (", …" if len(broken) > 5 else "")
        raise UserError(f"{source}: expected BibTeX, but got broken entries, which begin in line {lines}; mend them")
    return rows


def _blocks(text: str) -> "list[Block]":
    import bibtexparser

    logger = logging.getLogger("bibtexparser")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it warns of broken entries in several lines each; they become one error
    try:
        return bibtexparser.parse_string(text).blocks
    finally:
        logger.setLevel(level)


def _entry(block: "Block | None") -> "Entry | None":
    """Returns the entry that a block is, also where its key or one of its fields is repeated."""
    from bibtexparser import Library
    from bibtexparser.middlewares import RemoveEnclosingMiddleware
    from bibtexparser.model import DuplicateBlockKeyBlock, DuplicateFieldKeyBlock, Entry

    if isinstance(block, DuplicateFieldKeyBlock) and isinstance(block.ignore_error_block, Entry):
        RemoveEnclosingMiddleware().transform_entry(block.ignore_error_block, Library())
    if isinstance(block, DuplicateBlockKeyBlock | DuplicateFieldKeyBlock):
        block = block.ignore_error_block
    return block if isinstance(block, Entry) else None


def _is_lost(block: "Block") -> bool:
    """Whether a block that is no entry was meant to be one."""
    from bibtexparser.model import DuplicateBlockKeyBlock, ImplicitComment, ParsingFailedBlock

    if isinstance(block, ImplicitComment):
        return _ENTRY.search(block.comment) is not None
    return isinstance(block, ParsingFailedBlock) and not isinstance(block, DuplicateBlockKeyBlock)


def _holds_another(value: str) -> bool:
    """Returns whether a field's value goes on in another field, beyond the brace, quote or number that ends it."""
    for found in _FIELD_WITHIN.finditer(value):
        before = value[: found.start()].rstrip()
        depth = before.count("{") - before.count("}")
        if depth < 0 or before.endswith('"') or before.isdigit() or (depth == 0 and before[:1] + before[-1:] == "{}"):
            return True
    return False


def _row(entry: "Entry") -> dict[str, str]:
    row = {"record_id": entry.key, "entry_type": entry.entry_type}
    for field in entry.fields:
        name = " ".join(field.key.lower().split())  # a damaged file has keys of several lines
        value = _plain(name, str(field.value))
        column = _COLUMNS.get(name, name)
        row[column] = "; ".join(filter(None, [row.get(column, ""), value]))
    return row


def _plain(name: str, value: str) -> str:
    if name in _NAMES:
        return "; ".join(_decoded(person) for person in re.split(r"\s+and\s+", value))
    if name in _VERBATIM:
        return re.sub(r"\\([_%&#~])", r"\1", value).strip("{}")
    return _decoded(value)


def _decoded(value: str) -> str:
    text = re.sub("---?", "\u2013", " ".join(_TIE.sub(" ", value).split()))
    if _LATEX.search(text) is None:
        return text
    if _COMMAND.search(text) is None:
        return " ".join(re.sub(r"\\([%&_#])", r"\1", re.sub("[{}]", "", text)).split())
    text = re.sub(r"(?<!\\)([%&])", r"\\\1", text)  # in LaTeX a bare % hides the rest of the line, & ends a cell
    signs = re.findall(r"(?<!\\)\$(\d?)", text)
    if len(signs) % 2 or all(signs):  # dollars, not formulas
        text = re.sub(r"(?<!\\)\$", r"\\$", text)
    text = _UPRIGHT.sub(r"\\", text.replace("~", r"\textasciitilde{}"))
    try:
        return " ".join(_latex_to_text()(text).split())
    except (LookupError, ValueError):  # arguments are missing
        return text


@cache
def _latex_to_text() -> Callable[[str], str]:
    from pylatexenc import latex2text, latexwalker
    from pylatexenc.macrospec import MacroSpec

    written, read = latex2text.get_default_latex_context_db(), latexwalker.get_default_latex_context_db()
    signs = {**_SIGNS, **dict.fromkeys(_STYLES, ""), "mbox": "%s", "href": "%(2)s"}
    macros = [latex2text.MacroTextSpec(name, text) for name, text in signs.items()]
    written.add_context_category("more", macros, prepend=True)
    read.add_context_category("more", [MacroSpec("mbox", "{"), MacroSpec("href", "{{")], prepend=True)
    written.set_unknown_macro_spec(latex2text.MacroTextSpec("", lambda node, **_: node.latex_verbatim()))
    converter = latex2text.LatexNodes2Text(math_mode="text", latex_context=written)
    return lambda text: str(converter.latex_to_text(text, latex_context=read))
