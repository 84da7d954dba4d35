"""`python train.py …` and `python evaluate.py …` from end to end, with a tiny model on the embedded review."""

import csv
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from in_process import cells, here
from wandb_files import OfflineRun

from layersel.data.reviews.demo import Demo
from layersel.data.reviews.table import Table

ROOT = Path(__file__).parents[1]
METRICS = ["awss@95", "wss@95", "tnr@95", "average_precision", "auroc", "recall@10%", "recall@20%", "recall@50%"]
FIGURES = ["layers", "gain", "lengths", "scores", "similarities", "tsne"]
SMALL = ["model=minilm", "model.max_length=32", "task.loss.pairs.per_record=4", "selection.bootstrap=5", "logger=csv"]
SMALL += ["trainer=cpu", "trainer.threads=1", "figures=few"]


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own with its output in pipes, as a scheduler starts it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return subprocess.Popen(
        [sys.executable, script, *arguments],
        cwd=ROOT,
        env={**environment, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_json(path: Path) -> dict[str, Any]:
    """A file's content."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def timeless(metrics: dict[str, Any]) -> dict[str, Any]:
    """Without the seconds."""
    return {name: value for name, value in metrics.items() if not name.startswith("seconds/")}


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """A ranking that a team has labelled."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def ranking(path: Path) -> list[dict[str, str]]:
    """The rows of a ranking."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def command(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments of the run that most tests look at."""
    return [*SMALL, f"model.path={tiny_model_folder}", f"output={tmp_path_factory.mktemp('runs')}"]


@pytest.fixture(scope="module")
def finished(command: list[str]) -> tuple[Path, str, str]:
    """Its folder, and what it printed on standard output and standard error."""
    process = start("train.py", *command, "figures=all")
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    (folder,) = cells(Path(command[-1].removeprefix("output=")))
    return folder, output, errors


def test_a_run_leaves_its_results(finished: tuple[Path, str, str]) -> None:
    """Every file that the README promises, and nothing unfinished."""
    folder = finished[0]
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files >= {
        "config.yaml",
        "status.json",
        "selection.json",
        "metrics.json",
        "curves.json",
        "ranking.csv",
        "training_records.json",
        "head.safetensors",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        *(f"figures/{name}.{form}" for name in FIGURES for form in ("png", "svg")),
        "logs/metrics.csv",
    }
    assert not [name for name in files if Path(name).name.startswith(".")]
    assert read_json(folder / "status.json")["state"] == "finished"
    assert folder.name.startswith("ptsd-cka0.5-seed0-")


def test_metrics_are_flat_and_complete(finished: tuple[Path, str, str]) -> None:
    """Each metric for the adapted and the pretrained encoder and for the references, numbers all of them."""
    metrics = read_json(finished[0] / "metrics.json")
    seconds = {name for name in metrics if name.startswith("seconds/")}
    measured = {f"{prefix}{name}" for prefix in ("", "base/", "elas_u4/", "nearest/", "fusion/") for name in METRICS}
    interval = {"difference/low", "difference/high"}
    counts = {"parameters/trainable", "parameters/total", "n_test", "n_included"}
    assert set(metrics) == measured | seconds | counts | interval
    best = max(metrics[f"{name}/awss@95"] for name in ("base", "elas_u4", "nearest", "fusion"))
    assert metrics["difference/low"] <= metrics["awss@95"] - best <= metrics["difference/high"]
    assert all(isinstance(value, int | float) and math.isfinite(value) for value in metrics.values())
    assert seconds >= {"seconds/select", "seconds/train", "seconds/judge_base", "seconds/judge_adapted"}
    assert sum(metrics[name] for name in seconds) <= 2 * metrics["seconds/total"] + 0.01
    assert (metrics["n_test"], metrics["n_included"]) == (284, 35)
    assert metrics["parameters/trainable"] == 2 * 2 * 2 * 32 * 8  # layers, projections, A and B, width, rank
    assert metrics["elas_u4/auroc"] > 0.95
    assert metrics["tnr@95"] == pytest.approx(metrics["awss@95"] + 0.05)


def test_the_ranking_has_every_other_record_once(finished: tuple[Path, str, str]) -> None:
    """All but those learnt from, the best first."""
    rows = ranking(finished[0] / "ranking.csv")
    learnt = {record["id"] for record in json.loads((finished[0] / "training_records.json").read_text())}
    ids = [row["record_id"] for row in rows]
    assert len(learnt) == 16
    assert sorted([*ids, *learnt]) == sorted(record.id for record in Demo().load().records)
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert [int(row["rank"]) for row in rows] == list(range(1, 285))


def test_the_curves_are_those_of_the_ranking_and_of_the_log(finished: tuple[Path, str, str]) -> None:
    """Recall at each percent, counted in the written ranking; a loss for each step, as in the log; sealed."""
    folder = finished[0]
    assert "curves.json" in read_json(folder / "status.json")["files"]
    gain, loss = (read_json(folder / "curves.json")[name] for name in ("gain", "loss"))
    assert set(gain["y"]) == {"adapted", "base", "elas_u4", "nearest", "fusion"}
    rows = sorted(ranking(folder / "ranking.csv"), key=lambda row: (-float(row["score"]), row["included"]))
    found = [sum(row["included"] == "1" for row in rows[: k * len(rows) // 100]) / 35 for k in range(101)]
    assert gain["y"]["adapted"] == pytest.approx(found, abs=1e-5)
    assert gain["x"] == pytest.approx([k / 100 for k in range(101)])
    metrics = read_json(folder / "metrics.json")
    for name in ("base", "elas_u4", "nearest", "fusion"):
        assert gain["y"][name][20] == pytest.approx(metrics[f"{name}/recall@20%"], abs=1e-5)
    logged = ranking(folder / "logs" / "metrics.csv")
    assert loss["x"] == [int(row["step"]) + 1 for row in logged]
    assert loss["y"]["adapted"] == pytest.approx([float(row["train/loss"]) for row in logged], rel=1e-4)


def test_a_run_prints_its_own_report_only(finished: tuple[Path, str, str]) -> None:
    """No library talks to the user: not one line on standard error, none of theirs on standard output."""
    folder, output, errors = finished
    assert errors == ""
    for part in ("300 records: 43 included", "284 to test on", "Layers by cka", "awss@95", str(folder)):
        assert part in output
    assert not re.search(r"Warning|deprecat|GPU|Tip|litlogger|dataloader|max_epochs|wandb", output)


def test_a_finished_cell_is_not_run_again(
    command: list[str], finished: tuple[Path, str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Its results are shown; no file changes."""
    before = {path: path.stat().st_mtime_ns for path in finished[0].rglob("*")}
    assert here("train.py", *command) == 0
    assert f"This cell has finished before (force=true runs it again): {finished[0]}" in capfd.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in finished[0].rglob("*")} == before


def test_the_same_command_gives_the_same_numbers(command: list[str], finished: tuple[Path, str, str]) -> None:
    """In another process and with force=true in the same folder: all but the seconds."""
    metrics, scores = timeless(read_json(finished[0] / "metrics.json")), ranking(finished[0] / "ranking.csv")
    started = read_json(finished[0] / "status.json")["started"]
    assert here("train.py", *command, "force=true") == 0
    assert read_json(finished[0] / "status.json")["started"] > started
    assert timeless(read_json(finished[0] / "metrics.json")) == metrics
    assert ranking(finished[0] / "ranking.csv") == scores


def test_evaluation_of_a_run_gives_its_metrics_again(finished: tuple[Path, str, str], tmp_path: Path) -> None:
    """Exactly, from the saved adapter and head; the same figures, too."""
    out, figures = tmp_path / "metrics.json", tmp_path / "figures"
    options = [f"run={finished[0]}", f"out={out}", f"figures={figures}", "trainer=cpu", "trainer.threads=1"]
    process = start("evaluate.py", *options)
    output, errors = process.communicate(timeout=240)
    assert (process.returncode, errors) == (0, "")
    expected, found = read_json(finished[0] / "metrics.json"), read_json(out)
    assert set(found) == {*METRICS, "n_test", "n_included"}
    assert found == {name: expected[name] for name in found}
    assert "284 test records, 35 included" in output
    assert {file.name for file in figures.iterdir()} == {
        f"{own}.{form}" for own in FIGURES[1:] for form in ("png", "svg")
    }
    assert (figures / "gain.png").read_bytes() == (finished[0] / "figures" / "gain.png").read_bytes()


def test_a_review_that_changed_since_is_not_measured(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another split of a changed file would test on records that were learnt from."""
    source = ROOT / "layersel" / "data" / "reviews" / "demo_review" / "ptsd.csv"
    review = tmp_path / "review.csv"
    review.write_bytes(source.read_bytes())
    options = ["data=table", f"data.path={review}", f"output={tmp_path / 'runs'}"]
    assert here("train.py", *command[:-1], *options) == 0
    (run,) = cells(tmp_path / "runs")
    review.write_text("".join(source.read_text(encoding="utf-8").splitlines(keepends=True)[:200]), encoding="utf-8")
    assert here("evaluate.py", f"run={run}", "trainer=cpu") == 2
    assert "the file of its data has changed since" in capsys.readouterr().err
    assert here("evaluate.py", f"run={run}", f"records={source}", f"out={tmp_path / 'r.csv'}", "trainer=cpu") == 0


@pytest.mark.parametrize("extension", [".csv", ".ris"])
def test_records_are_ranked(extension: str, finished: tuple[Path, str, str], tmp_path: Path) -> None:
    """Unlabelled records of a RIS file, each once, into either format."""
    records, out = tmp_path / "library.ris", tmp_path / f"ranking{extension}"
    texts = {"a": "Trajectories of posttraumatic stress", "b": "Wheat yields", "c": "Asthma in children"}
    records.write_text("".join(f"TY  - JOUR\nID  - {key}\nTI  - {text}\nER  - \n\n" for key, text in texts.items()))
    assert here("evaluate.py", f"run={finished[0]}", f"records={records}", f"out={out}") == 0
    ranked = Table(path=str(out)).load().records
    assert sorted((record.id, record.title) for record in ranked) == sorted(texts.items())
    if extension == ".csv":
        scores = [float(row["score"]) for row in ranking(out)]
        assert scores == sorted(scores, reverse=True)
        assert len(set(scores)) == 3


@pytest.mark.parametrize("out", ["library.csv", "../folder/./library.csv", "link.csv"])
def test_the_ranked_library_is_never_overwritten(
    out: str, finished: tuple[Path, str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever `out` calls it, it is refused in one line, and the library stays as it was."""
    folder = tmp_path / "folder"
    folder.mkdir()
    library = folder / "library.csv"
    library.write_text("title\nA\n")
    (folder / "link.csv").symlink_to(library)
    assert here("evaluate.py", f"run={finished[0]}", f"records={library}", f"out={folder / out}") == 2
    refused = f"error: out: expected a new file, but got {folder / out}, which is read; give another name"
    assert capfd.readouterr().err.splitlines() == [refused]
    assert library.read_text() == "title\nA\n"


def test_other_data_beside_the_library_are_refused(
    finished: tuple[Path, str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A run ranks with its own head and would not read them; nothing is written."""
    for name in ("library.csv", "other.csv"):
        (tmp_path / name).write_text("title,included\nA,1\nB,0\n")
    data = ["data=table", f"data.path={tmp_path / 'other.csv'}"]
    out = tmp_path / "r.csv"
    assert here("evaluate.py", f"run={finished[0]}", f"records={tmp_path / 'library.csv'}", *data, f"out={out}") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert re.match(r"error: data: expected none beside records=.*library\.csv, but got other, which would not", line)
    assert not out.exists()


def test_the_columns_of_the_library_are_named(
    finished: tuple[Path, str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the options of a source; a name that no column has is refused with those that there are."""
    library, out = tmp_path / "library.csv", tmp_path / "r.csv"
    library.write_text("nr,Titel,Kurz,title\nx,Stress,Angst,no\ny,Wheat,Ernte,no\n")
    command = [f"run={finished[0]}", f"records={library}", f"out={out}", "data=table"]
    named = ["data.title_column=Titel", "data.abstract_column=Kurz", "data.id_column=nr"]
    assert here("evaluate.py", *command, *named) == 0
    found = {(row["record_id"], row["title"], row["abstract"]) for row in ranking(out)}
    assert found == {("x", "Stress", "Angst"), ("y", "Wheat", "Ernte")}
    capfd.readouterr()
    assert here("evaluate.py", *command, "data.title_column=Kop") == 2
    expected = "error: data.title_column: expected one of nr, Titel, Kurz, title, but got 'Kop'"
    assert capfd.readouterr().err.splitlines() == [expected]


def test_a_team_is_told_when_to_stop(
    finished: tuple[Path, str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A control sample is drawn, labelled before the top of the ranking, and all three tiers say what is left."""
    drawn, read, out = (tmp_path / name for name in ("drawn.csv", "read.csv", "out.csv"))
    library = ROOT / "layersel" / "data" / "reviews" / "demo_review" / "ptsd.csv"
    run = [f"run={finished[0]}", "trainer=cpu", "trainer.threads=1"]
    assert here("evaluate.py", *run, f"records={library}", f"out={drawn}", "stopping=control", "stopping.size=100") == 0
    rows = ranking(drawn)
    learnt = {record["id"] for record in json.loads((finished[0] / "training_records.json").read_text())}
    assert sum(row["control"] == "1" for row in rows) == 100
    assert not {row["record_id"] for row in rows if row["control"] == "1"} & learnt
    team = [row | ({} if row["control"] == "1" or int(row["rank"]) <= 60 else {"included": ""}) for row in rows]
    write_rows(read, team)
    advice = ["stopping=advice", "stopping.control_column=control", "stopping.recall=0.8", "stopping.confidence=0.8"]
    assert here("evaluate.py", *run, f"records={read}", f"out={out}", *advice) == 0
    said = read_json(tmp_path / "out.stopping.json")
    labels = {row["record_id"]: row["included"] for row in team}
    others = [row for row in ranking(out) if row["record_id"] not in learnt]
    places = [place for place, row in enumerate(others) if row["control"] == "1" and row["included"] == "1"]
    assert said["n_records"] == 300
    assert said["n_read"] == 16 + sum(labels[row["record_id"]] != "" for row in others)
    certificate = said["certificate"]
    assert (certificate["size"], certificate["included"], certificate["needed"]) == (100, len(places), 8)
    unread = [row for row in others[: places[certificate["to_find"] - 1] + 1] if labels[row["record_id"]] == ""]
    assert certificate["more"] == len(unread)
    printed = capfd.readouterr().out
    assert re.search(r"^heuristic \(SAFE: .* promises no recall: ", printed, re.MULTILINE)
    assert re.search(r"^hypergeometric test at alpha 0\.2, .*: recall of 80 % is ", printed, re.MULTILINE)
    assert re.search(r"^certificate \(80 % recall at 80 % confidence, .* must be; ", printed, re.MULTILINE)


def test_a_team_without_labels_of_this_review_is_refused(
    finished: tuple[Path, str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before the model is loaded and anything is written: no labels, another review, columns that are not there."""
    other, empty, own, sampled = (tmp_path / name for name in ("other.csv", "empty.csv", "own.csv", "sampled.csv"))
    other.write_text("title,included\nWheat,1\nBarley,0\n")
    empty.write_text("title,included\nWheat,\nBarley,\n")
    rows = ranking(finished[0] / "ranking.csv")[:9]
    write_rows(own, rows)
    write_rows(sampled, [row | {"control": str(place % 2)} for place, row in enumerate(rows)])
    refused = {
        (empty, ""): r"stopping=advice: expected records with the labels given so far, but got none; data\.label_col.*",
        (other, ""): r"records: expected the records of the run's own review, but other has none of those in its .*",
        (own, "stopping.control_column=drawn"): r"stopping\.control_column: expected one of .*, but got 'drawn'",
        (own, "stopping.control_column=year"): r"stopping\.control_column: expected 0 or 1 in 'year' of each record.*",
        (own, "stopping.order_column=day"): r"stopping\.order_column: expected one of .*, but got 'day'",
        (
            sampled,
            "",
        ): r"stopping\.control_column: expected the column .*; give stopping\.control_column=control, or .*",
        (own, "task/head=nearest"): r"run: expected no task/head=nearest beside it, as a run brings its own task.*",
    }
    for (records, option), line in refused.items():
        command = [f"run={finished[0]}", f"records={records}", f"out={tmp_path / 'out.csv'}", "stopping=advice", option]
        assert here("evaluate.py", *filter(None, command)) == 2
        (found,) = capfd.readouterr().err.splitlines()
        assert re.fullmatch(f"error: {line}", found)
    assert not (tmp_path / "out.csv").exists()


def test_labels_in_the_ranking_of_a_run_are_read_and_kept(
    command: list[str], finished: tuple[Path, str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The file is the team's to edit: the advice reads it, and running the cell again does not remove it."""
    shutil.copytree(finished[0].parent, tmp_path / "runs")
    run = tmp_path / "runs" / finished[0].name
    rows = ranking(run / "ranking.csv")
    write_rows(
        run / "ranking.csv", [row | {"included": row["included"] if n < 90 else ""} for n, row in enumerate(rows)]
    )
    edited = (run / "ranking.csv").read_bytes()
    asked = [f"run={run}", f"records={run / 'ranking.csv'}", f"out={tmp_path / 'out.csv'}", "trainer=cpu"]
    assert here("evaluate.py", *asked, "stopping=advice") == 0
    assert f"{16 + 90} of 300 records are read" in capfd.readouterr().out
    again = [part for part in command if not part.startswith("output=")]
    assert here("train.py", *again, f"output={tmp_path / 'runs'}", "force=true") == 2
    line = (
        f"error: force: {str(run / 'ranking.csv')!r} has been changed since the run wrote it; move it elsewhere first"
    )
    assert capfd.readouterr().err.splitlines() == [line]
    assert (run / "ranking.csv").read_bytes() == edited
    assert read_json(run / "status.json")["state"] == "finished"


def test_an_adapter_is_evaluated_with_a_new_head(
    command: list[str], finished: tuple[Path, str, str], tmp_path: Path
) -> None:
    """On the same split the same head is fitted, so the numbers are the run's; without the adapter, its base's."""
    expected = read_json(finished[0] / "metrics.json")
    model = [argument for argument in command if argument.startswith(("model", "trainer"))]
    for adapter, prefix in (([f"adapter_folder={finished[0] / 'adapter'}"], ""), ([], "base/")):
        out = tmp_path / "metrics.json"
        assert here("evaluate.py", *model, *adapter, "data=demo", f"out={out}") == 0
        found = read_json(out)
        assert {name: found[name] for name in METRICS} == {
            name: pytest.approx(expected[f"{prefix}{name}"], abs=1e-12) for name in METRICS
        }


def test_an_adapter_is_not_tested_on_what_it_learnt_from(
    command: list[str], finished: tuple[Path, str, str], tmp_path: Path
) -> None:
    """With another seed's split the adapter's own 16 records are in neither part of the test set."""
    model = [argument for argument in command if argument.startswith(("model", "trainer"))]
    adapter = [f"adapter_folder={finished[0] / 'adapter'}", "data=demo", "seed=1"]
    out = tmp_path / "metrics.json"
    assert here("evaluate.py", *model, *adapter, f"out={out}") == 0
    assert 268 <= read_json(out)["n_test"] < 284


@pytest.mark.real
def test_a_grid_makes_a_folder_for_each_cell(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-m runs every combination; seed 0 counts as a seed; nothing is left where the user stands."""
    runs, here_stands = tmp_path / "runs", tmp_path / "user"
    here_stands.mkdir()
    monkeypatch.chdir(here_stands)
    grid = ["-m", *SMALL, f"model.path={tiny_model_folder}", f"output={runs}", "task.epochs=1", "seed=0,1"]
    assert here("train.py", *grid) == 0
    assert list(here_stands.iterdir()) == []
    folders = [path.name for path in cells(runs)]
    assert [name.split("-")[2] for name in folders] == ["seed0", "seed1"]
    learnt = [(runs / name / "training_records.json").read_text() for name in folders]
    assert learnt[0] != learnt[1]


def test_a_killed_run_is_never_taken_for_a_finished_one(
    tiny_model_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL within the training: no metrics, evaluate.py refuses, and the same command runs to the end."""
    arguments = [*SMALL, f"model.path={tiny_model_folder}", f"output={tmp_path}", "task.epochs=6"]
    process = start("train.py", *arguments)
    while process.poll() is None and not list(tmp_path.glob("*/selection.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    (folder,) = cells(tmp_path)
    assert read_json(folder / "status.json")["state"] == "running"
    assert not (folder / "metrics.json").exists()
    assert here("evaluate.py", f"run={folder}") == 2
    assert re.search(
        r"^error: run: .* is interrupted, not finished; run its training again$", capfd.readouterr().err, re.M
    )
    assert here("train.py", *arguments) == 0
    assert cells(tmp_path) == [folder]
    assert read_json(folder / "status.json")["state"] == "finished"
    assert (folder / "metrics.json").is_file()


@pytest.mark.real
def test_a_failed_cell_does_not_stop_the_grid(tiny_model_folder: Path, tmp_path: Path) -> None:
    """The first cell's loss is NaN: told in a line, failed in its folder and in W&B; the second one runs."""
    records = tmp_path / "records.csv"
    rows = [f"Trial {number} of {word},{label}" for number in range(6) for label, word in ((1, "stress"), (0, "wheat"))]
    records.write_text("\n".join(["title,included", *rows]))
    process = start(
        "train.py",
        "-m",
        *SMALL,
        f"model.path={tiny_model_folder}",
        f"output={tmp_path / 'runs'}",
        "data=table",
        f"data.path={records}",
        "task.if_too_few=reduce",
        "logger=wandb",
        "logger.mode=offline",
        "task.warmup=0",
        "task.learning_rate=1e30,1e-4",
    )
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 2, errors
    lines = errors.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[1:2], errors
    assert re.match(r"error: training: the loss is nan at step 1; lower task\.learning_rate", lines[1])
    shots = "task.shots: reduced from 8 to 5, because there are 6 included and 6 excluded records"
    assert [lines[0], *lines[2:]] == [shots, shots], "the warning that matters is shown for each cell"
    assert "wandb sync " in output
    exit_codes = {}
    for folder in cells(tmp_path / "runs"):
        exit_codes[read_json(folder / "status.json")["state"]] = OfflineRun.of(folder).exit_code
    assert exit_codes == {"failed": 1, "finished": 0}
