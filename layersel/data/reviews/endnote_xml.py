"""EndNote's XML exports."""

import io
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from layersel.errors import UserError

# column → the elements of a record that can fill it, best first
_COLUMNS = {
    "title": ("titles/title",),
    "abstract": ("abstract",),
    "authors": ("contributors/authors/author",),
    "year": ("dates/year",),
    "doi": ("electronic-resource-num",),
    "journal": ("periodical/full-title", "titles/secondary-title", "periodical/abbr-1"),
    "keywords": ("keywords/keyword",),
    "url": ("urls/related-urls/url", "urls/web-urls/url"),
    "notes": ("notes",),
    "record_id": ("rec-number",),
    "accession_number": ("accession-num",),
    "label_text": ("label",),
    "custom1": ("custom1",),
    "custom2": ("custom2",),
    "volume": ("volume",),
    "number": ("number",),
    "pages": ("pages",),
    "issn": ("isbn",),
    "language": ("language",),
    "type": ("ref-type",),
}
_OF_ENDNOTE = {"database", "source-app", "foreign-keys"}
"""Elements that tell where EndNote keeps a record, not what the record says."""
_UNNAMED = {"author", "date", "url", "keyword"}
"""Elements whose meaning is told by the one around them."""


def parse_endnote_xml(raw: bytes, source: str) -> list[dict[str, str]]:
    """Returns one row a record; the values of a repeated element are joined by "; ", others stand under their own name.

    Entities of the file's own are refused, so that no file can expand without bound or open another.

    Raises:
        UserError: The file is no XML, is cut, has entities of its own, or has no records of EndNote's.

    Example:
        >>> parse_endnote_xml(b"<xml><records><record><titles><title>A</title></titles></record></records></xml>", "f")
        [{'title': 'A'}]
    """
    from defusedxml.common import DefusedXmlException

    try:
        rows = list(_rows(raw))
    except ParseError as error:
        raise UserError(f"{source}: expected whole XML, but it is broken ({error}); export it again") from error
    except DefusedXmlException as error:
        got = f"{type(error).__name__} {getattr(error, 'name', '')}".rstrip()
        raise UserError(f"{source}: expected XML without its own entities, but got {got}; export it again") from error
    if not rows:
        raise UserError(f"{source}: expected EndNote's XML with <record> elements, but found none; export it again")
    return rows


def _rows(raw: bytes) -> Iterator[dict[str, str]]:
    from defusedxml.ElementTree import iterparse

    for _, element in iterparse(io.BytesIO(raw)):
        if element.tag == "record":
            filling = {column: _filling(element, paths) for column, paths in _COLUMNS.items()}
            row = {column: "; ".join(map(_text, found)) for column, found in filling.items() if found}
            yield row | _others(element, {own for found in filling.values() for own in found})
            element.clear()


def _filling(record: Element, paths: tuple[str, ...]) -> list[Element]:
    """Returns the elements with a text at the first of these paths that has any."""
    for path in paths:
        found = [element for element in record.findall(path) if _text(element)]
        if found:
            return found
    return []


def _others(record: Element, taken: set[Element]) -> dict[str, str]:
    """Returns the values of the elements that fill no column, by their names."""
    around = {element: own for own in record.iter() for element in own}
    values: dict[str, list[str]] = {}
    for part in record:
        for element in part.iter() if part.tag not in _OF_ENDNOTE else ():
            is_leaf = element.tag != "style" and all(own.tag == "style" for own in element)
            if is_leaf and element not in taken and _text(element):
                name = around[element].tag if element.tag in _UNNAMED else element.tag
                values.setdefault(name, []).append(_text(element))
    return {name: "; ".join(own) for name, own in values.items()}


def _text(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())
