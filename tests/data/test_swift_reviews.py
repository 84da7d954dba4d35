"""The SWIFT reviews, read from workbooks as they are published: sheets, columns and decisions as there, but fewer."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook
from publisher import publishing, with_entry

from layersel.data.reviews import published
from layersel.data.reviews.catalogue import CatalogueEntry, PublishedFile
from layersel.data.reviews.published import PublishedReview
from layersel.data.reviews.swift import SWIFT, Swift
from layersel.errors import UserError

OHAT, CAMARADES = "13643_2016_263_MOESM1_ESM.xlsx", "13643_2016_263_MOESM2_ESM.xlsx"
IDS = range(101, 131)
INCLUDED = (102, 130)
STATUS = [["PMID", "Status"], *([pmid, "Included" if pmid in INCLUDED else "Excluded"] for pmid in IDS)]
FLUORIDE = [
    ["Title", "Abstract", "Included"],
    ["Fluoride and learning", "Rats drank.", "INCLUDED"],
    ["Teeth", None, "EXCLUDED"],
    ["Bones", "Hens.", "EXCLUDED"],
]
NEUROPAIN = [["Title", "Abstract", "Label"], ["Nerves", "Mice.", "Included"], ["Joints", "", "Excluded"]]
FILES = {
    OHAT: {"BPA": STATUS, "PFOS-PFOA": STATUS, "Transgenerational": STATUS, "Fluoride": FLUORIDE},
    CAMARADES: {"Neuropain": NEUROPAIN},
}


def workbook(sheets: dict[str, Sequence[Sequence[Any]]]) -> bytes:
    """A workbook as the publisher's."""
    book = Workbook(write_only=True)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    raw = io.BytesIO()
    book.save(raw)
    return raw.getvalue()


def medline(pmids: Sequence[int]) -> str:
    """Records as PubMed saves them."""
    return "\n".join(f"PMID- {pmid}\nSTAT- MEDLINE\nTI  - Title {pmid}\nAB  - Abstract {pmid}.\n" for pmid in pmids)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """$LAYERSEL_DATA with both files, and an empty cache."""
    for file, sheets in FILES.items():
        path = tmp_path / "data" / "howard_2016" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(workbook(sheets))
    monkeypatch.setenv("LAYERSEL_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(published, "user_cache_path", lambda name: tmp_path / "cache" / name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "data" / "howard_2016"


def review(name: str, records: int, included: int, url: str = "https://x", **options: Any) -> PublishedReview:
    """A review as in the catalogue, with other counts."""
    known = SWIFT.find(name)
    files = tuple(PublishedFile(file.name, url) for file in known.files)
    return with_entry(Swift, CatalogueEntry(known.name, records, included, files, known.label), **options)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("name", "rows"), [("Fluoride", FLUORIDE), ("Neuropain", NEUROPAIN)])
def test_published_with_texts(name: str, rows: list[list[str]]) -> None:
    """Titles, abstracts and decisions are those of the review's own sheet."""
    loaded = review(name, len(rows) - 1, 1).load()
    found = [(record.title, record.abstract, record.label) for record in loaded.records]
    assert found == [(title, abstract or "", int(label.lower() == "included")) for title, abstract, label in rows[1:]]
    assert loaded.report.notes == (f"published by {SWIFT.reference}; licence: {SWIFT.licence}",)


@pytest.mark.parametrize("name", ["BPA", "PFOS-PFOA", "Transgenerational"])
def test_texts_of_pubmed(folder: Path, name: str) -> None:
    """Records of PubMed, in any order and with others among them, get the decisions of their ids."""
    saved = [999, *reversed(IDS)]
    saved.remove(117)
    (folder / f"{name}.nbib").write_text(medline(saved))
    loaded = review(name, len(IDS), 2).load()
    assert [record.id for record in loaded.records] == [str(pmid) for pmid in IDS]
    assert [record.title for record in loaded.records] == ["" if pmid == 117 else f"Title {pmid}" for pmid in IDS]
    assert loaded.records[0].abstract == "Abstract 101."
    assert loaded.labels == [int(pmid in INCLUDED) for pmid in IDS]
    assert f"texts from {name}.nbib; 1 of 30 PubMed ids are not in it and have none" in loaded.report.notes
    assert set(review(name, len(IDS), 2, label_level="none").load().labels) == {None}


