"""Exports as databases, reference managers and screening tools write them, two records or more each."""

import csv
import gzip
import io
import re
import zipfile
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from layersel.data.reviews import bibtex
from layersel.data.reviews.readers import read_records
from layersel.data.reviews.table import Table
from layersel.errors import UserError

EXPORTS = Path(__file__).parent / "exports"
TITLE, ABSTRACT = "Sleep quality in veterans", "We followed 120 veterans."
FIELDS = {"year": "2019", "doi": "10.1000/sleep.2019.1", "journal": "Journal of Sleep"}

# file → form, ids of the first two records, fields of the first, labels
EXPECTED = {
    "scopus.csv": (
        "csv",
        ["2-s2.0-850001", "2-s2.0-850002"],
        {**FIELDS, "authors": "Adams R.; Berg T.", "keywords": "sleep; veterans", "Source": "Scopus"},
        [None, None],
    ),
    "embase.csv": (
        "csv",
        ["20190001", "20200002"],
        {**FIELDS, "authors": "Adams R., Berg T.", "keywords": "sleep, veterans", "pmid": "30000001"},
        [None, None],
    ),
    "cochrane.csv": (
        "csv",
        ["CD000001", "CD000002"],
        {"authors": "Adams, R; Berg, T", "journal": "Cochrane Database of Systematic Reviews", "year": "2019"},
        [None, None],
    ),
    "web_of_science.tsv": (
        "csv",
        ["WOS:000000000000001", "WOS:000000000000002"],
        {
            **FIELDS,
            "authors": "Adams, R; Berg, T",
            "journal": "JOURNAL OF SLEEP",
            "keywords": "sleep; veterans",
            "keywords_plus": "INSOMNIA; DEPLOYMENT",
            "pmid": "30000001",
        },
        [None, None],
    ),
    "rayyan.csv": (
        "csv",
        ["rayyan-1001", "rayyan-1002"],
        {**FIELDS, "keywords": "sleep, veterans"},
        [1, 0, None, None, None],
    ),
    "covidence.csv": ("csv", ["#11", "#12"], FIELDS, [1, 0, None, 0]),
    "zotero.csv": ("csv", ["AB12CD34", "EF56GH78"], {**FIELDS, "authors": "Adams, Rosa; Berg, Tom"}, [None, None]),
    "pubmed.csv": (
        "csv",
        ["30000001", "30000002"],
        {**FIELDS, "journal": "J Sleep", "pmid": "30000001"},
        [None, None],
    ),
    "excel_semicolon.csv": ("csv", ["E1", "E2"], {}, [1, 0]),
    "library.bib": (
        "bibtex",
        ["Adams2019", "Cole2020"],
        {
            **FIELDS,
            "doi": "10.1000/sleep_2019.1",
            "authors": "Adams, Rosa; Müller, Tom; Sleep Study Group",
            "keywords": "sleep, veterans",
        },
        [None, None],
    ),
    "endnote.xml": (
        "endnote-xml",
        ["11", "12"],
        {**FIELDS, "authors": "Adams, Rosa; Müller, Tom", "keywords": "sleep; veterans", "pages": "101-110"},
        [None, None],
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_exports_are_understood(name: str) -> None:
    """The native id, title, abstract, the fields under their usual names, and the decisions."""
    form, ids, fields, labels = EXPECTED[name]
    review = Table(path=str(EXPORTS / name)).load()
    first, second = review.records[:2]
    assert (review.report.format, [first.id, second.id], review.labels) == (form, ids, labels)
    assert fields.items() <= first.fields.items()
    assert first.title.lower().startswith("sleep")
    assert "notes" in first.fields or "RAYYAN" not in str(first.fields)


@pytest.mark.parametrize("packed", ["a.zip", "a.csv.zip", "a.csv.gz", "A.ZIP"])
def test_packed_files(tmp_path: Path, packed: str) -> None:
    """A file in an archive of its own is read as if it were unpacked."""
    content = (EXPORTS / "scopus.csv").read_bytes()
    path = tmp_path / packed
    if packed.endswith("gz"):
        path.write_bytes(gzip.compress(content))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("folder/", "")
            archive.writestr("folder/Scopus.CSV", content)
            archive.writestr("__MACOSX/folder/._Scopus.CSV", b"shadow")
    source = Table(path=str(path))
    assert source.name.lower() == "a"
    assert source.load().records == Table(path=str(EXPORTS / "scopus.csv")).load().records


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, r"expected an archive of one file, but got 0 \(none\); unpack it"),
        ({"a.csv": b"title\nA", "b.csv": b"title\nA"}, r"of one file, but got 2 \(a\.csv, b\.csv\); unpack it"),
        ({"a.pdf": b"x"}, r"data\.path: expected one of \.csv, .*\.xml, .* but got 'a\.pdf'"),
        (None, "cannot be read"),
    ],
)
def test_archives_that_are_refused(tmp_path: Path, members: dict[str, bytes] | None, message: str) -> None:
    """Nothing is chosen among several files, and damage is told."""
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK\x03\x04 damaged")
    if members is not None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    problems = Table(path=str(path)).problems()
    with pytest.raises(UserError, match=message) as caught:
        Table(path=str(path)).load()
    assert problems == [str(caught.value)]
    assert "\n" not in problems[0]


