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


def parse_endnote_xml(raw: bytes, source: str) -> list[dict[str, str]]:
    """Returns one row a record; the values of a repeated element are joined by "; ".

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
            row = {column: value for column, paths in _COLUMNS.items() if (value := _value(element, paths))}
            yield row
            element.clear()


def _value(record: Element, paths: tuple[str, ...]) -> str:
    for path in paths:
        texts = (" ".join("".join(found.itertext()).split()) for found in record.findall(path))
        value = "; ".join(filter(None, texts))
        if value:
            return value
    return ""
