"""Which code computes something: the module of a class or function, and what that module imports, without running it.

A module counts by its syntax tree, so that comments, docstrings and layout do not: an edit of these computes the same.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

COMPUTES_NOTHING = ("layersel.terminal", "layersel.runs", "layersel.cell.options", "layersel.errors", "layersel.files")
"""Modules and rooms that compute no number: what is printed, recorded or only describes a cell makes no other one."""


def code_of(*parts: Any, modules: Iterable[str] = ()) -> dict[str, str]:
    """Returns the hash of each module that computes some parts, by the module's name, sorted.

    These are the modules that define the parts and those that they import from their own top-level packages,
    transitively, wherever in a file the import stands. What only type checkers import does not count.

    Args:
        parts: Classes, functions, or objects, which stand for their classes, and for what their method `components`
            names beside, and so on.
        modules: Further modules, by name.
    """
    modules = {*modules, *(_module_of(part) for part in _with_components(parts))}
    roots = {module.partition(".")[0] for module in modules} | {"layersel"}
    found: dict[str, str] = {}
    waiting = sorted(modules)
    while waiting:
        module = waiting.pop()
        if module in found or f"{module}.".startswith(tuple(f"{room}." for room in COMPUTES_NOTHING)):
            continue
        file = _file(module)
        if file is None:
            continue
        found[module], imported = _read(file, module, file.stat().st_mtime_ns)
        waiting += [name for name in imported if name.partition(".")[0] in roots]
    return dict(sorted(found.items()))


def _with_components(parts: Iterable[Any]) -> Iterator[Any]:
    for part in parts:
        yield part
        yield from _with_components(getattr(part, "components", list)())


def class_path(part: Any) -> str:
    """Returns the full import path of a class, or of an object's class: a short name does not tell two apart."""
    kind = part if isinstance(part, type) else type(part)
    return f"{kind.__module__}.{kind.__qualname__}"


def _module_of(part: Any) -> str:
    return str(part.__module__ if isinstance(part, type) or callable(part) else type(part).__module__)


def _file(module: str) -> Path | None:
    """Returns the module's source; None if there is none, or it is a name inside a module."""
    root, _, rest = module.partition(".")
    spec = importlib.util.find_spec(root)
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]  # a package without __init__.py, too
    if not rest:
        places = [Path(spec.origin)] if spec.origin is not None else []
    else:
        paths = [folder.joinpath(*rest.split(".")) for folder in folders]
        places = [file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py")]
    return next((file for file in places if file.is_file()), None)  # a module that is built in has none


@cache
def _read(file: Path, module: str, mtime_ns: int) -> tuple[str, list[str]]:
    """Returns the hash of a file's code, and what it imports: each name that may be a module."""
    tree = ast.parse(file.read_bytes())
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    imported = list(_imports(tree, package))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_docstring(statement)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16], imported


def _is_docstring(statement: ast.stmt) -> bool:
    """Returns whether it is a bare string, as a docstring is, that of a dataclass' field included."""
    return isinstance(statement, ast.Expr) and isinstance(getattr(statement.value, "value", None), str)


def _imports(node: ast.AST, package: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.orelse:
                yield from _imports(statement, package)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            parent = package.rsplit(".", child.level - 1)[0] if child.level else ""
            base = ".".join(filter(None, (parent, child.module)))
            yield base
            yield from (f"{base}.{alias.name}" for alias in child.names)
        else:
            yield from _imports(child, package)


def differing(code: dict[str, str], other: dict[str, str]) -> list[str]:
    """Returns the names of the modules in which two results of `code_of` differ, sorted."""
    return sorted(name for name in code.keys() | other.keys() if code.get(name) != other.get(name))
