"""Configurations: the options in which they differ, their names, and their references."""

import re
from collections import Counter
from dataclasses import replace

import pandas as pd

from layersel.config import choice, choices
from layersel.errors import UserError, one_of
from layersel.sweep.cells import Cells
from layersel.sweep.reading import LABELS, as_text

NULL = as_text(None)
FOLLOWING = ("order", "keep_model")
"""Options that are recorded as far as there is something to do."""
IF_ALL_ARE_ALIKE = ("selection", "n")
"""Labels that name a configuration where there is no other one."""
TOLD = 4
"""Most configurations without a reference that are named."""


def configurations(cells: Cells) -> pd.DataFrame:
    """Returns the options that all cells of a configuration share, as text; a row for each, named by its hash."""
    known = cells.table[cells.table["configuration"].notna()]
    columns = [name for name in (*LABELS, *cells.options) if name not in ("dataset", "seed")]
    texts = known[columns].astype(object).map(lambda value: as_text(None if pd.isna(value) else value))
    grouped = texts.groupby(known["configuration"].astype(object), sort=False)
    shared = (grouped.nunique() == 1).all()
    return grouped.first().loc[:, shared]


def names(options: pd.DataFrame) -> dict[str, str]:
    """Returns the name of each configuration, the options that differ between them: "selection=cka n=3 rank=4".

    Every option is named that differs among the configurations that have it, unless a label says the same, all have
    what the file of their choice gives it, or it follows from others. Where none differs the selection names them.

    Args:
        options: The table of `configurations`.
    """
    differing = [name for name in map(str, options) if options[name].nunique() > 1]
    shown: list[str] = []
    for name in differing:
        told = _is_repetition(options, name, shown) or _is_default(options, name) or follows(options, name)
        if name in LABELS or (not told and _distinguishes(options, name, shown)):
            shown.append(name)
    shown = shown or [name for name in IF_ALL_ARE_ALIKE if name in options]
    found = {str(own): _name(options.loc[own, shown].to_dict()) for own in options.index}
    counts = Counter(found.values())
    return {own: f"{name} configuration={own[:8]}" if counts[name] > 1 else name for own, name in found.items()}


def named(cells: Cells, options: pd.DataFrame) -> Cells:
    """Returns the cells with a column `name`, that of their configuration, beside its hash."""
    column = cells.table["configuration"].map(names(options), na_action="ignore").astype("string")
    table = cells.table.copy()
    table.insert(list(table.columns).index("configuration") + 1, "name", column)
    return replace(cells, table=table)


def references(options: pd.DataFrame, reference: str | None) -> tuple[dict[str, str], list[str]]:
    """Returns the configuration that each other one is compared with.

    The options that `reference` names select some configurations. A single one is the reference of all; of several it
    is the one that agrees with the compared configuration in all that varies among them.

    Args:
        options: The table of `configurations`.
        reference: Such as "selection=none" or "selection=cka, adapter.rank=4"; None = selection=none, if a single
            configuration has it.

    Returns:
        Reference by configuration, both as hashes; and a line about the configurations without one.

    Raises:
        UserError: No configuration has these options.
    """
    if options.empty:
        return {}, []
    if reference is None:
        return _untouched(options) if len(options) > 1 else ({}, [])
    return _matched(options, _selected(options, reference))


def _untouched(options: pd.DataFrame) -> tuple[dict[str, str], list[str]]:
    found = [own for own in options.index if "selection" in options and options.at[own, "selection"] == "none"]
    if len(found) != 1:
        return {}, [f"no comparison: {len(found)} configurations have selection=none; name a reference"]
    return {own: found[0] for own in options.index if own != found[0]}, []


def _is_repetition(options: pd.DataFrame, name: str, shown: list[str]) -> bool:
    has = options[name] != NULL
    return any((options.loc[has, name] == options.loc[has, other]).all() for other in shown)


def _is_default(options: pd.DataFrame, name: str) -> bool:
    """Returns whether every configuration has the value that conf/GROUP/CHOICE.yaml gives, such as selection/cka."""
    label, _, option = name.rpartition(".")
    if label not in options:
        return False
    group = label.replace(".", "/")
    known, has = choices(group), options[options[name] != NULL]
    return all(
        chosen in known and as_text(choice(group, chosen).get(option)) == value
        for chosen, value in zip(has[label], has[name], strict=True)
    )


def _distinguishes(options: pd.DataFrame, name: str, shown: list[str]) -> bool:
    """Returns whether an option differs where it exists, or where no other option does."""
    differs = options.loc[options[name] != NULL, name].nunique() > 1
    return differs or _count_different(options, [*shown, name]) > _count_different(options, shown)


def _count_different(options: pd.DataFrame, columns: list[str]) -> int:
    return len(set(map(tuple, options[columns].to_numpy())))


def _name(values: dict[str, str]) -> str:
    given = {name: value for name, value in values.items() if value != NULL} or values
    return " ".join(f"{name}={value}" for name, value in given.items()) or "all"


def _selected(options: pd.DataFrame, reference: str) -> pd.DataFrame:
    selected = options
    for part in re.split(r"[\s,]+(?=[^\s,=]+=)", reference.strip(" ,")):
        name, equals, value = part.partition("=")
        if not equals:
            raise UserError(f"reference: expected NAME=VALUE, several separated by spaces, but got {part!r}")
        if name not in options:
            labels = [label for label in LABELS if label in options]
            raise one_of("reference", name, labels, "or an option by its dotted name")
        has = [same(own, value.strip()) for own in options[name]]
        if not any(has):
            known = sorted(set(options[name]))
            raise one_of(f"reference: {name}", value, [f"[{own}]" if "," in own else own for own in known])
        selected = selected[selected.index.isin(options.index[has])]
    if selected.empty:
        raise UserError(f"reference: no configuration has all of {reference!r}; leave some of these options out")
    return selected


def follows(options: pd.DataFrame, name: str) -> bool:
    """Returns whether an option is the same wherever adapter, merging, precision and pruning are, as they leave it.

    Such are the recorded `order`, the steps that have something to do, and `keep_model`, false where none compresses.
    """
    deciding = [label for label in ("adapter", "merging", "precision", "pruning") if label in options]
    return name in FOLLOWING and bool(deciding) and bool((options.groupby(deciding)[name].nunique() == 1).all())


def same(own: str, given: str) -> bool:
    """Returns whether a text is the value that was given: as a number, as a list in brackets, or literally."""
    listed = given.removeprefix("[").removesuffix("]").replace(" ", "")
    try:
        return own in (given, listed) or float(own) == float(given)
    except ValueError:
        return False


def _matched(options: pd.DataFrame, selected: pd.DataFrame) -> tuple[dict[str, str], list[str]]:
    varying = [name for name in map(str, selected) if selected[name].nunique() > 1 and not follows(options, name)]
    known = names(options)
    found, without = {}, []
    for own in options.index.difference(selected.index, sort=False):
        alike = selected.index[(selected[varying] == options.loc[own, varying]).all(axis=1)]
        if len(alike) == 1:
            found[own] = alike[0]
        else:
            without.append(known[own])
    if not without:
        return found, []
    told = without if len(without) <= TOLD else [*without[: TOLD - 1], f"{len(without) - TOLD + 1} more"]
    candidates = " | ".join(known[other] for other in selected.index)
    lacking = f"expected one reference that agrees in all that varies among these, but got {candidates}"
    return found, [f"no comparison of {', '.join(told)}: {lacking}"]
