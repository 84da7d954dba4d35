"""RIS and MEDLINE files, clean and as Embase, Ovid, Cochrane, EndNote, PubMed and ASReview export them."""

from pathlib import Path

import pytest
import rispy
from hypothesis import given
from hypothesis import strategies as st

from layersel.data.reviews.dialects import MEDLINE, RIS
from layersel.data.reviews.table import Table
from layersel.data.reviews.tagged import dialect_of, parse_tagged
from layersel.errors import UserError

CLEAN = """TY  - JOUR
ID  - 11
TI  - Sleep in veterans
AU  - Achenbach, T. M.
AU  - Rescorla, L. A.
PY  - 2004
JO  - J Sleep
KW  - sleep
KW  - veterans
AB  - We studied sleep.
DO  - 10.1000/xyz-1
N1  - a note
ER  -

TY  - JOUR
ID  - 12
TI  - Second title
AB  - Text: OR  - was 1.5.
ER  -
""".replace("ER  -\n", "ER  - \n")

PUBMED = """
PMID- 10051933
OWN - NLM
DP  - 1999 Feb 15
TI  - The effectiveness of clonidine as an analgesic in
      paediatric adenotonsillectomy.
LID - 10.1093/bja/82.2.247 [doi]
AB  - Seventy children received
      GABA- and placebo
      OR - 1.5 was found.
FAU - Smith, John A
AU  - Smith JA
FAU - Doe, Jane
AU  - Doe J
JT  - British journal of anaesthesia
AID - S0007-0912(17)39012-3 [pii]
AID - 10.1093/bja/82.2.247 [doi]
MH  - *Analgesia
MH  - Child

PMID- 2
TI  - Second.
"""


def review(tmp_path: Path, text: str, name: str = "a.ris", encoding: str = "utf-8"):
    """The review in a file of that text and name."""
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return Table(path=str(path)).load()


def test_clean_ris_reads_as_rispy_reads_it() -> None:
    """On clean files rispy is the reference."""
    ours, reference = parse_tagged(CLEAN, RIS)[0], rispy.loads(CLEAN)
    assert [row["record_id"] for row in ours] == [entry["id"] for entry in reference]
    assert [row["title"] for row in ours] == [entry["title"] for entry in reference]
    assert [row["abstract"] for row in ours] == [entry["abstract"] for entry in reference]
    assert ours[0]["authors"].split("; ") == reference[0]["authors"]
    assert ours[0]["keywords"].split("; ") == reference[0]["keywords"]
    assert (ours[0]["year"], ours[0]["doi"]) == (reference[0]["year"], reference[0]["doi"])


def test_other_fields_keep_their_tags(tmp_path: Path) -> None:
    """Nothing of a record is lost: named fields, and other tags under their own names."""
    records = review(tmp_path, CLEAN + "TY  - BOOK\nTI  - Third\nT1  - Other\nSN  - 1\nSN  - 2\nER  - \n").records
    assert records[0].fields["journal"] == "J Sleep"
    assert records[2].fields == {"TY": "BOOK", "T1": "Other", "SN": "1; 2"}


DIRT = {
    "windows newlines": CLEAN.replace("\n", "\r\n"),
    "old mac newlines": CLEAN.replace("\n", "\r"),
    "one space": CLEAN.replace("  - ", " - ").replace("OR - was", "OR  - was"),
    "no blank lines": CLEAN.replace("\n\n", "\n"),
    "no final ER": CLEAN.removesuffix("ER  - \n"),
    "no ER at all": CLEAN.replace("ER  - \n", ""),
    "no space after ER": CLEAN.replace("ER  - ", "ER  -"),
    "blank lines inside": CLEAN.replace("AB  - ", "\nAB  - "),
    "three spaces": CLEAN.replace("TY  - JOUR", "TY  -  JOUR"),
    "T1 and N2": CLEAN.replace("TI  - ", "T1  - ").replace("AB  - ", "N2  - "),
    "T1 in one record": CLEAN.replace("TI  - Second", "T1  - Second"),
    "A1 and Y1": CLEAN.replace("AU  - ", "A1  - ").replace("PY  - 2004", "Y1  - 2004///"),
    "continued lines": CLEAN.replace("We studied sleep.", "We studied\nsleep.").replace(
        "Second title", "Second\n  title"
    ),
    "Cochrane": "Record #1 of 2\nProvider: John Wiley\n\n" + CLEAN.replace("\n\nTY", "\n\nRecord #2 of 2\nTY"),
    "Embase and Ovid": "1. \n"
    + CLEAN.replace(
        "ER  - \n\n", "ER  - \n\nLink to the Ovid Full Text\n\nC1  - Database: Embase\n\nSearch:\n---\n2. \n"
    ),
    "doi as address": CLEAN.replace("10.1000/xyz-1", "https://doi.org/10.1000/xyz-1"),
}


