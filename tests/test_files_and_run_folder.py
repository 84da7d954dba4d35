"""Files are whole or absent, and a run folder says whether it can be trusted."""

import json
import math
import stat
from pathlib import Path

import pytest

from layersel.errors import UserError
from layersel.files import atomic_folder, atomic_path, write_json, write_text
from layersel.run_folder import RunFolder, check_writable


class Interrupted(BaseException):
    """As Ctrl-C is: no `Exception`."""


def _write_and_fail(draft: Path) -> None:
    draft.write_text("half of the n")
    raise Interrupted


def test_a_failed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    """And nothing else beside it."""
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(Interrupted), atomic_path(tmp_path / "a.txt") as draft:
        _write_and_fail(draft)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_failed_writer_leaves_no_file_where_none_was(tmp_path: Path) -> None:
    """Not even an empty one."""
    with pytest.raises(Interrupted), atomic_path(tmp_path / "new" / "a.txt"):
        raise Interrupted
    assert list((tmp_path / "new").iterdir()) == []


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    """While the writer is at work."""
    write_text(tmp_path / "a.txt", "old")
    with atomic_path(tmp_path / "a.txt") as draft:
        draft.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"
    assert (tmp_path / "a.txt").read_text() == "new"


def test_files_have_the_usual_rights(tmp_path: Path) -> None:
    """Those of a file that `open` makes, not the private ones of a temporary file."""
    write_text(tmp_path / "a.txt", "")
    (tmp_path / "b.txt").touch()
    with atomic_folder(tmp_path / "c"):
        pass
    (tmp_path / "d").mkdir()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes["a.txt"] == modes["b.txt"]
    assert modes["c"] == modes["d"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    """Files of the old one are gone; a failed writer leaves it as it was."""
    target = tmp_path / "adapter"
    for name in ("old", "new"):
        with atomic_folder(target) as draft:
            write_text(draft / f"{name}.txt", name)
    assert [path.name for path in target.iterdir()] == ["new.txt"]
    with pytest.raises(Interrupted), atomic_folder(target) as draft:
        _write_and_fail(draft / "newer.txt")
    assert [path.name for path in tmp_path.rglob("*")] == ["adapter", "new.txt"]


def test_json_has_no_nan(tmp_path: Path) -> None:
    """Which no other reader of JSON would take; letters stay readable."""
    write_json(tmp_path / "a.json", {"a": math.nan, "b": [math.inf, 1.5, (None, 0)], "c": "Müller"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == {"a": None, "b": [None, 1.5, [None, 0]], "c": "Müller"}
    assert "Müller" in text


def test_a_finished_run(tmp_path: Path) -> None:
    """Running inside of the block, finished after it, its config readable."""
    folder = RunFolder(tmp_path)
    assert folder.state is None
    with folder.recording({"seed": 3, "adapter": {"projections": ["query"]}}):
        assert folder.state == "running"
        with pytest.raises(UserError, match="is running, not finished; run its training again"):
            folder.read_config()
    assert folder.state == "finished"
    assert folder.read_config() == {"seed": 3, "adapter": {"projections": ["query"]}}


@pytest.mark.parametrize(
    ("kind", "state"), [(ValueError, "failed"), (SystemExit, "failed"), (KeyboardInterrupt, "interrupted")]
)
def test_a_failed_run(kind: type[BaseException], state: str, tmp_path: Path) -> None:
    """The status has the error and the traceback, and the error goes on."""
    folder = RunFolder(tmp_path)
    with pytest.raises(kind), folder.recording({}):
        raise kind("out of luck")
    status = json.loads(folder.status.read_text())
    assert status["state"] == folder.state == state
    assert status["error"] == f"{kind.__name__}('out of luck')"
    assert "test_a_failed_run" in status["traceback"]
    assert status["updated"] >= status["started"]
    with pytest.raises(UserError, match=f"is {state}, not finished"):
        folder.read_config()


def test_a_new_attempt_starts_clean(tmp_path: Path) -> None:
    """No result of an earlier attempt stands beside those of this one; the user's own files stay."""
    folder = RunFolder(tmp_path)
    results = [value for name, value in vars(folder).items() if name not in ("path", "status", "config")]
    for path in results:
        write_text(path if path.suffix else path / "a.txt", "old")
    write_text(tmp_path / "notes.txt", "mine")
    with folder.recording({}):
        assert {path.name for path in tmp_path.iterdir()} == {"status.json", "config.yaml", "notes.txt"}


def test_writable(tmp_path: Path) -> None:
    """A folder is made; below a file none can be."""
    assert check_writable(tmp_path / "a" / "b") is None
    assert list((tmp_path / "a" / "b").iterdir()) == []
    write_text(tmp_path / "file", "")
    assert str(check_writable(tmp_path / "file" / "runs", "out")).startswith("out: cannot write to ")
