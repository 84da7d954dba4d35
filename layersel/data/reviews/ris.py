"""Writes records as RIS: every field under the tag that reference managers know it by."""

import re
from collections.abc import Mapping

from layersel.data.identifiers import DOI, squash
from layersel.data.reviews.records import Record
from layersel.data.reviews.tagged import RANK_TAG, SCORE_TAG

# tag ← squashed names of the fields that it holds; where it holds one value, the first name goes before the others
_NAMES = {
    "A2": ("editors", "editor"),
    "DA": ("date", "publicationdate", "datepublished", "pd"),
    "KW": ("mesh", "meshterms", "keywordsplus", "indexkeywords", "subjects", "manualtags"),
    "J2": ("abbreviation", "abbreviatedsourcetitle", "journalabbreviation", "ji", "j9"),
    "VL": ("volume", "vl"),
    "IS": ("issue", "number", "issuenumber", "is"),
    "SP": ("startpage", "pagestart", "firstpage", "bp"),
    "EP": ("endpage", "pageend", "ep"),
    "C7": ("articlenumber", "artno", "ar"),
    "SN": ("issn", "issns", "issnisbn", "sn", "eissn", "ei", "isbn", "bn"),
    "PB": ("publisher", "pu"),
    "CY": ("place", "location", "publishercity", "sourcecountry", "pi"),
    "LA": ("language", "languageoforiginaldocument", "la"),
    "M3": ("type", "documenttype", "publicationtype", "itemtype", "referencetype", "entrytype", "dt"),
    "AD": ("affiliation", "affiliations", "authoraddress", "c1"),
    "UR": ("sourceurls", "externalurl"),
    "AN": ("accessionnumber", "ut", "key", "eid", "covidence", "cochranereviewid", "centralid", "lensid", "pmid"),
    "DB": ("database", "databasename"),
    "ST": ("shorttitle",),
    "ET": ("edition",),
}
_TAG_OF = {name: tag for tag, names in _NAMES.items() for name in names}
_PLACE = {name: place for place, name in enumerate(_TAG_OF)}

# what separates the values of tags that stand once for each value
_PARTED = {**dict.fromkeys(("A1", "A2", "A3", "A4", "AU", "L1", "L2", "SN", "UR"), "; "), "KW": ";"}
_TYPES = {
    "CHAP": r"chapter|section|incollection|inbook",
    "THES": "thesis|dissertation",
    "CPAPER": "proceeding|conference",
    "RPRT": "report",
    "BOOK": r"\bbook\b",
}
_MAIN_FIELDS = ("authors", "year", "doi", "journal", "keywords", "url", "notes")
_LABEL_NOTE = re.compile(r"ASReview_(?:relevant|irrelevant|not_seen)(?:; |$)")

# "Doe, J. A., Roe, R." and "Doe JA, Roe R."
_INITIALS = re.compile(r"[^,;]+, (?:\w\.[ -]?)+(?=, |$)")
_PUBMED_NAMES = re.compile(r"[^,;]+ [A-Z]{1,3}(?:, [^,;]+ [A-Z]{1,3})+\.?")

Tags = dict[str, list[str]]


def ris_entry(record: Record, rank: int, score: float, ranks: int) -> str:
    r"""Returns the lines of one record.

    A field stands under the tag that RIS has for it, a tag of a RIS file under its own, everything else in the
    note as "name: value". Rank and score stand in a note, and in custom fields, by which reference managers sort: they
    sort as text, so that the rank is filled with zeros. The label stands in ASReview's note.

    Args:
        record: The record.
        rank: Its place, from 1.
        score: Its score.
        ranks: How many records are ranked.

    Example:
        >>> fields = {"authors": "A, B; C, D", "pages": "7-9", "Country": "NL"}
        >>> entry = ris_entry(Record("7", "A title", "", 1, fields), rank=5, score=0.5, ranks=12)
        >>> print(*entry.splitlines()[2:-2], sep="\n")
        TI  - A title
        AU  - A, B
        AU  - C, D
        SP  - 7
        EP  - 9
        N1  - Country: NL
        C4  - layersel rank 05
        C8  - layersel score 0.5
        N1  - layersel rank 5, score 0.5
        N1  - ASReview_relevant
    """
    tags, noted = _described(record)
    lines = [(tag, value) for tag, values in tags.items() for value in values]
    notes = _LABEL_NOTE.sub("", record.fields.get("notes", "")).rstrip("; ")
    lines.append(("N1", "; ".join([*filter(None, [notes]), *(f"{name}: {value}" for name, value in noted)])))
    lines.append((RANK_TAG, f"layersel rank {rank:0{len(str(ranks))}}"))
    lines.append((SCORE_TAG, f"layersel score {score}"))
    lines.append(("N1", f"layersel rank {rank}, score {score}"))
    if record.label is not None:
        lines.append(("N1", "ASReview_relevant" if record.label == 1 else "ASReview_irrelevant"))
    texts = ((tag, " ".join(value.split())) for tag, value in lines)
    return "".join(f"{tag}  - {text}\n" for tag, text in texts if text) + "ER  - \n\n"


