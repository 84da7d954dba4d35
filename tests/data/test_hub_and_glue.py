"""Datasets of the package `datasets`: saved folders, folders of files, the hub and its cache, GLUE, offline."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layersel.data.texts import hub_rows
from layersel.data.texts.examples import Example
from layersel.data.texts.glue import TASKS, Glue
from layersel.data.texts.hub import Hub
from layersel.errors import UserError

datasets = pytest.importorskip("datasets")

EXPECTED = {  # as the dataset card of nyu-mll/glue lists them
    "cola": (["sentence"], ["unacceptable", "acceptable"]),
    "sst2": (["sentence"], ["negative", "positive"]),
    "mrpc": (["sentence1", "sentence2"], ["not_equivalent", "equivalent"]),
    "stsb": (["sentence1", "sentence2"], None),
    "qqp": (["question1", "question2"], ["not_duplicate", "duplicate"]),
    "mnli": (["premise", "hypothesis"], ["entailment", "neutral", "contradiction"]),
    "qnli": (["question", "sentence"], ["entailment", "not_entailment"]),
    "rte": (["sentence1", "sentence2"], ["entailment", "not_entailment"]),
    "wnli": (["sentence1", "sentence2"], ["not_entailment", "entailment"]),
}
METRICS = {
    **dict.fromkeys(EXPECTED, ("accuracy",)),
    "cola": ("matthews",),
    "stsb": ("pearson", "spearman"),
    **dict.fromkeys(("mrpc", "qqp"), ("accuracy", "f1")),
}

CHILD = """
import sys, time
from layersel.data.texts.glue import Glue
from layersel.data.texts.hub import Hub
from layersel.errors import UserError
for source in (Glue(task="sst2"), Hub(path="nobody/none"), Hub(path="owner/films", config="small", revision="v2")):
    started = time.perf_counter()
    try:
        dataset = source.load()
        print(dataset.name, [(own.text, own.label, own.split) for own in dataset.examples], dataset.notes[-1])
    except UserError as error:
        print(error)
    assert time.perf_counter() - started < 8
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `datasets` prepares goes to the test's own folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def split(task: str, size: int, labelled: bool = True) -> Any:
    """Rows of a task as the hub has them."""
    texts, classes = EXPECTED[task]
    features = {name: datasets.Value("string") for name in texts}
    features |= {"label": datasets.ClassLabel(names=classes) if classes else datasets.Value("float32")}
    features |= {"idx": datasets.Value("int32")}
    rows: dict[str, list[Any]] = {name: [f"{name} {number}" for number in range(size)] for name in texts}
    known = [number % len(classes) if classes else number + 0.5 for number in range(size)]
    rows |= {"label": known if labelled else [-1] * size, "idx": list(range(size))}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def whole(task: str) -> Any:
    """All splits of a task as the hub has them."""
    held = {"validation_matched": 3, "validation_mismatched": 2} if task == "mnli" else {"validation": 3}
    splits = {"train": split(task, 4), **{name: split(task, size) for name, size in held.items()}}
    return datasets.DatasetDict({**splits, "test": split(task, 2, labelled=False)})


def write_saved(task: str, folder: Path) -> None:
    """Writes a task as `save_to_disk` does."""
    whole(task).save_to_disk(str(folder))


def write_files(task: str, folder: Path) -> None:
    """Writes a task as a clone of the hub's repository has it, with its training set in shards."""
    folder.mkdir(parents=True)
    for name, rows in whole(task).items():
        shards = 2 if name == "train" else 1
        for shard in range(shards):
            part = rows.shard(shards, shard, contiguous=True)
            part.to_parquet(folder / f"{name}-{shard:05}-of-{shards:05}.parquet")


def write_lines(task: str, folder: Path) -> None:
    """Writes a task as JSON lines, in which classes are numbers without names."""
    folder.mkdir(parents=True)
    for name, rows in whole(task).items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows.to_list()))


@pytest.mark.parametrize("write", [write_saved, write_files, write_lines])
@pytest.mark.parametrize("task", TASKS)
def test_glue(tmp_path: Path, task: str, write: Callable[[str, Path], None]) -> None:
    """Texts, names of classes, splits and metrics of every task, in every form of folder; the test set is not read."""
    write(task, tmp_path / "glue" / task)
    texts, classes = EXPECTED[task]
    dataset = Glue(task=task, path=str(tmp_path / "glue")).load()
    assert (dataset.name, dataset.classes, dataset.metrics) == (task, tuple(classes or ()), METRICS[task])
    assert [own.split for own in dataset.examples] == ["train"] * 4 + ["validation"] * 3
    label = classes[1] if classes else 1.5
    second = dataset.examples[1]
    assert second == Example(*(f"{name} 1" for name in texts), label=label, split="train")
    alone = Glue(task=task, path=str(tmp_path / "glue" / task))
    assert alone.load().fingerprint() == dataset.fingerprint()
    assert alone.files()
    assert any("labels of the test are not published" in line for line in dataset.lines())


