"""Every file of conf/ composes and builds; schemas, files and help say the same; errors come all at once."""

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields, is_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import MISSING, DictConfig, OmegaConf

import evaluate
import train
from layersel.cell.options import Cell
from layersel.config import CONF, build, build_group, choice, new_spelling
from layersel.errors import UserError
from layersel.evaluation.options import Evaluation
from layersel.terminal.help import WHOLE, choices, field_docs, help_text

OPTIONS = sorted(path.relative_to(CONF).with_suffix("") for path in CONF.glob("*/**/*.yaml"))
GROUPS = sorted({str(option.parent) for option in OPTIONS} - set(WHOLE))
PLAIN_GROUPS = ("adapter", "loss", "merging", "pruning")
SCRIPTS = {"train": (Cell, train), "evaluate": (Evaluation, evaluate)}

# What a user must give, and what this machine may lack.
MANDATORY = {
    "data/table": ["data.path={file}"],
    "data/cohen": ["data.review=ADHD"],
    "data/swift": ["data.review=Fluoride"],
    "data/synergy": ["data.review=Donners_2021"],
    "data/embedded": ["task=classification"],
    "data/titles": ["task=causal_lm", "model=llama"],
    "data/text": ["task=classification", "data.path={file}"],
    "data/instructions": ["task=causal_lm", "model=llama", "data.path={file}"],
    "data/glue": ["task=classification", "data.task=sst2"],
    "data/hub": ["task=classification", "data.path=owner/name"],
    "task/causal_lm": ["data=titles", "model=llama"],
    "task/retention/none": ["task=causal_lm", "model=llama", "data=titles"],
    "task/retention/python": ["task=causal_lm", "model=llama", "data=titles"],
    "model/smollm2": ["model.path=allenai/specter"],
    "task/classification": ["data=embedded"],
    "experiment/budget": ["data.review=ADHD"],
    "experiment/hybrid": ["data.review=ADHD"],
    "experiment/oracle": ["selection.layers=[0]"],
    "experiment/precision": ["data.review=ADHD"],
    "experiment/pruning": ["data.review=ADHD"],
    "experiment/demo_llm": ["model.path=allenai/specter"],
    "experiment/glue": ["data.task=sst2"],
    "experiment/instructions": ["data.path={file}"],
    "model/mpnet": ["model.path=allenai/specter"],
    "selection/manual": ["selection.layers=[0]"],
    "precision/fp16": ["precision.train=bf16", "precision.infer=bf16"],
    "trainer/gpu": ["trainer.accelerator=cpu"],
    "stopping/control": ["stopping.size=59"],
    "task/head/best_layer": ["model.layers=all", "model.combine=concat"],
}
MANDATORY |= {
    f"merging/{path.stem}": ["merging.datasets=[records.csv,others.csv]", "data=table", "data.path={file}"]
    for path in (CONF / "merging").glob("*.yaml")
    if path.stem != "none"
}


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs are written below the working directory; reviews of this machine do not count."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAYERSEL_DATA", raising=False)
    (tmp_path / "records.csv").write_text("title,included\na,1\nb,0\n", encoding="utf-8")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(script: str, *overrides: str) -> DictConfig:
    """The config of a command line."""
    return compose(script, [override.format(file="records.csv") for override in overrides])


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_composes_and_builds(option: Path) -> None:
    """With what is mandatory for it, `train` accepts each file of each group, or `evaluate` where it is its own."""
    group, name = str(option.parent), option.name
    given = [f"{group}={name}", *MANDATORY.get(str(option), [])]
    if group in ("simulation", "stopping"):
        built = build_group(group, OmegaConf.to_container(composed("evaluate", *given)[group]))  # type: ignore[arg-type]
        assert is_dataclass(built)
        return
    cell = build(composed("train", *given), Cell)
    built = attrgetter(group.replace("/", "."))(cell) if group in GROUPS else cell
    assert is_dataclass(built)
    if group == "selection":
        assert built.name == name