def workbook(path: Path, **sheets: list[list[object]]) -> str:
    """A workbook of these sheets."""
    book = Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return str(path)


def test_workbooks_are_read_as_tables(tmp_path: Path) -> None:
    """Numbers, dates, empty cells and empty rows as a person sees them; the label as ever."""
    rows = [
        [None, None],
        ["id", "title", "abstract", "year", "when", "included", "open"],
        [7, "A", "Line\none", 2004, date(2004, 5, 6), 1, True],
        [None, None],
        [8.0, "B", None, 2005.0, datetime(2004, 5, 6, 7, 8), 0.0, False],
        ["x9", "C"],
    ]
    review = Table(path=workbook(tmp_path / "a.xlsx", Records=rows)).load()
    assert [record.id for record in review.records] == ["7", "8", "x9"]
    assert review.labels == [1, 0, None]
    assert review.records[0].fields == {"year": "2004", "when": "2004-05-06", "open": "True"}
    assert review.records[1].fields["when"] == "2004-05-06 07:08:00"
    assert (review.records[0].abstract, review.report.format, review.report.notes) == ("Line\none", "xlsx", ())


def test_the_sheet_with_titles_is_read_and_the_others_told(tmp_path: Path) -> None:
    """A cover sheet is no table of records."""
    sheets = {"Cover": [["About"], ["text"]], "Empty": [], "Found": [["Title"], ["A"]], "Notes": [["x"]]}
    review = Table(path=workbook(tmp_path / "a.xlsx", **sheets)).load()
    assert [record.title for record in review.records] == ["A"]
    assert review.report.notes == ("sheet 'Found' was read; not read: 'Cover', 'Notes'",)


def test_wrong_dimensions_hide_no_cell(tmp_path: Path) -> None:
    """Some programs write that a sheet is A1 alone; all of its cells are read."""
    path = Path(workbook(tmp_path / "a.xlsx", Found=[["title", "abstract"], ["A", "B"], ["C", "D"]]))
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(packed, "w") as after:
        for entry in before.infolist():
            content = before.read(entry)
            after.writestr(entry.filename, content.replace(b'<dimension ref="A1:B3"', b'<dimension ref="A1:A1"'))
    assert b'ref="A1:B3"' in zipfile.ZipFile(path).read("xl/worksheets/sheet1.xml")
    path.write_bytes(packed.getvalue())
    assert [record.abstract for record in Table(path=str(path)).load().records] == ["B", "D"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"title,abstract\nA,B\n", "cannot be read as a workbook"),
        ("a.xlsx", b"PK\x03\x04", "cannot be read as a workbook"),
        ("a.xlsx", b"", "the file is empty"),
        ("a.xml", b"", "the file is empty"),
        ("a.xml", b"<xml><records><record>", "whole XML"),
        ("a.xml", b"<PubmedArticleSet/>", "EndNote's XML with <record> elements, but found none"),
        ("a.xml", (EXPORTS / "endnote_entities.xml").read_bytes(), "without its own entities, but got .* a;"),
        ("a.bib", b"no entry here", "begin with '@', but found none"),
        ("a.bib", b"@article{a, title={x},\n\n@article{b, title={y}}", "broken entries, which begin in line 1; mend"),
        ("a.bib", b"@article{a, title={x}}\n@article{b, title={y}\n", "broken entries, which begin in line 2; mend"),
        ("a.bib", b"@article{a, title={x}}\n\n@article{b title={y}}", "broken entries, which begin in line 3; mend"),
        ("a.bib", b"@article{a,\n title={x}\n abstract={y}\n}", "broken entries, which begin in line 1; mend"),
        ("a.bib", b'@article{a,\n title="x"\n abstract="y"\n}', "broken entries, which begin in line 1; mend"),
        ("a.bib", b"@article{a,\n year=2001\n abstract={y}\n}", "broken entries, which begin in line 1; mend"),
        ("a.bib", b"@article{a, title={x}}\nTY  - JOUR\nTI  - A\nER  - \n", "broken entries, which begin in line 2"),
        (
            "a.csv",
            b'"Search Query","q"\n"TITLE","A"\n"AUTHOR NAMES","B","C"\n',
            "a field a row; export the fields by column",
        ),
        ("a.csv", b'"TITLE","A"\n"AUTHOR NAMES","B","C"\n', "a field a row; export the fields by column"),
        ("a.pdf", b"", r"path: expected one of \.csv, \.tsv, \.xlsx, .*\.bib, \.xml, .*; export it as one"),
    ],
)
def test_damaged_and_foreign_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """In one line that says what is expected."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_records(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_every_element_of_endnotes_xml_is_kept(tmp_path: Path) -> None:
    """What fills no column stands under its own name, several values joined; what is EndNote's own does not."""
    path = tmp_path / "a.xml"
    path.write_text(
        "<xml><records><record><database name='x'>My.enl</database><foreign-keys><key app='EN'>1</key></foreign-keys>"
        "<contributors><authors><author><style face='normal'>A, B</style></author></authors>"
        "<secondary-authors><author>C, D</author><author>E, F</author></secondary-authors></contributors>"
        "<titles><title>Sleep</title><secondary-title>J Sleep</secondary-title></titles>"
        "<periodical><full-title>Journal of Sleep</full-title></periodical>"
        "<dates><year>2004</year><pub-dates><date>May</date></pub-dates></dates>"
        "<research-notes><style>Included</style></research-notes><custom3>x</custom3><custom3>y</custom3><custom4/>"
        "</record></records></xml>",
        encoding="utf-8",
    )
    (record,) = Table(path=str(path), label_column="research-notes").load().records
    assert (record.title, record.label) == ("Sleep", 1)
    assert record.fields == {
        "authors": "A, B",
        "year": "2004",
        "journal": "Journal of Sleep",
        "secondary-authors": "C, D; E, F",
        "secondary-title": "J Sleep",
        "pub-dates": "May",
        "custom3": "x; y",
    }


