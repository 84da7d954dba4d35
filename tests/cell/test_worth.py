"""What a cell says that its adapter is worth."""

import pytest
from toy_task.options import Regression

from layersel.cell.worth import what_the_adapter_adds
from layersel.tasks.screening.options import Screening

BEST = "the best without it (ELAS u4, no encoder: 0.500)"
SCREENING = {
    "base/awss@95": 0.3,
    "elas_u4/awss@95": 0.5,
    "nearest/awss@95": 0.4,
    "fusion/awss@95": None,
    "parameters/trainable": 8,
    "n_test": 100,
}


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
    metrics = {"rmse": 2.0, "base/rmse": 3.0, "mean/rmse": 2.5, "parameters/trainable": 8}
    found = what_the_adapter_adds(metrics, Regression())
    assert found == "RMSE: 2.000 with the adapter, -0.500 beside the best without it (the mean: 2.500)"


def test_nothing_to_compare_with() -> None:
    """No line is given where the metric is undefined, as without an included test record."""
    assert what_the_adapter_adds(SCREENING | {"awss@95": None}, Screening()) is None


def test_how_many_labels_would_tell() -> None:
    """The end of the interval beyond 0 is .2 from the difference of .1: four times as many records halve that."""
    unsure = {"awss@95": 0.6, "difference/low": -0.1, "difference/high": 0.3}
    assert what_the_adapter_adds(SCREENING | unsure, Screening()) == (
        f"AWSS@95: 0.600 with the adapter, +0.100 beside {BEST}; 95 % interval -0.100 to +0.300 over resampled test "
        "examples, so it may be chance: about 400 labelled test examples like these would tell"
    )
    skewed = {"awss@95": 0.6, "difference/low": 0.0, "difference/high": 0.12}  # as many as did not tell, at least
    assert "about 100 labelled" in str(what_the_adapter_adds(SCREENING | skewed, Screening()))
    worse = {"awss@95": 0.4, "difference/low": -0.12, "difference/high": 0.1}
    assert "about 400 labelled" in str(what_the_adapter_adds(SCREENING | worse, Screening()))
    sure = {"awss@95": 0.6, "difference/low": 0.05, "difference/high": 0.15}
    assert str(what_the_adapter_adds(SCREENING | sure, Screening())).endswith(
        "95 % interval +0.050 to +0.150 over resampled test examples"
    )


@pytest.mark.parametrize("ends", [(None, None), (0.05, 0.15)])  # earlier cells have intervals of a few records too
def test_few_included_records_claim_nothing(ends: tuple[float | None, float | None]) -> None:
    """The line says how many there are; from 20 on the interval stands there."""
    known = SCREENING | {"awss@95": 0.6, "difference/low": ends[0], "difference/high": ends[1]}
    line = what_the_adapter_adds(known | {"n_included": 19}, Screening())
    assert line == f"AWSS@95: 0.600 with the adapter, +0.100 beside {BEST}; too few included records (19) to tell"
    assert "too few" not in str(what_the_adapter_adds(known | {"n_included": 20}, Screening()))


def test_without_an_adapter() -> None:
    """The pretrained model is the final one, and not compared with itself; a compressed one is."""
    frozen = SCREENING | {"awss@95": 0.3, "parameters/trainable": 0}
    other = "the best other outcome (ELAS u4, no encoder: 0.500)"
    assert what_the_adapter_adds(frozen, Screening()) == f"AWSS@95: 0.300 without an adapter, -0.200 beside {other}"
    compressed = frozen | {"awss@95": 0.6, "base/awss@95": 0.7}
    assert what_the_adapter_adds(compressed, Screening()) == (
        "AWSS@95: 0.600 without an adapter, -0.100 beside the best other outcome (pretrained: 0.700)"
    )
