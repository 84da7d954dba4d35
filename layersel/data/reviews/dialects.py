"""The tagged formats: which lines begin and end a record, which are tags, and what the tags hold."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write the lines of a dialect; the line that begins a record decides for the whole record.

    Attributes:
        first: Matches a line that begins a record where none is open; groups `tag` and `value`, as in `line`.
        line: Matches a tagged line; groups `tag` and `value` (None where empty).
        last: Matches a line that ends a record; None: the format has none.
        next: Matches a line that begins a record before the last one has ended; None: as `first`.
        once: Tags that a record has once; a second such line is text.
        known: Tags that may stand anywhere; another one after an abstract is a part of it, unless the file has it
            elsewhere too. None: all may.
        taglike: Matches what may be a tag even where it is read as text, which is told.
        loose: Matches a tag that is spaced in another way, with the groups of `line`; outside of abstracts it is read,
            which is told.
    """

    first: re.Pattern[str]
    line: re.Pattern[str]
    last: re.Pattern[str] | None = None
    next: re.Pattern[str] | None = None
    once: frozenset[str] = frozenset()
    known: frozenset[str] | None = None
    taglike: re.Pattern[str] = re.compile("(?!)")
    loose: re.Pattern[str] = re.compile("(?!)")


@dataclass(frozen=True, slots=True)
class Dialect:
    """A tagged format.

    Attributes:
        name: The name that reports use.
        begins: How a record begins, for errors.
        forms: The ways in which lines are written, the proper one first.
        lost: Finds the beginning of a record in any line, also where it cannot be read there.
        columns: The tags that can fill each column, best first.
        seam: Matches between two lines that were joined to one; what it matches is left out.
        listed: Tags of which each untagged line is a value of its own.
        prose: Tags whose values may begin as a sentence goes on.
        short: Tag → the tag whose values it has in a shorter form; it is left out where it has as many.
    """

    name: str
    begins: str
    forms: tuple[Form, ...]
    lost: re.Pattern[str]
    columns: Mapping[str, tuple[str, ...]]
    seam: re.Pattern[str] = re.compile("(?!)")
    listed: frozenset[str] = frozenset()
    prose: frozenset[str] = frozenset()
    short: Mapping[str, str] = field(default_factory=dict)


_RIS_TYPES = (
    "ABST|ADVS|AGGR|ANCIENT|ART|BILL|BLOG|BOOK|CASE|CHAP|CHART|CLSWK|COMP|CONF|CPAPER|CTLG|DATA|DBASE|DICT|EBOOK|"
    "ECHAP|EDBOOK|EJOUR|ELEC|ENCYC|EQUA|FIGURE|GEN|GOVDOC|GRANT|GRNT|HEAR|ICOMM|INPR|JFULL|JOUR|LEGAL|MANSCPT|MAP|"
    "MGZN|MPCT|MULTI|MUSIC|NEWS|PAMP|PAT|PCOMM|RPRT|SER|SLIDE|SOUND|STAND|STAT|STD|THES|UNBILL|UNPB|UNPD|VIDEO|WEB"
)

_RIS_MANY = "A1|A2|A3|A4|AB|AD|AU|ED|KW|L1|L2|L3|L4|N1|SN|UR"
_RIS_ONCE = (
    "AN|BT|C[1-8]|CA|CN|CP|CY|DA|DB|DO|DP|EP|ET|ID|IS|J[12]|JA|JF|JO|LA|LB|LK|M[1-3]|N2|NV|OP|PB|PP|PY|RI|RN|RP|SE|"
    "SP|ST|T[1-3]|TA|TI|TT|U[1-5]|VL|VO|Y[12]"
)

# what Web of Science, Cochrane, EBSCO and Ovid write beside them
_RIS_MORE = "AI|CC|CR|DS|FU|FX|J9|JI|NO|NR|NS|PD|PG|PI|PT|PU|TC|US|XT|Z9"


def _tags(patterns: str) -> frozenset[str]:
    return frozenset(
        tag
        for pattern in patterns.split("|")
        for tag in ([pattern] if "[" not in pattern else [f"{pattern[0]}{digit}" for digit in range(1, 9)])
    )


