"""A room imports only from earlier rooms, and only the rooms of a task name what is the task's own."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "layersel"

# A room may import from those in the rows above it.
ROWS = [
    {"errors", "seeding", "__init__"},
    {"files"},
    {"config"},
    {"terminal"},
    {"runs"},
    {"data"},
    {"backbone", "metrics"},
    {"selection"},
    {"adapters", "compression"},
    {"merging"},
    {"callbacks"},
    {"training"},
    {"tasks"},
    {"cell"},
    {"sweep", "evaluation"},
    {"asreview", "cli"},
]
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}

# Rooms from which files outside of the package may import: the entry scripts stay thin.
SCRIPTS = {"train.py": {"cli"}, "evaluate.py": {"cli", "evaluation"}}

# Where the words of citation screening belong, and those of texts that come in pairs; everything else serves any task.
OF_SCREENING = (
    "layersel/tasks/screening/",
    "layersel/metrics/",
    "layersel/data/reviews/",
    "layersel/data/texts/",
    "layersel/asreview/",
)
SCREENING = re.compile(r"\b(screen\w*|awss\w*|reviews?|rankings?)\b", re.IGNORECASE)
OF_PAIRS = (*OF_SCREENING, "layersel/tasks/classification/", "layersel/data/tokens.py")
PAIRS = re.compile(r"\b(tf-?idf|pairs?)\b", re.IGNORECASE)


def room_of(path: Path) -> str:
    """The room, or the top-level module, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a file imports from anywhere in its code, also within functions and for types only."""
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
GENERIC = sorted(
    path
    for folder in ("layersel", "hydra_plugins")
    for pattern in ("*.py", "*.js", "*.html")
    for path in (ROOT / folder).rglob(pattern)
    if not str(path.relative_to(ROOT)).startswith(OF_SCREENING)
)


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


@pytest.mark.parametrize("path", GENERIC, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_a_task_names_what_is_its_own(path: Path) -> None:
    """No other module speaks of reviews, pairs or rankings: it serves tasks that have none."""
    in_pairs = str(path.relative_to(ROOT)).startswith(OF_PAIRS)
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [
        f"{number}: {line.strip()}"
        for number, line in enumerate(lines, start=1)
        if SCREENING.search(line) or (PAIRS.search(line) and not in_pairs)
    ]
    assert not found


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_thin(script: str) -> None:
    """At most 80 lines, and nothing but the composition of what the package has."""
    path = ROOT / script
    assert imported_rooms(path) - {"__init__"} == SCRIPTS[script]
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 80
