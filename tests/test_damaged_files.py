"""Whatever happens to a file that layersel has written, no command ends in a traceback or with another number.

Every file of a run's folder, of a grid's and of the store, found by looking and not listed, is damaged in every way;
then the command is given again, the run is evaluated, the grid is run or collected again, the training goes on. Some
of the cases are among the usual tests; `make test-damage` does all of them and prints the counts.
"""

import io
import os
import random
import re
import shutil
import signal
from collections import Counter
from contextlib import redirect_stderr
from pathlib import Path
from unittest.mock import patch

import pytest
from damages import Action, Scene, collect, content, damage, evaluate, results, run_jobs_here, table, train
from in_process import cells, here
from small_reviews import write_reviews

from layersel.callbacks.training_progress import TrainingProgress
from layersel.sweep.local import Pool

SAMPLE = 8
"""Cases of each scene that the usual tests do."""


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two small reviews."""
    return write_reviews(tmp_path_factory.mktemp("reviews"), 2)


def grid_scene(folder: Path, base: list[str], reviews: list[str], out: Path) -> Scene:
    """A grid of two cells, one of which is damaged, or the grid's own files, or the store."""
    own = [*base, f"data.path={reviews[0]}", f"output={folder}"]
    assert here("train.py", "-m", *own, "seed=0,1", "grid=g") == 0
    first, other = cells(folder)
    run, records = f"run={first}", f"records={reviews[1]}"
    both, cells_csv = results(first, other), table(folder / "grids" / "g" / "cells.csv")
    actions = {
        "again": Action(train(*own), results(first)),
        "grid again": Action(train("-m", *own, "seed=0,1", "grid=g"), lambda: cells_csv() | both()),
        "collect": Action(collect(str(folder)), table(folder / "cells.csv")),
        "evaluate": Action(evaluate(run, f"out={out / 'grid.json'}"), content(out / "grid.json")),
        "rank": Action(evaluate(run, records, f"out={out / 'grid.csv'}"), content(out / "grid.csv")),
    }
    return Scene(folder, actions, (f"{first.name}/**/*", "grids/**/*", "shared/**/*"))


def compressed_scene(folder: Path, base: list[str], reviews: list[str], out: Path, *how: str) -> Scene:
    """A cell that keeps its compressed model."""
    own = [*base, f"data.path={reviews[0]}", f"output={folder}", *how]
    assert here("train.py", *own) == 0
    (run,) = cells(folder)
    file = out / "compressed.json"
    actions = {
        "again": Action(train(*own), results(run)),
        "evaluate": Action(evaluate(f"run={run}", f"out={file}"), content(file)),
    }
    return Scene(folder, actions, (f"{run.name}/**/*",))


def packed_scene(folder: Path, base: list[str], reviews: list[str], out: Path) -> Scene:
    """A cell with a model of packed integers."""
    return compressed_scene(folder, base, reviews, out, "precision=int8")


def pruned_scene(folder: Path, base: list[str], reviews: list[str], out: Path) -> Scene:
    """A cell with a pruned model as a plain Hugging Face folder, and an adapter beside it."""
    return compressed_scene(folder, base, reviews, out, "pruning=magnitude", "order=[prune,train]")


def merged_scene(folder: Path, base: list[str], reviews: list[str], out: Path) -> Scene:
    """A merging cell and its members, one of which is damaged too."""
    own = [*base, "merging=average", f"merging.datasets=[{','.join(reviews)}]", f"output={folder}"]
    assert here("train.py", *own) == 0
    (merged,) = (run for run in cells(folder) if (run / "merging.json").is_file())
    (member,) = folder.glob("review0-last*")
    run, data = f"run={merged}", [f"data.path={reviews[0]}", "data=table"]
    forced = [*own, "force=true"]
    actions = {
        "again": Action(train(*own), results(merged)),
        "merge again": Action(train(*forced), results(merged)),
        "evaluate": Action(evaluate(run, *data, f"out={out / 'merged.json'}"), content(out / "merged.json")),
    }
    return Scene(folder, actions, (f"{merged.name}/**/*", f"{member.name}/**/*"))


