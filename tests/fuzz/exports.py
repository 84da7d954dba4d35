"""Files of records as databases and screening tools write them, clean and with the dirt that real ones carry."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

LABELS = (1, 0, None)
BOM = "\ufeff"


@dataclass(frozen=True)
class Made:
    """One record as it was written."""

    id: str
    title: str
    abstract: str
    label: int | None


def tag_like() -> st.SearchStrategy[str]:
    """Lines of abstracts that begin as a tag, or as the beginning or the end of a record, does."""
    tags = ["CT", "ER", "TY", "OR", "GABA", "T2", "TI", "AB", "PMID", "DO", "KW", "ST", "PT", "UT", "N1"]
    dashes = [" - ", "- ", "-", " ", ": ", " \u2013 "]
    rest = ["positive", "scan of the brain", "weighted", "1.5 (95 % CI)", "segment"]
    made = st.builds("{}{}{}".format, *(st.sampled_from(parts) for parts in (tags, dashes, rest)))
    return made | st.sampled_from(["CT  - scan", "ER  - positive tumours", "TY  - pe 2 diabetes", "%T x"])


def words() -> st.SearchStrategy[str]:
    """Texts of one line with what tables and tags are made of."""
    letters = st.sampled_from([*"abcXYZ 0123456789.,;:'\"-|=/()%&éßçµ\u2013\u03b1≥\t", "ER", "TI", " - ", "  - "])
    joined = st.lists(letters, min_size=1, max_size=30).map(lambda parts: " ".join("".join(parts).split()))
    return joined.map(lambda text: f"T {text}".strip())


def abstracts() -> st.SearchStrategy[str]:
    """Abstracts of several lines, some of which look like tags."""
    return st.lists(words() | tag_like(), max_size=4).map("\n".join)


def records(with_labels: bool = True) -> st.SearchStrategy[list[Made]]:
    """Records with ids and titles of their own."""
    labels = st.sampled_from(LABELS if with_labels else (None,))
    drawn = st.lists(st.tuples(words(), abstracts(), labels), min_size=1, max_size=6)
    return drawn.map(
        lambda rows: [Made(f"r{number}", f"{number} {row[0]}", *row[1:]) for number, row in enumerate(rows, start=1)]
    )


def as_table(made: Sequence[Made], delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> str:
    """A table with the labels in `included`."""
    file = io.StringIO()
    table = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator="\n")  # type: ignore[arg-type]
    table.writerow(["record_id", "title", "abstract", "included"])
    for one in made:
        table.writerow([one.id, one.title, one.abstract, "" if one.label is None else one.label])
    return file.getvalue()


def as_ris(made: Sequence[Made]) -> str:
    """RIS with the labels in ASReview's notes; the lines of an abstract after the first have no tag."""
    notes = {1: "N1  - ASReview_relevant\n", 0: "N1  - ASReview_irrelevant\n", None: ""}
    return "".join(
        f"TY  - JOUR\nID  - {one.id}\nTI  - {one.title}\nAB  - {one.abstract}\n{notes[one.label]}ER  - \n\n"
        for one in made
    )


def as_nbib(made: Sequence[Made]) -> str:
    """PubMed's format; the lines of an abstract after the first are indented."""
    return "\n".join(
        f"PMID- {number}\nOWN - NLM\nTI  - {one.title}\nAB  - " + one.abstract.replace("\n", "\n      ") + "\nSO  - J\n"
        for number, one in enumerate(made, start=1)
    )


def as_web_of_science(made: Sequence[Made]) -> str:
    """Web of Science's plain text; the lines of a value after the first are indented."""
    entries = (
        f"PT J\nTI {one.title}\nAB " + one.abstract.replace("\n", "\n   ") + f"\nUT WOS:{one.id}\nER\n\n"
        for one in made
    )
    return "FN Clarivate Analytics Web of Science\nVR 1.0\n" + "".join(entries) + "EF\n"


WRITERS: dict[str, Callable[[Sequence[Made]], str]] = {
    "a.csv": as_table,
    "b.csv": lambda made: as_table(made, ";"),
    "c.tsv": lambda made: as_table(made, "\t", csv.QUOTE_ALL),
    "d.ris": as_ris,
    "open.ris": lambda made: as_ris(made).replace("ER  - \n\n", ""),
    "e.nbib": as_nbib,
    "f.txt": as_nbib,
    "g.ciw": as_web_of_science,
}
UNLABELLED = ("e.nbib", "f.txt", "g.ciw")
JOINABLE = ("d.ris", "e.nbib", "f.txt")
"""Files that people join with cat."""
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp1252")
LINE_ENDS = ("\n", "\r\n", "\r")
