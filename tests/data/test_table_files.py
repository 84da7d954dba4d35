"""Tables as people and databases export them: delimiters, quoting, encodings, names and label spellings."""

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layersel.data.delimited import parse_delimited
from layersel.data.reviews.assemble import assemble_review
from layersel.data.reviews.columns import has_titles
from layersel.data.reviews.labels import parse_label
from layersel.data.reviews.readers import RawRecords, read_records
from layersel.data.reviews.table import Table
from layersel.errors import UserError


def save(path: Path, content: str | bytes, encoding: str = "utf-8") -> str:
    """Write a small file and return its path as an option's value."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return str(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_delimiter_is_recognised_and_quoted_newlines_stay(tmp_path: Path, delimiter: str, newline: str) -> None:
    """Whatever the delimiter and line ending, values come back as they were written, line breaks included."""
    rows = [["title", "abstract", "year"], ["One, two; three\t4", f'Aim: "x".{newline}Methods: y', "2004"]]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=newline).writerows(rows)
    review = Table(path=save(tmp_path / "records.csv", text.getvalue())).load()
    record = review.records[0]
    assert (record.title, record.abstract, record.fields) == (*rows[1][:2], {"year": "2004"})


@pytest.mark.parametrize("name", ["a.csv", "a.CSV", "a.tsv", "a.csv.gz", "a.tsv.gz", "a.txt"])
def test_table_extensions(tmp_path: Path, name: str) -> None:
    """CSV and TSV, packed or not, and tables in .txt files."""
    content = b"id\ttitle\n7\tA title\n"
    path = save(tmp_path / name, gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    review = Table(path=path).load()
    assert (review.name, review.records[0].id, review.records[0].title) == ("a", "7", "A title")


@pytest.mark.parametrize(
    ("encoding", "reported"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf_16_le"),
        ("latin-1", "cp1252"),
        ("cp1252", "cp1252"),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, reported: str) -> None:
    """Accents survive in every encoding that exports come in, and the report says which it was."""
    title = "Étude de l'anxiété chez Müller et Núñez"
    review = Table(path=save(tmp_path / "a.csv", f"title,abstract\n{title},résumé\n" * 2, encoding)).load()
    assert (review.records[0].title, review.report.encoding) == (title, reported)


def test_bom_before_utf16_big_endian(tmp_path: Path) -> None:
    """The byte order mark decides, not the machine."""
    path = save(tmp_path / "a.csv", b"\xfe\xff" + "title\nÉtude\n".encode("utf-16-be"))
    assert Table(path=path).load().records[0].title == "Étude"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Посттравматическое стрессовое расстройство среди ветеранов войны", "cp1251"),
        ("创伤后应激障碍的研究", "gb18030"),
    ],
)
def test_other_alphabets_are_not_taken_for_western(tmp_path: Path, text: str, encoding: str) -> None:
    """Windows-1252 decodes almost any bytes; it is used only where it gives words."""
    review = Table(path=save(tmp_path / "a.csv", "title,abstract\n" + f"{text},{text}\n" * 5, encoding)).load()
    assert review.records[0].title == text


@pytest.mark.parametrize(
    ("header", "role", "column"),
    [
        ("Primary Title,x", "title", "Primary Title"),
        ("TI,x", "title", "TI"),
        ("Title,title", "title", "Title"),
        ("title,AB", "abstract", "AB"),
        ("title,Record_ID", "id", "Record_ID"),
        ("title,doi,PMID", "id", "PMID"),
        ("title,pubmedID", "id", "pubmedID"),
        ("title,DOI", "id", "DOI"),
        ("title,label", "label", "label"),
        ("title,label included", "label", "label included"),
        ("title,final_label", "label", "final_label"),
        ("title,asreview_label", "label", "asreview_label"),
        ("title,Relevant", "label", "Relevant"),
        ("title,label,label_included", "label", "label_included"),
    ],
)
def test_usual_column_names(tmp_path: Path, header: str, role: str, column: str) -> None:
    """Columns are recognised whatever their case, spaces and underscores, the most telling name first."""
    path = save(tmp_path / "a.csv", f"{header}\n" + ",".join("1" for _ in header.split(",")) + "\n")
    assert Table(path=path).load().report.columns[role] == column


def test_named_columns_win(tmp_path: Path) -> None:
    """An option overrules what would be recognised; what is not used stays among the fields."""
    path = save(tmp_path / "a.csv", "title,Titel,nr,decision,included\nwrong,right,A1,no,1\n")
    review = Table(path=path, title_column="titel", id_column="nr", label_column="decision").load()
    record = review.records[0]
    assert (record.id, record.title, record.label) == ("A1", "right", 0)
    assert record.fields == {"title": "wrong", "included": "1"}


def test_fields_have_usual_names(tmp_path: Path) -> None:
    """Fields that exports need go by one name; an id that is a PMID stays a PMID; the rest is untouched."""
    path = save(tmp_path / "a.csv", ",PMID,Title,Author Names,Publication Year,Country\n0,12,T,A; B,2004,NL\n")
    record = Table(path=path).load().records[0]
    assert record.id == "12"
    assert record.fields == {"": "0", "pmid": "12", "authors": "A; B", "year": "2004", "Country": "NL"}


@pytest.mark.parametrize("label_level", ["full_text", "abstract"])
def test_label_levels(tmp_path: Path, label_level: str) -> None:
    """The level chooses between the two decisions; the other one is kept."""
    path = save(tmp_path / "a.csv", "title,label_abstract_screening,label_included\nA,1,0\n")
    record = Table(path=path, label_level=label_level).load().records[0]
    assert record.label == int(label_level == "abstract")
    assert len(record.fields) == 1


@pytest.mark.parametrize(("header", "level"), [("label_abstract_screening", "full_text"), ("included", "abstract")])
def test_labels_of_the_other_level_are_refused(tmp_path: Path, header: str, level: str) -> None:
    """Abstract-level decisions never pass for full-text ones in silence, nor the other way round."""
    path = save(tmp_path / "a.csv", f"title,{header}\nA,1\n")
    with pytest.raises(UserError, match=rf"label_level: expected .* {header!r}; set data.label_level="):
        Table(path=path, label_level=level).load()


@pytest.mark.parametrize(
    ("value", "label"),
    [
        *((value, 1) for value in ("1", "1.0", "TRUE", "Yes", "include", "Included", " relevant ")),
        *((value, 0) for value in ("0", "0.0", "false", "NO", "exclude", "Excluded", "Irrelevant")),
        *((value, None) for value in ("", " ", "-1", "-1.0", "NaN", "nan")),
    ],
)
def test_label_spellings(value: str, label: int | None) -> None:
    """All usual spellings of a decision, in any case."""
    assert parse_label(value, "here") == label


def test_unknown_label_names_its_cell(tmp_path: Path) -> None:
    """Row, column and value stand in the one line of the error."""
    path = save(tmp_path / "a.csv", "title,included\nA,1\nB,perhaps\n")
    with pytest.raises(UserError, match=r"^row 2, column 'included': expected .*, but got 'perhaps'; [^\n]*$"):
        Table(path=path).load()


def test_missing_values_are_counted(tmp_path: Path) -> None:
    """What is missing is empty in the record and counted in the report, databases' placeholders too."""
    text = "title,abstract,included\nA,,1\n,Text,0\nC,[No abstract available],\nD,nan,-1\n,,,\n\n"
    review = Table(path=save(tmp_path / "a.csv", text)).load()
    report = review.report
    assert [record.abstract for record in review.records] == ["", "Text", "", ""]
    missing = (report.missing_titles, report.missing_abstracts, report.missing_ids)
    assert (report.records, *missing) == (4, 1, 3, 4)
    assert (report.included, report.excluded, report.unlabelled) == (1, 1, 2)


