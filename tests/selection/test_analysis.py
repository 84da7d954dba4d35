"""What a probe says of the layers: against other implementations, and as files of the command."""

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import silhouette_score

from layersel.errors import UserError
from layersel.selection.__main__ import main
from layersel.selection.agreement import kendall
from layersel.selection.analysis import depth_similarities, separations, smaller_probes
from layersel.selection.measures.similarity import cka
from layersel.selection.selection import Selection

WORDS = ("acute", "chronic", "severe", "mild", "no", "some", "less", "more", "first", "last")
TEXTS = [f"{word} {other} stress in patients" for word in WORDS for other in ("old", "young")]


def states(depths: int = 3, texts: int = 20, width: int = 5) -> torch.Tensor:
    """Random states."""
    return torch.randn(depths, texts, width, generator=torch.Generator().manual_seed(0))


def chosen(scores: list[float], n: int = 2) -> Selection:
    """A selection with these scores."""
    layers = sorted(np.argsort(np.nan_to_num(scores, nan=-9))[-n:].tolist())
    return Selection("cka", scores, layers, ["" for _ in scores], [{} for _ in scores])


def test_every_two_depths() -> None:
    """Each entry is the library's CKA; the map is symmetric with a diagonal of ones."""
    found = depth_similarities(states())
    for one in range(3):
        for other in range(3):
            assert found[one, other] == pytest.approx(float(cka(states()[one], states()[other])), abs=1e-12)
    assert torch.allclose(found, found.T)
    assert torch.allclose(found.diag(), torch.ones(3, dtype=torch.float64))


def test_separation_grows_with_the_distance_of_the_classes() -> None:
    """A depth that tells the classes apart is found; equal states separate nothing."""
    labels = ["a"] * 10 + ["b"] * 10
    apart = states()
    apart[1, 10:, 0] += 20
    apart[2] = 1.0
    found = separations(apart, labels, seed=0)
    assert found[1].accuracy == 1.0
    assert found[0].accuracy < 0.9
    assert found[1].silhouette == pytest.approx(silhouette_score(apart[1].double().numpy(), labels, metric="cosine"))
    assert found[2].accuracy == pytest.approx(0.5)
    assert found[2].silhouette == 0
    assert separations(apart, labels, seed=0) == found
    with pytest.raises(UserError, match=r"^labels: expected at least 2 classes of 5 texts or more, but got 2, 'b'"):
        separations(states(1), ["a"] * 17 + ["b"] * 3, seed=0)


def test_smaller_probes_are_compared_with_the_whole() -> None:
    """A choice that hangs on nothing agrees always; one by other scores as far as these do; sizes double."""
    whole = chosen([0.1, 0.2, 0.3, math.nan])
    same = smaller_probes(lambda _: whole, TEXTS, whole, torch.Generator().manual_seed(0))
    assert [(own.texts, own.tau, own.overlap) for own in same] == [
        (8, pytest.approx(1.0), 1.0),
        (16, pytest.approx(1.0), 1.0),
    ]
    seen: list[list[str]] = []

    def other(texts: list[str]) -> Selection:
        seen.append(texts)
        return chosen([0.3, 0.2, 0.1, math.nan])

    found = smaller_probes(other, TEXTS, whole, torch.Generator().manual_seed(0))
    assert [own.tau for own in found] == pytest.approx([-1.0, -1.0])
    assert [own.overlap for own in found] == [0.5, 0.5]
    assert {len(texts) for texts in seen} == {8, 16}
    assert all(len(set(texts)) == len(texts) and set(texts) <= set(TEXTS) for texts in seen)
    assert kendall([1.0, 1.0], [1.0, 2.0]) != kendall([1.0, 2.0], [1.0, 2.0])


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with texts of two classes."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{text},{'old' if 'old' in text else 'young'}" for text in TEXTS]
    (tmp_path / "texts.csv").write_text("text,label\n" + "\n".join(rows))
    return tmp_path


@pytest.mark.parametrize("score", ["cka", "spectrum"])
def test_the_command_writes_figures_and_tables(score: str, texts: Path, tiny_model_folder: Path) -> None:
    """A PNG, an SVG and a CSV of each; a score that looks at no text has no curve over their number."""
    options = [f"score={score}", "pooling=mean", "texts=texts.csv", "labels=label", "figures=figures"]
    assert main([f"path={tiny_model_folder}", *options]) == 0
    names = {"scores", "similarity", "separation"} | ({"texts"} if score == "cka" else set())
    files = {file.name for file in (texts / "figures").iterdir()}
    assert files == {f"{name}.{form}" for name in names for form in ("png", "svg", "csv")}
    selection = Selection.load("selection.json")
    table = pd.read_csv("figures/scores.csv")
    assert table["score"].tolist() == pytest.approx(selection.scores)
    assert table["layer"][table["chosen"]].tolist() == selection.layers
    assert table["cost_as_lowest"].iloc[0] == 1
    assert pd.read_csv("figures/similarity.csv").shape == (len(selection.scores) + 1,) * 2
    assert len(pd.read_csv("figures/separation.csv")) == len(selection.scores) + 1


def test_sizes_and_labels_that_do_not_do_are_told(
    texts: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A size that is too small for the score, and texts without a label; columns that nobody names are not labels."""
    rows = (texts / "texts.csv").read_text().splitlines()
    (texts / "texts.csv").write_text("\n".join([*rows[:-1], rows[-1].rpartition(",")[0] + ","]))
    common = [f"path={tiny_model_folder}", "pooling=mean", "texts=texts.csv", "figures=figures"]
    assert main([*common, "score=svcca", "labels=label"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "8 texts: " in printed
    assert "labels: 1 of 20 texts have none and are left out" in printed
    (texts / "texts.csv").write_text("\n".join(["text,score", *(f"{text},{i}.5" for i, text in enumerate(TEXTS))]))
    assert main([*common, "figures=others"]) == 0
    assert not (texts / "others" / "separation.csv").exists()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["texts=texts.csv", "labels=label"], "error: labels: expected figures=FOLDER beside it"),
        (["score=last", "figures=figures"], "error: texts: missing"),
        (["texts=texts.csv", "labels=lable", "figures=figures"], "error: .*lable"),
    ],
)
def test_what_is_wrong_is_one_line(
    options: list[str], line: str, texts: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing is written."""
    assert main([f"path={tiny_model_folder}", *options]) == 2
    assert re.match(line, capsys.readouterr().err)
    assert not (texts / "figures").exists()
