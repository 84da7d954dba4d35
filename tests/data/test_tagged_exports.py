"""Exports of every tool that writes tagged lines: all read alike, and written as RIS with nothing lost or doubled."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import rispy

from layersel.data.reviews.records import Record, Review
from layersel.data.reviews.table import Table
from layersel.errors import UserError
from layersel.tasks.screening.ranking import write_ranking

EXPORTS = Path(__file__).parent / "exports"
TITLES = ["Sleep after deployment: a cohort study of veterans", "Anxiety and naïve coping in reservists"]
DOIS = ["10.1000/sleep.7", "10.1000/sleep.8"]

# export → its format, and the ids of its two records
READ = {
    "asreview.ris": ("ris", DOIS),
    "cochrane.ris": ("ris", ["CN-00000001", "CN-00000002"]),
    "covidence.ris": ("ris", DOIS),
    "ebsco.ris": ("ris", DOIS),
    "embase.ris": ("ris", DOIS),
    "endnote.ris": ("ris", ["889", "890"]),
    "joined.ris": ("ris", DOIS),
    "mendeley.ris": ("ris", DOIS),
    "one_space.ris": ("ris", DOIS),
    "ovid.ris": ("ris", ["600000001", "600000002"]),
    "rayyan.ris": ("ris", ["rayyan-42000001", "rayyan-42000002"]),
    "scopus.ris": ("ris", DOIS),
    "webofscience.ris": ("ris", ["WOS:000000000000001", "WOS:000000000000002"]),
    "zotero.ris": ("ris", DOIS),
    "pubmed.nbib": ("medline", ["30000001", "30000002"]),
    "pubmed.txt": ("medline", ["30000001", "30000002"]),
    "webofscience.ciw": ("wos", ["WOS:000000000000001", "WOS:000000000000002"]),
    "webofscience.txt": ("wos", ["WOS:000000000000001", "WOS:000000000000002"]),
    "endnote.enw": ("endnote", ["30000001", "30000002"]),
    "ovid.ovd": ("ovid", ["600000001", "600000002"]),
}

# file → the line that it is refused for, and what is expected there
REFUSED = {
    "head_cut_off.ris": ("line 1:", "'TY  - ' before its fields, but got 'TI  - Sleep"),
    "record_in_a_line.ris": ("line 22:", "at the start of a line, but got 'KW  - veterans TY  - CHAP'"),
    "indented_record.ris": ("line 25:", "at the start of a line, but got ' TY  - CHAP'"),
    "dash_of_a_word_processor.ris": ("line 25:", "at the start of a line, but got 'TY  \u2013 CHAP'"),
    "ris_and_nbib.txt": ("line 57:", "'PMID- ' at the start of a line, but got 'TY  - JOUR'"),
    "nbib_and_ris.ris": ("line 37:", "'TY  - ' at the start of a line, but got 'PMID- 30000001'"),
    "no_line_end.nbib": ("line 41:", "'PMID- ' at the start of a line"),
    "joined.ciw": ("line 42:", "'PT J' at the start of a line, but got 'ER EF PT J'"),
    "no_records.ris": ("no_records.ris:", "records that begin with one of 'TY  - ', 'PMID- ', 'PT J', '%0 ', '<1. >'"),
    "no_records.enw": ("no_records.enw:", "records that begin with one of"),
}

# the fields of the first record as rispy reads our RIS, by format; `ris` keeps its own tags
WRITTEN = {
    "medline": {
        "accession_number": "30000001",
        "authors": ["Doe, Jane", "Roe, Richard A"],
        "keywords": ["sleep", "veterans", "*Sleep", "Veterans/psychology"],
        "secondary_title": "Journal of Invented Sleep",
        "alternate_title1": "J Invent Sleep",
        "issn": "1932-0001 (Electronic)",
        "date": "2019 Jun 3",
        "language": "eng",
        "type_of_work": "Journal Article",
        "place_published": "England",
    },
    "wos": {
        "accession_number": "WOS:000000000000001",
        "authors": ["Doe, Jane", "Roe, Richard A."],
        "keywords": ["sleep", "veterans", "MENTAL-HEALTH", "STIGMA", "COPING"],
        "secondary_title": "JOURNAL OF INVENTED SLEEP",
        "alternate_title1": "J Invent Sleep",
        "issn": "1932-0001",
        "publisher": "INVENTED PRESS",
        "language": "English",
    },
    "endnote": {
        "accession_number": "30000001",
        "authors": ["Doe, Jane", "Roe, Richard A."],
        "keywords": ["sleep", "veterans"],
        "secondary_title": "Journal of Invented Sleep",
        "issn": "1932-0001",
        "urls": ["https://example.org/sleep"],
    },
    "ovid": {
        "accession_number": "600000001",
        "authors": ["Doe J.", "Roe R.A."],
        "keywords": ["sleep", "veterans"],
        "issn": "1932-0001",
        "name_of_database": "Embase",
    },
}


def read(name: str) -> Review:
    """The review in one of the exports."""
    return Table(path=str(EXPORTS / name)).load()


def written(tmp_path: Path, review: Review) -> Path:
    """A RIS ranking of a review, in its order."""
    path = tmp_path / "ranking.ris"
    write_ranking(path, review.records, list(range(len(review.records), 0, -1)))
    return path


@pytest.mark.parametrize("name", READ)
def test_exports_are_read_alike(name: str) -> None:
    """Two records with their titles, abstracts, authors, years and DOIs, whatever tool wrote them."""
    first, second = read(name).records
    assert (read(name).report.format, [first.id, second.id]) == READ[name]
    assert [first.title, second.title] == TITLES
    abstract = first.abstract.replace("CT - scans. ", "")
    assert abstract == "Background: sleep is poor after deployment. Results: 5 of 10 slept badly (OR 1.5)."
    assert second.abstract == "We asked reservists how they cope."
    assert [len(record.fields["authors"].split("; ")) for record in (first, second)] == [2, 1]
    assert [record.fields["year"] for record in (first, second)] == ["2019", "2020"]
    assert [record.fields.get("doi", record.id) for record in (first, second)] == DOIS
    assert name == "covidence.ris" or first.fields["keywords"] == "sleep; veterans"


@pytest.mark.parametrize("name", sorted(path.name for path in (EXPORTS / "refused").iterdir()))
def test_damaged_exports_are_refused(name: str) -> None:
    """A record that would vanish or merge with its neighbour is an error with the line, never fewer records."""
    where, expected = REFUSED[name]
    with pytest.raises(UserError, match=re.escape(expected)) as error:
        read(f"refused/{name}")
    assert where in str(error.value)
    assert "\n" not in str(error.value)


def test_every_export_is_tested() -> None:
    """A file that is added to the corpus is added to a table above."""
    tagged = {
        path.name for path in EXPORTS.iterdir() if path.suffix in {".ris", ".nbib", ".txt", ".ciw", ".enw", ".ovd"}
    }
    assert tagged == set(READ)


@pytest.mark.parametrize("name", [name for name, (form, _) in READ.items() if form == "ris"])
def test_ris_keeps_every_word_once(tmp_path: Path, name: str) -> None:
    """What rispy finds in an export it finds in our RIS of it, as often; ours adds ids, rank, score and label only."""
    review = read(name)
    source = (EXPORTS / name).read_text(encoding="utf-8-sig").replace("\ufeff", "\n")
    if name == "one_space.ris":
        source = re.sub(r"^([A-Z][A-Z0-9]) -", r"\1  -", source, flags=re.MULTILINE).replace("CT  -", "CT -")
    source = re.sub(r" {5}(?=[A-Z][A-Z0-9]  - )", "\n", source)
    before, after = _words(source), _words(written(tmp_path, review).read_text(encoding="utf-8"))
    # the year of a whole date has a tag of its own in ours
    after -= Counter(re.findall(r"^Y1  - (\d{4})/\d", source, re.MULTILINE))
    once_more = Counter(record.id for record in review.records if f"ID  - {record.id}\n" not in source)
    marks = " ".join(
        f"layersel rank {rank} layersel score {3.0 - rank} layersel rank {rank}, score {3.0 - rank}" for rank in (1, 2)
    )
    labels = Counter(f"ASReview_{('ir' * (1 - label))}relevant" for label in review.labels if label is not None)
    labels -= Counter(re.findall(r"ASReview_\w+", source))
    assert after - Counter(marks.split()) - once_more - labels == before


def _words(text: str) -> Counter[str]:
    """The words of all values that rispy reads, years and DOIs in their shortest form."""
    words: Counter[str] = Counter()
    for entry in rispy.loads(text, enforce_list_tags=False):
        unknown = entry.pop("unknown_tag", {})
        for value in [*entry.values(), *unknown.values()]:
            joined = value if isinstance(value, str) else " ".join(value)
            words.update(re.sub(r"https?://dx.doi.org/(?=10)|(?<=\d{4})/+(?= |$)|;", "", joined).split())
    return words


@pytest.mark.parametrize("name", READ)
def test_read_write_read(tmp_path: Path, name: str) -> None:
    """Our RIS of a RIS file has the same records; our RIS of our RIS is the same file."""
    review = read(name)
    once = written(tmp_path, review)
    text, back = once.read_text(encoding="utf-8"), Table(path=str(once)).load()
    if review.report.format == "ris":
        assert [_unmarked(record) for record in back.records] == [_unmarked(record) for record in review.records]
    assert written(tmp_path, back).read_text(encoding="utf-8") == text


def _unmarked(record: Record) -> Record:
    notes = record.fields.get("notes", "")
    return replace(record, fields={**record.fields, "notes": re.sub(r"(; )?ASReview_\w+", "", notes)})


@pytest.mark.parametrize("name", [name for name, (form, _) in READ.items() if form != "ris"])
def test_other_formats_become_proper_ris(tmp_path: Path, name: str) -> None:
    """Every field stands under its RIS tag; rank and score stand where reference managers sort by them."""
    review = read(name)
    entry = rispy.loads(written(tmp_path, review).read_text(encoding="utf-8"))[0]
    pages = {"volume": "15", "number": "2", "start_page": "97", "end_page": "105"}
    expected = WRITTEN[review.report.format] | (pages if review.report.format != "ovid" else {})
    assert {key: entry[key] for key in expected} == expected
    assert (entry["type_of_reference"], entry["title"], entry["year"]) == ("JOUR", TITLES[0], "2019")
    assert entry["doi"] == DOIS[0]
    assert (entry["custom4"], entry["custom8"]) == ("layersel rank 1", "layersel score 2.0")


def test_decisions_in_notes() -> None:
    """ASReview's decisions are labels."""
    assert read("asreview.ris").labels == [1, 0]
