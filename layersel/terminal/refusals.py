"""What Hydra refuses of a command line or of the files in `conf/`: in one line, where it has many or a traceback."""

import argparse
import re
import sys
from collections.abc import Sequence
from functools import singledispatch
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from layersel.config import CONF, TARGET, choice, choices, new_spelling, unknown_option
from layersel.errors import UserError
from layersel.terminal.messages import option_line

FLAGS = "-m, --help, --cfg job, --info, --config-dir FOLDER"


class Flags(argparse.ArgumentParser):
    """Hydra's flags, of which a wrong one is one line."""

    def __init__(self) -> None:
        super().__init__(add_help=False, parents=[get_args_parser()])

    def error(self, message: str) -> NoReturn:
        """Raises a UserError, where argparse prints its usage and exits."""
        raise UserError(f"{message}; give options as NAME=VALUE, and no other flags than {FLAGS}, …")


def checked(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments of a script with all flags before the options, as Hydra wants them.

    Raises:
        UserError: Some cannot be used whatever the config is, a line each.
    """
    options = Flags().parse_intermixed_args(list(arguments)).overrides
    lines = [line for text in options if (line := _problem(text)) is not None]
    if lines:
        raise UserError("\n".join(lines))
    return [*(text for text in arguments if text not in options), *options]


@singledispatch
def refusal(error: Exception) -> str | None:
    """Returns the line, with the next step, for an error of Hydra or of a file in `conf/`; None for any other error."""
    return _words(error) if isinstance(error, HydraException) or _raised_by_hydra(error) else None


@refusal.register
def _(error: UserError) -> str:
    return str(error)


@refusal.register
def _(error: MissingConfigException) -> str:
    if error.options is None:
        return _words(error)
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    return f"{group}={choice}: no such option; expected one of {', '.join(error.options)}"


@refusal.register
def _(error: ConfigCompositionException) -> str:
    """Returns the line for a key that Hydra names, with the options of the node that refused it."""
    cause = error.__cause__
    if not isinstance(cause, OmegaConfBaseException):
        absent = re.match(r"Could not override '[\w/]+'\. No match in the defaults list\. .* use \+(.*)", _words(error))
        return _words(error) if absent is None else _without_place(absent[1])
    name = cause.full_key or str(error).split("'")[1]
    parent = cause.parent_node
    if not isinstance(cause, ConfigKeyError | ConfigAttributeError) or not isinstance(parent, DictConfig):
        return option_line(cause, name)
    given = re.match(rf"Could not override '({re.escape(name)}\..*)'", str(error))
    if given is not None:
        return f"{given[1]}: expected {name}=… beside it, but got none; give {name}={'|'.join(choices(name))}"
    return unknown_option(name, sorted(str(key) for key in parent if key != TARGET))


@refusal.register
def _(error: OmegaConfBaseException) -> str:
    return option_line(error)


@refusal.register
def _(error: YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return _words(error)
    problem = " ".join(str(getattr(error, "problem", error)).split())
    return f"{mark.name}, line {mark.line + 1}: expected YAML, but {problem}; correct the file"


@refusal.register
def _(error: UnicodeDecodeError) -> str:
    """Returns the line for the first file of the config that is no UTF-8: the error does not name it."""
    given = Flags().parse_known_args(sys.argv[1:])[0].config_dir
    folders = [CONF] if given is None else [Path(given), CONF]
    for file in (path for folder in folders for path in sorted(folder.rglob("*.yaml"))):
        content = file.read_bytes()
        try:
            content.decode()
        except UnicodeDecodeError as own:
            line = content.count(b"\n", 0, own.start) + 1
            return f"{file}, line {line}: expected UTF-8, but it cannot be decoded ({own.reason}); correct the file"
    return f"expected UTF-8 in the files of the config, but got {error}"


@refusal.register
def _(error: OSError) -> str:
    place = "" if error.filename is None else f" to {error.filename!r}"
    return f"output: cannot write{place} ({error.strerror}); name another folder with output=…"


def _without_place(text: str) -> str:
    """Returns the line for a choice of a group within a group, whose outer choice has no such group."""
    name, _, given = text.partition("=")
    if given not in choices(name):
        return f"{text}: no such option; expected one of {', '.join(choices(name))}"
    outer, _, inner = name.rpartition("/")
    have = [own for own in choices(outer) if inner in choice(outer, own)]
    return f"{text}: expected {' or '.join(f'{outer}={own}' for own in have)} beside it, but got another; leave one out"


def _words(error: Exception) -> str:
    several = re.match("Ambiguous value for argument '(.*)'", str(error))
    if several is None:
        return " ".join(str(error).split())
    name, _, value = several[1].partition("=")
    return (
        f"{several[1]}: expected one value, but got several; add -m to run each, write a list as [a,b], or quote a "
        f"value that has a comma: '{name}=\"{value}\"'"
    )


def _problem(text: str) -> str | None:
    """Returns why an option cannot be used as it is written; None if it can."""
    name, equals, given = text.partition("=")
    plain = name.lstrip("+~").partition("@")[0]
    if new_spelling(plain) is not None:
        return new_spelling(plain)
    if not equals or not plain or name.startswith("~"):
        why = ", as no option can be left out" if name.startswith("~") else ""
        return f"{text}: expected NAME=VALUE{why}; give {plain or 'NAME'}=…"
    if "@" in name or plain == "hydra":
        return f"{name}: unknown option; python train.py --help lists all"
    try:
        parsed = OverridesParser.create().parse_override(text)
    except HydraException:
        return f"{text}: expected NAME=VALUE, but it cannot be read; close brackets, or quote: '{name}=\"{given}\"'"
    value = parsed.value()
    chosen = value.list if isinstance(value, ChoiceSweep) else [value]
    if not (CONF / plain).is_dir() or not any(choice is None or isinstance(choice, int | float) for choice in chosen):
        return None
    return f"{text}: no such option; expected one of {', '.join(choices(plain))}"


def _raised_by_hydra(error: Exception) -> bool:
    """Returns whether Hydra itself raised an error, as it does with a plain ValueError for some options."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("hydra.")
