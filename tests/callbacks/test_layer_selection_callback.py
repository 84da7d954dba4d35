"""LayerSelection scores once, places once, and writes down what it did."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import N_LAYERS, toy_tokens, toy_training

from layersel.adapters.placement import adapted_layers, count_parameters
from layersel.data.tokens import collate
from layersel.selection.score import score_named
from layersel.selection.select import select_layers
from layersel.selection.selection import Selection


@pytest.mark.parametrize(
    ("name", "options", "layers"),
    [
        ("last", {"n": 1}, [2]),
        ("first", {"n": 2}, [0, 1]),
        ("manual", {"layers": [0, 2]}, [0, 2]),
        ("all", {}, [0, 1, 2]),
        ("last", {"n": 0}, []),
    ],
)
def test_adapters_stand_in_the_chosen_layers(
    name: str, options: dict[str, object], layers: list[int], tmp_path: Path
) -> None:
    """There and nowhere else, and `selection.json` says so."""
    training = toy_training(tmp_path, score=score_named(name, **options), epochs=1).fit()
    assert training.selector.placed.layers == layers
    assert adapted_layers(training.module.backbone) == layers
    written = Selection.from_dict(json.loads((tmp_path / "selection.json").read_text()))
    assert (written.score, written.layers, len(written.scores)) == (name, layers, N_LAYERS)
    trainable, _ = count_parameters(training.module.backbone.model)
    assert trainable == len(layers) * 2 * 2 * 32 * 4  # query and value, A and B of 32 × 4


def test_parameters_are_a_budget_of_the_adapter(tmp_path: Path) -> None:
    """Two layers of 512 are within 1,400; what is trained is no more."""
    training = toy_training(tmp_path, score=score_named("spectrum", n=None, max_parameters=1400), epochs=0).fit()
    assert len(training.selector.selection.layers) == 2
    assert count_parameters(training.module.backbone.model)[0] == 2 * 2 * 2 * 32 * 4


def test_the_probe_may_be_the_first_texts(tmp_path: Path) -> None:
    """`draw=first` scores the first texts of the data in their order, `draw=random` others."""
    options = {"n": 1, "bootstrap": 0, "probe_size": 6}
    first, drawn = (
        toy_training(tmp_path, score=score_named("cka", **options, draw=draw), epochs=1).fit().selector.selection
        for draw in ("first", "random")
    )
    model = toy_training(tmp_path).module.backbone.model
    batch = collate(toy_tokens()[:6], pad=0)
    expected = select_layers(model, [batch], score=score_named("cka", **options), pooling="mean")
    assert first.scores == pytest.approx(expected.scores, abs=1e-5)
    assert drawn.scores != pytest.approx(expected.scores, abs=1e-5)


def test_a_second_stage_places_nothing(tmp_path: Path) -> None:
    """`setup` comes again for every stage; a second placement would add layers, a second scoring cost time."""
    training = toy_training(tmp_path, score=score_named("cka", n=2, bootstrap=5)).fit()
    before, chosen = training.trained, training.selector.selection
    for stage in ("validate", "test"):
        training.selector.setup(training.trainer, training.module, stage)
    assert training.selector.selection is chosen
    assert training.trained.keys() == before.keys()


def test_a_second_fit_goes_on_with_the_same_adapter(tmp_path: Path) -> None:
    """Lightning calls `setup` again; the layers stay."""
    training = toy_training(tmp_path, epochs=1).fit()
    names = training.trained.keys()
    training.trainer.fit_loop.max_epochs = 2
    training.fit()
    assert training.trained.keys() == names


def test_a_model_with_adapters_is_refused(tmp_path: Path) -> None:
    """Scores would be of the adapted model, not of the pretrained one."""
    first, second = toy_training(tmp_path).fit(), toy_training(tmp_path)
    second.module.backbone = first.module.backbone
    with pytest.raises(RuntimeError, match="carries adapters already"):
        second.fit()


def test_setup_leaves_the_global_generator_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the score and the initial values draw must not move the dropout of the training."""
    training = toy_training(tmp_path, score=score_named("cka", n=1, bootstrap=5))
    setup = training.selector.setup
    states = []

    def watched(*args: Any, **kwargs: Any) -> None:
        states.append(torch.get_rng_state())
        setup(*args, **kwargs)
        states.append(torch.get_rng_state())

    monkeypatch.setattr(training.selector, "setup", watched)
    training.fit()
    assert training.selector.placed.layers
    assert torch.equal(*states)
