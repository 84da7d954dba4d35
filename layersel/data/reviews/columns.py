"""Recognises what each column holds, by the names that databases and screening tools give them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from layersel.data.identifiers import squash, unique_names
from layersel.errors import UserError, one_of

# squashed names, the most specific first
_ROLES = {
    "title": ["title", "primarytitle", "articletitle", "documenttitle", "ti", "t1"],
    "abstract": ["abstract", "abstractnote", "notesabstract", "ab", "n2"],
    "id": [
        "recordid",
        "ut",
        "utuniquewosid",
        "covidence",
        "id",
        "key",
        "eid",
        "embaseaccessionid",
        "cochranereviewid",
        "pmid",
        "pubmedid",
        "medlinepmid",
        "pm",
        "doi",
        "di",
        "accessionnumber",
    ],
}

# a screening tool's own column is newer than the label that a file came to it with
_LABELS = {
    "full_text": [
        "asreviewlabel",
        "rayyanlabel",
        "covidencestatus",
        "finaldecision",
        "fulltextdecision",
        "screeningdecision",
        "decision",
        "screeningstatus",
        "status",
        "screening",
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

# names under which other things stand, too: labels only if all of their values are decisions
_DOUBTFUL_LABELS = {"decision", "screening", "screeningstatus", "status", "label", "relevant", "inclusion"}

LABEL_LEVELS = (*_LABELS, "none")

# what `squash` makes the name of a title's column, and little else
_APART = r"[\W_]*"
_TITLE_LIKE = re.compile("|".join(_APART + _APART.join(name) + _APART for name in _ROLES["title"]), re.IGNORECASE)

_FIELDS = {
    "authors": ["authors", "author", "authornames", "au", "af"],
    "year": ["year", "publicationyear", "pubyear", "publishedyear", "py"],
    "doi": ["doi", "di"],
    "keywords": ["keywords", "authorkeywords", "kw", "de"],
    "journal": [
        "journal",
        "journalbook",
        "sourcetitle",
        "secondarytitle",
        "journaltitle",
        "publicationtitle",
        "so",
        "source",
    ],
    "pmid": ["pmid", "pubmedid", "medlinepmid", "pm"],
    "url": ["url", "urls", "link"],
    "notes": ["notes", "note"],
}


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of a file hold.

    Attributes:
        roles: The column of each role (title, abstract, id, label) that the file has.
        others: The columns that could fill a role, too, by role: further titles and abstracts, which are not read,
            and further decisions, best first.
    """

    roles: dict[str, str]
    others: dict[str, list[str]] = field(default_factory=dict)


def recognise_columns(
    columns: Sequence[str],
    chosen: Mapping[str, str | None],
    label_level: str = "full_text",
    decisions: Mapping[str, bool] | None = None,
) -> Columns:
    """Returns the column of each role that the file has, and what else could fill it.

    Args:
        columns: All column names.
        chosen: Role → column named by the user; None: it is recognised by its name.
        label_level: Which decision to read, where both are there: `full_text` or `abstract`.
        decisions: Whether all values of a column are decisions; a column that is not named here has none.
            None: the names alone count.

    Raises:
        UserError: There is no title, a chosen column is not there, or there are labels of the other level only.

    Example:
        >>> recognise_columns(["Primary Title", "AB", "included"], chosen={}).roles
        {'title': 'Primary Title', 'abstract': 'AB', 'label': 'included'}
    """
    if label_level not in LABEL_LEVELS:
        raise one_of("data.label_level", label_level, LABEL_LEVELS)
    found = {role: _matching(columns, _names(role, columns)) for role in _ROLES}
    found["label"] = _labels(columns, label_level, decisions)
    for role, name in chosen.items():
        if name is not None:
            found[role] = [_named(role, name, columns)]
    if not found["title"]:
        raise one_of("data.title_column", None, columns, hint="name the titles' with data=table data.title_column=NAME")
    if not found["label"] and label_level != "none":
        _refuse_other_level(columns, label_level)
    roles = {role: candidates[0] for role, candidates in found.items() if candidates}
    others = {role: candidates[1:] for role, candidates in found.items() if role != "id" and candidates[1:]}
    return Columns(roles, others)


