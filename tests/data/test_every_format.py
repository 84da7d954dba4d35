"""Every form of file by `evaluate.py records=…`: ranked with all of its records, or refused in one line."""

import gzip
import io
import json
import sqlite3
import zipfile
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import pytest
from in_process import cells, here
from small_reviews import write_reviews

from layersel.data.reviews.readers import EXTENSIONS
from layersel.data.reviews.table import Table
from layersel.errors import UserError
from layersel.tasks.screening.options import Screening
from layersel.tasks.screening.ranking import write_ranking

EXPORTS = Path(__file__).parent / "exports"

# export → how many records it has
RANKED = {
    **dict.fromkeys(["asreview/export.csv", "asreview/export.tsv", "asreview/export.ris", "asreview/export.xlsx"], 32),
    "asreview/library.csv": 40,
    "asreview/ranking.csv": 32,
    "rayyan.csv": 5,
    "covidence.csv": 4,
    **dict.fromkeys(["cochrane.csv", "embase.csv", "excel_semicolon.csv", "pubmed.csv", "scopus.csv"], 2),
    **dict.fromkeys(["web_of_science.tsv", "zotero.csv", "library.bib", "endnote.enw", "endnote.xml", "ovid.ovd"], 2),
    **dict.fromkeys(["asreview.ris", "cochrane.ris", "covidence.ris", "ebsco.ris", "embase.ris", "endnote.ris"], 2),
    **dict.fromkeys(["joined.ris", "mendeley.ris", "one_space.ris", "ovid.ris", "rayyan.ris", "scopus.ris"], 2),
    **dict.fromkeys(["webofscience.ris", "zotero.ris", "pubmed.nbib", "pubmed.txt"], 2),
    **dict.fromkeys(["webofscience.ciw", "webofscience.txt"], 2),
}
FOREIGN = ("endnote_entities.xml", "asreview/decisions.json")
PACKED = {"scopus.csv": 2, "zotero.ris": 2, "pubmed.nbib": 2, "library.bib": 2, "asreview/export.xlsx": 32}


