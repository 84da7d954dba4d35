"""The group's files and what its options say when they are wrong."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from layersel.config import CONF, build_group
from layersel.errors import UserError
from layersel.merging.method import MergeMethod
from layersel.merging.methods.adamerging import AdaMerging
from layersel.merging.methods.average import Average
from layersel.merging.methods.dare import Dare
from layersel.merging.methods.hybrid import Hybrid
from layersel.merging.methods.knots import Knots
from layersel.merging.methods.lego import Lego
from layersel.merging.methods.none import NoMerging
from layersel.merging.methods.task_arithmetic import TaskArithmetic
from layersel.merging.methods.ties import Ties

FILES = sorted((CONF / "merging").glob("*.yaml"))
TWO = {"datasets": ["ADHD", "Statins"]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_builds_its_method_with_its_defaults(path: Path) -> None:
    """Given two datasets; the module's name is the file's."""
    node = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(node, dict)
    none = path.stem == "none"
    method = build_group("merging", node | ({} if none else TWO))
    assert method == (NoMerging() if none else type(method)(**TWO))
    assert method.name == path.stem
    assert method.merges is not none
    assert not none or method.problems() == []


def test_numbers_of_a_command_line_are_accepted() -> None:
    """Also whole ones among the weights of the layers."""
    node = OmegaConf.to_container(OmegaConf.load(CONF / "merging" / "ties.yaml"))
    assert isinstance(node, dict)
    method = build_group("merging", node | TWO | {"layer_weights": [[1, 0.5], [0, 1]], "rank": None})
    assert method.given_weights(2, 2).tolist() == [[1, 0.5], [0, 1]]


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        (
            Ties,
            {"datasets": []},
            "merging.datasets: expected 2 adapters or more, with those of merging.runs, but got 0",
        ),
        (Ties, {"datasets": ["ADHD"]}, "merging.datasets: expected 2 adapters or more"),
        (Ties, {"datasets": ["ADHD", "ADHD"]}, "merging.datasets: expected each once, but got ADHD, ADHD"),
        (Ties, {"datasets": [], "runs": ["a", "a"]}, "merging.runs: expected each once, but got a, a"),
        (Ties, {"rank": 0}, "merging.rank: expected at least 1, or null for the exact rank, but got 0"),
        (Ties, {"weights": [1.0]}, r"merging.weights: expected one for each of 2 adapters, but got [1.0]"),
        (Ties, {"weights": [1.0, float("nan")]}, "merging.weights: expected finite numbers"),
        (Ties, {"layer_weights": [[1, 2]]}, "merging.layer_weights: expected one for each of 2 adapters"),
        (Ties, {"layer_weights": [[1, 2], [1]]}, "merging.layer_weights: expected lists of one length"),
        (
            Ties,
            {"layer_weights": [["x"], [1]]},
            "merging.weights: expected finite numbers, in merging.layer_weights too",
        ),
        (Ties, {"weights": [1, 1], "layer_weights": [[1], [1]]}, "merging.weights: contradicts merging.layer_weights"),
        (Ties, {"search": "all"}, "merging.search: expected one of common, each, null, but got 'all'"),
        (Ties, {"search": "each", "weights": [1, 1]}, "merging.search: contradicts given weights"),
        (Ties, {"search": "each", "grid": []}, "merging.grid: expected finite numbers to choose from, but got []"),
        (Ties, {"density": 0.0}, "merging.density: expected 0 < share <= 1, but got 0.0"),
        (Ties, {"density": 1.1}, "merging.density"),
        (Hybrid, {"quantile": -0.1}, "merging.quantile: expected a share from 0 to 1, but got -0.1"),
        (Dare, {"drop": 1.0}, "merging.drop: expected 0 <= p < 1, but got 1.0"),
        (Dare, {"inner": "knots"}, "merging.inner: expected one of average, task_arithmetic, ties, but got 'knots'"),
        (Knots, {"inner": "lego"}, "merging.inner: expected one of average, ties, dare, but got 'lego'"),
        (Knots, {"density": 0.0}, "merging.density"),
        (Knots, {"drop": -0.1}, "merging.drop"),
        (Lego, {"restarts": 0}, "merging.restarts: expected at least 1, but got 0"),
        (Average, {"weights": [1, -1]}, "merging.weights: expected a sum other than 0 in every layer for the average"),
        (Average, {"layer_weights": [[1, 1], [1, -1]]}, "merging.weights: expected a sum other than 0"),
        (Average, {"search": "common"}, "merging.search: expected each or null, for the average normalises"),
        (AdaMerging, {"search": "each"}, "merging.search: expected null, for adamerging learns its weights"),
        (AdaMerging, {"guard": -1.0}, "merging.guard: expected 0 or more, but got -1.0"),
        (AdaMerging, {"steps": 0}, "merging.steps: expected at least 1, but got 0"),
        (AdaMerging, {"batch_size": 0}, "merging.batch_size: expected at least 1, but got 0"),
        (AdaMerging, {"learning_rate": 0.0}, "merging.learning_rate: expected a number above 0, but got 0.0"),
        (AdaMerging, {"weights": [0.5, 1.5]}, "merging.weights: expected numbers from 0 to 1 for adamerging"),
        (AdaMerging, {"layer_weights": [[0.5], [-1]]}, "merging.weights: expected numbers from 0 to 1 for adamerging"),
    ],
)
def test_each_bad_option_is_one_line(kind: type[MergeMethod], options: dict[str, object], expected: str) -> None:
    """And no other line beside it."""
    (problem,) = kind(**TWO | options).problems()
    assert problem.startswith(expected)
    assert "\n" not in problem


def test_datasets_and_runs_count_together() -> None:
    """One of each is two adapters; all mistakes are named at once."""
    assert Ties(datasets=["ADHD"], runs=["runs/a"]).problems() == []
    assert Ties(**TWO, search="common").problems() == []
    assert len(Ties(rank=0, density=0.0, weights=[1.0], search="x").problems()) == 6


def test_an_unknown_option_of_none_is_named() -> None:
    """Nothing can be merged with merging=none."""
    with pytest.raises(UserError, match=r"merging\.datasets: unknown option"):
        build_group("merging", {"_target_": "layersel.merging.methods.none.NoMerging", "datasets": ["ADHD"]})


def test_own_weights_are_those_of_the_papers() -> None:
    """0.4 for task arithmetic, also within DARE, 0.3 where AdaMerging starts, 1 for the others."""
    own = [kind().own_weight for kind in (TaskArithmetic, Dare, AdaMerging, Ties, Hybrid, Average, Knots, Lego)]
    assert own == [0.4, 0.4, 0.3, 1, 1, 1, 1, 1]
    assert Dare(inner="ties").own_weight == Dare(inner="average").own_weight == 1
    assert AdaMerging().given_weights(2, 3).tolist() == [[0.3] * 3] * 2