@pytest.mark.parametrize("option", [option for option in OPTIONS if str(option.parent) in GROUPS], ids=str)
def test_every_option_lists_its_fields(option: Path) -> None:
    """Those of its dataclass, no other: what a file leaves out could not be set on the command line."""
    content = choice(str(option.parent), option.name)
    kind = get_class(content.pop("_target_"))
    assert list(content) == [name for name in content if name in {field.name for field in fields(kind)}]
    assert set(content) == {field.name for field in fields(kind)}


@pytest.mark.parametrize("script", SCRIPTS)
def test_main_config_lists_its_options(script: str) -> None:
    """Groups are composed, plain options stand in the file with the defaults of the dataclass."""
    kind = SCRIPTS[script][0]
    content = OmegaConf.to_container(OmegaConf.load(CONF / f"{script}.yaml"))
    assert isinstance(content, dict)
    groups = {group for entry in content.pop("defaults") if isinstance(entry, dict) for group in entry}
    content.pop("hydra")
    assert set(content) | (groups & set(GROUPS)) == {field.name for field in fields(kind)}
    derived = {name for name, value in content.items() if str(value).startswith("${")}
    assert {name: value for name, value in content.items() if name not in derived} == {
        field.name: default(field) for field in fields(kind) if field.name in content and field.name not in derived
    }
    assert not set(content) & set(GROUPS), "Hydra takes NAME=VALUE for the choice of a group of that name"


def default(option: "Field[Any]") -> Any:
    """Returns the default of a dataclass' field."""
    return option.default if option.default_factory is dataclasses.MISSING else option.default_factory()


def test_defaults_of_files_and_dataclasses_agree() -> None:
    """The first of each group's choices that sets nothing of its own: the plain ones."""
    plain = (
        "task/screening",
        "task/head/adaptive",
        "task/loss/pairs/random",
        "precision/fp32",
        "trainer/auto",
        "logger/wandb",
    )
    own = [str(option) for option in OPTIONS if option.parent.name in PLAIN_GROUPS]
    for option in [*plain, *own]:
        group, _, name = option.rpartition("/")
        content = choice(group, name)
        kind = get_class(content.pop("_target_"))
        within = {inner: build_group(inner, node) for inner, node in content.items() if isinstance(node, dict)}
        assert kind(**content | within) == kind(), option


def test_thesis_is_the_thesis() -> None:
    """Faria's setting, whatever the defaults become."""
    cell = build(composed("train", "experiment=thesis"), Cell)
    assert (cell.model.path, cell.model.pooling, cell.model.max_length) == ("allenai/specter", "cls", 512)
    assert (cell.selection.name, cell.selection.n) == ("last", 3)
    assert (cell.adapter.rank, cell.adapter.projections) == (4, ["key", "value"])
    assert cell.task.loss.pairs.count(2 * cell.task.shots) == 640
    assert (cell.task.epochs, cell.task.batch_size, cell.task.loss.temperature) == (2, 16, 0.2)


