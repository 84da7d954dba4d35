"""The store computes once, whoever asks and whatever breaks."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor

from layersel.errors import UserError
from layersel.runs import store
from layersel.runs.store import Store

FORK = multiprocessing.get_context("fork")
KEY = {"model": "a", "texts": ["x", "é"], "n": 3}


class Work:
    """Something to compute that leaves a line for each time it is."""

    def __init__(self, log: Path, seconds: float = 0.0):
        self.log, self.seconds = log, seconds

    def __call__(self) -> dict[str, Tensor]:
        """Computes it."""
        with self.log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(self.seconds)
        return {"numbers": torch.arange(7) / 3, "ids": torch.tensor([1, 2**40])}

    @property
    def times(self) -> int:
        """How often it was computed."""
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Work that has not been done yet."""
    return Work(tmp_path / "log")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a store, which is not there yet."""
    return tmp_path / "new" / "shared"


def files(folder: Path) -> list[Path]:
    """Returns what the store holds."""
    return sorted(folder.rglob("*.safetensors"))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Returns whether two results agree to the last bit."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def test_the_second_call_reads(work: Work, folder: Path) -> None:
    """So does another object; what is read is what was computed, at an address like that of any new tensor."""
    first = Store(folder).tensors("tokens", KEY, work, [])
    second = Store(folder).tensors("tokens", dict(reversed(KEY.items())), work, [])
    assert same(first, second)
    assert work.times == 1
    assert all(value.data_ptr() % 64 == 0 for value in second.values())
    assert [path.parent.name for path in files(folder)] == ["tokens"]


@pytest.mark.parametrize(
    ("kind", "key"), [("vectors", KEY), ("tokens", {**KEY, "n": 4}), ("tokens", [KEY]), ("tokens", None)]
)
def test_anything_else_is_computed(work: Work, folder: Path, kind: str, key: Any) -> None:
    """Another kind, or another key, has a result of its own."""
    Store(folder).tensors("tokens", KEY, work, [])
    Store(folder).tensors(kind, key, work, [])
    assert (work.times, len(files(folder))) == (2, 2)


def test_other_versions_share_nothing(work: Work, folder: Path) -> None:
    """A library's update may change its numbers."""
    Store(folder).tensors("tokens", KEY, work, [])
    with patch.object(store, "versions", lambda: {"torch": "0.1"}):
        Store(folder).tensors("tokens", KEY, work, [])
    assert work.times == 2


def test_without_a_folder_nothing_is_kept(work: Work, tmp_path: Path) -> None:
    """Every call computes."""
    for _ in range(2):
        Store(None).tensors("tokens", KEY, work, [])
    assert work.times == 2
    assert list(tmp_path.iterdir()) == [work.log]


def test_a_failure_leaves_nothing(work: Work, folder: Path) -> None:
    """It comes out as it is, and the next call computes."""

    def fail() -> dict[str, Tensor]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Store(folder).tensors("tokens", KEY, fail, [])
    assert files(folder) == []
    Store(folder).tensors("tokens", KEY, work, [])
    assert work.times == 1


@pytest.mark.parametrize("damage", [b"", b"not tensors at all", None], ids=["empty", "other", "cut"])
def test_a_damaged_file_is_computed_again(
    work: Work, folder: Path, damage: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line says so; afterwards it is whole."""
    expected = Store(folder).tensors("tokens", KEY, work, [])
    (file,) = files(folder)
    file.write_bytes(file.read_bytes()[:-3] if damage is None else damage)
    assert same(Store(folder).tensors("tokens", KEY, work, []), expected)
    assert capsys.readouterr().out.count("is damaged") >= 1
    assert same(Store(folder).tensors("tokens", KEY, work, []), expected)
    assert work.times == 2


def test_any_flipped_bit_is_computed_again(work: Work, folder: Path) -> None:
    """Wherever it is: in the header, in the checksum, in the values."""
    expected = Store(folder).tensors("tokens", KEY, work, [])
    (file,) = files(folder)
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert same(Store(folder).tensors("tokens", KEY, work, []), expected), place
        assert file.read_bytes() == whole, place


def test_what_cannot_be_kept_is_used_all_the_same(
    work: Work, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line says why, and the next call computes again."""

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr(store, "save_file", full)
    results = [Store(folder).tensors("tokens", KEY, work, []) for _ in range(2)]
    assert same(*results)
    assert "cannot be kept (output: cannot write (No space left on device); make room" in capsys.readouterr().out
    assert (work.times, files(folder)) == (2, [])


def _ask(folder: Path, work: Work, out: Any) -> None:
    out.put(Store(folder).tensors("tokens", KEY, work, [])["numbers"].tolist())


def test_of_several_processes_one_computes(folder: Path, tmp_path: Path) -> None:
    """The others wait for it and have the same."""
    work, out = Work(tmp_path / "log", seconds=0.5), FORK.SimpleQueue()
    asking = [FORK.Process(target=_ask, args=(folder, work, out)) for _ in range(4)]
    for process in asking:
        process.start()
    results = [out.get() for _ in asking]
    for process in asking:
        process.join()
    assert work.times == 1
    assert results == [(torch.arange(7) / 3).tolist()] * 4


def test_a_killed_process_is_succeeded(work: Work, folder: Path) -> None:
    """Its lock is free at once, and what it has begun is not taken for a result."""
    slow = Work(work.log, seconds=60)
    holder = FORK.Process(target=_ask, args=(folder, slow, FORK.SimpleQueue()))
    holder.start()
    while slow.times == 0:
        time.sleep(0.01)
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()
    started = time.monotonic()
    Store(folder).tensors("tokens", KEY, work, [])
    assert time.monotonic() - started < 5
    assert (work.times, len(files(folder))) == (2, 1)


def test_a_folder_that_cannot_be_made_is_named(work: Work, tmp_path: Path) -> None:
    """The message is one line with the way out."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"shared: expected a folder with file locks.*shared=null"):
        Store(tmp_path / "file" / "shared").tensors("tokens", KEY, work, [])