def has_titles(columns: Sequence[str]) -> bool:
    """Returns whether one of the columns holds titles, by its name."""
    return bool(_matching(columns, _ROLES["title"]))


def names_only(cells: Sequence[str]) -> bool:
    """Returns whether cells are a header by their words: a title's name, and three known names or two of three."""
    if not any(map(_TITLE_LIKE.fullmatch, cells)):  # texts are told at their first letters, as every row is asked
        return False
    names = [name for cell in cells if (name := squash(cell))]
    known = {name for usual in (*_ROLES.values(), *_FIELDS.values(), *_LABELS.values()) for name in usual}
    count = len({*names} & known)
    return has_titles(cells) and (count >= 3 or (count == 2 and len(names) <= 3))


def names_decisions(column: str) -> bool:
    """Returns whether a column of this name is read as the label."""
    return squash(column) in _LABELS["full_text"]


def decision_columns(columns: Sequence[str], label_level: str) -> list[str]:
    """Returns the columns that may hold decisions of a level, by their names."""
    return _matching(columns, _LABELS.get(label_level, []))


def numbered_columns(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Returns the columns that have a number in their names since an earlier one has one of these names.

    Example:
        >>> numbered_columns(["included", "included_2", "year_2"], ["included", "year"])
        ['included_2', 'year_2']
    """
    return [column for column in columns if re.sub(r"_\d+$", "", column) in {*names} - {column}]


def notes_columns(columns: Sequence[str]) -> list[str]:
    """Returns the columns in which reference managers and screening tools keep notes."""
    return [column for column in columns if squash(column) in (*_FIELDS["notes"], "n1", "rayyaninclusion")]


def field_names(columns: Sequence[str]) -> dict[str, str]:
    """Returns column → name under which its values are kept: the usual name of a field, or the column's own.

    Example:
        >>> field_names(["Author Names", "PubMed ID", "Country"])
        {'Author Names': 'authors', 'PubMed ID': 'pmid', 'Country': 'Country'}
    """
    names = {column: field for field, usual in _FIELDS.items() for column in _matching(columns, usual)[:1]}
    if _is_web_of_science(columns):
        names |= dict.fromkeys(_matching(columns, ["id"])[:1], "keywords_plus")
    return dict(zip(columns, unique_names([names.get(column, column) for column in columns]), strict=True))


def _names(role: str, columns: Sequence[str]) -> list[str]:
    if role == "id" and _is_web_of_science(columns):
        return [name for name in _ROLES["id"] if name != "id"]  # their ID is Keywords Plus
    return _ROLES[role]


def _is_web_of_science(columns: Sequence[str]) -> bool:
    names = {squash(column) for column in columns}
    return "ti" in names and ("ut" in names or {"so", "de"} <= names)


def _matching(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Returns the columns with one of these names, in the order of the names, then of the columns."""
    return [column for name in names for column in columns if squash(column) == name]


def _labels(columns: Sequence[str], label_level: str, decisions: Mapping[str, bool] | None) -> list[str]:
    """Returns the columns of decisions, best first; those without any come last, and doubtful ones are left out."""
    candidates = decision_columns(columns, label_level)
    if decisions is None:
        return candidates
    sure = [column for column in candidates if decisions.get(column, False) or squash(column) not in _DOUBTFUL_LABELS]
    return sorted(sure, key=lambda column: column not in decisions)


def _named(role: str, name: str, columns: Sequence[str]) -> str:
    if name in columns:
        return name
    alike = [column for column in columns if squash(column) == squash(name)]
    if not alike:
        raise one_of(f"data.{role}_column", name, columns)
    return alike[0]


def _refuse_other_level(columns: Sequence[str], label_level: str) -> None:
    for other, names in _LABELS.items():
        for column in _matching(columns, names):
            if squash(column) in _DOUBTFUL_LABELS:
                continue
            raise UserError(
                f"data.label_level: expected a column of {label_level} decisions, but found only {column!r}; "
                f"set data.label_level={other} or data.label_column"
            )