def test_every_task_is_expected() -> None:
    """The tests know all tasks."""
    assert set(TASKS) == set(EXPECTED)


def test_glue_without_a_split(tmp_path: Path) -> None:
    """One line says which split is not there, and which are."""
    split("sst2", 2).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"expected the split validation, but found train; connect once"):
        Glue(task="sst2", path=str(tmp_path)).load()
    datasets.DatasetDict({"train": split("mnli", 2), "validation": split("mnli", 2)}).save_to_disk(
        str(tmp_path / "mnli")
    )
    with pytest.raises(UserError, match=r"expected the split validation_matched, but found train, validation;"):
        Glue(task="mnli", path=str(tmp_path)).load()


def test_glue_of_two_files_for_one_split(tmp_path: Path) -> None:
    """Two forms of one split would be read twice: they are refused."""
    for name in ("train", "validation"):
        split("sst2", 2).to_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "train.jsonl").write_text('{"sentence": "a", "label": 0}\n')
    with pytest.raises(
        UserError, match=r"expected one file of train, but found train\.jsonl, train\.parquet; keep one"
    ):
        Glue(task="sst2", path=str(tmp_path)).load()


def test_glue_of_another_class(tmp_path: Path) -> None:
    """A label that the task does not have is refused with its row; names of classes are as good as numbers."""
    for name in ("train", "validation"):
        (tmp_path / f"{name}.csv").write_text("sentence,label\na,positive\nb,0\n")
    assert [own.label for own in Glue(task="sst2", path=str(tmp_path)).load().examples] == ["positive", "negative"] * 2
    (tmp_path / "train.csv").write_text("sentence,label\na,1\nb,2\n")
    with pytest.raises(
        UserError, match=r"train\.csv, row 2, column 'label': expected -1 \(none\), 0 to 1, or one of neg"
    ):
        Glue(task="sst2", path=str(tmp_path)).load()


def films(test_labels: bool = True) -> Any:
    """A small dataset with three splits and one more."""
    names = ("train", "validation", "test", "unsupervised")
    labelled = {name: name != "unsupervised" and (test_labels or name != "test") for name in names}
    return datasets.DatasetDict({name: split("sst2", 2, labelled[name]) for name in names})


@pytest.mark.parametrize("form", ["saved", "files"])
def test_hub_reads_folders(tmp_path: Path, form: str) -> None:
    """Columns, classes and splits are recognised; what is not read is told."""
    if form == "saved":
        films(test_labels=False).save_to_disk(str(tmp_path / "films"))
    else:
        (tmp_path / "films").mkdir()
        for name in ("train", "validation", "test"):
            films(test_labels=False)[name].to_parquet(tmp_path / "films" / f"{name}-00000-of-00001.parquet")
    source = Hub(path=str(tmp_path / "films"))
    dataset = source.load()
    assert dataset.name == "films"
    assert dataset.classes == ("negative", "positive")
    assert [own.split for own in dataset.examples] == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
    assert [own.label for own in dataset.examples] == ["negative", "positive"] * 2 + [None, None]
    assert "not read: idx" in dataset.notes[0]
    assert "2 rows of test without a label" in dataset.notes
    assert ("splits that are not read: unsupervised" in dataset.notes) == (form == "saved")
    assert all(path.is_file() for path in source.files())


def test_hub_of_one_split_and_of_none(tmp_path: Path) -> None:
    """Nothing says which rows are for what: the task draws them."""
    films()["train"].save_to_disk(str(tmp_path / "none"))
    datasets.DatasetDict({"train": films()["train"]}).save_to_disk(str(tmp_path / "one"))
    for name in ("none", "one"):
        assert {own.split for own in Hub(path=str(tmp_path / name)).load().examples} == {None}


def test_hub_splits_that_are_named(tmp_path: Path) -> None:
    """Splits that are named go before the usual ones; more than one usual one is refused, and one that is not there."""
    splits = films()
    splits["dev"] = splits["unsupervised"]
    splits.save_to_disk(str(tmp_path / "films"))
    path = str(tmp_path / "films")
    with pytest.raises(
        UserError, match=r"data\.validation_split: expected one split, but 'validation' and 'dev' may be"
    ):
        Hub(path=path).load()
    dataset = Hub(path=path, validation_split="dev", test_split="validation").load()
    assert [own.split for own in dataset.examples] == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
    assert [own.label for own in dataset.examples][2:] == [None, None, "negative", "positive"]
    assert "splits that are not read: test, unsupervised" in dataset.notes
    with pytest.raises(UserError, match=r"data\.train_split: expected one of train, .*but got 'all'"):
        Hub(path=path, train_split="all").load()
    datasets.DatasetDict({"a": splits["train"], "b": splits["train"]}).save_to_disk(str(tmp_path / "letters"))
    with pytest.raises(UserError, match=r"data\.train_split: expected one of a, b, but got none; name it"):
        Hub(path=str(tmp_path / "letters")).load()


