"""Sample answers as a file, and as they are shown."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from layersel.files import write_text
from layersel.tasks.task import Shown

AT_MOST = 3
"""Samples that are shown in a terminal."""
WIDTH = 160
"""Characters of a text that are shown."""


def write_samples(path: Path, samples: Sequence[Mapping[str, str]]) -> None:
    """Writes a line of JSON for each sample."""
    write_text(path, "".join(json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples))


def shown_samples(path: Path) -> Shown | None:
    """Returns the first samples of a file as a table, long texts cut; None if there are none."""
    if not path.is_file():
        return None
    samples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    columns = ("expected", "answered")
    rows = [[_short(sample[column]) for column in columns] for sample in samples[:AT_MOST]]
    return Shown("Sample answers", list(columns), rows) if rows else None


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"