def test_repeated_keys_and_fields_of_bibtex_are_kept(tmp_path: Path) -> None:
    """Two entries of one key are two records; two values of one field are one text."""
    text = '@article{k, title = {A}}\n@article{k, title = {B}, note = {x}, note = "y"}\n@book(z, title = {C})'
    (tmp_path / "a.bib").write_text(text, encoding="utf-8")
    records = Table(path=str(tmp_path / "a.bib")).load().records
    assert [(record.id, record.title) for record in records] == [("k", "A"), ("k_2", "B"), ("z", "C")]
    assert records[1].fields["notes"] == "x; y"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("p &lt; 0.05 &amp; more", "p < 0.05 & more"),
        ("&lt;i&gt;E. coli&lt;/i&gt; and H<sub>2</sub>O", "E. coli and H2O"),
        ("&amp;lt;b&amp;gt;x", "x"),
        ("Müller &#8211; &#x3b1;", "Müller \u2013 \u03b1"),
        ("a < b > c, AT&T; R&D", "a < b > c, AT&T; R&D"),
        ("?x=1&copy=2", "?x=1&copy=2"),
        ("&nosuchentity;", "&nosuchentity;"),
        ("<p>Aim</p><p>We <b>slept</b>.</p>", "Aim We slept."),
        ("One.<br/><br>Two", "One. Two"),
        ("<jats:title>Aim</jats:title><jats:p>We <jats:italic>slept</jats:italic>.</jats:p>", "Aim We slept."),
    ],
)
def test_html_in_titles_and_abstracts(tmp_path: Path, written: str, read: str) -> None:
    """Entities and markup become plain text, of which parts stay apart; what only looks like them stays."""
    (tmp_path / "a.csv").write_text(f'title,abstract\n"{written}","{written}"\n', encoding="utf-8")
    review = Table(path=str(tmp_path / "a.csv")).load()
    assert (review.records[0].title, review.records[0].abstract) == (read, read)
    assert ("1 of 1 records had HTML" in " ".join(review.lines())) == (written != read)


def test_the_first_line_of_excel_names_the_delimiter(tmp_path: Path) -> None:
    """`sep=` is no record, whatever delimiter it names."""
    (tmp_path / "a.csv").write_text("sep=|\ntitle|abstract\nA, B; C|D\n", encoding="utf-8")
    record = Table(path=str(tmp_path / "a.csv")).load().records[0]
    assert (record.title, record.abstract) == ("A, B; C", "D")