def interrupted_scene(folder: Path, base: list[str], reviews: list[str], out: Path) -> Scene:
    """A cell that was interrupted in the middle of its training."""
    own = [*base, f"data.path={reviews[0]}", f"output={folder}", "trainer.checkpoint_seconds=0"]

    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with patch.object(TrainingProgress, "on_train_batch_end", interrupt):
        assert here("train.py", *own) == 130
    (run,) = cells(folder)
    return Scene(folder, {"resume": Action(train(*own), results(run))}, (f"{run.name}/**/*",))


def store_scene(folder: Path, base: list[str], reviews: list[str], out: Path) -> Scene:
    """What a cell has left for others: a cell that is run again takes it from there."""
    own = [*base, "selection=cka", "selection.bootstrap=2", f"data.path={reviews[0]}", f"output={folder}"]
    assert here("train.py", *own) == 0
    (run,) = cells(folder)
    return Scene(folder, {"run again": Action(train(*own, "force=true"), results(run))}, ("shared/**/*",))


SCENES = {
    "store": store_scene,
    "grid": grid_scene,
    "packed": packed_scene,
    "pruned": pruned_scene,
    "merged": merged_scene,
    "interrupted": interrupted_scene,
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.damage if name in ("packed", "merged", "store", "interrupted") else ())
        for name in SCENES
    ],
)
def scene(
    request: pytest.FixtureRequest, small_cell: list[str], reviews: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Scene:
    """One of the scenes."""
    place = tmp_path_factory.mktemp("scene")
    with patch.object(Pool, "run", run_jobs_here):
        made = SCENES[request.param](place / "runs", [*small_cell, "task.learning_rate=0.03"], reviews, place)
    made.keep()
    return made


def test_some_damages(scene: Scene) -> None:
    """A part of all cases, the same in every call."""
    for case in random.Random(0).sample(list(scene.cases()), SAMPLE):
        scene.outcome(*case)


def test_an_adapter_is_verified_by_its_run(small_cell: list[str], reviews: list[str], tmp_path: Path) -> None:
    """Also where the folder of the adapter alone is given; so is what it has learnt from, which is not judged on."""
    assert here("train.py", *small_cell, f"data.path={reviews[0]}", f"output={tmp_path / 'runs'}") == 0
    (run,) = cells(tmp_path / "runs")
    model = [option for option in small_cell if option.startswith(("model", "task.shots", "trainer"))]
    adapter = [*model, f"adapter_folder={run / 'adapter'}", "data=table", f"data.path={reviews[1]}"]
    assert here("evaluate.py", *adapter) == 0
    for name, how in (("adapter/adapter_model.safetensors", "flipped"), ("training_records.json", "missing")):
        shutil.copytree(run, tmp_path / "kept")
        damage(run / name, how)
        errors = io.StringIO()
        with redirect_stderr(errors):
            assert here("evaluate.py", *adapter) == 2
        assert re.fullmatch(
            rf"error: '.*{Path(name).name}' is [^\n]*; delete the folder [^\n]* again\n", errors.getvalue()
        )
        shutil.rmtree(run)
        (tmp_path / "kept").rename(run)


@pytest.mark.damage
def test_all_damages(scene: Scene, request: pytest.FixtureRequest) -> None:
    """All of them; every failure is told, not the first alone."""
    counts: Counter[tuple[str, str]] = Counter()
    wrong = []
    for case in scene.cases():
        try:
            counts[case[2], scene.outcome(*case)] += 1
        except AssertionError as error:
            counts[case[2], "WRONG"] += 1
            wrong.append(str(error).partition("\nassert ")[0])
    print(f"\n{sum(counts.values())} cases of {request.node.callspec.id}:")
    for (action, outcome), count in sorted(counts.items()):
        print(f"  {action}: {count} {outcome}")
    assert not wrong, "\n\n".join(wrong)