def test_ids_are_completed_and_made_unique(tmp_path: Path) -> None:
    """Each record is known by one id: given ones stay, repeated ones get a number, missing ones a row."""
    path = save(tmp_path / "a.csv", "id,title\n5,a\n5,b\n,c\n5_2,d\n6,e\n,f\n")
    review = Table(path=path).load()
    assert [record.id for record in review.records] == ["5", "5_3", "3", "5_2", "6", "6_2"]
    assert (review.report.missing_ids, review.report.repeated_ids) == (2, 1)


@given(st.lists(st.sampled_from(["", "1", "2", "3", "1_2", "2_2", "x"]), min_size=1, max_size=12))
def test_ids_are_always_unique(ids: list[str]) -> None:
    """No combination of missing, repeated and unlucky ids leaves two records with one."""
    rows = [{"id": name, "title": "T"} for name in ids]
    records = assemble_review("any", RawRecords("csv", "utf-8", ["id", "title"], rows)).records
    assert len({record.id for record in records}) == len(ids)
    assert all(record.id == name for record, name in zip(records, ids, strict=True) if ids.count(name) == 1 and name)


ANY_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
AWKWARD_TEXT = st.text("a,;\t\"\n'", max_size=12)


@given(st.lists(st.tuples(ANY_TEXT, AWKWARD_TEXT), min_size=1, max_size=6))
def test_any_quoted_text_comes_back(values: list[tuple[str, str]]) -> None:
    """Reading inverts csv.writer for every text, whatever delimiters, quotes and line breaks it holds."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("title", "abstract"), *values])
    rows = parse_delimited(text.getvalue(), "memory", has_titles).rows
    written = [row for row in values if any(value.strip() for value in row)]
    assert [(row["title"], row["abstract"]) for row in rows] == written


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        (" \n\n", "the file is empty"),
        ("title,abstract\n", r"only a header \(title, abstract\)"),
        ("heading,text\na,b\n", "title_column: expected one of heading, text, but got None"),
        ("title,abstract\na,b,c,d\n", "row 1: expected 2 values, but got 4"),
        ('title,abstract\na,"b\nc,d\n', "a quoted value is broken"),
        ('title,abstract\na,"b" c\n', "a quoted value is broken"),
        ('"' + "a" * 200_000, "a quoted value is broken"),
        (bytes(range(256)) * 8, "expected text"),
    ],
)
def test_broken_tables_are_refused_in_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    """Records are never shifted, swallowed or invented: the error says what is wrong."""
    with pytest.raises(UserError, match=message) as caught:
        Table(path=save(tmp_path / "a.csv", content)).load()
    assert "\n" not in str(caught.value)


def test_short_rows_end_in_empty_values(tmp_path: Path) -> None:
    """Spreadsheets leave trailing empty cells out, or add them."""
    path = save(tmp_path / "a.csv", "title,abstract,year\nA\nB,text,2004,,\n")
    assert [record.abstract for record in Table(path=path).load().records] == ["", "text"]


@pytest.mark.parametrize("content", [b"title\nA\n", gzip.compress(b"title\nA\n" * 99, mtime=0)[:-9]])
def test_damaged_gzip(tmp_path: Path, content: bytes) -> None:
    """A file that is not packed or is cut short cannot be read."""
    with pytest.raises(UserError, match="cannot be read"):
        read_records(Path(save(tmp_path / "a.csv.gz", content)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "data.path: expected a file with records, but got none"),
        ({"path": "missing.csv"}, "data.path: expected a file .* 'missing.csv'"),
        ({"path": "a.pdf"}, "data.path: expected one of .*, but got 'a.pdf'"),
        ({"path": "."}, "data.path: expected one of"),
    ],
)
def test_path_problems_are_found_without_reading(options: dict[str, str], message: str) -> None:
    """A wrong path is told before anything slow, and `load` refuses it too."""
    source = Table(**options)
    assert len(source.problems()) == 1
    with pytest.raises(UserError, match=message):
        source.load()


def test_unknown_column_option_lists_the_columns(tmp_path: Path) -> None:
    """The error of a column that is not there names those that are."""
    path = save(tmp_path / "a.csv", "title,text\nA,B\n")
    with pytest.raises(UserError, match=r"data.abstract_column: expected one of title, text, but got 'body'"):
        Table(path=path, abstract_column="body").load()


def test_a_line_break_in_a_heading_is_a_blank(tmp_path: Path) -> None:
    """Spreadsheets break long headings; a message that lists the columns stays one line."""
    file = tmp_path / "a.csv"
    file.write_text('"Primary\nTitle",included\nA,1\n', encoding="utf-8")
    assert Table(path=str(file)).load().report.columns["title"] == "Primary Title"
    file.write_text('"Name of\nthe study",included\nA,1\n', encoding="utf-8")
    with pytest.raises(UserError, match="expected one of Name of the study, included, but got None"):
        Table(path=str(file)).load()


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_title_like_a_header_of_another_delimiter(delimiter: str, tmp_path: Path) -> None:
    """Names that stand in the first line go before those that a value seems to hold (found by fuzzing)."""
    path = tmp_path / "a.csv"
    path.write_text("id;title;included\nr1;1 T ,,TI,;1\nr2;2 T a;0\n".replace(";", delimiter), encoding="utf-8")
    assert [record.title for record in Table(path=str(path)).load().records] == ["1 T ,,TI,", "2 T a"]


def test_quotes_within_the_values_of_tabs(tmp_path: Path) -> None:
    """Web of Science writes them as they are: one that opens in a record and closes in another swallows none."""
    path = save(tmp_path / "a.tsv", 'TI\tAB\n"Quoted" start\tone\nB\t"open\nC\tclosed"\n')
    assert [record.title for record in Table(path=path).load().records] == ['"Quoted" start', "B", "C"]
    path = save(tmp_path / "b.tsv", 'TI\tAB\nA\t"two\nlines"\nB\t"a\ttab"\n')
    assert [record.abstract for record in Table(path=path).load().records] == ["two\nlines", "a\ttab"]


def test_cells_of_workbooks_that_look_filled(tmp_path: Path) -> None:
    """A formula that no program has computed, and labels merged over rows, are empty, which is told."""
    from openpyxl import Workbook

    book = Workbook()
    for row in (["title", "included"], ["A_x000D_ B", "=1*1"], ["C", 1], ["D", None], ["E", 0]):
        book.active.append(row)
    book.active.merge_cells("B3:B4")
    book.save(tmp_path / "a.xlsx")
    review = Table(path=str(tmp_path / "a.xlsx")).load()
    assert review.labels == [None, 1, None, 0]
    assert review.records[0].title.split() == ["A", "B"]
    assert [note.partition(",")[0].partition(":")[0] for note in review.report.notes] == [
        "1 formula without a stored value",
        "1 cell merged over several rows",
    ]


@pytest.mark.parametrize("encoding", ["rot13", "hex", "undefined", "a\0b", "nope"])
def test_encodings_that_give_no_text(encoding: str, tmp_path: Path) -> None:
    """Such encodings are refused in one line, instead of by Python's errors."""
    path = save(tmp_path / "a.csv", "title\nA\n")
    assert [line.partition(",")[0] for line in Table(path=path, encoding=encoding).problems()] == [
        "data.encoding: expected an encoding (utf-8"
    ]


def test_nul_characters_are_told(tmp_path: Path) -> None:
    """NUL characters are no part of a text."""
    review = Table(path=save(tmp_path / "a.csv", "title,abstract\nMü\0ller," + 300 * "x" + "\n")).load()
    assert review.records[0].title == "Müller"
    assert review.report.notes == ("1 NUL character in a file of text, left out",)
