"""Tables that were joined, cut or broken: each record is read with its own values, or a line says what happened."""

import csv
import io
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from layersel.data.reviews.table import Table
from layersel.data.texts.text import Text
from layersel.errors import UserError

COLUMNS = ["id", "title", "abstract", "included"]
RECORDS = [[str(number), f"Title {number}", f"An abstract, of {number}", str(number % 2)] for number in range(6)]


def write(folder: Path, rows: list[list[str]], extension: str = "csv") -> str:
    """A table of these rows in a file."""
    path = folder / f"a.{extension}"
    if extension == "xlsx":
        book = Workbook()
        for row in rows:
            book.active.append(row)
        book.save(path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=";" if extension == "csv" else "\t").writerows(rows)
    return str(path)


def ordered(rows: list[list[str]], columns: list[str]) -> list[list[str]]:
    """The rows with their values in another order of the columns."""
    return [[row[COLUMNS.index(name)] for name in columns] for row in rows]


@pytest.mark.parametrize("extension", ["csv", "tsv", "xlsx"])
@pytest.mark.parametrize("order", [*itertools.permutations(COLUMNS)])
def test_joined_tables_are_the_whole_one(tmp_path: Path, order: tuple[str, ...], extension: str) -> None:
    """The header stands again, in any order and case: it is no record, and decides what the values after it are."""
    second = [name.upper() for name in order]
    rows = [COLUMNS, *RECORDS[:3], second, *ordered(RECORDS[3:5], [*order]), COLUMNS, *RECORDS[5:]]
    review = Table(path=write(tmp_path, rows, extension)).load()
    whole = Table(path=write(tmp_path, [COLUMNS, *RECORDS])).load()
    assert review.records == whole.records
    assert review.report.notes == ("the header stands again before row 4, row 6: tables were joined, and all are read",)


def test_nameless_and_repeated_names_keep_their_places(tmp_path: Path) -> None:
    """As in what pandas writes, whose index has no name."""
    header = ["", "title", "note", "note"]
    rows = [header, ["0", "A", "one", "two"], header, ["1", "B", "three", "four"]]
    first, second = Table(path=write(tmp_path, rows)).load().records
    assert first.fields == {"": "0", "notes": "one", "note_2": "two"}
    assert second.fields == {"": "1", "notes": "three", "note_2": "four"}


@pytest.mark.parametrize("second", [["id", "title", "abstract", "included", "year"], ["title", "abstract"]])
@pytest.mark.parametrize("before", [1, 30])
def test_another_header_is_refused(tmp_path: Path, second: list[str], before: int) -> None:
    """Neither the records before it nor those after it vanish or are shifted, however far down it stands."""
    path = write(tmp_path, [COLUMNS, *RECORDS[:1] * before, second, ["9"] * len(second)])
    with pytest.raises(UserError, match=rf"row {before + 1}: expected values, but got the header of another table"):
        Table(path=path).load()


def test_names_among_the_values_are_values(tmp_path: Path) -> None:
    """A keyword or a title may be the name of a column."""
    rows = [["id", "title", "abstract", "keywords"], ["1", "Title", "On titles", "T1"], ["2", "id", "", "abstract"]]
    found = Table(path=write(tmp_path, rows)).load()
    assert [record.title for record in found.records] == ["Title", "id"]
    assert found.report.notes == ()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("id,title,abstract,included\n1,A,aa,1\n2,B,Begins\nand ends,0\n3,C,cc,0\n", "2 rows.*row 2, row 3"),
        ("id,title,abstract,included\n1,A,aa,1\n2,B,cut o", "1 row .*row 2"),
        ("id,title,abstract,included\n1,A,aa,1\n" + "2;B;bb;0\n" * 4, "4 rows.*row 2, row 3, row 4, …"),
    ],
)
def test_short_rows_are_told(tmp_path: Path, text: str, rows: str) -> None:
    """A break without quotes, a cut end, another delimiter: the values are read as far as they go."""
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    (line,) = Table(path=str(path)).load().report.notes
    assert re.match(rf"{rows}\)", line.replace("without the last values (", ""))


def test_rows_that_lack_nameless_columns_only_are_whole(tmp_path: Path) -> None:
    """A header that ends in a delimiter names no column there, and spreadsheets store no empty cells at all."""
    path = tmp_path / "a.csv"
    path.write_text("title,abstract,\nA,aa\nB,bb\n", encoding="utf-8")
    assert Table(path=str(path)).load().report.notes == ()
    assert Table(path=write(tmp_path, [COLUMNS, ["1", "A"]], "xlsx")).load().report.notes == ()


def test_a_nameless_index_hides_no_header(tmp_path: Path) -> None:
    """A value may be a usual name of a column, and its line is longer than the header looks."""
    rows: list[list[Any]] = [["", "text", "label"], [0, "Great", "review"], [1, "Does it?", "question"], [2, "No", "x"]]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    path = tmp_path / "a.csv"
    path.write_text(text.getvalue(), encoding="utf-8")
    found = Text(path=str(path)).load()
    assert [(own.text, own.label) for own in found.examples] == [(row[1], row[2]) for row in rows[1:]]


def test_sheets_that_are_no_tables_are_left_out(tmp_path: Path) -> None:
    """A sheet of counts beside the records; where the records' own is ragged, the line names it."""
    book = Workbook()
    book.active.title = "PRISMA"
    for row in (["PRISMA counts"], ["found", 120]):
        book.active.append(row)
    sheet = book.create_sheet("Records")
    for row in (COLUMNS, *RECORDS):
        sheet.append(row)
    book.save(tmp_path / "b.xlsx")
    review = Table(path=str(tmp_path / "b.xlsx")).load()
    assert len(review.records) == len(RECORDS)
    assert review.report.notes == ("sheet 'Records' was read; not read: 'PRISMA'",)
    sheet.append(["1", "A", "aa", "1", "more"])
    book.save(tmp_path / "b.xlsx")
    with pytest.raises(UserError, match=r"sheet 'Records', row 7: expected 4 values, but got 5; give each"):
        Table(path=str(tmp_path / "b.xlsx")).load()


@pytest.mark.parametrize("extension", ["csv", "xlsx"])
@pytest.mark.parametrize(
    "second", [["Title", "DOI", "Abstract Note", ""], ["", "Primary Title", "AB", "Decision"], ["TI", "x", "PY", "AU"]]
)
def test_the_header_of_a_table_with_other_names_is_refused(second: list[str], extension: str, tmp_path: Path) -> None:
    """Its values would be read under the names of the first table."""
    path = write(tmp_path, [COLUMNS, *RECORDS[:2], second, *RECORDS[2:]], extension)
    with pytest.raises(UserError, match=r"row 3: expected values, but got the header of another table"):
        Table(path=path).load()


def test_titles_that_are_words_of_headers_are_titles(tmp_path: Path) -> None:
    """One known word more is no header yet."""
    rows = [["1", "Title", "An abstract of some length", "1"], ["2", "TI", "no label", "0"]]
    assert [record.title for record in Table(path=write(tmp_path, [COLUMNS, *rows])).load().records] == ["Title", "TI"]
