"""Options that the swept choices of a grid have, but which Hydra refuses because the default choice lacks them.

Hydra first composes a config for the grid as a whole, which says how to run it; in that config a swept group is as the
defaults have it. What is swept is given to the cells alone, and so is an option that is an axis of one value.
"""

import argparse
import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode

from layersel.config import CONF
from layersel.errors import UserError
from layersel.terminal.refusals import Flags

REFUSED = re.compile(r"Could not override '((\w+)[./][\w./]+)'")
"""Hydra's words for an option, or a group within a group, that is not there; the second part is the outermost group."""

SETTINGS = ("experiment", "hparams_search")
"""Groups that set options of any other group, and may make a grid without -m."""


def left_to_cells(config_name: str, arguments: Sequence[str], error: ConfigCompositionException) -> list[str]:
    """Returns a grid's command line with all that it sets in the group of a refused option left to the cells.

    An experiment's grid is given its -m first: Hydra takes it for a single cell where it refuses an option.

    Args:
        config_name: Name of the config in `conf/`.
        arguments: The command line, checked.
        error: What Hydra raised.

    Raises:
        UserError: Some of the swept choices lack an option that others have.
        ConfigCompositionException: All of them lack it, no choice is swept, or the error is about something else.
    """
    refused, flags = REFUSED.match(str(error)), Flags().parse_args(arguments)
    may_be_grid = any(_outermost(text) in (*SETTINGS, "hydra") for text in flags.overrides)
    if flags.cfg or flags.info or not (refused if flags.multirun else may_be_grid):
        raise error
    with initialize_config_dir(str(CONF), version_base="1.3"):
        grid = _Grid(config_name, flags)
        if grid.whole.hydra.mode != RunMode.MULTIRUN:
            raise error
        if not flags.multirun or refused is None:
            return ["-m", *arguments]
        group = refused[2]
        swept = [name for name in grid.swept if _outermost(name) in (group, *SETTINGS)]
        if not swept:
            raise error
        grid.try_choices(swept, group)
    axes = {
        one.input_line: f"{name}=choice({one.get_value_element_as_str() or _quoted('')})"
        for name, one in grid.given.items()
        if _outermost(name) == group != name and not one.is_sweep_override()
    }
    left = [axes.get(text, text) for text in arguments]
    if left == arguments:
        raise error
    return left


class _Grid:
    """What a command line, and the experiment that it names, give to the cells of a grid.

    Attributes:
        whole: The config of the grid as a whole, without the options of groups.
        given: Everything that is set, by its name.
        swept: Names of the groups that have several choices.
    """

    def __init__(self, config_name: str, flags: argparse.Namespace):
        self._loader = GlobalHydra.instance().config_loader()
        parser = OverridesParser.create(self._loader)
        given = parser.parse_overrides(flags.overrides)
        outer = [str(one.input_line) for one in given if one.is_hydra_override() or one.key_or_group.isidentifier()]
        if flags.multirun:
            outer.append("hydra.mode=MULTIRUN")
        if flags.config_dir is not None:
            outer.append(f"hydra.searchpath=[{_quoted(f'file://{Path(flags.config_dir).resolve()}')}]")
        self.whole = self._loader.load_configuration(config_name, outer, RunMode.MULTIRUN)
        axes = [f"{name}={value}" for name, value in (self.whole.hydra.sweeper.get("params") or {}).items()]
        cells = [one for one in [*parser.parse_overrides(axes), *given] if not one.is_hydra_override()]
        self.given = {one.get_key_element(): one for one in cells}
        self.swept = [name for name, one in self.given.items() if one.is_sweep_override() and (CONF / name).is_dir()]

    def try_choices(self, swept: Sequence[str], group: str) -> None:
        """Composes a cell for every combination of the swept choices, with all that is set in a group.

        Raises:
            UserError: Some choices lack an option, a line for each option.
            ConfigCompositionException: All lack one.
        """
        chosen = {name: one for name, one in self.given.items() if _outermost(name) == group or (CONF / name).is_dir()}
        axes = [_texts(name, one)[: None if name in swept else 1] for name, one in chosen.items()]
        cells = list(product(*filter(None, axes)))
        lacking: dict[str, list[str]] = {}
        for cell in cells:
            try:
                self._loader.load_sweep_config(self.whole, list(cell))
            except ConfigCompositionException as refusal:
                refused = REFUSED.match(str(refusal))
                if refused is None:
                    raise
                choices = " ".join(text for text in cell if text.partition("=")[0] in swept)
                lacking.setdefault(refused[1], []).append(choices)
                if len(lacking[refused[1]]) == len(cells):
                    raise
        if lacking:
            raise UserError("\n".join(_lacking(name, choices) for name, choices in lacking.items()))


def _lacking(name: str, choices: Sequence[str]) -> str:
    return (
        f"{name}: expected an option of every choice in the grid, but it is not one of {', '.join(choices)}; run the "
        f"choices one by one"
    )


def _outermost(name: str) -> str:
    return re.split("[./=]", name)[0]


def _texts(name: str, override: Override) -> list[str]:
    """Returns the override once for each of its values."""
    if override.is_discrete_sweep():
        return [f"{name}={value}" for value in override.sweep_string_iterator()]
    return [] if override.is_sweep_override() else [str(override.input_line)]


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()