# RIS wants two spaces after a tag, and nothing after "ER  - ": there, "CT - scan" and "ER  - positive" are text.
_RIS_PROPER = Form(
    first=re.compile(r"(?P<tag>TY)  -(?: +(?P<value>.*)|$)"),
    line=re.compile(r"(?P<tag>(?!TY|ER)[A-Z][A-Z0-9])  -(?: (?P<value>.*)|$)"),
    last=re.compile(r"ER[ \t\xa0]{1,4}-\s*$"),
    next=re.compile(r"(?P<tag>TY)  -(?: +(?P<value>[A-Z][\w /-]*))?\s*$"),
    known=_tags(f"{_RIS_MANY}|{_RIS_ONCE}|{_RIS_MORE}"),
    taglike=re.compile(
        rf"[A-Z][A-Z0-9]  -(?: |$)|(?:{_RIS_MANY}|{_RIS_ONCE})(?:[ \t\xa0]+-|-[ \t\xa0])|"
        rf"[ \t\xa0]+[A-Z][A-Z0-9] {{1,2}}-(?: |$)|(?:AB|N2|TI|T1|AU|A1|ER)[ \t\xa0]*(?:[\u2010-\u2015]|:[ \t])"
    ),
    loose=re.compile(
        r"(?P<tag>AB|N2|TI|T1|AU|A1|PY|Y1|DO|KW|N1)(?:[ \t\xa0]+-[ \t\xa0]*|-[ \t\xa0]+)(?P<value>[^a-z\s].*)"
    ),
)

# Files with one space exist. There only the tags of the standard count, and most of them once: "T2 - weighted".
_RIS_ONE_SPACE = Form(
    first=re.compile(r"(?P<tag>TY) -(?: +(?P<value>.*)|$)"),
    line=re.compile(rf"(?P<tag>{_RIS_MANY}|{_RIS_ONCE}) {{1,2}}-(?: (?P<value>.*)|$)"),
    last=re.compile(r"ER {1,2}-\s*$"),
    next=re.compile(r"(?P<tag>TY) - +(?P<value>[A-Z]{3}[A-Z0-9]*)\s*$"),
    once=_tags(_RIS_ONCE),
    taglike=re.compile(r"[A-Z][A-Z0-9] {1,2}-(?: |$)"),
)

RIS = Dialect(
    name="ris",
    begins="TY  - ",
    forms=(_RIS_PROPER, _RIS_ONE_SPACE),
    lost=re.compile(
        rf"TY(?:(?<![A-Za-z]TY)[ \t\xa0]{{0,4}}[-\u2010-\u2015:][ \t\xa0]{{0,4}}|  - )(?:{_RIS_TYPES})\s*$"
    ),
    # a last line without an end joined to the next file, and tags that Rayyan takes for the text of the one before
    seam=re.compile(
        r"(?<=^ER  -)[ \ufeff\x1a]*(?=TY  - )|(?<=^ER -)[ \ufeff\x1a]*(?=TY - )|\ufeff(?=TY )| {5}(?=[A-Z][A-Z0-9]  - )"
    ),
    columns={
        "record_id": ("ID", "AN"),
        "title": ("TI", "T1"),
        "abstract": ("AB", "N2"),
        "authors": ("AU", "A1"),
        "year": ("PY", "Y1", "DA"),
        "doi": ("DO",),
        "journal": ("JF", "T2", "JO", "JA"),
        "keywords": ("KW",),
        "url": ("UR",),
        "notes": ("N1",),
    },
    listed=frozenset({"KW", "SN", "UR", "DB", "L1", "L2"}),
    prose=_tags(f"{_RIS_MANY}|C[1-8]|M[1-3]|U[1-5]"),
)

_MEDLINE_LINE = re.compile(r"(?=.{4}-(?: |$))(?P<tag>[A-Z]{2,4}) *-(?: (?P<value>.*)|$)")

MEDLINE = Dialect(
    name="medline",
    begins="PMID- ",
    forms=(Form(first=re.compile(r"(?P<tag>PMID)- *(?P<value>.*)"), line=_MEDLINE_LINE),),
    lost=re.compile(r"PMID ?- ?\d+\s*$"),
    seam=re.compile("\ufeff(?=PMID- )"),
    columns={
        "pmid": ("PMID",),
        "title": ("TI", "BTI"),
        "abstract": ("AB",),
        "authors": ("FAU", "AU"),
        "year": ("DP",),
        "date": ("DP",),
        "doi": ("AID", "LID"),
        "journal": ("JT", "TA"),
        "abbreviation": ("TA",),
        "keywords": ("OT", "MH"),
        "mesh": ("MH",),
        "volume": ("VI",),
        "issue": ("IP",),
        "pages": ("PG",),
        "issn": ("IS",),
        "isbn": ("ISBN",),
        "language": ("LA",),
        "type": ("PT",),
        "affiliation": ("AD",),
        "place": ("PL",),
        "publisher": ("PB",),
        "editors": ("FED", "ED"),
        "pmcid": ("PMC",),
    },
    short={"AU": "FAU", "ED": "FED"},
)