def archive(names: Sequence[str]) -> bytes:
    """A zip archive of files of these names, as documents of office programs are."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name in names:
            file.writestr(name, "<xml>Title, abstract</xml>")
    return packed.getvalue()


def database() -> bytes:
    """An SQLite file of records."""
    connection = sqlite3.connect(":memory:")
    connection.execute("create table records (title text, abstract text)")
    connection.execute("insert into records values ('A', 'B')")
    return connection.serialize()


RECORD = {"title": "Sleep", "abstract": "We slept."}
UNKNOWN = {
    "docx": archive(["[Content_Types].xml", "word/document.xml"]),
    "odt": archive(["mimetype", "content.xml"]),
    "ods": archive(["mimetype", "content.xml", "styles.xml"]),
    "asreview": archive(["project.json", "data/records.csv"]),
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Title (Sleep) >>\nendobj\n\x00\x01\n%%EOF\n",
    "xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + "title".encode("utf-16-le"),
    "json": json.dumps([RECORD]).encode(),
    "jsonl": b"".join(json.dumps({**RECORD, "id": number}).encode() + b"\n" for number in range(3)),
    "sqlite": database(),
    "parquet": b"PAR1\x15\x04\x15\x10title\x00\x00PAR1",
    "rdf": b'<?xml version="1.0"?>\n<rdf:RDF>\n<dc:title>Sleep</dc:title>\n</rdf:RDF>\n',
    "mods": b'<?xml version="1.0"?>\n<modsCollection><mods><titleInfo>\n<title>\nSleep\n</title>\n</titleInfo></mods>',
    "html": b"<!DOCTYPE html>\n<html><head>\n<title>\nSleep, war\n</title>\n</head><body>a; b</body></html>\n",
    "rtf": b"{\\rtf1\\ansi\n{\\info{\\title Sleep}}\nSleep in veterans\\par\n}\n",
    "tar": b"a.csv".ljust(100, b"\0") + b"0000644\0" + bytes(404) + b"title\nA\n",
    "md": b"# Records\n\n- Sleep in veterans, 2019\n- Anxiety; war\n",
}


@pytest.fixture(scope="module")
def run(small_cell: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    (review,) = write_reviews(tmp_path_factory.mktemp("reviews"), 1)
    output = tmp_path_factory.mktemp("runs")
    assert here("train.py", *small_cell, f"data.path={review}", f"output={output}") == 0
    return cells(output)[0]


def test_every_export_and_every_extension_is_here() -> None:
    """A file that is added to the corpus is added to the table, and so is one of each new form."""
    files = {str(path.relative_to(EXPORTS)) for path in EXPORTS.rglob("*.*") if "refused" not in path.parts}
    assert files == {*RANKED, *FOREIGN}
    assert {Path(name).suffix for name in RANKED} == set(EXTENSIONS)


@pytest.mark.parametrize(("name", "out"), zip(RANKED, cycle(Screening.prediction_files), strict=False))
def test_every_form_is_written_again(name: str, out: str, tmp_path: Path) -> None:
    """With all of its records, each once, under the title that it has there."""
    records = Table(path=str(EXPORTS / name), label_level="none").load().records
    ranking = tmp_path / f"ranking{out}"
    write_ranking(ranking, records, [float(number) for number in range(len(records))])
    assert titles(ranking) == sorted(record.title for record in records)
    assert len(records) == RANKED[name]


@pytest.mark.parametrize("name", {Path(name).suffix: name for name in RANKED}.values())
def test_every_form_is_ranked(name: str, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A run ranks an export of each form with all of its records."""
    ranking = tmp_path / "ranking.csv"
    assert here("evaluate.py", f"run={run}", f"records={EXPORTS / name}", f"out={ranking}") == 0
    printed = capfd.readouterr()
    assert printed.err == ""
    assert f"{RANKED[name]} records: " in printed.out
    assert titles(ranking) == titles(EXPORTS / name)


@pytest.mark.parametrize("packed", ["gz", "zip"])
@pytest.mark.parametrize("name", PACKED)
def test_packed_forms_are_ranked(name: str, packed: str, run: Path, tmp_path: Path) -> None:
    """As the file within is."""
    path, content = tmp_path / f"{Path(name).name}.{packed}", (EXPORTS / name).read_bytes()
    if packed == "gz":
        path.write_bytes(gzip.compress(content))
    else:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(Path(name).name, content)
    ranking = tmp_path / "ranking.csv"
    assert here("evaluate.py", f"run={run}", f"records={path}", f"out={ranking}") == 0
    assert titles(ranking) == titles(EXPORTS / name)


@pytest.mark.parametrize("form", UNKNOWN)
def test_every_other_form_is_refused(form: str, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In one line, which lists the forms that can be read."""
    library, ranking = tmp_path / f"library.{form}", tmp_path / "ranking.csv"
    library.write_bytes(UNKNOWN[form])
    assert here("evaluate.py", f"run={run}", f"records={library}", f"out={ranking}") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert f"records: expected one of {', '.join(EXTENSIONS)}" in line
    assert f"but got 'library.{form}'; export it as one" in line
    assert not ranking.exists()


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("form", UNKNOWN)
def test_every_other_form_is_refused_under_any_name(form: str, extension: str, tmp_path: Path) -> None:
    """In one line, which says what was expected in a file of that name, or that it cannot be read as one."""
    path = tmp_path / f"library{extension}"
    path.write_bytes(UNKNOWN[form])
    with pytest.raises(UserError, match=r"\A[^\n]*(expected|cannot be read as a workbook)[^\n]*\Z"):
        Table(path=str(path)).load()


def titles(path: Path) -> list[str]:
    """The titles of a file, sorted."""
    return sorted(record.title for record in Table(path=str(path), label_level="none").load().records)