def earlier_ranking(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the names of the fields in which a record has the rank and the score that an earlier ranking gave it.

    Example:
        >>> earlier_ranking({"rank": "3", "score": "-0.5"}), earlier_ranking({"rank": "top", "score": "7"})
        (('rank', 'score'), ())
    """
    numbers = re.fullmatch(r"\d+ -?\d+(?:\.\d+)?(?:e[+-]?\d+)?", f"{fields.get('rank')} {fields.get('score')}")
    return () if numbers is None else ("rank", "score")


def _described(record: Record) -> tuple[Tags, list[tuple[str, str]]]:
    """Returns tag → values, and the name and value of each field that there is no tag for."""
    fields = record.fields
    own = {tag: value for tag, value in fields.items() if "TY" in fields and re.fullmatch("[A-Z][A-Z0-9]", tag)}
    tags = _main_tags(record, own)
    noted = [("doi", fields["doi"])] if re.search(r"\S\s+\S", fields.get("doi", "")) else []
    left_out = {*own, *_MAIN_FIELDS, *earlier_ranking(fields)}
    others = {name: value for name, value in fields.items() if name not in left_out}
    for name in sorted(others, key=lambda name: _PLACE.get(squash(name), len(_PLACE))):
        for tag, value in _tagged(name, others[name]):
            if tag is None or not _add(tags, tag, value):
                noted.append((name, value))
    for tag, value in own.items():
        if tag in (RANK_TAG, SCORE_TAG):
            noted.append((tag, value))
        elif tag in ("PY", "DO") and tags[tag][0] in value:
            tags[tag] = [value]  # the file has more than the year or the DOI
        elif tag != "TY":
            tags[tag] = [*tags.get(tag, []), *_parts(tag, value)]
    return tags, noted


def _main_tags(record: Record, own: Mapping[str, str]) -> Tags:
    fields = record.fields
    dates = [value for name, value in fields.items() if _TAG_OF.get(squash(name)) == "DA"]
    year = re.search(r"\d{4}", " ".join([fields.get("year", ""), *dates]))
    doi = DOI.search(fields.get("doi", ""))
    return {
        "TY": [fields.get("TY") or _type(fields)],
        "ID": [record.id],
        "TI": [record.title],
        "AU": _people(fields.get("authors", "")),
        "PY": [year[0] if year else ""],
        "DO": [doi[0] if doi else fields.get("doi", "")],
        "JF" if "T2" in own else "T2": [fields.get("journal", "")],
        "AB": [record.abstract],
        "KW": _parts("KW", fields.get("keywords", "")),
        "UR": _parts("UR", fields.get("url", "")),
    }


def _tagged(name: str, value: str) -> list[tuple[str | None, str]]:
    pages = re.fullmatch(r"(\w+)\s*[-\u2010-\u2015]+\s*(\w+)", value.strip()) if squash(name) == "pages" else None
    if pages is not None:
        return [("SP", pages[1]), ("EP", pages[2])]
    return [("SP" if squash(name) == "pages" else _TAG_OF.get(squash(name)), value)]


def _add(tags: Tags, tag: str, value: str) -> bool:
    """Adds a value under a tag; returns whether it stands there now: most tags hold one."""
    present = tags.get(tag, [])
    if tag == "DA" and value in tags["PY"]:
        return True
    if tag in _PARTED:
        tags[tag] = [*present, *(part for part in _parts(tag, value) if part not in present)]
    elif not any(present):
        tags[tag] = [value]
    return tag in _PARTED or value in tags[tag]


def _parts(tag: str, value: str) -> list[str]:
    return [part.strip() for part in value.split(_PARTED[tag])] if tag in _PARTED else [value]


def _people(value: str) -> list[str]:
    """Returns the names in a list of authors, of the forms that databases write.

    Example:
        >>> _people("Doe, J. A., Roe, R."), _people("Doe JA, Roe R."), _people("Doe, Jane and Roe, Rob")
        (['Doe, J. A.', 'Roe, R.'], ['Doe JA', 'Roe R'], ['Doe, Jane', 'Roe, Rob'])
    """
    if ";" in value:
        return _parts("AU", value)
    if _PUBMED_NAMES.fullmatch(value):
        return value.rstrip(".").split(", ")
    names = [name.strip() for name in _INITIALS.findall(value)]
    if names and ", ".join(names) == value.rstrip(", "):
        return names
    parts = value.split(" and ")
    return parts if all("," in part for part in parts) else [value]


def _type(fields: Mapping[str, str]) -> str:
    named = " ".join(value.lower() for name, value in fields.items() if _TAG_OF.get(squash(name)) == "M3")
    return next((kind for kind, words in _TYPES.items() if re.search(words, named)), "JOUR")
