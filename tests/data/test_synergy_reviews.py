"""The SYNERGY reviews, read from labels and archives of works as they are published, but fewer."""

import io
import json
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from publisher import publishing, with_entry

from layersel.data.download import checksum
from layersel.data.reviews import published
from layersel.data.reviews.catalogue import CatalogueEntry, PublishedFile
from layersel.data.reviews.published import PublishedReview
from layersel.data.reviews.synergy import SYNERGY, Synergy
from layersel.errors import UserError

PMID = "https://pubmed.ncbi.nlm.nih.gov/"
LABELS = f"""openalex_id,doi,pmid,label_included
https://openalex.org/W3,https://doi.org/10.1/c,,0
https://openalex.org/W1,https://doi.org/10.1/a,{PMID}11,1
https://openalex.org/W2,,{PMID}12,0
"""


def work(number: int, title: str | None, index: dict[str, list[int]] | None) -> dict[str, Any]:
    """A work with the keys of OpenAlex that matter, and two that do not."""
    return {
        "id": f"https://openalex.org/W{number}",
        "doi": None,
        "title": title,
        "display_name": title,
        "publication_year": 2000 + number,
        "authorships": [
            {"author_position": "first", "author": {"id": None, "display_name": "Ada Lovelace"}},
            {"author_position": "last", "author": {"id": None, "display_name": None}},
            {"author_position": "last", "author": {"id": None, "display_name": "Bo Ek"}},
        ],
        "abstract_inverted_index": index,
        "cited_by_count": 7,
    }


def archive(*parts: list[dict[str, Any]]) -> bytes:
    """An archive of lists of works."""
    raw = io.BytesIO()
    with ZipFile(raw, "w", ZIP_DEFLATED) as zipped:
        for number, works in enumerate(parts):
            zipped.writestr(f"works_{number}_{number + len(works)}.json", json.dumps(works))
    return raw.getvalue()


FILES = {
    "Few_2023/labels.csv": LABELS.encode(),
    "Few_2023/works_1.zip": archive(
        [work(1, "Sleep", {"we": [0, 2], "sleep": [1], "wake.": [3]})], [work(2, None, None)]
    ),
    "Few_2023/works_2.zip": archive([work(3, "Rest", None)]),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no $LAYERSEL_DATA."""
    monkeypatch.delenv("LAYERSEL_DATA", raising=False)
    monkeypatch.setattr(published, "user_cache_path", lambda name: tmp_path / "cache" / name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "layersel" / "synergy_1.0"


def review(address: str = "https://x/", included: int = 1, **options: Any) -> PublishedReview:
    """The review of `FILES`."""
    files = [PublishedFile(name, address + name, checksum(own, "git-blob")) for name, own in FILES.items()]
    return with_entry(Synergy, CatalogueEntry("Few_2023", 3, included, tuple(files)), **options)


def write(folder: Path) -> None:
    """The files in a folder."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def test_works_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are in the order of the labels, with texts, authors and year of their works."""
    write(tmp_path / "synergy_1.0")
    monkeypatch.setenv("LAYERSEL_DATA", str(tmp_path))
    loaded = review().load()
    assert [record.id for record in loaded.records] == [f"https://openalex.org/W{number}" for number in (3, 1, 2)]
    assert [record.title for record in loaded.records] == ["Rest", "Sleep", ""]
    assert [record.abstract for record in loaded.records] == ["", "we sleep we wake.", ""]
    assert loaded.labels == [0, 1, 0]
    assert loaded.records[1].fields == {
        "doi": "https://doi.org/10.1/a",
        "pmid": "11",
        "authors": "Ada Lovelace; Bo Ek",
        "year": "2001",
    }
    assert loaded.report.notes == (f"published by {SYNERGY.reference}; licence: CC0 1.0",)
    assert review(label_level="none").load().labels == [None] * 3


def test_wrong_count_and_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another count, and another file among several, are one line each."""
    write(tmp_path)
    monkeypatch.setenv("LAYERSEL_DATA", str(tmp_path))
    with pytest.raises(
        UserError, match=r"labels.csv: expected 3 records of Few_2023, 2 of them .* got 3 and 1; remove"
    ):
        review(included=2).load()
    (tmp_path / "Few_2023" / "works_2.zip").write_bytes(archive([]))
    with pytest.raises(UserError, match=r"^[^\n]*works_2.zip: expected checksum git-blob:[^\n]*; remove it[^\n]*$"):
        review().load()


def test_download(cache: Path) -> None:
    """Each file is fetched once; where one ends too early, whole ones stay and are not fetched again."""
    with publishing(FILES, halved=("Few_2023/works_2.zip",)) as server:
        with pytest.raises(
            UserError, match=r"works_2.zip: cannot be downloaded .*it ended after .*\); put Few_2023/works_2"
        ):
            review(server.url("")).load()
        kept = sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file())
        assert kept == ["Few_2023/labels.csv", "Few_2023/works_1.zip"]
        server.halved = ()
        assert review(server.url("")).load().labels == [0, 1, 0]
        assert review(server.url("")).load().labels == [0, 1, 0]
        assert server.asked == len(FILES) + 1
