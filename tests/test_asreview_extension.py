"""The extension of ASReview 3: its vectors and scores are those of a run, and `asreview simulate` reads in their order.

All but the last test need no ASReview, which has an environment of its own: `make test-asreview`.
"""

import csv
import json
import re
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from in_process import ROOT, cells, here
from scipy.sparse import csr_matrix
from sklearn.base import clone
from small_reviews import write_reviews
from transformers import AutoModel, AutoTokenizer

from layersel.asreview.encoder import MODEL, RUN, Encoder
from layersel.asreview.labels import LABELS
from layersel.asreview.nearest import NearestIncluded
from layersel.errors import UserError


@pytest.fixture(scope="module")
def review(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 12 included and 12 excluded records."""
    (file,) = write_reviews(tmp_path_factory.mktemp("review"), count=1)
    return Path(file)


@pytest.fixture
def small_model(tiny_model_folder: Path) -> dict[str, Any]:
    """Parameters of an extractor that name a tiny pretrained model."""
    return {"model": "minilm", "options": {"path": str(tiny_model_folder), "max_length": 32}}


def read(review: Path) -> pd.DataFrame:
    """The records of a file as ASReview hands them over."""
    return pd.read_csv(review)


def test_vectors_and_scores_are_those_of_the_run(small_cell: list[str], review: Path, tmp_path: Path) -> None:
    """From its adapted model in its precision, with what it has learnt from, comes what it has written."""
    options = [f"data.path={review}", "task/head=nearest", "precision.infer=bf16", f"output={tmp_path}"]
    assert here("train.py", *small_cell, *options) == 0
    (run,) = cells(tmp_path)
    with (run / "ranking.csv").open(encoding="utf-8-sig") as file:
        written = {int(row["record_id"]): float(row["score"]) for row in csv.DictReader(file)}
    learnt = {int(record["id"]): record["label"] for record in json.loads((run / "training_records.json").read_text())}
    records = read(review)
    first = min([*written, *learnt])  # the ids count the rows
    vectors = Encoder(run=str(run)).fit_transform(records)
    known = [number - first for number in learnt]
    nearest = NearestIncluded().fit(vectors[known], np.array(list(learnt.values()), dtype=object))
    scores = nearest.decision_function(vectors[[number - first for number in written]])
    assert scores == pytest.approx(list(written.values()), abs=1e-6)
    assert (Encoder(run=str(run)).fit_transform(records) == vectors).all()


def test_vectors_are_those_of_transformers(small_model: dict[str, Any], tiny_model_folder: Path) -> None:
    """Text by text without padding: the mean over the tokens, at length 1; what is missing is left out."""
    records = pd.DataFrame(
        {"title": ["Stress", " Sleep &amp; <i>dreams</i>", None], "abstract": ["Of a kind.", None, np.nan]}
    )
    found = Encoder(**small_model).fit_transform(records)
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_model_folder), AutoModel.from_pretrained(tiny_model_folder)
    for text, vector in zip(["Stress[SEP]Of a kind.", "Sleep & dreams", ""], found, strict=True):
        with torch.no_grad():
            states = model.eval()(**tokenizer([text], return_tensors="pt")).last_hidden_state[0]
        expected = torch.nn.functional.normalize(states.mean(dim=0).double(), dim=0)
        assert vector == pytest.approx(expected.numpy(), abs=1e-6)


def test_variables_name_the_encoder_where_no_parameter_does(
    small_model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parameter wins; a copy has the same parameters, as ASReview keeps them in its project."""
    extractor, records = Encoder(**small_model), pd.DataFrame({"title": ["Stress"], "abstract": [""]})
    assert clone(extractor).get_params() == {"run": None, **small_model}
    monkeypatch.setenv(RUN, "/nowhere")
    expected = extractor.fit_transform(records)
    with pytest.raises(UserError, match="'/nowhere' has no status"):
        Encoder().fit(records)
    monkeypatch.delenv(RUN)
    monkeypatch.setenv(MODEL, "minilm")
    assert (Encoder(options=small_model["options"]).fit_transform(records) == expected).all()


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        ({}, f"run, model: expected one of them .* but got none; set {RUN}=FOLDER or {MODEL}=NAME, or name it in"),
        ({"run": "a", "model": "minilm"}, "run, model: expected one of them .* but got both"),
        ({"run": "/nowhere"}, "run: expected the folder of a finished run, but '/nowhere' has no status.json; train"),
        ({"run": "a", "options": {"path": "b"}}, "options: expected none beside run, .* but got {'path': 'b'}"),
        ({"model": "minlm"}, "model: expected one of .*minilm.*, but got 'minlm'"),
        ({"model": "minilm", "options": {"path": "/nowhere"}}, "model.path: .*'/nowhere' does not exist"),
        ({"model": "minilm", "options": {"pool": "cls"}}, "model.pool: unknown option; expected one of path, pooling"),
    ],
)
def test_an_encoder_that_is_not_there_is_one_line(
    parameters: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what was expected and what to do."""
    monkeypatch.delenv(RUN, raising=False)
    monkeypatch.delenv(MODEL, raising=False)
    with pytest.raises(UserError) as error:
        Encoder(**parameters).fit(pd.DataFrame())
    assert re.match(line, str(error.value))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("k", "features", "labels", "line"),
    [
        (3, csr_matrix(np.eye(3)), [1, 0, 0], "classifier: .* but got sparse features; use the feature extractor"),
        (3, np.eye(3), [0, 0, 0], "expected an included record to learn from, but got none"),
        (3, np.full((3, 3), np.nan), [1, 0, 0], "vectors are not finite"),
        (0, np.eye(3), [1, 0, 0], "k: expected at least 1, but got 0"),
    ],
)
def test_what_cannot_be_learnt_from_is_one_line(k: int, features: Any, labels: list[int], line: str) -> None:
    """Not an error of PyTorch, nor a ranking."""
    with pytest.raises(UserError, match=line):
        NearestIncluded(k).fit(features, np.array(labels), sample_weight=np.ones(3))


def test_entry_points_have_the_names_and_labels_of_what_they_load() -> None:
    """ASReview stores the name of the class and looks it up among the entry points."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points: dict[str, dict[str, str]] = project["entry-points"]
    assert points["asreview.models"] == {"_metadata": "layersel.asreview.labels:LABELS"}
    for kind, labels in LABELS.items():
        named = points[f"asreview.models.{kind}"]
        assert set(named) == set(labels)
        for name, place in named.items():
            module, _, attribute = place.partition(":")
            assert getattr(import_module(module), attribute).name == name


def test_asreview_simulates_in_the_order_of_the_scores(
    small_model: dict[str, Any], review: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each record that it reads is the one with the largest mean of the 3 largest cosines to the included ones."""
    monkeypatch.chdir(tmp_path)  # one of its libraries leaves a cache where it is imported
    asreview = pytest.importorskip("asreview", reason="ASReview needs pandas < 3: make test-asreview")
    parts = {"querier": "max", "feature_extractor": "layersel", "classifier": "layersel-nearest"}
    config, out = tmp_path / "cycle.json", tmp_path / "simulation.asreview"
    config.write_text(json.dumps({**parts, "feature_extractor_param": small_model}))
    priors = [2, 14]
    command = ["simulate", str(review), "--config-file", str(config), "--prior-idx", *map(str, priors)]
    monkeypatch.setattr(sys, "argv", ["asreview", *command, "--n-stop", "-1", "--output", str(out)])
    import_module("asreview.__main__").main()
    with asreview.Project.load(out, tmp_path / "project") as project, project.db as database:
        read_first = database.get_results_table()["record_id"].tolist()
    vectors, labels = Encoder(**small_model).fit_transform(read(review)).astype(float), read(review)["included"]
    expected = [*priors]
    while len(expected) < len(labels):
        included = [number for number in expected if labels[number] == 1]
        cosines = np.sort(vectors @ vectors[included].T, axis=1)[:, -3:]
        cosines[expected] = -np.inf
        expected.append(int(cosines.mean(axis=1).argmax()))
    assert read_first == expected
