"""What Weights & Biases is given: offline read back from its files, online by what is passed to `wandb.init`."""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from hydra import compose, initialize_config_dir
from in_process import here
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import OmegaConf
from small_reviews import write_reviews
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args
from wandb_files import OfflineRun

from layersel.cell.options import Cell
from layersel.config import CONF, build
from layersel.errors import UserError
from layersel.runs import tracking
from layersel.runs.tracking import STEP, RunDescription, WandbOptions, report_finished, tracked

DOCS = CONF.parent / "docs"
SMALL = [
    "model=minilm",
    "model.max_length=32",
    "task.loss.pairs.per_record=4",
    "task.max_steps=3",
    "selection.bootstrap=3",
]
OFFLINE = ["logger=wandb", "logger.mode=offline", "trainer=cpu", "trainer.threads=1", "figures=few"]
OPTIONS = {"selection": {"n": 3, "bootstrap": None}, "task": {"epochs": 1}, "order": ["train", "merge"]}
LABELS = {"dataset": "NSAIDS", "selection": "cka", "n": 3, "rank": 8, "pruning": "none", "model": "minilm", "seed": 0}


def description(**changes: Any) -> RunDescription:
    """Describes a cell."""
    about = {"name": "NSAIDS-cka3", "identity": "1a2b", "group": "grid", "job_type": "train", "labels": LABELS}
    return RunDescription(**{**about, "variant": "3c4d", "configuration": "5e6f", **changes})


@pytest.fixture(autouse=True)
def _no_wandb_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, mode or agent of this machine counts, and the session is asked anew."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", os.devnull)
    tracking._has_key.cache_clear()


class FakeRun:
    """Records the calls that it gets."""

    def __init__(self, resumed: bool = False) -> None:
        self.resumed = resumed
        self.summary: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []
        self.exit_codes: list[int] = []

    def define_metric(self, name: str, **options: Any) -> None:
        """Records nothing."""

    def log(self, row: dict[str, Any]) -> None:
        """Records a row."""
        self.rows.append(row)

    def finish(self, exit_code: int) -> None:
        """Records the exit code."""
        self.exit_codes.append(exit_code)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The arguments of each call of `wandb.init`, which starts nothing; the run is under `run`."""
    calls: list[dict[str, Any]] = []

    def init(**arguments: Any) -> FakeRun:
        calls.append({**arguments, "run": FakeRun()})
        return calls[-1]["run"]

    monkeypatch.setattr(wandb, "init", init)
    return calls


def start(folder: Path, about: RunDescription | None = None, **options: Any) -> None:
    """A run that does nothing."""
    with tracked(WandbOptions(**options), folder, about or description(), OPTIONS):
        pass


def test_config_has_plain_labels_and_all_options() -> None:
    """A dashboard groups by plain values at the top; the options stand whole beside them, whatever their names."""
    config = description().config(OPTIONS)
    assert config.pop("config") == OPTIONS
    assert config == {**LABELS, "identity": "1a2b", "variant": "3c4d", "configuration": "5e6f"}
    assert all(value is None or isinstance(value, str | int | float) for value in config.values())


@pytest.mark.parametrize(
    ("labels", "own", "tags"),
    [
        (LABELS, ["pilot"], ["pilot", "NSAIDS", "minilm", "cka"]),
        (LABELS, ["cka", "cka"], ["cka", "NSAIDS", "minilm"]),
        ({"dataset": "A+B", "selection": None, "merging": "ties", "seed": 1}, [], ["A", "B", "ties"]),
        ({"dataset": "x" * 70}, [], ["x" * 64]),
        ({}, [], []),
    ],
)
def test_tags(labels: dict[str, Any], own: list[str], tags: list[str]) -> None:
    """The user's come first, each once; a merging cell has one for each dataset, and what is not there has none."""
    assert description(labels=labels).tags(own) == tags
    assert wandb.Settings(run_tags=tags).run_tags == tuple(tags)


@pytest.mark.parametrize("tag", ["", "x" * 65])
def test_tags_that_wandb_refuses_are_refused_first(tag: str) -> None:
    """They are refused before anything runs."""
    assert WandbOptions(tags=["x" * 64, "x"]).problems() == []
    (problem,) = WandbOptions(tags=["fine", tag]).problems()
    assert problem.startswith("logger.tags: expected tags of 1 to 64 characters, but got ")
    with pytest.raises(ValueError, match="between 1 and 64"):
        wandb.Settings(run_tags=[tag])


