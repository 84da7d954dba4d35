"""The functions of `layersel.metrics.screening` as torchmetrics classes.

All are epoch-level: an average of WSS or of average precision over batches is neither, so the scores and
labels are kept until `compute`. Unlike their torchmetrics namesakes they return NaN, not 0, without an
included record, and rank the scores as they are (torchmetrics squashes scores outside [0, 1], which ties
extreme ones).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from layersel.metrics import screening


class ScreeningMetric(Metric):
    """One function of the scores (n,) and labels (n,) of a whole epoch.

    Args:
        arguments: What the function takes besides the scores and labels, checked by the function at once.
        kwargs: The arguments of `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    function: ClassVar[Callable[..., Tensor]]
    scores: list[Tensor]
    labels: list[Tensor]

    def __init__(self, arguments: Mapping[str, float] = MappingProxyType({}), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.arguments = dict(arguments)
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("labels", default=[], dist_reduce_fx="cat")
        # A dry run without records: a bad argument is reported now, not after the first epoch.
        self._value(torch.empty(0), torch.empty(0))

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Keeps a batch of scores (b,) and labels (b,)."""
        screening.check_records(scores, labels)
        self.scores.append(scores.detach())
        # A rank without a batch gathers an empty state of this dtype; mixed dtypes break the collective.
        self.labels.append(labels.detach().to(self.dtype))

    def compute(self) -> Tensor:
        """Returns the metric over every record since the last reset; NaN where it is undefined."""
        return self._value(_joined(self.scores), _joined(self.labels))

    @property
    def n_positive(self) -> int:
        """The number of included records in this process since the last reset; few make a noisy metric."""
        return int(_joined(self.labels).sum())

    def _value(self, scores: Tensor, labels: Tensor) -> Tensor:
        return type(self).function(scores, labels, **self.arguments)


class _AtRecall(ScreeningMetric):
    def __init__(self, recall: float = 0.95, **kwargs: Any) -> None:
        super().__init__({"recall": recall}, **kwargs)


class WSS(_AtRecall):
    """Work saved over sampling at a `recall` in (0, 1]; see `screening.wss`.

    Example:
        >>> metric = WSS(recall=1.0)
        >>> metric.update(torch.tensor([0.9, 0.8]), torch.tensor([1, 0]))
        >>> metric.update(torch.tensor([0.3, -0.1]), torch.tensor([1, 0]))
        >>> metric.compute(), metric.n_positive
        (tensor(0.2500, dtype=torch.float64), 2)
    """

    function = staticmethod(screening.wss)


class AWSS(_AtRecall):
    """Adjusted work saved over sampling at a `recall` in (0, 1]; see `screening.awss`."""

    function = staticmethod(screening.awss)


class TNR(_AtRecall):
    """True negative rate at a `recall` in (0, 1], the normalised WSS; see `screening.tnr`."""

    function = staticmethod(screening.tnr)


class PrecisionAtRecall(_AtRecall):
    """Precision at a `recall` in (0, 1]; see `screening.precision_at_recall`."""

    function = staticmethod(screening.precision_at_recall)


class ThresholdAWSS(ScreeningMetric):
    """TN/E − FN/I at a fixed `threshold` of the scores; see `screening.threshold_awss`."""

    function = staticmethod(screening.threshold_awss)

    def __init__(self, threshold: float, **kwargs: Any) -> None:
        super().__init__({"threshold": threshold}, **kwargs)


class RecallAt(ScreeningMetric):
    """Recall after reading the best `share` in (0, 1] of the records; see `screening.recall_at`."""

    function = staticmethod(screening.recall_at)

    def __init__(self, share: float, **kwargs: Any) -> None:
        super().__init__({"share": share}, **kwargs)


class AveragePrecision(ScreeningMetric):
    """Average precision; see `screening.average_precision`."""

    function = staticmethod(screening.average_precision)


class AUROC(ScreeningMetric):
    """Area under the ROC curve; see `screening.auroc`."""

    function = staticmethod(screening.auroc)


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """Returns a state as one vector, empty before the first update (torchmetrics refuses to join nothing)."""
    return dim_zero_cat(state) if len(state) else torch.empty(0)
