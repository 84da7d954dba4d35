"""From a composed Hydra config to checked objects.

Each option of a config group names its dataclass by `_target_`; that dataclass is both the schema of the option and the
object that does the work. Everything wrong with the options is found here, before anything slow starts, and reported
together.
"""

import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from layersel.errors import UserError, is_interruption

CONF = Path(__file__).resolve().parent.parent / "conf"
TARGET = "_target_"
T = TypeVar("T")


class Choice:
    """Options that a config group offers under the name of their module."""

    @property
    def name(self) -> str:
        """Returns the name of the choice, which is that of its module."""
        return type(self).__module__.rpartition(".")[2]


def build(config: DictConfig, kind: type[T]) -> T:
    """Makes an instance of the dataclass `kind` from a composed config; its groups become objects by their `_target_`.

    Groups may stand within groups.

    Raises:
        UserError: Unknown, missing, ill-typed or out-of-range options: one line each, all of them.
    """
    content: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    problems: list[str] = []
    instance = _instance(kind, "", content, problems)
    if instance is not None and not problems:
        problems += instance.problems()
    if problems:
        raise UserError("\n".join(problems))
    return instance  # type: ignore[no-any-return]


def choice(group: str, name: str) -> dict[str, Any]:
    """Returns the plain options of `conf/GROUP/NAME.yaml`, with the groups within as its defaults list has them."""
    options: dict[str, Any] = OmegaConf.to_container(_file(CONF / group / f"{name}.yaml"))  # type: ignore[assignment]
    for entry in options.pop("defaults", []):
        if isinstance(entry, dict):
            options |= {inner: choice(f"{group}/{inner}", chosen) for inner, chosen in entry.items()}
    return options


@cache
def _file(path: Path) -> DictConfig | ListConfig:
    """Returns a file of conf/, read once: every cell of a grid asks for the same ones."""
    return OmegaConf.load(path)


def choices(group: str) -> list[str]:
    """Returns the names that a group can be given, such as `task/head`."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def build_group(name: str, node: dict[str, Any]) -> Any:
    """Makes the object of one group's plain options, as `build` does it."""
    problems: list[str] = []
    instance = _group(name, node, problems)
    if problems:
        raise UserError("\n".join(problems))
    return instance


def given_options(*groups: str) -> list[str]:
    """Returns what the command line says of these groups and single options, as it was typed; without Hydra nothing."""
    from hydra.core.hydra_config import HydraConfig

    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return [override for override in typed if re.match(rf"[+~]*({'|'.join(groups)})\b", override)]


def new_spelling(name: str) -> str | None:
    """Returns the line that refuses an option or a group by its former name; None for any other name."""
    return f"{name}: it is {_renamed()[name]} now" if name in _renamed() else None


def unknown_option(name: str, known: Iterable[str]) -> str:
    """Returns the line that refuses an option which is not there."""
    if (CONF / name).is_dir():
        return f"{name}: expected a file that begins with '# @package _global_', and options below it, but got another"
    choices = ", ".join(known)
    return new_spelling(name) or f"{name}: unknown option" + (f"; expected one of {choices}" if choices else "")


@cache
def _renamed() -> dict[str, str]:
    return OmegaConf.to_container(OmegaConf.load(CONF / "renamed.yaml"))  # type: ignore[return-value]


def _group(path: str, node: dict[str, Any], problems: list[str]) -> Any:
    """Makes the object of a group and of the groups within it; None, and the reason in `problems`, if that fails."""
    module, _, name = node[TARGET].rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        problems.append(f"{path}.{TARGET}: cannot import {node[TARGET]!r} ({error})")
        return None
    if not (isinstance(kind, type) and is_dataclass(kind)):
        problems.append(f"{path}.{TARGET}: expected a dataclass of options, but got {node[TARGET]!r}")
        return None
    instance = _instance(kind, f"{path}.", {name: value for name, value in node.items() if name != TARGET}, problems)
    if instance is not None:
        problems += instance.problems()
    return instance


def _instance(kind: type, prefix: str, given: dict[str, Any], problems: list[str]) -> Any:
    """Makes an object of `kind` whose own options are not yet checked against their ranges."""
    found: list[str] = []
    groups = {name: value for name, value in given.items() if isinstance(value, dict) and TARGET in value}
    known = [field.name for field in fields(kind)]
    found += [unknown_option(f"{prefix}{name}", known) for name in given if name not in known]
    plain = {name: value for name, value in given.items() if name in known and name not in groups}
    options = _checked(kind, plain, prefix, found)
    missing = {key for key in OmegaConf.missing_keys(options) if key.partition(".")[0] not in groups}
    found += [f"{prefix}{key}: missing; give {prefix}{key}=…" for key in sorted(missing)]
    built = {name: _group(f"{prefix}{name}", node, problems) for name, node in groups.items() if name in known}
    found += [
        f"{prefix}{field.name}: expected {_type_name(field.type)}, but got {given[field.name][TARGET]!r}"
        for field in fields(kind)
        if built.get(field.name) is not None and not isinstance(built[field.name], field.type)  # type: ignore[arg-type]
    ]
    problems += found
    if found or None in built.values():
        return None
    content: dict[str, Any] = OmegaConf.to_container(options)  # type: ignore[assignment]
    return kind(**{name: content[name] for name in plain}, **built)


def _checked(kind: type, given: dict[str, Any], prefix: str, problems: list[str]) -> DictConfig:
    """Returns the schema of `kind` with the given values; what does not fit goes to `problems`."""
    options: DictConfig = OmegaConf.structured(kind)
    for name, value in given.items():
        try:
            options = cast("DictConfig", OmegaConf.merge(options, {name: value}))
        except OmegaConfBaseException as error:
            if is_interruption(error):
                raise
            expected = next(field.type for field in fields(kind) if field.name == name)
            problems.append(f"{prefix}{name}: expected {_type_name(expected)}, but got {value!r}")
    return options


def _type_name(expected: Any) -> str:
    plain = isinstance(expected, type) and not hasattr(expected, "__args__")
    return expected.__name__ if plain else str(expected).replace(" | None", " or null")