def test_wandb_is_asked_for_a_key_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many cells have mode=auto; the mode that is given, or WANDB_MODE, needs none."""
    asked = []
    monkeypatch.setattr(wandb, "login", lambda **options: asked.append(options) or True)
    assert [WandbOptions(mode=mode).effective_mode for mode in ("offline", "disabled")] == ["offline", "disabled"]
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert WandbOptions().effective_mode == "offline"
    assert asked == []
    monkeypatch.delenv("WANDB_MODE")
    assert [WandbOptions().effective_mode for _ in range(3)] == ["online"] * 3
    assert asked == [{"prompt": False, "verify": False}]


def test_a_key_is_found_in_silence(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Without one auto is offline; a key that cannot be one is a user's error in a line."""
    assert WandbOptions().effective_mode == "offline"
    tracking._has_key.cache_clear()
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with pytest.raises(UserError, match=r"^logger\.mode: W&B cannot be used \(WANDB_API_KEY invalid.*logger\.mode="):
        assert WandbOptions().effective_mode
    assert capfd.readouterr() == ("", "")


def test_an_online_run_is_the_cells_own(started: list[dict[str, Any]], tmp_path: Path) -> None:
    """Its id is the cell's identity, so that the next attempt resumes it; nothing of the process is touched."""
    start(tmp_path, mode="online", entity="team", tags=["pilot"])
    (call,) = started
    run = call.pop("run")
    assert run.exit_codes == [0]
    assert call == {
        "mode": "online",
        "dir": str(tmp_path),
        "project": "layersel",
        "entity": "team",
        "group": "grid",
        "job_type": "train",
        "tags": ["pilot", "NSAIDS", "minilm", "cka"],
        "name": "NSAIDS-cka3",
        "config": description().config(OPTIONS),
        "id": "1a2b",
        "resume": "allow",
        "reinit": "create_new",
    }
    assert type(call["config"]["config"]) is dict