@pytest.mark.parametrize("dirt", DIRT)
def test_dirty_ris_reads_as_clean(tmp_path: Path, dirt: str) -> None:
    """Each kind of dirt changes nothing in the records."""
    clean, dirty = review(tmp_path, CLEAN), review(tmp_path, DIRT[dirt])
    assert dirty.records == clean.records


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("name", ["a.ris", "a.RIS", "a.txt"])
def test_ris_encodings_and_extensions(tmp_path: Path, encoding: str, name: str) -> None:
    """A .txt is told by its content, and a byte order mark never hides the first record."""
    records = review(tmp_path, CLEAN.replace("sleep.", "l'anxiété."), name, encoding).records
    assert [record.id for record in records] == ["11", "12"]
    assert records[0].abstract == "We studied l'anxiété."


def test_wrapped_abstract_line_is_no_tag(tmp_path: Path) -> None:
    """Two capitals and a hyphen at the start of a wrapped line belong to the abstract."""
    text = "TY  - JOUR\nTI  - T\nAB  - The risk\nOR - 1.5 and\nGABA- was\nCI- wide\nER  - \n"
    assert review(tmp_path, text).records[0].abstract == "The risk OR - 1.5 and GABA- was CI- wide"


@pytest.mark.parametrize(
    ("note", "label"),
    [("relevant", 1), ("irrelevant", 0), ("not_seen", None)],
)
def test_asreview_notes_are_labels(tmp_path: Path, note: str, label: int | None) -> None:
    """ASReview writes its decisions into notes."""
    text = f"TY  - JOUR\nTI  - A\nN1  - mine\nN1  - ASReview_{note}\nER  - \nTY  - JOUR\nTI  - B\nER  - \n"
    assert review(tmp_path, text).labels == [label, None]


@pytest.mark.parametrize("name", ["a.nbib", "a.txt", "a.ris"])
def test_pubmed_export(tmp_path: Path, name: str) -> None:
    """Title, abstract, id and fields of a PubMed record, wrapped lines joined."""
    first, second = review(tmp_path, PUBMED, name).records
    assert (first.id, second.id, second.title) == ("10051933", "2", "Second.")
    assert first.title == "The effectiveness of clonidine as an analgesic in paediatric adenotonsillectomy."
    assert first.abstract == "Seventy children received GABA- and placebo OR - 1.5 was found."
    assert first.fields["authors"] == "Smith, John A; Doe, Jane"
    assert (first.fields["year"], first.fields["doi"]) == ("1999", "10.1093/bja/82.2.247")
    assert (first.fields["pmid"], first.fields["keywords"]) == ("10051933", "*Analgesia; Child")


@pytest.mark.parametrize("name", ["a.ris", "a.nbib"])
def test_no_records(tmp_path: Path, name: str) -> None:
    """A tagged file without a record is refused."""
    with pytest.raises(UserError, match="expected records that begin with"):
        review(tmp_path, "Record #1 of 784\nTI  - no type\n", name)


def test_no_titles(tmp_path: Path) -> None:
    """Records none of which has a title are refused with the columns found."""
    with pytest.raises(UserError, match="title_column: expected one of abstract, TY, but got None"):
        review(tmp_path, "TY  - JOUR\nAB  - Text\nER  - \n")


VALUE = st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=30).map(lambda text: " ".join(text.split()))


@given(st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=6), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_every_record_is_read_once(values: list[tuple[str, str]], ends: bool, newline: str) -> None:
    """Any titles and abstracts come back in order, with or without ER."""
    end = "ER  - \n" if ends else ""
    text = "".join(f"TY  - JOUR\nTI  - {title}\nAB  - {abstract}\n{end}" for title, abstract in values)
    rows, _ = parse_tagged(text.replace("\n", newline), RIS)
    assert [(row.get("title", ""), row.get("abstract", "")) for row in rows] == values


def test_formats_are_told_apart() -> None:
    """Tables, RIS and MEDLINE never pass for each other."""
    assert (dialect_of(CLEAN), dialect_of(PUBMED), dialect_of("PMID\tTI\n1\tTY  - x\n")) == (
        RIS,
        MEDLINE,
        None,
    )
