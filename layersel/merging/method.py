"""The base classes of merge methods: options that make one change of the weights from those of several adapters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from layersel.config import Choice
from layersel.errors import UserError, one_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from layersel.adapters.change import Change

# Shapes: T adapters, L layers, O outputs and I inputs of a weight matrix, R rank.

Changes = Mapping[str, Sequence["Change"]]
"""The changes of the T adapters by module name, already times λ, and zero where an adapter has none."""

SEARCHES = ("common", "each")
HELD_OUT_LOSS, LOGITS = "held_out_loss", "logits"
"""What a merge may ask of a task, by the names of the methods of its problems."""


@dataclass
class Merging(Choice):
    """This class holds the options by which adapters are merged, or none."""

    merges: ClassVar[bool] = False
    """This flag says whether there is anything to merge."""

    @property
    def named_datasets(self) -> list[str]:
        """Returns the datasets whose adapters are merged."""
        return []

    @property
    def asks(self) -> str | None:
        """Returns what it asks of the task beyond a training: HELD_OUT_LOSS, LOGITS, or nothing."""
        return None

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong."""
        return []


@dataclass
class MergeMethod(Merging):
    """This class holds which adapters are merged, their weights λ, and the rank of the result.

    λ multiplies an adapter's ΔW before the method sees it, in every method; `scale` says where it is normalised.
    """

    datasets: list[str] = field(default_factory=list)
    """Datasets whose adapters are merged; those that have not been trained yet are trained."""
    runs: list[str] = field(default_factory=list)
    """Folders of finished runs whose adapters are merged too; their layers and ranks may differ."""
    rank: int | None = 8
    """Rank of the result; null = as high as it takes to lose nothing."""
    weights: list[float] | None = None
    """λ of each adapter, datasets first; null = the method's own."""
    layer_weights: list[list[Any]] | None = None  # Any: OmegaConf does not take a 1 for a nested float
    """λ of each adapter in each layer: one list for each adapter, with one number for each layer of the model."""
    search: str | None = None
    """Choose λ from grid by the held-out loss: common (one for all adapters), each (one for each); null = do not."""
    grid: list[float] = field(default_factory=lambda: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    """The λ that are tried in a search."""

    merges: ClassVar[bool] = True

    @property
    def named_datasets(self) -> list[str]:
        """Returns the datasets whose adapters are merged."""
        return self.datasets

    @property
    def asks(self) -> str | None:
        """Returns what it asks of the task: a search of λ compares held-out losses."""
        return None if self.search is None else HELD_OUT_LOSS

    @property
    def n_adapters(self) -> int:
        """Returns T, the number of adapters that are named."""
        return len(self.datasets) + len(self.runs)

    @property
    def own_weight(self) -> float:
        """Returns λ of every adapter unless the user gives others."""
        return 1.0

    def merge(self, changes: Changes, generator: "torch.Generator") -> "dict[str, Tensor]":
        """Returns ΔW (O×I, float64) of every module, before it is brought to the wanted rank."""
        raise NotImplementedError

    def scale(self, weights_TL: "Tensor") -> "Tensor":
        """Returns what each adapter's ΔW is multiplied by (T×L): λ itself, unless a method normalises it."""
        return weights_TL

    def given_weights(self, n_adapters: int, n_layers: int) -> "Tensor":
        """Returns λ (T×L, float64) as the options have it.

        Raises:
            UserError: The options name another number of adapters or layers.
        """
        import torch

        if self.layer_weights is not None:
            lengths = [len(row) for row in self.layer_weights]
            if lengths != [n_layers] * n_adapters:
                expected = f"{n_adapters} lists of {n_layers} numbers, one for each layer"
                raise UserError(f"merging.layer_weights: expected {expected}, but got lists of {lengths}")
            return torch.tensor(self.layer_weights, dtype=torch.float64)
        weights = [self.own_weight] * n_adapters if self.weights is None else self.weights
        if len(weights) != n_adapters:
            raise UserError(f"merging.weights: expected {n_adapters} numbers, but got {len(weights)}")
        return torch.tensor(weights, dtype=torch.float64)[:, None].repeat(1, n_layers)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, as far as shows without the adapters."""
        found = []
        if self.n_adapters < 2:
            got = f"but got {self.n_adapters}; name them as in merging.datasets=[ADHD,Statins]"
            found.append(f"merging.datasets: expected 2 adapters or more, with those of merging.runs, {got}")
        for name, given in (("datasets", self.datasets), ("runs", self.runs)):
            if len(set(given)) < len(given):
                found.append(f"merging.{name}: expected each once, but got {', '.join(given)}")
        if self.rank is not None and self.rank < 1:
            found.append(f"merging.rank: expected at least 1, or null for the exact rank, but got {self.rank}")
        return found + self._weight_problems() + self._search_problems()

    def _weight_problems(self) -> list[str]:
        found = []
        rows = [] if self.layer_weights is None else self.layer_weights
        for name, given in (("weights", self.weights), ("layer_weights", self.layer_weights)):
            if given is not None and len(given) != self.n_adapters:
                found.append(f"merging.{name}: expected one for each of {self.n_adapters} adapters, but got {given}")
        if not all(_is_finite(weight) for weight in [*(self.weights or []), *(one for row in rows for one in row)]):
            found.append("merging.weights: expected finite numbers, in merging.layer_weights too")
        if len({len(row) for row in rows}) > 1:
            found.append("merging.layer_weights: expected lists of one length, the number of layers")
        if self.weights is not None and self.layer_weights is not None:
            found.append("merging.weights: contradicts merging.layer_weights; give one of them")
        return found

    def _search_problems(self) -> list[str]:
        if self.search is None:
            return []
        found = []
        if self.search not in SEARCHES:
            found.append(str(one_of("merging.search", self.search, [*SEARCHES, "null"])))
        if self.weights is not None or self.layer_weights is not None:
            found.append("merging.search: contradicts given weights; use merging.search=null, or leave them out")
        if not self.grid or not all(_is_finite(weight) for weight in self.grid):
            found.append(f"merging.grid: expected finite numbers to choose from, but got {self.grid}")
        return found


@dataclass
class LearntWeights(MergeMethod):
    """A method whose λ of each adapter and layer is learnt on unlabelled texts before the merge."""

    learning_rate: float = 1e-3
    """Learning rate of Adam; λ moves by at most about this much in a step."""
    steps: int = 500
    """Steps of Adam."""
    batch_size: int = 16
    """Unlabelled texts of each dataset in a step."""

    @property
    def asks(self) -> str | None:
        """Returns what it asks of the task: λ is learnt by a loss of logits."""
        return LOGITS

    def loss(self, logits: "Sequence[Tensor]", priors: "Sequence[Tensor]") -> "Tensor":
        """Returns what λ minimises (0-dimensional).

        Args:
            logits: For each dataset, the log-odds (N) of a batch of its texts under λ.
            priors: For each dataset, the mean prediction for its texts under the λ of the start.
        """
        raise NotImplementedError

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong: the optimiser's, and a search beside the learning."""
        found = super().problems()
        if self.search is not None:
            found.append(f"merging.search: expected null, for {self.name} learns its weights, but got {self.search}")
        if not self.learning_rate > 0:
            found.append(f"merging.learning_rate: expected a number above 0, but got {self.learning_rate}")
        return found + [
            f"merging.{name}: expected at least 1, but got {getattr(self, name)}"
            for name in ("steps", "batch_size")
            if getattr(self, name) < 1
        ]


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