@pytest.mark.parametrize(("agent", "mode"), [(False, "offline"), (True, "online"), (True, "offline")])
def test_ids_that_are_not_ours(
    agent: bool, mode: str, started: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline runs cannot be resumed; a sweep agent has given its run an id already."""
    if agent:
        monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    start(tmp_path, mode=mode)
    assert (started[0]["id"], started[0]["resume"]) == (None, None)


@pytest.mark.parametrize(
    ("option", "sweep", "group"), [(None, "grid", "grid"), ("own", "grid", "own"), (None, None, None)]
)
def test_groups(
    option: str | None, sweep: str | None, group: str | None, started: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The user's group counts, else the sweep's."""
    start(tmp_path, description(group=sweep), mode="offline", group=option)
    assert started[0]["group"] == group


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
def test_whatever_ends_a_cell_fails_its_run(
    error: type[BaseException], started: list[dict[str, Any]], tmp_path: Path
) -> None:
    """It fails once, and the error goes on."""
    with pytest.raises(error), tracked(WandbOptions(mode="online"), tmp_path, description(), OPTIONS):
        raise error
    assert started[0]["run"].exit_codes == [1]


@pytest.mark.parametrize("resumed", [False, True])
def test_earlier_rows_are_logged_where_they_are_missing(
    resumed: bool, started: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that W&B has resumed has them already."""
    run = FakeRun(resumed)
    monkeypatch.setattr(wandb, "init", lambda **_: run)
    rows = [{"step": step, "train/loss": 1.0 / (step + 1), "epoch": 0} for step in range(2)]
    start(tmp_path, description(resumed=rows), mode="online")
    expected = [{STEP: 0, "train/loss": 1.0, "epoch": 0}, {STEP: 1, "train/loss": 0.5, "epoch": 0}]
    assert run.rows == ([] if resumed else expected)


def test_only_the_first_process_of_a_job_has_a_run(
    started: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others log nothing, fail nothing and remove nothing."""
    earlier = tmp_path / "wandb" / "offline-run-1"
    earlier.mkdir(parents=True)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    start(tmp_path, mode="offline")
    assert (started, earlier.is_dir()) == ([], True)
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    start(tmp_path, mode="offline")
    assert (len(started), earlier.is_dir()) == (1, False)


@pytest.mark.parametrize("environment", [False, True])
def test_disabled(
    environment: bool, started: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the option or WANDB_MODE, CSV is all, and what is logged beside goes nowhere."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    options = WandbOptions(mode="auto" if environment else "disabled", artifact=True)
    with tracked(options, tmp_path, description(), OPTIONS) as tracker:
        tracker.summary({"awss@95": 1})
        tracker.table("selection", ["layer"], [[1]])
        tracker.curves("layer", [{"layer": 0, "layer/chosen": 1}])
        tracker.images({"figure": tmp_path / "none.png"})
        tracker.artifact("cell", tmp_path, {})
        assert [type(logger).__name__ for logger in tracker.loggers] == ["CSVLogger"]
    assert started == []


def test_a_refusal_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line has the way out."""

    def init(**_: Any) -> None:
        raise wandb.errors.CommError("no\n such host")

    monkeypatch.setattr(wandb, "init", init)
    with pytest.raises(UserError) as error:
        start(tmp_path, mode="online")
    assert str(error.value).startswith("logger.mode: W&B cannot be used (no such host); give logger.mode=offline")


@pytest.mark.parametrize("agent", [False, True])
def test_an_agent_gets_the_metrics_of_a_cell_that_had_finished(
    agent: bool, started: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sweep gets the metrics, and what the cell has logged stays; without an agent nothing happens."""
    earlier = tmp_path / "wandb" / "offline-run-1"
    earlier.mkdir(parents=True)
    if agent:
        monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    report_finished(WandbOptions(mode="online"), tmp_path, description(), OPTIONS, {"awss@95": 0.5})
    assert [(call["run"].summary, call["run"].exit_codes) for call in started] == [({"awss@95": 0.5}, [0])] * agent
    assert earlier.is_dir()


def test_two_attempts_are_one_offline_run(tmp_path: Path) -> None:
    """A failed attempt's run goes; the next one begins with the rows that are still true, each once."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "weights").write_bytes(b"1")
    options, rows = WandbOptions(mode="offline", artifact=True), [{"train/loss": 1.5 - n, "epoch": 0} for n in range(3)]

    def interrupted() -> None:
        with tracked(options, tmp_path, description(), OPTIONS) as tracker:
            for step, row in enumerate(rows):
                tracker.loggers[1].log_metrics(row, step)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    first = OfflineRun.of(tmp_path)
    expected = [{**row, STEP: step} for step, row in enumerate(rows)]
    assert (first.history, first.exit_code, first.of_kind("artifact")) == (expected, 1, [])

    about = description(resumed=[{**row, "step": step} for step, row in enumerate(rows[:2])])
    with tracked(options, tmp_path, about, OPTIONS) as tracker:
        tracker.loggers[1].log_metrics(rows[2], 2)
        tracker.artifact("A+B (1)-cka3", adapter, {"base_model": "minilm", "layers": [1, 2]})
        tracker.artifact("nothing", tmp_path / "none", {})
    second = OfflineRun.of(tmp_path)
    assert (second.history, second.exit_code) == (expected, 0)
    assert second.run.run_id not in (first.run.run_id, about.identity)
    (artifact,) = second.of_kind("artifact")
    assert (artifact.name, artifact.type) == ("A-B--1--cka3", "adapter")
    assert json.loads(artifact.metadata) == {"base_model": "minilm", "layers": [1, 2]}
    (file,) = artifact.manifest.contents
    assert (file.path, file.local_path) == ("weights", str(adapter / "weights")), "no copy in the home directory"


def test_steps_are_the_axis_of_everything_logged(tmp_path: Path) -> None:
    """They are so in a run that Lightning's logger starts itself, too."""
    start(tmp_path, mode="offline")
    axis, others = OfflineRun.of(tmp_path).of_kind("metric")
    assert (axis.name, others.glob_name, others.step_metric) == (STEP, "*", STEP)
    assert others.options.step_sync


AGENTS_CELL = """
import sys
from pathlib import Path
from layersel.runs.tracking import RunDescription, WandbOptions, tracked
assert "wandb" not in sys.modules, "it takes a second to import"
about = RunDescription("name", "hash", None, "train", {"selection": "cka", "n": 2, "seed": 0}, "v", "c")
with tracked(WandbOptions(mode="offline"), Path("cell"), about, {"selection": {"n": 2}, "seed": 0}):
    pass
"""


def test_a_run_of_an_agent(tmp_path: Path) -> None:
    """It has the agent's id and parameters, and those agree with the labels of the same names."""
    parameters = {"selection": "cka", "selection.n": 2, "seed": 0}
    file = tmp_path / "parameters.yaml"
    content = {"wandb_version": 1, **{name: {"value": value} for name, value in parameters.items()}}
    OmegaConf.save(OmegaConf.create(content), file)
    agent = {"WANDB_SWEEP_ID": "abc", "WANDB_RUN_ID": "given", "WANDB_SWEEP_PARAM_PATH": str(file)}
    command = [sys.executable, "-c", AGENTS_CELL]
    done = subprocess.run(command, env=os.environ | agent, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    run = OfflineRun.of(tmp_path / "cell")
    assert run.run.run_id == "given"
    hashes = {"identity": "hash", "variant": "v", "configuration": "c"}
    assert run.config == {**parameters, **hashes, "n": 2, "config": {"selection": {"n": 2}, "seed": 0}}


@pytest.fixture(scope="module")
def grid(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells of one multirun, and in the same process a merging cell with the two that it needs."""
    folder = tmp_path_factory.mktemp("grid")
    one, other = write_reviews(folder, 2, size=12)
    everywhere = [*SMALL, *OFFLINE, f"model.path={tiny_model_folder}"]
    environment = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    more = ["logger.group=pilot", "logger.tags=[mine]", "logger.artifact=true", "selection.n=1"]
    assert here("train.py", "-m", *everywhere, *more, f"output={folder / 'runs'}", "seed=0,1") == 0
    settings = wandb.setup().settings.model_dump()
    merging = ["data=table", "task.if_too_few=reduce", f"merging.datasets=[{one},{other}]", "merging=average"]
    assert here("train.py", *everywhere, *merging, f"output={folder / 'merged'}") == 0
    assert wandb.run is None
    assert wandb.setup().most_recent_active_run is None
    assert wandb.setup().settings.model_dump() == settings, "settings of W&B's session have changed"
    assert {name: value for name, value in os.environ.items() if name.startswith("WANDB_")} == environment
    return folder


def offline_runs(folder: Path) -> dict[str, OfflineRun]:
    """Returns the offline runs by the names of their cells."""
    return {metrics.parent.name: OfflineRun.of(metrics.parent) for metrics in sorted(folder.glob("*/metrics.json"))}


def test_runs_of_a_multirun_are_each_their_own(grid: Path) -> None:
    """They have different ids and configs, one group and one job type, and the names of the folders."""
    runs = offline_runs(grid / "runs")
    assert len({run.run.run_id for run in runs.values()}) == len(runs) == 2
    for name, run in runs.items():
        assert (run.run.display_name, run.run.run_group, run.run.job_type) == (name, "pilot", "train")
        assert list(run.run.tags)[:2] == ["mine", "ptsd"]
        assert (run.run.project, run.exit_code) == ("layersel", 0)
    one, other = (run.config for run in runs.values())
    assert one["variant"] == other["variant"]
    assert one["configuration"] == other["configuration"]
    assert {name for name in one if one[name] != other[name]} == {"identity", "seed", "config"}


def test_nothing_of_a_cell_is_missing_offline(grid: Path) -> None:
    """All options, labels, steps, metrics, images with their files, the table of layers, the adapter."""
    for name, run in offline_runs(grid / "runs").items():
        folder = grid / "runs" / name
        config = run.config
        assert config["config"] == OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
        assert config["selection"] == "cka"
        assert (config["n"], config["rank"], config["seed"]) == (1, 8, int(re.findall(r"seed(\d)", name)[0]))
        assert [row[STEP] for row in run.history if "train/loss" in row] == [0, 1, 2]
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        assert {key: run.summary[key] for key in metrics} == metrics
        media = {key.partition("/")[0]: row[key] for row in run.history for key in row if key.endswith("/path")}
        assert set(media) == {"layers", "gain", "selection"}
        assert all((run.folder / "files" / path).is_file() for path in media.values())
        table = json.loads((run.folder / "files" / media["selection"]).read_text(encoding="utf-8"))
        assert table["columns"] == ["layer", "score", "chosen", "chosen in resamples", "cost as lowest", "why"]
        assert [row[0] for row in table["data"]] == [0, 1, 2, 3]
        curves = [row for row in run.history if "layer" in row]
        for place, key in ((0, "layer"), (1, "layer/score"), (2, "layer/chosen"), (3, "layer/chosen in resamples")):
            assert [row[key] for row in curves] == [row[place] for row in table["data"]], key
        assert not [key for row in curves for key in row if key.startswith("trainer")]
        assert {one.name: one.step_metric for one in run.of_kind("metric")}["layer/chosen"] == "layer"
        assert 0 < run.summary["selection/cost"] <= 1
        assert -1 <= run.summary["selection/stability"] <= 1
        assert "layer/chosen" not in run.summary
        (artifact,) = [one for one in run.of_kind("artifact") if one.type == "adapter"]
        assert artifact.name == name
        chosen = [row[0] for row in table["data"] if row[2]]
        about = {"base_model": config["config"]["model"]["path"], "layers": chosen}
        assert json.loads(artifact.metadata) == about


def test_a_merging_cell_is_a_run_beside_those_of_its_members(grid: Path) -> None:
    """Three cells, three runs; the merging one has a table with a row for each dataset."""
    runs = offline_runs(grid / "merged")
    assert sorted(run.run.job_type for run in runs.values()) == ["merge", "train", "train"]
    assert len({run.run.run_id for run in runs.values()}) == 3
    (merged,) = [run for run in runs.values() if run.run.job_type == "merge"]
    assert (merged.config["merging"], merged.config["dataset"]) == ("average", "review0+review1")
    assert {"review0", "review1", "average"} <= set(merged.run.tags)
    (table,) = merged.folder.glob("files/media/table/merging_*.table.json")
    content = json.loads(table.read_text(encoding="utf-8"))
    assert content["columns"] == ["dataset", "merged", "own", "base"]
    assert [row[0] for row in content["data"]] == ["review0", "review1"]
    assert [row[1] for row in content["data"]] == [merged.summary[f"review{number}/awss@95"] for number in (0, 1)]
    assert [one.type for one in merged.of_kind("artifact")] == ["run_table"], "the adapter was not asked for"


def sweep_commands() -> list[list[str]]:
    """The command lines that an agent makes of the sweep file, by W&B's own code; for a grid each set once."""
    sweep: dict[str, Any] = OmegaConf.to_container(OmegaConf.load(DOCS / "wandb-sweep.yaml"))  # type: ignore[assignment]
    names, values = list(sweep["parameters"]), [own["values"] for own in sweep["parameters"].values()]
    commands = []
    for chosen in itertools.product(*values):
        arguments = {name: {"value": value} for name, value in zip(names, chosen, strict=True)}
        made = create_sweep_command_args({"args": arguments})
        known = {**made, "env": ["/usr/bin/env"], "interpreter": ["python"], "program": [sweep["program"]]}
        parts = create_sweep_command(list(sweep["command"]))
        commands.append([word for part in parts for word in known.get(part.strip("${}"), [part])])
    return commands


def test_every_command_of_the_sweep_file_is_one_of_train(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They differ, make the cells that they name, and those give the metric that the sweep is for."""
    monkeypatch.chdir(grid)
    commands = sweep_commands()
    assert len({tuple(command) for command in commands}) == 3 * 3 * 2 * 3
    assert all(command[:3] == ["/usr/bin/env", "python", "train.py"] for command in commands)
    cells = set()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for command in commands[::5]:  # every value of every parameter
            cell = build(compose("train", command[3:]), Cell)
            assert cell.logger.mode == "auto"
            cells |= set(
                zip("Nnrs", (cell.selection.name, cell.selection.n, cell.adapter.rank, cell.seed), strict=True)
            )
            named = f"selection={cell.selection.name} selection.n={cell.selection.n:g} adapter.rank={cell.adapter.rank}"
            assert sorted(command[-4:]) == sorted([*named.split(), f"seed={cell.seed}"])
    assert len(cells) == 3 + 3 + 2 + 3
    metric = OmegaConf.load(DOCS / "wandb-sweep.yaml").metric
    assert metric.goal == "maximize"
    assert all(metric.name in run.summary for run in offline_runs(grid / "runs").values())


def test_commands_of_the_page_compose() -> None:
    """Every option exists; of a sweep the first value is tried."""
    text = (DOCS / "wandb.md").read_text(encoding="utf-8")
    commands = [line.partition("#")[0] for line in text.splitlines() if line.startswith("python train.py")]
    assert len(commands) == 3
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for command in commands:
            words = [word for word in shlex.split(command)[2:] if word != "-m"]
            assert compose("train", [word if "[" in word else word.split(",")[0] for word in words])
