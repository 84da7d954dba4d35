"""The page of evidence: what it says of grids, and outlines that cannot be used."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cell_folders import make_cell, make_grid, seal

from layersel.config import CONF
from layersel.files import write_sealed
from layersel.sweep.evidence.__main__ import main

DOCS = CONF.parent / "docs"

VALUES = {("none", None): 0.3, ("cka", 1): 0.35, ("last", 1): 0.25}


def grid(output: Path, name: str, commits: tuple[str | None, ...] = ("abc123",), **options: Any) -> Path:
    """A grid over selections, 4 datasets and 3 seeds; commits of the code take turns."""
    jobs: list[Any] = []
    for (selection, n), level in VALUES.items():
        for place, dataset in enumerate("ABCD"):
            for seed in range(3):
                value = level + place / 50 + (seed - 1) / 64 + (selection == "cka") * (place - 1) / 20
                cell = {"selection": selection, "n": n, "dataset": dataset, "seed": seed}
                folder = make_cell(output, value, metrics={"tfidf/awss@95": 0.3}, **cell, **options)
                about = json.loads((folder / "identity.json").read_text())
                about["revision"] = commits[len(jobs) % len(commits)]
                (folder / "identity.json").write_text(json.dumps(about))
                seal(folder)
                jobs.append(([f"selection={selection}", f"seed={seed}"], {"state": "finished", "cell": folder.name}))
    made = make_grid(output, name, jobs)
    record = json.loads((made / "grid.json").read_text())
    typed = ["selection=none,cka", "trainer=cpu", f"output={output}", "logger=csv", f"model.path={output}/m", "a='b c'"]
    typed += [f"{option}={value}" for option, value in options.items()]
    write_sealed(made / "grid.json", {"name": name, "created": 1.0, "overrides": typed, "jobs": record["jobs"]})
    return made


def outline(file: Path, *questions: dict[str, Any], **more: Any) -> Path:
    """An outline (JSON is YAML)."""
    file.write_text(json.dumps({"questions": list(questions)} | more), encoding="utf-8")
    return file


def table(page: str, heading: str) -> dict[str, list[str]]:
    """The rows of all tables below a heading by their first and second column."""
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in re.findall(r"^\| `.*\|$", section, re.M)
    ]
    return {f"{row[0].strip('` ')} / {row[1].strip('`')}": row[2:] for row in rows}


def test_a_page_answers_its_questions(tmp_path: Path) -> None:
    """Differences, by dataset too, with what they are of: command, commit, cells; by hand where it can be."""
    made = grid(tmp_path / "runs", "g", ("abc123", "abc123", None))
    file = outline(
        tmp_path / "e.yaml",
        {
            "question": "Which layers?",
            "grids": [str(made)],
            "factor": "selection",
            "reference": "none",
            "about": "*So.*",
        },
        {"question": "Which one?", "grids": [str(made)], "reference": "selection=last"},
        {"question": "None?", "grids": [str(made)]},
        title="Findings",
        about="First.",
    )
    assert main([str(file)]) == 0
    page = (tmp_path / "e.md").read_text(encoding="utf-8")
    assert page.startswith("# Findings\n\nFirst.\n\nA row compares")
    assert re.findall(r"^## (.*)$", page, re.M) == ["Which layers?", "Which one?", "None?"]
    assert "*So.*" in page
    assert "python train.py -m selection=none,cka trainer=cpu model.path=FOLDER/m 'a='\"'\"'b c'\"'\"''" in page
    assert str(tmp_path) not in page
    assert (
        "AWSS@95; 36 cells of 4 datasets and 3 seeds. Commit of the code: abc123 (24 cells), unknown (12 cells)."
        in page
    )
    rows = table(page, "Which layers?")
    gains = np.array([0.05 + (place - 1) / 20 for place in range(4)])  # 0, .05, .1, .15
    settings, datasets, values, mean, difference, interval, half, wins, p, holm = rows["selection=cka / selection=none"]
    assert (settings, datasets, values, difference, wins) == ("1", "4", "12", "+0.075", "3/1/0")
    assert float(mean) == pytest.approx(0.33 + gains.mean(), abs=6e-4)
    low, high = (float(end) for end in interval.split(" to "))
    spread = 3.182446 * gains.std(ddof=1) / 2  # Student's t of 3 degrees of freedom, from a table
    assert (low, high) == pytest.approx((0.075 - spread, 0.075 + spread), abs=6e-4)
    assert float(half) == pytest.approx((high - low) / 2, abs=1e-3)
    assert (p, holm) == ("0.25", "0.25")  # 2 of the 2³ signs; the other one has .125, twice
    assert rows["selection=last / selection=none"][4:] == [
        "-0.050", "-0.050 to -0.050", "0.000", "0/0/4", "0.125", "0.25",
    ]  # fmt: skip
    assert {"selection=cka / base (no adapter)", "selection=none / TF-IDF + SVM"} < set(rows)
    by_dataset = re.findall(r"^\| ([ABCD]) \| (.*) \| (.*) \|$", page.partition("## Which one?")[0], re.M)
    assert by_dataset == [(own, f"{gain:+.3f}", "-0.050") for own, gain in zip("ABCD", gains, strict=True)]
    assert table(page, "Which one?")["selection=cka n=1 / selection=last n=1"][4] == "+0.125"
    assert "selection=none / base (no adapter)" in table(page, "None?")
    assert not any("/ selection" in name for name in table(page, "None?"))


def test_scores_are_judged_by_layers_trained_alone(tmp_path: Path) -> None:
    """How far they agree, and the regret of their layers, where the cells tell; else no such table."""
    cells = [
        make_cell(
            tmp_path, 0.1 * layer, selection="manual", n=None, layers=[layer], options={"selection.layers": [layer]}
        )
        for layer in range(6)
    ]
    cells += [make_cell(tmp_path, selection="cka", n=2, layers=[0, 5], scores=[0.5, 0.1, 0.2, 0.3, 0.4, 0.6])]
    cells += [make_cell(tmp_path, selection="rsa", n=2, layers=[4, 5], scores=[0.1 * layer for layer in range(6)])]
    made = make_grid(tmp_path, "g", [([], {"state": "finished", "cell": cell.name}) for cell in cells])
    file = outline(tmp_path / "e.yaml", {"question": "Which score?", "grids": [str(made)]})
    assert main([str(file)]) == 0
    page = (tmp_path / "e.md").read_text(encoding="utf-8")
    square = ["| Kendall's τ | `cka` | `rsa` |", "| --- | ---: | ---: |", "| `cka` | - | 0.47 |"]
    assert "\n".join(square) in page
    assert "| `selection=cka n=2` | 2 | 1 | 0.2000 | - | 1.00 | 0.47 | 0.50 |" in page
    assert "| `selection=rsa n=2` | 2 | 1 | 0.0000 | - | 0.00 | 1.00 | 1.00 |" in page


def test_cells_of_several_grids_and_without_results_are_counted(tmp_path: Path) -> None:
    """Each grid has its command; what failed is told; the page goes where it is asked for."""
    first, second = grid(tmp_path / "runs", "one"), grid(tmp_path / "runs", "two", rank=4)
    failed = make_cell(tmp_path / "runs", state="failed", error="no", seed=7)
    third = make_grid(tmp_path / "runs", "three", [(["seed=7"], {"state": "failed", "cell": failed.name})])
    grids = [str(folder) for folder in (first, second, third)]
    question = {"question": "Q", "grids": grids, "factor": "adapter.rank", "reference": "8", "metric": "tfidf/awss@95"}
    out = tmp_path / "page.md"
    assert main([str(outline(tmp_path / "e.yaml", question)), "--out", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    assert page.count("python train.py -m") == 3
    assert "tfidf/awss@95; 72 cells of 4 datasets and 3 seeds, 1 without results." in page
    assert table(page, "Q")["adapter.rank=4 / adapter.rank=8"][0] == "3"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", r"outline: expected YAML in '.*e.yaml', but "),
        ("[1]", r"outline: expected title and questions in '.*', but got \[1\]; see --help"),
        ("title: x", r"questions: expected one or more, but got none; see --help"),
        ("titel: x", r"titel: unknown option; expected one of title, about, questions"),
        ("questions: [{grids: [x]}]", r"question 1: question: missing; give question=…"),
        ("questions: [{question: a, grids: []}]", r"question 1: grids: expected the folder of a grid or several"),
        ("questions: [{question: a, grids: [x], factor: n}]", r"question 1: reference: expected the value of n to"),
        ("questions: [{question: a, grids: [x], fator: n}]", r"question 1: fator: unknown option; expected one of "),
        ("questions: [{question: a, grids: [x]}]", r"question 1: grids: expected a grid's folder \(OUT"),
        ("questions: [{question: a, grids: [gone.json]}]", r"question 1: grids: expected a grid's folder \(OUT"),
        ("questions: [{question: a, grids: [GRID], metric: x}]", r"question 1: metric: expected one of awss@95"),
        ("questions: [{question: a, grids: [GRID], factor: x, reference: 1}]", r"question 1: factor: expected one of "),
    ],
)  # fmt: skip
def test_outlines_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    """They are refused in one line, and nothing is written."""
    file = tmp_path / "e.yaml"
    file.write_text(content.replace("GRID", str(grid(tmp_path / "runs", "g"))), encoding="utf-8")
    assert main([str(file)]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert re.match(f"error: {message}", printed.err)
    assert not (tmp_path / "e.md").exists()


def test_files_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The outline, and a place for the page."""
    assert main([str(tmp_path / "none.yaml")]) == 2
    assert re.match(r"error: outline: cannot read '.*none.yaml' \(No such file", capsys.readouterr().err)
    file = outline(tmp_path / "e.yaml", {"question": "Q", "grids": [str(grid(tmp_path / "runs", "g"))]})
    (tmp_path / "file").touch()
    assert main([str(file), "--out", str(tmp_path / "file" / "page.md")]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_the_help_is_an_outline() -> None:
    """What it shows can be read, and loads no pandas."""
    code = "import sys, layersel.sweep.evidence.__main__ as own; print('pandas' in sys.modules); own.main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False\n")
    assert "factor: selection" in done.stdout


def test_the_projects_own_page_is_what_its_archives_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that `docs/evidence.md` names makes it anew."""
    monkeypatch.chdir(DOCS.parent)
    assert main(["docs/evidence.yaml", "--out", str(tmp_path / "again.md")]) == 0
    assert (tmp_path / "again.md").read_text(encoding="utf-8") == (DOCS / "evidence.md").read_text(encoding="utf-8")
