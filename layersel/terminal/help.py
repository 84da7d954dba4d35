"""The text of --help: every group, its choices, and every field as it is documented where it is defined."""

import ast
import inspect
import textwrap
from collections.abc import Collection
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from omegaconf import MISSING, OmegaConf

from layersel.config import CONF, TARGET

WIDTH = 110
WHOLE = {
    "experiment": "whole settings, some of them grids",
    "hparams_search": "searches for the best cell",
    "hydra/launcher": "where the cells of a grid run; hydra.launcher.NAME=VALUE for what stands in its file",
}
"""Groups whose files are no dataclass's options."""


def help_text(config_name: str, kind: type, head: str) -> str:
    """Returns how to call a script and what every option means.

    Args:
        config_name: Its file in `conf/`.
        kind: The dataclass of its options; groups are the fields that have a folder in `conf/`.
        head: What the script is for, with examples.
    """
    defaults = _load(CONF / f"{config_name}.yaml")
    docs = field_docs(kind)
    chosen = _chosen(defaults)
    groups = [name for name in docs if name in chosen]
    lines = [head.strip(), "", "OPTIONS"]
    lines += [_entry(name, docs[name], defaults.get(name)) for name in docs if name not in groups]
    for name in groups:
        lines += ["", f"{name.upper()}: {docs[name]}", *_group(name, chosen[name])]
    for group in (group for group in WHOLE if group in chosen):
        lines += ["", f"{group.upper()}: {WHOLE[group]}"]
        lines += [_entry(f"{group}={choice}", text) for choice, text in choices(group).items()]
    return "\n".join(lines) + "\n"


def field_docs(kind: type) -> dict[str, str]:
    """Returns the docstring under each field of a dataclass, those of its bases included."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = definition.body  # type: ignore[attr-defined]
        for statement, following in pairwise(body):
            text = getattr(getattr(following, "value", None), "value", None)
            if isinstance(statement, ast.AnnAssign) and isinstance(text, str):
                docs[statement.target.id] = " ".join(text.split())  # type: ignore[union-attr]
    return {name: text for name, text in docs.items() if name in {field.name for field in fields(kind)}}


def choices(group: str) -> dict[str, str]:
    """Returns the choices of a config group and the one-line comment that each file begins with."""
    return {path.stem: _comment(path) for path in sorted((CONF / group).glob("*.yaml"))}


def _load(path: Path) -> dict[str, Any]:
    return OmegaConf.to_container(OmegaConf.load(path))  # type: ignore[return-value]


def _comment(path: Path) -> str:
    comments = [line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    return next(comment for comment in comments if not comment.startswith("@package"))


def _group(group: str, default: str | None) -> list[str]:
    """Returns the lines about a group's choices and options, and below them those about the groups within."""
    described = choices(group)
    lines = [
        _entry(f"{group}={choice}", text + " (default)" * (choice == default)) for choice, text in described.items()
    ]
    contents = {choice: _load(CONF / group / f"{choice}.yaml") for choice in described}
    owners: dict[tuple[str, str], list[str]] = {}
    for choice, content in contents.items():
        for name, text in field_docs(get_class(content[TARGET])).items():
            owners.setdefault((name, text), []).append(choice)
    within: list[str] = []
    for (name, text), owning in owners.items():
        if (CONF / group / name).is_dir():
            inner, chosen = f"{group}/{name}", _chosen(contents[owning[0]]).get(name)
            within += ["", f"{inner.upper()}: {text}{_only(owning, contents)}", *_group(inner, chosen)]
            continue
        shown = text + _defaults({c: contents[c].get(name) for c in owning}) + _only(owning, contents)
        lines.append(_entry(f"{group.replace('/', '.')}.{name}", shown))
    return lines + within


def _chosen(content: dict[str, Any]) -> dict[str, str]:
    """Returns the choice of each group in the defaults list of a file."""
    entries = [entry for entry in content.get("defaults", []) if isinstance(entry, dict)]
    return {group.removeprefix("override "): choice for entry in entries for group, choice in entry.items()}


def _only(owning: Collection[str], all_choices: Collection[str]) -> str:
    """Returns which choices have an option, or which have not if these are fewer."""
    others = [choice for choice in all_choices if choice not in owning]
    if not others:
        return ""
    return f" [{', '.join(owning)}]" if len(owning) <= len(others) else f" [not {', '.join(others)}]"


def _defaults(values: dict[str, Any]) -> str:
    """Returns the default of an option, with the choices that have it where it is not the same for all."""
    having: dict[str, list[str]] = {}
    for choice, value in values.items():
        if value not in (None, MISSING):
            having.setdefault(str(value), []).append(choice)
    if len(having) == 1 and len(next(iter(having.values()))) == len(values):
        return f" (default: {next(iter(having))})"
    each = [f"{value} for {', '.join(owning)}" for value, owning in having.items()]
    return f" (default: {'; '.join(each)})" if each else ""


def _entry(name: str, text: str, default: Any = None) -> str:
    shown = text if default is None else f"{text} (default: {default})"
    return textwrap.fill(shown, WIDTH, initial_indent=f"  {name:<28}  ", subsequent_indent=" " * 32)
