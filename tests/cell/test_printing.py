"""What a cell says of its results."""

import pytest
from toy_task.options import Regression

from layersel.cell.printing import what_the_adapter_adds
from layersel.tasks.screening.options import Screening

BEST = "the best without it (ELAS u4, no encoder: 0.500)"
SCREENING = {"base/awss@95": 0.3, "elas_u4/awss@95": 0.5, "nearest/awss@95": 0.4, "fusion/awss@95": None}


@pytest.mark.parametrize(
    ("adapted", "says"),
    [
        (0.6, f"AWSS@95: 0.600 with the adapter, +0.100 beside {BEST}"),
        (0.2, f"AWSS@95: 0.200 with the adapter, -0.300 beside {BEST}"),
        (0.5, f"AWSS@95: 0.500 with the adapter, no better and no worse than {BEST}"),
        (None, None),
    ],
)
def test_the_best_without_the_adapter(adapted: float | None, says: str | None) -> None:
    """The line names the best of the pretrained model and the references; one without a value is none of them."""
    assert what_the_adapter_adds(SCREENING | {"awss@95": adapted}, Screening()) == says


def test_less_may_be_better() -> None:
    """The metric says so."""
    found = what_the_adapter_adds({"rmse": 2.0, "base/rmse": 3.0, "mean/rmse": 2.5}, Regression())
    assert found == "RMSE: 2.000 with the adapter, -0.500 beside the best without it (the mean: 2.500)"


def test_nothing_to_compare_with() -> None:
    """As where no test record is included."""
    assert what_the_adapter_adds({"awss@95": None, "base/awss@95": None}, Screening()) is None
