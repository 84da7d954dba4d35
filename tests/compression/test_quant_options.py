"""The options of a precision: what is refused, and what is restored."""

import pytest
import torch

from layersel.compression.precision import Precision
from layersel.compression.quantisation import engines
from layersel.compression.quantisation import race as racing
from layersel.compression.quantisation.formats import FORMATS
from layersel.compression.quantisation.race import Race
from layersel.errors import UserError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "int8"}, "precision.train: expected one of fp32, bf16, fp16, but got 'int8'"),
        ({"infer": "fp8"}, "precision.infer: expected one of fp32, bf16, fp16, int8, int8_weight, int4, but got 'fp8'"),
        ({"matmul": "low"}, "precision.matmul: expected one of highest, high, medium, but got 'low'"),
        (
            {"engine": "fbgemm"},
            "precision.engine: expected one of auto, onednn_unsigned, onednn, int_mm, float32, but got 'fbgemm'",
        ),
        ({"outliers": -0.1}, "precision.outliers: expected 0 <= share <= 1, but got -0.1"),
        ({"outliers": float("nan")}, "precision.outliers: expected 0 <= share <= 1, but got nan"),
        ({"calibration": 0}, "precision.calibration: expected at least 1, but got 0"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    """Each has one line, whatever the other options are."""
    assert Precision(**options).problems() == [message]


@pytest.mark.parametrize("infer", ["fp32", "bf16", "fp16", *FORMATS])
def test_right_options(infer: str) -> None:
    """Every format is accepted, and says whether it quantises."""
    precision = Precision(infer=infer)
    assert precision.problems() == []
    assert precision.quantises == (infer in FORMATS)


def test_engine_that_does_not_work_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before a model is loaded, and only by the format that needs it."""
    monkeypatch.setattr(engines, "is_exact", lambda name: name != "onednn")
    (problem,) = Precision(infer="int8", engine="onednn").machine_problems()
    assert problem.startswith("precision.engine: expected an engine that sums exactly")
    assert problem.endswith("but got onednn; use auto")
    assert Precision(infer="int8").machine_problems() == []
    assert Precision(infer="int4", engine="onednn").machine_problems() == []


def test_engine_that_hardly_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """One asked for by name that runs a reference kernel is refused before anything begins; one a bit slow is not."""
    for times, problems in ((889.0, 1), (3.0, 0)):
        outcome = Race("onednn", (512, 384, 1536), {"fp32": 1.0}, {"onednn": times})
        monkeypatch.setattr(racing, "race", lambda *_, outcome=outcome: outcome)
        monkeypatch.setattr(engines, "is_exact", lambda _: True)
        found = Precision(infer="int8", engine="onednn").machine_problems()
        assert len(found) == problems
        assert Precision(infer="int8").machine_problems() == []
        assert all("but got onednn, which takes 889 times as long as fp32 here; use auto" in line for line in found)


@pytest.mark.parametrize("matmul", ["highest", "high", "medium"])
def test_matmul_precision_is_restored(matmul: str) -> None:
    """It holds within the block, also when the block fails."""
    before = torch.get_float32_matmul_precision()
    with Precision(matmul=matmul).matmuls():
        assert torch.get_float32_matmul_precision() == matmul
    assert torch.get_float32_matmul_precision() == before
    with pytest.raises(ZeroDivisionError), Precision(matmul=matmul).matmuls():
        _ = 1 / 0
    assert torch.get_float32_matmul_precision() == before


def test_autocast_only_for_half_precision() -> None:
    """Integers and fp32 run outside of it."""
    for infer in ("fp32", "bf16", "fp16", *FORMATS):
        with Precision(infer=infer).inference(torch.device("cpu")):
            assert torch.is_autocast_enabled("cpu") == (infer in {"bf16", "fp16"})


def test_calibration_needs_records() -> None:
    """The message is one line."""
    with pytest.raises(UserError, match=r"^precision\.calibration: expected texts [^\n]* others$"):
        Precision(infer="int4").quantise(None, [], torch.Generator())  # type: ignore[arg-type]
