"""The embedded passages on Python: prose of one length, spread over many topics, frozen, and made by their script."""

import re
import runpy
from pathlib import Path

import pytest

from layersel.data.texts.python_reference import PythonReference

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "layersel" / "data" / "texts" / "reference_passages"
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "make_python_reference.py"))
FROZEN = "9497a11551d86678"


def test_passages_are_frozen() -> None:
    """Numbers that are measured on them do not depend on the version of Python."""
    dataset = PythonReference().load()
    assert dataset.name == "python"
    assert dataset.fingerprint() == FROZEN


def test_passages_are_prose() -> None:
    """60 to 200 words of ASCII in whole sentences; no code, no table, no sentence twice."""
    passages = [own.text or "" for own in PythonReference().load().examples]
    assert len(passages) == 60
    for passage in passages:
        assert passage.isascii()
        assert 60 <= len(passage.split()) <= 200
        assert passage.endswith(".")
        assert re.search(r"::=|>>>|={4}|-{4}|\+--|^\s|  |\w- \w", passage, flags=re.MULTILINE) is None
        assert sum(sign.isalpha() or sign == " " for sign in passage) / len(passage) > 0.85
    paragraphs = [paragraph for passage in passages for paragraph in passage.split("\n")]
    assert len(set(paragraphs)) == len(paragraphs)


def test_script_makes_the_passages(tmp_path: Path) -> None:
    """Byte for byte, from the release that they were taken of."""
    from pydoc_data import topics

    if "on Mon Dec  4 17:55:07 2023" not in Path(topics.__file__).read_text(encoding="utf-8"):
        pytest.skip("the topics are not those of Python 3.11.7")
    SCRIPT["make"](topics.topics, tmp_path / "python.txt")
    assert (tmp_path / "python.txt").read_bytes() == (FOLDER / "python.txt").read_bytes()


def test_passages_are_spread() -> None:
    """No topic has more than two of them, though some have many more."""
    paragraph = (
        "This paragraph number {0} of topic {1} has more than the twelve words that every paragraph of prose has."
    )
    topics = {name: "\n\n".join(paragraph.format(n, name) for n in range(50)) for name in map(str, range(40))}
    chosen = SCRIPT["choose"](topics)
    counts = [sum(f"topic {name} " in passage for passage in chosen) for name in topics]
    assert (len(chosen), max(counts), min(counts)) == (60, 2, 1)


def test_attribution() -> None:
    """The licence asks for its text, the notice of copyright, and a summary of the changes."""
    text = (FOLDER / "ATTRIBUTION.md").read_text(encoding="utf-8")
    notice = "Copyright (c) 2001-2023 Python Software Foundation"
    for part in (
        notice,
        "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2",
        "8. By copying, installing",
        "License\nAgreement.\n",
        "Changes:",
    ):
        assert part in text
    assert '"layersel/data/texts/reference_passages/ATTRIBUTION.md"' in (ROOT / "pyproject.toml").read_text()
