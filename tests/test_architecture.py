"""docs/architecture.md draws the rooms that there are, in their order, and names files that exist."""

import re

from test_order_of_rooms import ROOT, ROW_OF, ROWS

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOMS, WAY = re.findall(r"```text\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_rooms_are_those_of_the_package() -> None:
    """Row by row, the very rooms whose order the imports keep to."""
    drawn = [set(re.findall(r"^ (\w+)", row, flags=re.MULTILINE)) for row in re.split("─+\n", ROOMS)]
    assert drawn == [row - {"__init__"} for row in ROWS]


def test_the_way_of_the_data_ends_each_line_with_rooms() -> None:
    """Each stage says which rooms do it."""
    for line in WAY.splitlines():
        rooms = re.split(r" {2,}", line.strip())[-1].split(", ")
        assert set(rooms) <= set(ROW_OF), line


def test_files_that_are_named_exist() -> None:
    """Every path in backquotes is there."""
    paths = re.findall(r"`((?:layersel|conf|tests|docs)/[^`\s]*)`", PAGE)
    assert len(paths) > 15
    assert [path for path in paths if not (ROOT / path).exists()] == []
