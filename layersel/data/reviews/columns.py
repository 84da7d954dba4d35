"""Recognises what each column holds, by the names that databases and screening tools give them."""

import re
from collections.abc import Mapping, Sequence

from layersel.data.identifiers import unique_names
from layersel.errors import UserError, one_of

# squashed names, the most specific first
_ROLES = {
    "title": ["title", "primarytitle", "articletitle", "documenttitle", "ti", "t1"],
    "abstract": ["abstract", "abstractnote", "notesabstract", "ab", "n2"],
    "id": ["recordid", "id", "pmid", "pubmedid", "doi"],
}

_LABELS = {
    "full_text": [
        "labelincluded",
        "included",
        "finallabel",
        "includedlabel",
        "includedfinal",
        "finalincluded",
        "include",
        "includedflag",
        "labelfulltext",
        "fulltextlabel",
        "label",
        "asreviewlabel",
        "relevant",
        "inclusion",
    ],
    "abstract": [
        "labelabstractscreening",
        "abstractlabel",
        "labelabstract",
        "abstractscreening",
        "abstractscreeninglabel",
        "includedabstract",
        "abstractincluded",
        "abstractinclusion",
        "labeltitleabstract",
        "titleabstractlabel",
    ],
}

LABEL_LEVELS = (*_LABELS, "none")

_FIELDS = {
    "authors": ["authors", "author", "authornames", "au"],
    "year": ["year", "publicationyear", "pubyear", "py"],
    "doi": ["doi"],
    "keywords": ["keywords", "authorkeywords", "kw"],
    "journal": ["journal", "journalbook", "sourcetitle", "secondarytitle", "journaltitle"],
    "pmid": ["pmid", "pubmedid"],
    "url": ["url", "urls"],
    "notes": ["notes"],
}


def squash(name: str) -> str:
    """Returns letters and digits only, in lower case: how names are compared.

    Example:
        >>> squash("Primary_Title"), squash("pubmedID")
        ('primarytitle', 'pubmedid')
    """
    return re.sub(r"[\W_]+", "", name).lower()


def recognise_columns(
    columns: Sequence[str], chosen: Mapping[str, str | None], label_level: str = "full_text"
) -> dict[str, str]:
    """Returns the column of each role (title, abstract, id, label) that the file has.

    Args:
        columns: All column names.
        chosen: Role → column named by the user; None: it is recognised by its name.
        label_level: Which decision to read, where both are there: `full_text` or `abstract`.

    Raises:
        UserError: There is no title, a chosen column is not there, or there are labels of the other level only.

    Example:
        >>> recognise_columns(["Primary Title", "AB", "included"], chosen={})
        {'title': 'Primary Title', 'abstract': 'AB', 'label': 'included'}
    """
    if label_level not in LABEL_LEVELS:
        raise one_of("data.label_level", label_level, LABEL_LEVELS)
    by_name = _by_name(columns)
    found = {role: _first(by_name, _ROLES[role]) for role in ("title", "abstract", "id")}
    found["label"] = _first(by_name, _LABELS.get(label_level, []))
    for role, name in chosen.items():
        if name is not None:
            found[role] = _named(by_name, role, name, columns)
    if found["title"] is None:
        raise one_of("data.title_column", None, columns, hint="name the column that holds the titles")
    if found["label"] is None and label_level != "none":
        _refuse_other_level(by_name, label_level)
    return {role: column for role, column in found.items() if column is not None}


def field_names(columns: Sequence[str]) -> dict[str, str]:
    """Returns column → name under which its values are kept: the usual name of a field, or the column's own.

    Example:
        >>> field_names(["Author Names", "PubMed ID", "Country"])
        {'Author Names': 'authors', 'PubMed ID': 'pmid', 'Country': 'Country'}
    """
    by_name = _by_name(columns)
    names = {_first(by_name, usual): field for field, usual in _FIELDS.items()}
    return dict(zip(columns, unique_names([names.get(column, column) for column in columns]), strict=True))


def _by_name(columns: Sequence[str]) -> dict[str, str]:
    return {squash(column): column for column in reversed(columns)}


def _first(by_name: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((by_name[name] for name in names if name in by_name), None)


def _named(by_name: Mapping[str, str], role: str, name: str, columns: Sequence[str]) -> str:
    if name in columns:
        return name
    if squash(name) not in by_name:
        raise one_of(f"data.{role}_column", name, columns)
    return by_name[squash(name)]


def _refuse_other_level(by_name: Mapping[str, str], label_level: str) -> None:
    for other, names in _LABELS.items():
        column = _first(by_name, names)
        if column is not None:
            raise UserError(
                f"data.label_level: expected a column of {label_level} decisions, but found only {column!r}; "
                f"set data.label_level={other} or data.label_column"
            )
