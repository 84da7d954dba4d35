"""Downloads files from their publisher: verified, whole or not there."""

import hashlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from layersel.errors import UserError
from layersel.files import atomic_path
from layersel.terminal.progress import progress

_CHUNK = 1 << 16
_TIMEOUT_S = 30


def checksum(content: bytes, kind: str) -> str:
    """Returns `sha256:…`, or `git-blob:…`, the name git gives a file (known where only a repository's listing is).

    Example:
        >>> checksum(b"", "git-blob")
        'git-blob:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    if kind == "git-blob":
        blob = b"blob %d\0" % len(content) + content
        return f"{kind}:{hashlib.sha1(blob, usedforsecurity=False).hexdigest()}"
    return f"{kind}:{hashlib.new(kind, content).hexdigest()}"


def is_intact(path: Path, expected: str) -> bool:
    """Returns whether there is a file with this checksum."""
    return path.is_file() and _checksum_like(expected, path.read_bytes()) == expected


def verify(content: bytes, expected: str, origin: str, hint: str) -> None:
    """Raises an error unless the content has the expected checksum.

    Raises:
        UserError: The checksum is another; the message ends with `hint`, the next step.
    """
    got = _checksum_like(expected, content)
    if got != expected:
        raise UserError(f"{origin}: expected checksum {expected}, but got {got}; {hint}")


def download(url: str, path: Path, check: Callable[[bytes], None], hint: str) -> None:
    """Writes the content of `url` to `path` once `check` has not refused it; `hint` ends an error of the network.

    Raises:
        UserError: The network or the folder of `path` cannot be used, or whatever `check` raises.
    """
    try:
        content = _get(url, path.name)
        check(content)
        with atomic_path(path) as draft:
            draft.write_bytes(content)
    except (OSError, HTTPException) as error:
        raise UserError(f"{url}: cannot be downloaded to {path} ({error}); {hint}") from error


def hub_answers() -> bool:
    """Returns whether the Hugging Face hub answers one short request: its own client would try for half a minute."""
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return False
    try:
        urlopen(Request(ENDPOINT, method="HEAD"), timeout=5).close()  # noqa: S310 - an https address
    except HTTPError:
        return True  # it answers, if only to say no
    except OSError:
        return False
    return True


def _checksum_like(expected: str, content: bytes) -> str:
    return checksum(content, expected.partition(":")[0])


def _get(url: str, name: str) -> bytes:
    content = bytearray()
    with urlopen(url, timeout=_TIMEOUT_S) as response:  # noqa: S310 - the catalogue gives https addresses
        size = int(response.headers.get("Content-Length", 0)) or None
        with progress((), f"downloading {name}", total=size, unit="B", unit_scale=True) as bar:
            while chunk := response.read(_CHUNK):
                content += chunk
                bar.update(len(chunk))
    if size is not None and len(content) < size:
        raise ConnectionError(f"it ended after {len(content)} of {size} bytes")
    return bytes(content)
