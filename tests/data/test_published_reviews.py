"""Catalogues, and where their files come from: a local folder, the cache, or a server (here on 127.0.0.1)."""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from publisher import Publisher, publishing, with_entry

from layersel.data.download import checksum, download, verify
from layersel.data.reviews import published
from layersel.data.reviews.catalogue import Catalogue, CatalogueEntry, PublishedFile
from layersel.data.reviews.cohen import COHEN, Cohen
from layersel.data.reviews.published import PublishedReview, local_file
from layersel.data.reviews.swift import SWIFT
from layersel.data.reviews.synergy import SYNERGY
from layersel.errors import UserError

CONTENT = b"record_id,title,abstract,label_included\n1,A,B,1\n2,C,D,0\n"
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"

# Howard et al. 2016; the table of https://github.com/asreview/synergy-dataset
PUBLISHED = {
    "howard_2016": """
        BPA 7700 111
        Fluoride 4479 51
        Neuropain 29207 5011
        PFOS-PFOA 6331 95
        Transgenerational 48638 765
    """,
    "synergy_1.0": """
        Appenzeller-Herzog_2019 2873 26
        Bos_2018 4878 10
        Brouwer_2019 38114 62
        Chou_2003 1908 15
        Chou_2004 1630 9
        Donners_2021 258 15
        Hall_2012 8793 104
        Jeyaraman_2020 1175 96
        Leenaars_2019 5812 17
        Leenaars_2020 7216 583
        Meijboom_2021 882 37
        Menon_2022 975 74
        Moran_2021 5214 111
        Muthu_2021 2719 336
        Nelson_2002 366 80
        Oud_2018 952 20
        Radjenovic_2013 5935 48
        Sep_2021 271 40
        Smid_2020 2627 27
        van_de_Schoot_2018 4544 38
        van_der_Valk_2021 725 89
        van_der_Waal_2022 1970 33
        van_Dis_2020 9128 72
        Walker_2018 48375 762
        Wassenaar_2017 7668 111
        Wolters_2018 4280 19
    """,
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """A publisher on this machine: Statins.csv ends too early, Triptans.csv is not there."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with publishing({"ADHD.csv": CONTENT, "Statins.csv": CONTENT}, halved=("Statins.csv",)) as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no $LAYERSEL_DATA."""
    monkeypatch.delenv("LAYERSEL_DATA", raising=False)
    monkeypatch.setattr(published, "user_cache_path", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "layersel" / "cohen_2006"


def review(server: Publisher, name: str = "ADHD", expected: str = SHA256, included: int = 1) -> PublishedReview:
    """A review of the server's."""
    file = PublishedFile(f"{name}.csv", server.url(f"{name}.csv"), expected)
    return with_entry(Cohen, CatalogueEntry(name, 2, included, (file,)))


@pytest.mark.parametrize("kind", ["sha256", "git-blob"])
def test_downloaded_once_into_the_cache(server: Publisher, cache: Path, kind: str) -> None:
    """The first use fetches and verifies, the second reads the cache; a damaged cache is fetched again."""
    source = review(server, expected=checksum(CONTENT, kind))
    assert source.load().labels == [1, 0]
    assert (cache / "ADHD.csv").read_bytes() == CONTENT
    assert source.load().report.notes[0] == f"published by {COHEN.reference}; licence: {COHEN.licence}"
    assert server.asked == 1
    (cache / "ADHD.csv").write_bytes(CONTENT[:-1])
    assert source.load().labels == [1, 0]
    assert server.asked == 2


@pytest.mark.parametrize(
    ("name", "expected", "message"),
    [
        ("ADHD", f"sha256:{'0' * 64}", rf"expected checksum sha256:0{{64}}, but got {SHA256}; "),
        ("Statins", SHA256, r"cannot be downloaded .*\(it ended after \d+ of \d+ bytes\); "),
        ("Triptans", SHA256, "cannot be downloaded .*404"),
    ],
)
def test_failed_downloads_leave_nothing(server: Publisher, cache: Path, name: str, expected: str, message: str) -> None:
    """Wrong, partial and missing files are one-line errors with the next step; nothing stays behind."""
    with pytest.raises(UserError, match=message) as caught:
        review(server, name, expected).load()
    assert "$LAYERSEL_DATA" in str(caught.value)
    assert "data=table data.path=" in str(caught.value)
    assert not cache.exists() or not list(cache.iterdir())


def test_no_network(server: Publisher, cache: Path) -> None:
    """A publisher that cannot be reached is one line."""
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"^http://127.0.0.1:\d+/ADHD.csv: cannot be downloaded [^\n]*$"):
        review(server).load()
    assert not cache.exists()


def test_unwritable_cache(server: Publisher, tmp_path: Path) -> None:
    """A cache that cannot be written is one line."""
    (tmp_path / "file").write_text("in the way")
    check = partial(verify, expected=SHA256, origin="it", hint="do this")
    with pytest.raises(UserError, match=r"expected a folder or nothing there, but got a file; remove it"):
        download(server.url("ADHD.csv"), tmp_path / "file" / "a.csv", check, "do this")


@pytest.mark.parametrize("folder", [".", "cohen_2006"])
def test_local_folder_comes_first(
    server: Publisher, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """$LAYERSEL_DATA is used, verified, and never written to."""
    path = tmp_path / "data" / folder / "ADHD.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    monkeypatch.setenv("LAYERSEL_DATA", str(tmp_path / "data"))
    assert review(server).load().labels == [1, 0]
    path.write_bytes(CONTENT + b"3,E,F,0\n")
    with pytest.raises(UserError, match=f"ADHD.csv: expected checksum {SHA256}, but got sha256:.*; remove it"):
        review(server).load()
    assert not cache.exists()
    assert server.asked == 0


@pytest.mark.usefixtures("cache")
def test_other_counts(server: Publisher) -> None:
    """A file that holds another number of included records than the publication is one line."""
    message = r"ADHD.csv: expected 2 records of ADHD, 2 of them included, but got 2 and 1; remove it[^\n]*$"
    with pytest.raises(UserError, match=message):
        review(server, included=2).load()


def test_missing_local_folder_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped $LAYERSEL_DATA is told, not passed over."""
    monkeypatch.setenv("LAYERSEL_DATA", "no/such/folder")
    assert Cohen(review="ADHD").problems() == [
        "$LAYERSEL_DATA: expected a folder, but there is none at 'no/such/folder'; correct or unset it"
    ]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nsaids", "NSAIDS"),
        ("Opioids", "Opiods"),
        ("opiods", "Opiods"),
        ("Skeletal muscle relaxants", "SkeletalMuscleRelaxants"),
    ],
)
def test_names(name: str, found: str) -> None:
    """The publisher's spelling in any case, spaces or not, and the correct one."""
    assert Cohen(review=name).name == found


@pytest.mark.parametrize(("name", "hint"), [("x", "$"), ("opioid", "; did you mean Opiods[?]$")])
def test_unknown_review_lists_all(name: str, hint: str) -> None:
    """The error of an unknown name lists the 15 known ones, and names one that is near."""
    with pytest.raises(
        UserError, match=rf"^data.review: .* ACEInhibitors, .*UrinaryIncontinence, but got '{name}'{hint}"
    ):
        Cohen(review=name).load()


@pytest.mark.parametrize("catalogue", [COHEN, SWIFT, SYNERGY], ids=lambda catalogue: catalogue.folder)
def test_catalogues(catalogue: Catalogue) -> None:
    """Names of reviews and files are unique, addresses https; checksums have a known kind; a licence is stated."""
    assert len({entry.name for entry in catalogue.entries}) == len(catalogue.entries)
    assert "doi 10." in catalogue.reference
    assert "CC0" in catalogue.licence or "open license" in catalogue.licence
    files = {file.name: file for entry in catalogue.entries for file in entry.files}
    assert len({file.url for file in files.values()}) == len(files)
    for file in files.values():
        assert file.url.startswith("https://")
        assert file.url.endswith(file.name)
        kind, _, digest = (file.checksum or "sha256:" + "0" * 64).partition(":")
        assert re.fullmatch("[0-9a-f]+", digest)
        assert len(digest) == {"sha256": 64, "git-blob": 40}[kind]


@pytest.mark.parametrize("catalogue", [SWIFT, SYNERGY], ids=lambda catalogue: catalogue.folder)
def test_counts_are_the_published_ones(catalogue: Catalogue) -> None:
    """Each entry has the numbers of the publication."""
    rows = [line.split() for line in PUBLISHED[catalogue.folder].split("\n") if line.strip()]
    assert [(entry.name, entry.records, entry.included) for entry in catalogue.entries] == [
        (name, int(records), int(included)) for name, records, included in rows
    ]


def test_synergys_total() -> None:
    """The dataset "comprises 169,288 academic works from 26 systematic reviews", 2,834 of them included."""
    assert len(SYNERGY.entries) == 26
    assert sum(entry.records for entry in SYNERGY.entries) == 169_288
    assert sum(entry.included for entry in SYNERGY.entries) == 2_834


def test_git_blob_is_gits_own(tmp_path: Path) -> None:
    """The checksum is the name that git gives the file."""
    (tmp_path / "file").write_bytes(CONTENT)
    git = subprocess.run(["git", "hash-object", "file"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert checksum(CONTENT, "git-blob") == f"git-blob:{git.stdout.strip()}"


@pytest.mark.skipif("LAYERSEL_DATA" not in os.environ, reason="LAYERSEL_DATA is not set")
@pytest.mark.parametrize("known", COHEN.entries, ids=lambda known: known.name)
def test_real_reviews(known: CatalogueEntry) -> None:
    """The published files have the counts of the catalogue."""
    if local_file(COHEN.folder, known.files[0].name) is None:
        pytest.skip("not in $LAYERSEL_DATA")
    review = Cohen(review=known.name).load()
    assert (review.report.records, review.report.included) == (known.records, known.included)
    assert review.report.unlabelled == 0