WOS = Dialect(
    name="wos",
    begins="PT J",
    forms=(
        Form(
            first=re.compile(r"(?P<tag>PT) (?P<value>[A-Z]+)\s*$"),
            line=re.compile(r"(?P<tag>[A-Z][A-Z0-9])(?: (?P<value>.*)|\s*$)"),
            last=re.compile(r"ER\s*$"),
        ),
    ),
    lost=re.compile(r"^\W*(?:E[RF]\W*)*PT [BCJPS]\s*$"),
    seam=re.compile(r"(?<=^ER)[ \ufeff\x1a]*(?=PT [A-Z]+\s*$)"),
    columns={
        "record_id": ("UT",),
        "accession_number": ("UT",),
        "title": ("TI",),
        "abstract": ("AB",),
        "authors": ("AF", "AU"),
        "year": ("PY", "EY"),
        "date": ("PD",),
        "doi": ("DI",),
        "journal": ("SO",),
        "abbreviation": ("JI", "J9"),
        "keywords": ("DE",),
        "keywords_plus": ("ID",),
        "pmid": ("PM",),
        "volume": ("VL",),
        "issue": ("IS",),
        "start_page": ("BP",),
        "end_page": ("EP",),
        "article_number": ("AR",),
        "issn": ("SN",),
        "eissn": ("EI",),
        "isbn": ("BN",),
        "language": ("LA",),
        "type": ("DT",),
        "publisher": ("PU",),
        "place": ("PI",),
        "editors": ("BE",),
        "affiliation": ("C1",),
    },
    listed=frozenset({"AF", "AU", "BA", "BE", "BF", "C1", "CA", "CR", "GP"}),
    short={"AU": "AF"},
)

ENDNOTE = Dialect(
    name="endnote",
    begins="%0 ",
    forms=(
        Form(
            first=re.compile(r"(?P<tag>%0) (?P<value>.*)"),
            line=re.compile(r"(?P<tag>%[!-~])(?: (?P<value>.*)|\s*$)"),
        ),
    ),
    lost=re.compile(r"%0 (?:Journal Article|Book|Book Section|Thesis|Report|Conference P\w+|Generic)\s*$"),
    seam=re.compile("\ufeff(?=%0 )"),
    columns={
        "record_id": ("%M",),
        "accession_number": ("%M",),
        "title": ("%T",),
        "abstract": ("%X",),
        "authors": ("%A",),
        "year": ("%D",),
        "date": ("%8",),
        "doi": ("%R",),
        "journal": ("%J", "%B"),
        "keywords": ("%K",),
        "url": ("%U",),
        "notes": ("%Z",),
        "type": ("%0",),
        "volume": ("%V",),
        "issue": ("%N",),
        "pages": ("%P",),
        "issn": ("%@",),
        "publisher": ("%I",),
        "place": ("%C",),
        "language": ("%G",),
        "editors": ("%E",),
        "affiliation": ("%+",),
        "short_title": ("%!",),
        "database": ("%~",),
    },
    listed=frozenset({"%K", "%U", "%@"}),
)

OVID = Dialect(
    name="ovid",
    begins="<1. >",
    forms=(Form(first=re.compile(r"(?P<tag>)<\d+\. ?>(?P<value>)\s*$"), line=_RIS_PROPER.line),),
    lost=re.compile(r"^\W*<\d+\. ?>\s*$"),
    seam=re.compile(r"\ufeff(?=<\d+\. ?>)"),
    columns={
        "record_id": ("UI",),
        "accession_number": ("UI",),
        "title": ("TI",),
        "abstract": ("AB",),
        "authors": ("AU",),
        "year": ("YR", "DP"),
        "doi": ("DO",),
        "journal": ("JN", "SO"),
        "keywords": ("KW", "MH"),
        "mesh": ("MH",),
        "url": ("UR", "XL"),
        "issn": ("IS",),
        "language": ("LG",),
        "type": ("PT",),
        "publisher": ("PB",),
        "place": ("CP",),
        "affiliation": ("IN", "AD"),
        "database": ("DB",),
    },
)

DIALECTS = (RIS, MEDLINE, WOS, ENDNOTE, OVID)
