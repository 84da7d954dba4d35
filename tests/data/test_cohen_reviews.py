"""The catalogue and where its files come from: a local folder, the cache, or a server (here on 127.0.0.1)."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from layersel.data.download import checksum, download
from layersel.data.reviews import catalogue, cohen
from layersel.data.reviews.catalogue import CATALOGUE, CatalogueEntry, find_review
from layersel.data.reviews.cohen import Cohen
from layersel.errors import UserError

CONTENT = b"record_id,title,abstract,label_included\n1,A,B,1\n2,C,D,0\n"
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Server(ThreadingHTTPServer):
    """Serves `CONTENT` as ADHD.csv, half of it as Statins.csv, and counts what it was asked for."""

    asked = 0


class Handler(BaseHTTPRequestHandler):
    """See `Server`."""

    def do_GET(self) -> None:
        """Answer one request."""
        self.server.asked += 1  # type: ignore[attr-defined]
        self.send_response(404 if self.path.endswith("Triptans.csv") else 200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path.endswith("Statins.csv") else CONTENT)

    def log_message(self, *_: object) -> None:
        """Keep the output clean."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A publisher on this machine."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as running:
        Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(catalogue, "PUBLISHER", f"http://127.0.0.1:{running.server_port}")
        yield running
        running.shutdown()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no $LAYERSEL_DATA."""
    monkeypatch.delenv("LAYERSEL_DATA", raising=False)
    monkeypatch.setattr(cohen, "user_cache_path", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "layersel" / "cohen_2006"


def entry(name: str = "ADHD", expected: str = SHA256) -> CatalogueEntry:
    """A catalogue entry for the server's content."""
    return CatalogueEntry(name, 2, 1, expected)


@pytest.mark.parametrize("kind", ["sha256", "git-blob"])
def test_downloaded_once_into_the_cache(server: Server, cache: Path, kind: str) -> None:
    """The first use fetches and verifies, the second reads the cache; a damaged cache is fetched again."""
    expected = checksum(CONTENT, kind)
    assert cohen.locate(entry(expected=expected)).read_bytes() == CONTENT
    assert cohen.locate(entry(expected=expected)) == cache / "ADHD.csv"
    assert server.asked == 1
    (cache / "ADHD.csv").write_bytes(CONTENT[:-1])
    assert cohen.locate(entry(expected=expected)).read_bytes() == CONTENT
    assert server.asked == 2


@pytest.mark.parametrize(
    ("name", "expected", "message"),
    [
        ("ADHD", f"sha256:{'0' * 64}", rf"expected checksum sha256:0{{64}}, but got {SHA256}; "),
        ("Statins", SHA256, r"cannot be downloaded .*\(it ended after \d+ of \d+ bytes\); "),
        ("Triptans", SHA256, "cannot be downloaded .*404"),
    ],
)
@pytest.mark.usefixtures("server")
def test_failed_downloads_leave_nothing(cache: Path, name: str, expected: str, message: str) -> None:
    """Wrong, partial and missing files are one-line errors with the next step; nothing stays behind."""
    with pytest.raises(UserError, match=message) as caught:
        cohen.locate(entry(name, expected))
    assert "$LAYERSEL_DATA" in str(caught.value)
    assert "data=table data.path=" in str(caught.value)
    assert not cache.exists() or not list(cache.iterdir())


def test_no_network(server: Server, cache: Path) -> None:
    """A publisher that cannot be reached is one line."""
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"^http://127.0.0.1:\d+/local/ADHD.csv: cannot be downloaded [^\n]*$"):
        cohen.locate(entry())
    assert not cache.exists()


def test_unwritable_cache(server: Server, tmp_path: Path) -> None:
    """A cache that cannot be written is one line."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"expected a folder or nothing there, but got a file; remove it"):
        download(f"http://127.0.0.1:{server.server_port}/a.csv", tmp_path / "file" / "a.csv", SHA256, "do this")


@pytest.mark.parametrize("folder", [".", "cohen_2006"])
def test_local_folder_comes_first(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """$LAYERSEL_DATA is used, verified, and never written to."""
    path = tmp_path / "data" / folder / "ADHD.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    monkeypatch.setenv("LAYERSEL_DATA", str(tmp_path / "data"))
    assert cohen.locate(entry()) == path
    path.write_bytes(CONTENT + b"3,E,F,0\n")
    with pytest.raises(UserError, match=f"expected checksum {SHA256}, but got sha256:.*; remove it"):
        cohen.locate(entry())
    assert not cache.exists()


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
    assert find_review(name).name == found
    assert Cohen(review=name).name == found


def test_unknown_review_lists_all() -> None:
    """The error of an unknown name lists the 15 known ones."""
    with pytest.raises(
        UserError, match=r"data.review: expected one of ACEInhibitors, .*UrinaryIncontinence, but got 'x'"
    ):
        Cohen(review="x").load()


def test_catalogue() -> None:
    """15 reviews at https addresses of one commit, each with a checksum of a known kind."""
    assert len({entry.name for entry in CATALOGUE}) == 15
    for known in CATALOGUE:
        assert known.url.startswith("https://raw.githubusercontent.com/asreview/systematic-review-datasets/0909240f")
        kind, _, digest = known.checksum.partition(":")
        assert len(digest) == {"sha256": 64, "git-blob": 40}[kind]


def test_git_blob_is_gits_own(tmp_path: Path) -> None:
    """The checksum is the name that git gives the file."""
    (tmp_path / "file").write_bytes(CONTENT)
    git = subprocess.run(["git", "hash-object", "file"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert checksum(CONTENT, "git-blob") == f"git-blob:{git.stdout.strip()}"


@pytest.mark.skipif("LAYERSEL_DATA" not in os.environ, reason="LAYERSEL_DATA is not set")
@pytest.mark.parametrize("known", CATALOGUE, ids=lambda known: known.name)
def test_real_reviews(known: CatalogueEntry) -> None:
    """The published files have the counts of the catalogue."""
    if not any(path.is_file() for path in cohen._local_paths(known)):
        pytest.skip("not in $LAYERSEL_DATA")
    review = Cohen(review=known.name).load()
    assert (review.report.records, review.report.included) == (known.records, known.included)
    assert review.report.unlabelled == 0
