"""Finds dataclasses by the names of their modules: one module, one dataclass."""

import importlib
import pkgutil
from typing import TypeVar

from layersel.errors import one_of

T = TypeVar("T")


def names_in(package: str) -> list[str]:
    """Returns the names of all modules of a package, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__))


def kind_named(package: str, base: type[T], argument: str, name: str) -> type[T]:
    """Returns the subclass of `base` that the module `name` of a package defines.

    Args:
        package: The full name of the package.
        base: The class of all that it holds.
        argument: What the caller calls the name.
        name: The name of the module.

    Raises:
        UserError: There is no such module; the message lists those that there are.
    """
    known = names_in(package)
    if name not in known:
        raise one_of(argument, name, known)
    module = importlib.import_module(f"{package}.{name}")
    (kind,) = (
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, base) and item.__module__ == module.__name__
    )
    return kind
