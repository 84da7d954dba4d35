"""From a composed Hydra config to checked objects.

Each option of a config group names its dataclass by `_target_`; that dataclass is both the schema of the option and the
object that does the work. Everything wrong is found here, before anything slow starts, and reported together.
"""

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, cast

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from layersel.errors import UserError

CONF = Path(__file__).resolve().parent.parent / "conf"
TARGET = "_target_"
T = TypeVar("T")


def build(config: DictConfig, kind: type[T]) -> T:
    """An instance of the dataclass `kind` from a composed config; its groups become objects by their `_target_`.

    Raises:
        UserError: Unknown, missing, ill-typed or out-of-range options: one line each, all of them.
    """
    content: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    groups = {name: node for name, node in content.items() if isinstance(node, dict) and TARGET in node}
    problems: list[str] = []
    plain = {name: value for name, value in content.items() if name not in groups}
    options = _checked(kind, plain, "", problems)
    values = {name: options[name] for name in plain if name in options}
    for name, node in groups.items():
        values[name] = _build_group(name, node, problems)
    instance = kind(**values) if not problems else None
    if instance is not None:
        problems += instance.problems()  # type: ignore[attr-defined]
    if instance is None or problems:
        raise UserError("\n".join(problems))
    return instance


def choice(group: str, name: str) -> dict[str, Any]:
    """The plain options of `conf/GROUP/NAME.yaml`."""
    return OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))  # type: ignore[return-value]


def build_group(name: str, node: dict[str, Any]) -> Any:
    """The object that one group's plain options make, as `build` does it."""
    problems: list[str] = []
    instance = _build_group(name, dict(node), problems)
    if problems:
        raise UserError("\n".join(problems))
    return instance


def _build_group(name: str, node: dict[str, Any], problems: list[str]) -> Any:
    kind = get_class(node.pop(TARGET))
    found: list[str] = []
    options = _checked(kind, node, f"{name}.", found)
    found += [f"{name}.{key}: missing; give {name}.{key}=…" for key in sorted(OmegaConf.missing_keys(options))]
    instance = None if found else OmegaConf.to_object(options)
    if instance is not None:
        found += instance.problems()  # type: ignore[union-attr]
    problems += found
    return instance


def _checked(kind: type, given: dict[str, Any], prefix: str, problems: list[str]) -> DictConfig:
    """The schema of `kind` with the given values; what does not fit goes to `problems`."""
    options: DictConfig = OmegaConf.structured(kind)
    known = [field.name for field in fields(kind)]
    for name, value in given.items():
        if name not in known:
            problems.append(f"{prefix}{name}: unknown option; expected one of {', '.join(known)}")
            continue
        try:
            options = cast("DictConfig", OmegaConf.merge(options, {name: value}))
        except OmegaConfBaseException as error:
            expected = next(field.type for field in fields(kind) if field.name == name)
            problems.append(
                f"{prefix}{name}: expected {_type_name(expected)}, but got {value!r} ({type(error).__name__})"
            )
    return options


def _type_name(expected: Any) -> str:
    return expected.__name__ if isinstance(expected, type) and not hasattr(expected, "__args__") else str(expected)