def test_an_experiment_yields_to_the_command_line() -> None:
    """Its values are defaults."""
    cell = build(composed("train", "experiment=thesis", "adapter.rank=2", "selection=cka", "logger=csv"), Cell)
    assert (cell.adapter.rank, cell.selection.name, cell.logger.mode) == (2, "cka", "disabled")
    modes = [composed("train", "experiment=demo", *more).logger.mode for more in ([], ["logger=csv"])]
    assert modes == ["offline", "disabled"]


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_file_begins_with_a_line_about_it(path: Path) -> None:
    """One comment, which --help shows."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "@package" not in line]
    assert re.match(r"# \S.{5,}", lines[0])
    assert not lines[1].startswith("#")


def schemas() -> list[type]:
    """The dataclasses behind all options, and those of the scripts."""
    options = [option for option in OPTIONS if str(option.parent) in GROUPS]
    targets = {choice(str(option.parent), option.name)["_target_"] for option in options}
    return [Cell, Evaluation, *sorted(map(get_class, targets), key=str)]


@pytest.mark.parametrize("kind", schemas(), ids=lambda kind: kind.__name__)
def test_every_field_is_documented(kind: type) -> None:
    """A docstring stands under it: the only documentation that it has."""
    docs = field_docs(kind)
    assert set(docs) == {field.name for field in fields(kind)}
    assert all(re.search(r"[^.]\.$|…$", text) for text in docs.values()), docs
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    assert ast.get_docstring(tree.body[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_everything(script: str) -> None:
    """Every group with its choices, every field, in lines that a terminal shows whole."""
    kind, module = SCRIPTS[script]
    text = help_text(script, kind, str(module.__doc__))
    assert str(module.__doc__).strip() in text
    for option in fields(kind):
        if option.name not in GROUPS:
            assert re.search(rf"^  {option.name} ", text, re.MULTILINE), option.name
    for option in OPTIONS:
        group, prefix = str(option.parent), str(option.parent).replace("/", r"\.")
        if group not in GROUPS or group.partition("/")[0] not in {field.name for field in fields(kind)}:
            continue
        assert re.search(rf"^{group.upper()}: \S", text, re.MULTILINE), group
        assert re.search(rf"^  {group}={option.name} ", text, re.MULTILINE), option
        assert choices(group)[option.name].split()[0] in text
        for part in fields(get_class(choice(group, option.name)["_target_"])):
            if f"{group}/{part.name}" not in GROUPS:
                assert re.search(rf"^  {prefix}\.{part.name} ", text, re.MULTILINE), part.name
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_whole_settings(script: str) -> None:
    """Experiments, searches and launchers are those of train.py."""
    text = help_text(script, SCRIPTS[script][0], "")
    for group in WHOLE:
        for name in choices(group):
            assert (f"  {group}={name} " in text) is (script == "train")


@dataclass
class Inner:
    """A group within a group."""

    depth: int = 0
    """Its depth."""

    def problems(self) -> list[str]:
        """A negative depth."""
        return [] if self.depth >= 0 else [f"part.inner.depth: expected at least 0, but got {self.depth}"]


@dataclass
class Deeper(Inner):
    """Another choice for it."""

    label: str = MISSING
    """Its label."""


@dataclass
class Part:
    """A group."""

    size: int = 1
    """Its size."""
    name: str = MISSING
    """Its name."""
    shares: list[float] = field(default_factory=list)
    """Its shares."""
    inner: Inner = field(default_factory=Inner)
    """A group within."""

    def problems(self) -> list[str]:
        """A size below 1."""
        return [] if self.size >= 1 else [f"part.size: expected at least 1, but got {self.size}"]


@dataclass
class Whole:
    """Options of a script."""

    part: Part | None = None
    """A group that may be null."""
    seed: int = 0
    """A number."""

    def problems(self) -> list[str]:
        """An odd seed."""
        return ["seed: expected an even number"] if self.seed % 2 else []


def whole(part: dict[str, Any] | None = None, **options: Any) -> Whole:
    """What `build` makes of plain values."""
    node = None if part is None else {"_target_": f"{__name__}.Part", **part}
    return build(OmegaConf.create({"part": node, **options}), Whole)


def test_build_makes_objects_of_their_own_kind() -> None:
    """Groups by their target, lists as lists, numbers converted as OmegaConf does."""
    built = whole({"name": "a", "size": "3", "shares": [1, 0.5]}, seed=2)
    assert built == Whole(Part(3, "a", [1.0, 0.5]), 2)
    assert type(built.part.shares) is list  # type: ignore[union-attr]
    assert whole() == Whole(None, 0)


def test_groups_within_groups_are_objects_of_their_own() -> None:
    """By their own target, with checked values; left out, the default stands."""
    deeper = {"_target_": f"{__name__}.Deeper", "depth": "2", "label": "b"}
    assert whole({"name": "a", "inner": deeper}).part == Part(name="a", inner=Deeper(2, "b"))
    assert whole({"name": "a"}).part == Part(name="a", inner=Inner(0))


def test_problems_within_groups_have_the_whole_path() -> None:
    """Together with those of the group around, as long as both can be made."""
    inner, deeper = ({"_target_": f"{__name__}.{name}"} for name in ("Inner", "Deeper"))
    for part, lines in (
        ({"name": "a", "size": 0, "inner": inner | {"depth": -1}}, ["part.inner.depth: expected at", "part.size: "]),
        ({"name": "a", "inner": inner | {"deep": 1}}, ["part.inner.deep: unknown option; expected one of depth"]),
        ({"name": "a", "inner": inner | {"depth": "x"}}, ["part.inner.depth: expected int, but got 'x'"]),
        ({"inner": deeper}, ["part.inner.label: missing; give part.inner.label=…", "part.name: missing"]),
        ({"name": "a", "other": inner}, ["part.other: unknown option"]),
        ({"name": "a", "inner": {"_target_": "nowhere.Inner"}}, ["part.inner._target_: cannot import 'nowhere.Inner'"]),
    ):
        with pytest.raises(UserError) as error:
            whole(part)
        found = str(error.value).splitlines()
        assert [line[: len(start)] for line, start in zip(found, lines, strict=True)] == lines


RENAMED = OmegaConf.to_container(OmegaConf.load(CONF / "renamed.yaml"))


@pytest.mark.parametrize("former", RENAMED)
def test_former_names_are_refused_with_the_new_ones(former: str) -> None:
    """The new one exists, the former does not, and a run's config with it is refused in one line."""
    new = RENAMED[former]
    assert new_spelling(former) == f"{former}: it is {new} now"
    content = OmegaConf.to_container(composed("train", "task/head=logistic", "merging=ties", "merging.datasets=[a,b]"))
    assert isinstance(content, dict)
    if "/" in new:
        assert new in GROUPS
        assert former not in content
    else:
        assert OmegaConf.select(OmegaConf.create(content), new) is not None
    group, _, name = former.rpartition(".")
    if group not in content:
        return
    with pytest.raises(UserError, match=rf"{re.escape(former)}: it is {re.escape(new)} now"):
        build_group(group, content[group] | {name: 1})


