"""A room imports only from earlier rooms: the package reads in one direction."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "layersel"

# A room may import from those in the rows above it.
ROWS = [
    {"errors", "files", "holder", "progress", "seeding", "stopwatch", "__init__"},
    {"config", "telling"},
    {"help", "child"},
    {"data"},
    {"backbone", "metrics"},
    {"selection"},
    {"adapters", "compression"},
    {"merging"},
    {"tasks", "analysis"},
    {"identity", "tables", "tracking", "run_folder"},
    {"callbacks", "ranks", "store"},
    {"training"},
    {"cell"},
    {"sweep", "evaluation"},
    {"cli"},
]
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}

# Rooms from which files outside of the package may import: the entry scripts stay thin.
SCRIPTS = {"train.py": {"cli"}, "evaluate.py": {"cli", "config", "evaluation"}}


def room_of(path: Path) -> str:
    """The room, or the top-level module, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a file imports from anywhere in its code, also within functions."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        rooms |= {f"{module}.__init__".split(".")[1] for module in modules if module.split(".")[0] == "layersel"}
    return {room if room in ROW_OF else "__init__" for room in rooms}


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_room_has_its_place() -> None:
    """A new room or top-level module is given a row before it is used."""
    assert {room_of(path) for path in FILES} - set(ROW_OF) == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_backwards_only(path: Path) -> None:
    """To earlier rows and to the room itself; rooms of one row are strangers."""
    room = room_of(path)
    if room == "__init__":
        return  # the front door: lazily opens onto `selection`
    for other in imported_rooms(path) - {room}:
        assert ROW_OF[other] < ROW_OF[room], f"{path.relative_to(ROOT)} imports from {other}, which comes later"


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_thin(script: str) -> None:
    """At most 80 lines, and nothing but the composition of what the package has."""
    path = ROOT / script
    assert imported_rooms(path) - {"__init__"} == SCRIPTS[script]
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 80


def test_help_is_quick() -> None:
    """The modules that --help and error messages need import no heavy library at their top."""
    for name in ("cli", "config", "help", "errors"):
        tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {getattr(node, "module", None) or node.names[0].name for node in top}
        assert not {name.split(".")[0] for name in names} & {"torch", "lightning", "transformers", "peft", "wandb"}
