"""Bootstrap samples that a test decides, in place of those that are drawn."""

from collections.abc import Sequence

import pytest
import torch

from layersel.selection.resampled import ResampledScore


def drawing(rows: Sequence[Sequence[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets scores draw these texts, a row for each sample."""

    def draws(score: ResampledScore, n_texts: int, _: torch.Generator) -> torch.Tensor | None:
        assert n_texts == len(rows[0])
        return torch.tensor(rows) if score.bootstrap else None

    monkeypatch.setattr(ResampledScore, "draws", draws)
