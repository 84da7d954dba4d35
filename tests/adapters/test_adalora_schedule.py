"""AdaLoRA: ranks fall from the initial to the target budget between two shares of the training."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from models import padded, ragged, tiny
from peft import PeftModel
from placing import InPlace, in_place, vectors_of
from safetensors.torch import load_file

from layersel.adapters.kinds.adalora import AdaLora
from layersel.backbone.backbone import Backbone

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

MODULES = 4  # query and value in two layers


def adalora(**options: float) -> InPlace:
    """Rank 4, target 2, on query and value of two layers."""
    return in_place("adalora", projections=["query", "value"], **options)


def train(
    adapted: InPlace,
    n_steps: int,
    only: range | None = None,
    skip: tuple[int, ...] = (),
    state: dict[str, Any] | None = None,
) -> list[int]:
    """The sum of the ranks after each step."""
    backbone, placed = adapted.backbone, adapted.placed
    optimizer = torch.optim.Adam([value for value in backbone.parameters() if value.requires_grad], lr=1e-2)
    placed.begin(n_steps)
    placed.load_state(state or {})
    ranks = []
    for step in range(n_steps) if only is None else only:
        if step not in skip:
            optimizer.zero_grad()
            loss = backbone(padded(backbone.model, ragged())).square().mean()
            (loss + placed.penalty()).backward()
            optimizer.step()
            placed.after_step(step)
        ranks.append(rank_of(adapted))
    return ranks


def values(adapted: InPlace) -> list[torch.Tensor]:
    """E of each module."""
    return [value.detach() for name, value in adapted.backbone.named_parameters() if ".lora_E." in name]


def rank_of(adapted: InPlace) -> int:
    """Entries of E that are left."""
    return sum(int(value.count_nonzero()) for value in values(adapted))


def test_ranks_fall_between_start_and_end() -> None:
    """20 steps, from 10 % to 50 %: all ranks for two steps, then fewer and fewer, from the tenth the target."""
    ranks = train(adalora(), 20)
    assert ranks[:2] == [MODULES * 4] * 2
    assert ranks[:10] == sorted(ranks[:10], reverse=True)
    assert ranks[2] < MODULES * 4
    assert ranks[9:] == [MODULES * 2] * 11


@pytest.mark.parametrize("n_steps", [1, 2, 3, 7, 250])
@pytest.mark.parametrize("shares", [(0.0, 1.0), (0.1, 0.5), (0.0, 0.01), (0.9, 0.95)])
def test_every_length_of_training_has_a_valid_schedule(n_steps: int, shares: tuple[float, float]) -> None:
    """0 <= tinit < total - tfinal <= total, so that there is an allocation; short trainings reach the target."""
    adapted = adalora(start=shares[0], end=shares[1])
    adapted.placed.begin(n_steps)
    config = adapted.placed.adapted.peft_config["default"]
    assert 0 <= config.tinit < n_steps - config.tfinal <= n_steps == config.total_step
    assert config.deltaT == max(n_steps // 100, 1)
    if n_steps < 10:
        assert train(adapted, n_steps)[-1] == MODULES * 2


def test_a_skipped_last_allocation_is_made_up_for() -> None:
    """Batches without a loss reach no `after_step`, also not the one that settles the ranks."""
    ranks = train(adalora(), 20, skip=(9, 10))
    assert ranks[9:11] == [ranks[8]] * 2
    assert ranks[11:] == [MODULES * 2] * 9


@pytest.mark.parametrize("stop", [1, 6, 10, 12])
def test_a_resumed_training_has_the_same_ranks(stop: int) -> None:
    """Whenever it stops: PEFT's running means, on which they depend, are part of its state."""
    whole, resumed = adalora(), adalora()
    train(whole, 20, only=range(stop))
    resumed.backbone.load_state_dict(whole.backbone.state_dict())
    state = copy.deepcopy(whole.placed.state())
    ranks, again = (train(adapted, 20, only=range(stop, 20), state=state) for adapted in (whole, resumed))
    assert ranks == again
    assert ranks[-1] == MODULES * 2
    assert all(torch.equal(*both) for both in zip(values(resumed), values(whole), strict=True))


def test_the_penalty_is_the_distance_from_orthogonality() -> None:
    """Mean over A and B of the Frobenius norms, times its weight: as PEFT adds it to a loss."""
    adapted = adalora(orthogonality=0.3).shaken()
    norms = []
    for name, value in adapted.backbone.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            gram = value @ value.T if "_A" in name else value.T @ value
            norms.append(torch.linalg.norm(gram - torch.eye(4)))
    torch.testing.assert_close(adapted.placed.penalty(), 0.3 * sum(norms) / len(norms))
    assert adapted.placed.penalty().requires_grad


def test_what_is_left_is_saved_as_lora_of_its_ranks(tmp_path: Path) -> None:
    """Read by PEFT alone; a module without any rank left keeps one of zeros."""
    adapted = adalora()
    train(adapted, 12)
    with torch.no_grad():
        for value in values(adapted)[:1]:
            value.zero_()
    expected = sorted(max(int(value.count_nonzero()), 1) for value in values(adapted))
    adapted.placed.save(tmp_path / "adapter")
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert sorted(len(weight) for name, weight in weights.items() if "lora_A" in name) == expected
    fresh = tiny("bert")
    PeftModel.from_pretrained(fresh, str(tmp_path / "adapter"))
    torch.testing.assert_close(vectors_of(Backbone(fresh, None, "mean")), adapted.vectors, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"target_rank": 12}, "adapter.target_rank: expected 1 to 11, below rank, but got 12"),
        ({"target_rank": 0}, "adapter.target_rank: expected 1 to 11"),
        ({"start": 0.5, "end": 0.5}, "adapter.end: expected 0 <= start < end <= 1, but got 0.5 and 0.5"),
        ({"end": 1.5}, "adapter.end: expected 0 <= start < end <= 1"),
        ({"beta1": 1.0}, "adapter.beta1: expected 0 < beta < 1, but got 1"),
        ({"beta2": 0.0}, "adapter.beta2: expected 0 < beta < 1, but got 0"),
        ({"orthogonality": -0.1}, "adapter.orthogonality: expected 0 or more, but got -0.1"),
    ],
)
def test_schedules_that_allocate_nothing_are_problems(options: dict[str, float], expected: str) -> None:
    """One line each."""
    (problem,) = AdaLora(**options).problems()
    assert problem.startswith(expected)
