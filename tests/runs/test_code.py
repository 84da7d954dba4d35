"""What computes something is known by its code: that of a class and of what its module imports, and by nothing else."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from layersel.runs.code import class_path, code_of, differing
from layersel.selection.scores.cka import CKA
from layersel.selection.scores.last import Last

FILES = {
    "__init__.py": "",
    "score.py": '''
"""A score."""
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from apackage.described import Described

class Score:
    """What is scored."""
    def scores(self):
        from .near import helper
        return helper()
''',
    "near.py": "from apackage import far\n\ndef helper():\n    return far.NUMBER\n",
    "far.py": "NUMBER = 1\n",
    "described.py": "class Described: ...\n",
    "unrelated.py": "NUMBER = 2\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of a user's own."""
    folder = tmp_path / "apackage"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "apackage"]:
        del sys.modules[name]


def imported(package: Path) -> ModuleType:
    """Its module with the score."""
    return import_module(f"{package.name}.score")


def test_what_is_imported_counts_wherever_it_is_imported(package: Path) -> None:
    """Within a function, by a relative import, of a module that imports another; not what only type checkers import."""
    names = set(code_of(imported(package).Score))
    assert names == {"apackage", "apackage.score", "apackage.near", "apackage.far"}
    assert code_of(imported(package).Score()) == code_of(imported(package).Score)


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("score.py", "return helper()", "return 2 * helper()", ["apackage.score"]),
        ("far.py", "NUMBER = 1", "NUMBER = 3", ["apackage.far"]),
        ("far.py", "NUMBER = 1", "NUMBER = 1  # a comment", []),
        ("score.py", '"""What is scored."""', '"""Another docstring."""', []),
        ("score.py", "class Score:", "\n\nclass Score:", []),
        ("unrelated.py", "NUMBER = 2", "NUMBER = 4", []),
        ("described.py", "class Described: ...", "class Described:\n    a = 1\n", []),
    ],
)
def test_an_edit_shows_where_it_computes(package: Path, file: str, old: str, new: str, changed: list[str]) -> None:
    """Of a score and of what it imports; neither a comment nor an unrelated file makes another cell."""
    score = imported(package).Score
    before = code_of(score)
    text = (package / file).read_text(encoding="utf-8")
    assert old in text
    (package / file).write_text(text.replace(old, new), encoding="utf-8")
    assert differing(before, code_of(score)) == changed


def test_a_package_may_lack_its_init_file(package: Path) -> None:
    """As a user's own folder does."""
    (package / "__init__.py").unlink()
    assert set(code_of(imported(package).Score)) == {"apackage.score", "apackage.near", "apackage.far"}


def test_components_count_too(package: Path) -> None:
    """A part says which others it uses without importing them by name."""

    class User:
        def components(self) -> list[object]:
            return [imported(package).Score()]

    assert "apackage.far" in code_of(User())


def test_scores_are_apart() -> None:
    """CKA is computed by the similarity, the control is not; printing computes neither."""
    assert "layersel.selection.measures.similarity" in code_of(CKA)
    assert "layersel.selection.measures.similarity" not in code_of(Last)
    assert not [name for name in code_of(CKA) if name.startswith(("layersel.terminal", "layersel.runs"))]


def test_classes_of_one_short_name_are_not_the_same() -> None:
    """They are known by their full import paths."""
    assert class_path(CKA()) == class_path(CKA) == "layersel.selection.scores.cka.CKA"
