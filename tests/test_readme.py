"""What the README and docs/ show works: Python runs, commands are such as the scripts accept, links lead on."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import peft
import pytest
from hydra import compose, initialize_config_dir
from transformers import AutoModel, AutoTokenizer

from layersel.config import CONF
from layersel.data.packing import PACKED
from layersel.data.reviews.readers import EXTENSIONS

ROOT = CONF.parent
PAGES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
README = PAGES[ROOT / "README.md"]
OTHERS = {"evidence.md", "extending.md"}
"""Pages whose commands name folders that are not here, or are run by a test of their own."""


def code_blocks(page: str, language: str) -> list[str]:
    """The code of every fenced block of that language."""
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


COMMANDS = sorted(
    {
        line.partition(" #")[0].strip()
        for path, page in PAGES.items()
        if path.name not in OTHERS
        for block in code_blocks(page, "bash")
        for line in block.splitlines()
        if line.startswith("python ")
    }
)
SCRIPTS = [command for command in COMMANDS if not command.startswith("python -m")]


def test_python_runs(tiny_model_folder: Path) -> None:
    """The library's example chooses three layers and adapts exactly those."""
    names: dict[str, Any] = {
        "peft": peft,
        "model": AutoModel.from_pretrained(tiny_model_folder),
        "tokenizer": AutoTokenizer.from_pretrained(tiny_model_folder),
        "texts": [f"{word} stress in patients" for word in ("acute", "chronic", "severe", "mild", "no", "some")],
    }
    (block,) = code_blocks(README, "python")
    exec(block, names)  # noqa: S102 - the README's own code
    assert len(names["selection"].layers) == 3
    adapted = {
        int(name.split("layer.")[1].split(".")[0]) for name, _ in names["adapted"].named_modules() if "lora_A" in name
    }
    assert sorted(adapted) == names["selection"].layers


@pytest.mark.parametrize("command", SCRIPTS)
def test_commands_compose(command: str) -> None:
    """Every option of a command exists; of a sweep the first value is tried."""
    script, *options = [word for word in shlex.split(command)[1:] if word not in ("-m", "--help")]
    first = [option if "[" in option else option.split(",")[0] for option in options]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert compose(script.removesuffix(".py"), overrides=first)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in SCRIPTS])
def test_modules_take_their_options(command: str) -> None:
    """A module that is run knows every option, and says that what it is to read is not there."""
    arguments = shlex.split(command.partition(" ")[2])
    process = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (2, "")
    assert re.fullmatch(r"error: [^\n]*(runs/grids/NAME|evidence\.yaml|texts\.txt)[^\n]*\n", process.stderr)


def test_make_targets_exist() -> None:
    """Every `make` command is a target."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"(?:`|^)make ([a-z-]+)", "\n".join(PAGES.values()), flags=re.MULTILINE)
    assert targets
    assert [target for target in targets if f"\n{target}:" not in makefile] == []


def test_the_table_of_forms_names_every_extension() -> None:
    """What the page says can be read is what the reader takes."""
    (table,) = re.findall(r"\| files \| form \|\n(.*?)\n\n", PAGES[ROOT / "docs/screening.md"], flags=re.DOTALL)
    named = re.findall(r"`(\.\w+)`", "\n".join(row.split("|")[1] for row in table.splitlines()[1:]))
    assert sorted(named) == sorted([*EXTENSIONS, *PACKED])


def test_links_lead_to_a_file_and_a_heading() -> None:
    """No link within the project leads nowhere."""
    broken = []
    for path, page in PAGES.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", page, flags=re.DOTALL)):
            name, _, heading = target.partition("#")
            if name.startswith("https:"):
                continue
            file = path.parent / name if name else path
            titles = re.findall(r"^#+ (.*)$", PAGES.get(file.resolve(), ""), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            if not file.exists() or (heading and heading not in anchors):
                broken.append(f"{path.name}: {target}")
    assert broken == []
