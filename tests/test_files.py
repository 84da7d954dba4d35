"""Files are whole or absent."""

import json
import math
import stat
from pathlib import Path

import pytest

from layersel.errors import DamagedError, UserError
from layersel.files import atomic_folder, atomic_path, read_sealed, remove, write_json, write_sealed, write_text


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


def test_a_sealed_file_is_as_it_was_written(tmp_path: Path) -> None:
    """Any other value is refused, with what to do; the layout may change."""
    file, content = tmp_path / "a.json", {"a": [0.1, None, "é"], "b": {"c": True}}
    write_sealed(file, content | {"d": math.nan})
    assert read_sealed(file) == content | {"d": None}
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        if whole[place : place + 1].isspace() and file.read_bytes()[place : place + 1].isspace():
            continue
        with pytest.raises(DamagedError, match=r"a\.json' (is damaged|cannot be read)[^\n]*; start anew$"):
            read_sealed(file, "start anew")
    file.write_text(json.dumps(json.loads(whole)))
    assert read_sealed(file) == content | {"d": None}
    with pytest.raises(FileNotFoundError):
        read_sealed(tmp_path / "none.json")


def test_a_folder_where_a_file_belongs_is_left_alone(tmp_path: Path) -> None:
    """It may be the user's."""
    (tmp_path / "a.json" / "mine").mkdir(parents=True)
    with pytest.raises(UserError, match=r"a\.json': expected a file or nothing there, but got a folder; remove it"):
        write_json(tmp_path / "a.json", {})
    assert (tmp_path / "a.json" / "mine").is_dir()


def test_whatever_is_there_is_removed(tmp_path: Path) -> None:
    """A file, a folder, a link but not what it leads to, and nothing at all."""
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("link", "file", "none"):
        remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    remove(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_json_has_no_nan(tmp_path: Path) -> None:
    """Which no other reader of JSON would take; letters stay readable."""
    write_json(tmp_path / "a.json", {"a": math.nan, "b": [math.inf, 1.5, (None, 0)], "c": "Müller"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == {"a": None, "b": [None, 1.5, [None, 0]], "c": "Müller"}
    assert "Müller" in text