PREAMBLES = {
    "none": [],
    "Embase's search query": [["Search Query", "'sleep'/exp AND (veterans; soldiers)"], [""]],
    "Embase's search strategy": [["No.", "Query", "Results"], ["#1", "title, abstract", "7"], [""]],
    "Ovid's head": [["Ovid Technologies, Inc. Email Service"], ["Search for: sleep;veterans;war"], ["Results: 1-2"]],
    "an address": [["https://example.org/search?q=a;b;c;d"]],
    "fields that were searched": [["Fields", "Title", "Abstract"]],
}


@pytest.mark.parametrize("extension", ["csv", "tsv", "xlsx"])
@pytest.mark.parametrize("preamble", PREAMBLES)
def test_what_a_database_writes_before_the_header_is_no_header(tmp_path: Path, preamble: str, extension: str) -> None:
    """The records are those of the file without it, and what is left out is told."""
    before = PREAMBLES[preamble]
    with (EXPORTS / "embase.csv").open(encoding="utf-8", newline="") as file:
        rows = [*before, *csv.reader(file)]
    path = tmp_path / f"a.{extension}"
    if extension == "xlsx":
        workbook(path, Found=rows)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter="," if extension == "csv" else "\t").writerows(rows)
    review = Table(path=str(path)).load()
    assert review.records == Table(path=str(EXPORTS / "embase.csv")).load().records
    told = "; ".join(repr(" ".join(cells)) for cells in before if any(cells))
    assert [line for line in review.lines() if "before the header" in line] == [
        f"before the header, not read: {told}" for _ in before[:1]
    ]


def test_a_header_of_unknown_names_is_the_first_line(tmp_path: Path) -> None:
    """The option names its title; values that say "title" make no header of a line that is no longer."""
    (tmp_path / "a.csv").write_text("Titel,title,Kurz\nA,1,x\ntitle,y,z\n", encoding="utf-8")
    records = Table(path=str(tmp_path / "a.csv"), title_column="Titel").load().records
    assert [record.title for record in records] == ["A", "title"]


def test_a_second_title_is_told_and_the_option_decides(tmp_path: Path) -> None:
    """Neither is taken in silence."""
    (tmp_path / "a.csv").write_text("Article Title,Title,AB,Abstract\none,two,x,y\n", encoding="utf-8")
    review = Table(path=str(tmp_path / "a.csv")).load()
    assert (review.records[0].title, review.records[0].abstract) == ("two", "y")
    assert "title could also be 'Article Title', not read; data.title_column decides" in review.lines()
    assert "abstract could also be 'AB', not read; data.abstract_column decides" in review.lines()
    chosen = Table(path=str(tmp_path / "a.csv"), title_column="Article Title", abstract_column="AB").load()
    assert (chosen.records[0].title, chosen.report.notes) == ("one", ())


@given(st.lists(st.sampled_from([*"{}%&_#ab é'\"^<$`~-", r"\%", r"\&", r"\_", r"\#", r"\alpha ", "{A}"]), max_size=12))
def test_texts_without_latex_are_as_pylatexenc_has_them(parts: list[str]) -> None:
    """Braces and single characters with a backslash are decoded without it, as it takes milliseconds for each text."""
    text = "".join(parts)
    found = bibtex._decoded(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bibtex, "_COMMAND", re.compile(""))
        assert bibtex._decoded(text) == found


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("{{R&D}} and {B \\& B}", "R&D and B & B"),
        ("p{\\textless}0.05, {\\textgreater}~50\\%", "p<0.05, > 50%"),
        ("about ~50\\% of Fig.~2", "about ~50% of Fig. 2"),
        ("{\\it E. coli}, \\textalpha-synuclein, \\mbox{x y}", "E. coli, \u03b1-synuclein, x y"),
        ("See \\href{http://x}{the site}.", "See the site."),
        ("\\href{http://x}", "\\href{http://x}"),
        ("\\unheard{of} and \\unheard", "\\unheardof and \\unheard"),
        ("from $5 to $10", "from $5 to $10"),
        (r"from \$5 to \$10", "from $5 to $10"),
        ("costs of $5", "costs of $5"),
        (r"$\alpha$ is $5$", "\u03b1 is 5"),
    ],
)
def test_signs_that_latex_takes_for_its_own(written: str, read: str) -> None:
    """A bare ampersand is a word of the text, and dollars before numbers are money."""
    (row,) = bibtex.parse_bibtex(f"@article{{k, title = {{{written}}}}}", "file")
    assert row["title"] == read