def test_hub_reads_classes_as_numbers(tmp_path: Path) -> None:
    """Grades that are stored as classes are numbers where they are asked for."""
    films()["train"].save_to_disk(str(tmp_path / "films"))
    dataset = Hub(path=str(tmp_path / "films"), labels="numbers").load()
    assert [own.label for own in dataset.examples] == [0.0, 1.0]
    assert dataset.classes == ()


def test_hub_reads_conversations(tmp_path: Path) -> None:
    """Lists of objects are read as they are; columns can be named."""
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = {"talk": [turns, turns[:1]], "text": ["a", "b"]}
    datasets.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "chats"))
    (own,) = Hub(path=str(tmp_path / "chats"), messages_column="talk").load().examples
    assert [(turn.role, turn.content) for turn in own.messages] == [("user", "Hi"), ("assistant", "Hello")]


@pytest.mark.parametrize("content", [None, "no Parquet"])
def test_hub_folder_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    """A folder of nothing, and one of a damaged file, are refused in one line."""
    (tmp_path / "folder").mkdir()
    if content is not None:
        (tmp_path / "folder" / "train.parquet").write_text(content)
    with pytest.raises(UserError, match=r"data\.path: '.*folder' cannot be read \(.*\); check data\.path") as refused:
        Hub(path=str(tmp_path / "folder")).load()
    assert "\n" not in str(refused.value)


def test_damaged_folder(tmp_path: Path) -> None:
    """A saved folder that lacks a file is refused in one line."""
    films().save_to_disk(str(tmp_path / "films"))
    shutil.rmtree(tmp_path / "films" / "test")
    with pytest.raises(UserError, match=r"data\.path: '.*films' cannot be read"):
        Hub(path=str(tmp_path / "films")).load()


def test_all_problems_show_without_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wrong option has its line, and so has the package that is not installed."""
    monkeypatch.setattr(hub_rows, "PACKAGE", "no_such_package")
    missing = "data: expected the package no_such_package, but it is not installed; pip install 'layersel[hub]'"
    (tmp_path / "rows.csv").write_text("text\na\n")
    says = {
        "???": "data.path: expected the name of a dataset or a folder, but got none; set data.path=NAME",
        str(tmp_path / "rows.csv"): "data.path: expected a folder, but got the file",
        "a/b/c": "data.path: expected a folder or NAME/DATASET, but there is none at 'a/b/c'",
    }
    for path, line in says.items():
        found = Hub(path=path, labels="words", text_column="a", prompt_column="b").problems()
        assert found[0].startswith(line)
        assert [issue.partition(" ")[0] for issue in found[1:]] == ["data.text_column", "data.labels:", "data:"]
        assert found[-1] == missing
    assert Glue(task="sst2").problems() == [missing]
    assert Glue(task="sst2", path=str(tmp_path)).problems() == []
    found = Glue(path=str(tmp_path / "none"), revision="v1").problems()
    assert [issue.partition(" ")[0] for issue in found] == ["data.task:", "data.path:", "data.revision"]
    with pytest.raises(UserError, match=r"data\.task: expected one of cola, sst2, .* but got 'sst'"):
        Glue(task="sst").load()


def test_a_hub_that_does_not_answer(tmp_path: Path) -> None:
    """The hub is given up quickly, in one line each that says what to do; what the cache has is read, and told."""
    (tmp_path / "files").mkdir()
    films()["train"].to_parquet(tmp_path / "files" / "train.parquet")
    datasets.load_dataset(str(tmp_path / "files"), cache_dir=str(tmp_path / "made"))
    (prepared,) = (path.parent for path in (tmp_path / "made").rglob("dataset_info.json"))
    info = json.loads((prepared / "dataset_info.json").read_text())
    own = tmp_path / "home" / "datasets" / "owner___films" / "small" / "0.0.0" / "0123456789abcdef"
    shutil.copytree(prepared, own)
    for file in own.glob("*.arrow"):
        file.rename(own / "films-train.arrow")
    changed = info | {"dataset_name": "films", "config_name": "small", "builder_name": "parquet"}
    (own / "dataset_info.json").write_text(json.dumps(changed))
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    glue, unknown, cached = done.stdout.splitlines()
    away = "cannot be read (the hub does not answer, and it is not in the cache); "
    assert glue.startswith(f"data.path: 'nyu-mll/glue' {away}connect once (HF_HOME keeps it), or set data.path=FOLDER")
    assert unknown.startswith(f"data.path: 'nobody/none' {away}check data.path")
    rows = "[('sentence 0', 'negative', None), ('sentence 1', 'positive', None)]"
    assert (
        cached
        == f"films_small {rows} the hub does not answer: the last copy in the cache is read, whatever its revision"
    )