@pytest.mark.usefixtures("folder")
def test_without_texts() -> None:
    """A review without texts says at once where its ids are, where the texts go, and who has them."""
    (line,) = Swift(review="bpa").problems()
    for part in ("7700 ids in sheet 'BPA'", OHAT, "BPA.nbib", "$LAYERSEL_DATA", "data.review=Wassenaar_2017"):
        assert part in line
    (line,) = Swift(review="pfos-pfoa").problems()
    assert line.endswith("as PFOS-PFOA.nbib into the folder that $LAYERSEL_DATA names")


def test_too_few_texts(folder: Path) -> None:
    """An export that ended too early is not filled up with records without a text."""
    (folder / "BPA.nbib").write_text(medline(IDS[:28]))
    with pytest.raises(
        UserError, match=r"BPA.nbib: expected the records of 30 PubMed ids, but 2 are not in it; PubMed"
    ):
        review("BPA", len(IDS), 2).load()


@pytest.mark.parametrize(
    ("sheets", "message"),
    [
        (
            {"Fluoride": FLUORIDE[:-1]},
            r"expected 3 records of Fluoride, 1 of them included, but got 2 and 1; remove it",
        ),
        ({"BPA": STATUS}, r"expected a sheet 'Fluoride', but found 'BPA'; remove it"),
        (
            {"Fluoride": STATUS},
            r"expected columns Included, Title, Abstract in sheet 'Fluoride', but found PMID, Status;",
        ),
        ({"Fluoride": []}, r"expected columns .*, but found none; remove it"),
        (None, r"cannot be read as a workbook \(File is not a zip file\); save it again as \.xlsx; remove it"),
    ],
)
def test_other_files(folder: Path, sheets: dict[str, Any] | None, message: str) -> None:
    """A file that is not the published one is one line."""
    (folder / OHAT).write_bytes(b"<html>Sign in</html>" if sheets is None else workbook(sheets))
    with pytest.raises(UserError, match=rf"^[^\n]*{OHAT}: {message}[^\n]*$"):
        review("Fluoride", 3, 1).load()


@pytest.mark.parametrize(
    ("content", "halved", "message"),
    [
        (workbook({"Fluoride": FLUORIDE[:2]}), (), r"expected 3 records of Fluoride, .* got 1 and 1; put"),
        (b"<html>Sign in</html>", (), r"cannot be read as a workbook .*; put"),
        (workbook(FILES[OHAT]), (OHAT,), r"cannot be downloaded .*it ended after .*; put"),
    ],
)
def test_failed_downloads_leave_nothing(
    folder: Path, tmp_path: Path, content: bytes, halved: tuple[str, ...], message: str
) -> None:
    """Without a checksum, too, only what has the published counts comes into the cache."""
    (folder / OHAT).unlink()
    with publishing({OHAT: content}, halved) as server, pytest.raises(UserError, match=message):
        review("Fluoride", 3, 1, server.url(OHAT)).load()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_downloaded_once(folder: Path) -> None:
    """One download serves all reviews of the workbook."""
    content = (folder / OHAT).read_bytes()
    (folder / OHAT).unlink()
    (folder / "BPA.nbib").write_text(medline(IDS))
    with publishing({OHAT: content}) as server:
        assert review("Fluoride", 3, 1, server.url(OHAT)).load().labels == [1, 0, 0]
        assert review("BPA", len(IDS), 2, server.url(OHAT)).load().report.included == 2
        assert server.asked == 1
