"""The report of a grid: one HTML file that shows its cells, what they are worth, and which of them failed."""

import base64
import hashlib
import json
import math
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from layersel.files import write_text

PAGE = files("layersel.sweep") / "page"
SCRIPTS = ("records.js", "drawing.js", "figures.js", "table.js", "page.js")  # in the order in which they run


def write_report(
    path: Path,
    title: str,
    cells: list[dict[str, Any]],
    groups: list[dict[str, Any]],
    comparisons: list[dict[str, Any]],
    higher_is_better: bool = True,
) -> None:
    """Write the report of a grid to `path`, atomically.

    The file holds the records, the styles and the scripts, and needs nothing else: its content security policy
    forbids the browser to load anything and to run any script but these. The records stand in it as JSON, and the
    script puts them into the page as text, never as HTML.

    Args:
        path: The HTML file.
        title: What the page is headed with, such as the grid's name.
        cells: A record for each cell, in any state; any columns beside the known ones are shown in the table.
        groups: A record for each configuration and dataset, and for each configuration over all datasets.
        comparisons: A record for each configuration that is compared with the reference.
        higher_is_better: The direction of the metric.
    """
    write_text(path, report_html(title, cells, groups, comparisons, higher_is_better))


def report_html(
    title: str,
    cells: list[dict[str, Any]],
    groups: list[dict[str, Any]],
    comparisons: list[dict[str, Any]],
    higher_is_better: bool = True,
) -> str:
    """The page that `write_report` writes."""
    about = {"title": title, "higher": higher_is_better}
    tables = {"cells": cells, "groups": groups, "comparisons": comparisons}
    style = (PAGE / "report.css").read_text(encoding="utf-8")
    script = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return Template((PAGE / "template.html").read_text(encoding="utf-8")).substitute(
        data=_script_safe(about | {name: _columns(records) for name, records in tables.items()}),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
    )


def _columns(records: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Records as one list of names and one list of values each: a third of the size."""
    names = list(dict.fromkeys(name for record in records for name in record))
    return {"columns": names, "rows": [[_plain(record.get(name)) for name in names] for record in records]}


def _plain(value: Any) -> Any:
    """A value as JSON has it: of Python's own types, and None where it is NaN or infinite."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, list | tuple):
        return [_plain(element) for element in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _script_safe(content: Any) -> str:
    """JSON in ASCII without "<": nothing in it can end the script element or begin a comment."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _hash(text: str) -> str:
    """As a content security policy names an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
