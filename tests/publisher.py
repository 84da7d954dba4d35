"""A publisher of files on this machine, and published reviews of small catalogues."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from layersel.data.reviews.catalogue import CatalogueEntry
from layersel.data.reviews.published import PublishedReview


class Publisher(ThreadingHTTPServer):
    """Serves files by their names, those in `halved` not to the end, and counts what it was asked for."""

    def __init__(self, files: dict[str, bytes], halved: tuple[str, ...] = ()):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.halved = halved
        self.asked = 0

    def url(self, name: str) -> str:
        """The address of a file."""
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        """Answer one request."""
        self.server.asked += 1
        name = self.path.lstrip("/")
        content = self.server.files.get(name, b"")
        self.send_response(200 if name in self.server.files else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if name in self.server.halved else content)

    def log_message(self, *_: object) -> None:
        """Keep the output clean."""


@contextmanager
def publishing(files: dict[str, bytes], halved: tuple[str, ...] = ()) -> Iterator[Publisher]:
    """Run a publisher."""
    with Publisher(files, halved) as running:
        Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def with_entry(kind: type[PublishedReview], entry: CatalogueEntry, **options: Any) -> PublishedReview:
    """The review of a catalogue that has this entry only."""
    catalogue = replace(kind.catalogue, entries=(entry,))
    return type(kind.__name__, (kind,), {"catalogue": catalogue})(review=entry.name, **options)
