"""The report of a grid: one HTML file with its cells, its comparisons, and the cells that failed."""

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from string import Template
from typing import Any

from layersel.tasks.task import Metric

PAGE = files("layersel.sweep") / "page"
SCRIPTS = ("records.js", "drawing.js", "figures.js", "layers.js", "table.js", "page.js")
"""The scripts of the page, in the order in which they run."""


def report_html(
    title: str,
    metric: Metric,
    cells: list[dict[str, Any]],
    groups: list[dict[str, Any]],
    comparisons: list[dict[str, Any]],
    titles: Mapping[str, str] = {},
    curves: Mapping[str, Any] = {},
    lengths: bytes | None = None,
    **scores: list[dict[str, Any]],
) -> str:
    """Returns the report of a grid as a page.

    The page holds the records, the styles and the scripts, and needs nothing else: its content security policy
    forbids the browser to load anything and to run any script but these. The records stand in it as JSON, and the
    script puts them into the page as text, never as HTML.

    Args:
        title: The heading of the page, such as the grid's name.
        metric: The metric that is compared.
        cells: A record for each cell, in any state; any columns beside the known ones are shown in the table.
        groups: A record for each configuration and dataset, and for each configuration over all datasets.
        comparisons: A record for each configuration that is compared with the reference.
        titles: The titles of the outcomes beside the adapted model's; others are shown by their names.
        curves: The mean curves of each name, `MeanCurves` as plain values: a figure each.
        lengths: The SVG of the figure of the datasets' lengths; None where they are not known.
        scores: What is known of scores of layers: `agreement`, a record for every two; `regrets`, one for each
            configuration whose layers are compared with an oracle's; and `chosen_layers`, one for each layer, score,
            budget and dataset.
    """
    known: dict[str, list[dict[str, Any]]] = {"agreement": [], "regrets": [], "chosen_layers": []}
    tables = {"cells": cells, "groups": groups, "comparisons": comparisons} | known | scores
    content = {"title": title, "metric": asdict(metric), "titles": dict(titles), "curves": _plain(dict(curves))}
    content["lengths"] = None if lengths is None else f"data:image/svg+xml;base64,{base64.b64encode(lengths).decode()}"
    content |= {name: _columns(rows) for name, rows in tables.items()}
    style = (PAGE / "report.css").read_text(encoding="utf-8")
    script = "\n".join((PAGE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return Template((PAGE / "template.html").read_text(encoding="utf-8")).substitute(
        data=_script_safe(content),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
    )


def _columns(records: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Returns records as one list of names and one list of values each, which takes a third of the space."""
    names = list(dict.fromkeys(name for record in records for name in record))
    return {"columns": names, "rows": [[_plain(record.get(name)) for name in names] for record in records]}


def _plain(value: Any) -> Any:
    """Returns a value as JSON has it: of Python's own types, and None where it is NaN or infinite."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, list | tuple):
        return [_plain(element) for element in value]
    if isinstance(value, dict):
        return {name: _plain(element) for name, element in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _script_safe(content: Any) -> str:
    """Returns JSON in ASCII without "<": nothing in it can end the script element or begin a comment."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _hash(text: str) -> str:
    """Returns the name of an inline script or style in a content security policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