def test_no_module_knows_former_names() -> None:
    """They stand in conf/renamed.yaml alone."""
    former = re.compile("|".join(rf"(?<![\w.]){re.escape(name)}\b" for name in RENAMED if "." in name))
    files = [*CONF.parent.glob("layersel/**/*.py"), *CONF.glob("*/**/*.yaml")]
    assert not [path for path in files if former.search(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    ("part", "options", "lines"),
    [
        ({"name": "a", "sise": 3}, {}, ["part.sise: unknown option; expected one of size, name, shares, inner"]),
        ({}, {}, ["part.name: missing; give part.name=…"]),
        ({"name": "a", "size": "big"}, {}, ["part.size: expected int, but got 'big'"]),
        ({"name": "a", "size": 1.5}, {}, ["part.size: expected int, but got 1.5"]),
        ({"name": "a", "size": None}, {}, ["part.size: expected int, but got None"]),
        ({"name": "a", "size": 0}, {}, ["part.size: expected at least 1, but got 0"]),
        (None, {"sead": 1}, ["sead: unknown option; expected one of part, seed"]),
        (None, {"seed": "x"}, ["seed: expected int, but got 'x'"]),
        (None, {"seed": 1}, ["seed: expected an even number"]),
        (
            {"sise": 3, "size": "big"},
            {"seed": "x", "sead": 1},
            ["seed: expected int", "sead: unknown", "part.sise: unknown", "part.size: expected", "part.name: missing"],
        ),
    ],
)
def test_build_tells_everything_at_once(part: dict[str, Any] | None, options: dict[str, Any], lines: list[str]) -> None:
    """One line for each problem, in one error."""
    with pytest.raises(UserError) as error:
        whole(part, **options)
    found = str(error.value).splitlines()
    assert len(found) == len(lines)
    for expected in lines:
        assert any(line.startswith(expected) for line in found), expected


def test_several_groups_are_checked_together() -> None:
    """On the real cell, three mistakes in three groups are three lines."""
    with pytest.raises(UserError) as error:
        build(
            composed("train", "adapter.rank=0", "task.loss.temperature=-1", "selection.n=2.5", "experiment=demo"), Cell
        )
    assert sorted(line.partition(":")[0] for line in str(error.value).splitlines()) == [
        "adapter.rank",
        "selection.n",
        "task.loss.temperature",
    ]
