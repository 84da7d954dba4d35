"""Every kind of adapter is trained to the same bits whether its training is interrupted or not."""

from pathlib import Path

import pytest
from models import tiny
from placing import ADAPTING, adapter_of, kind_of
from resuming import N_BATCHES, N_STEPS, Attempt, assert_goes_on_as, attempt

MOMENTS = {"first epoch": N_BATCHES - 1, "second epoch": N_BATCHES + 1, "after the last step": N_STEPS}


@pytest.fixture(scope="module", params=ADAPTING)
def uninterrupted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Attempt]:
    """A training of each kind with all dropout that there is, its folder of checkpoints, and the kind's name."""
    if kind_of(request.param).quantised_base:
        pytest.importorskip("bitsandbytes")
    folder = tmp_path_factory.mktemp(request.param)
    whole = attempt(folder, adapter=adapter_of(request.param, tiny("bert"), dropout=0.3))
    return request.param, folder / "checkpoints", whole


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_resumed_adapter_is_the_same(moment: str, uninterrupted: tuple[str, Path, Attempt], tmp_path: Path) -> None:
    """Parameters, losses, learning rates, random states and the log, from wherever it goes on."""
    name, checkpoints, whole = uninterrupted
    step = MOMENTS[moment]
    adapter = adapter_of(name, tiny("bert"), dropout=0.3)
    assert_goes_on_as(attempt(tmp_path, checkpoints / f"{step}.ckpt", adapter=adapter), whole, step)
