"""Any head on the vectors of one layer: of several, the one by which left-out included records are found best."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.errors import one_of
from layersel.tasks.screening.heads.head import Head, Scorer
from layersel.tasks.screening.heads.named import head_named, head_names

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.tasks.screening.heads.examples import Examples
    from layersel.tasks.screening.heads.pool import Pool


@dataclass
class BestLayer(Head):
    """Another head, its view, on the vectors of that layer by which it best finds each included example, left out.

    The layers are those of model.layers, kept apart by model.combine=concat. Of equally good ones the last is taken.
    """

    view: str = "nearest"
    """The head, with the options that its file in conf/task/head gives it."""

    compares_layers: ClassVar[bool] = True

    @property
    def needs_excluded(self) -> bool:  # type: ignore[override]
        """Returns whether the view does."""
        return self._head.needs_excluded

    @property
    def needs_protocol(self) -> bool:  # type: ignore[override]
        """Returns whether the view looks at it."""
        return self._head.needs_protocol

    @property
    def min_included(self) -> int:  # type: ignore[override]
        """Returns how many included records the view needs."""
        return self._head.min_included

    def fit(self, examples: "Examples") -> Scorer:
        """Keeps the examples: the layer is chosen, and the view fitted, for the pool that is ranked."""
        from layersel.tasks.screening.heads.fusing import left_out_weights

        head = self._head
        layers: list[Head] = [_OfLayer(head, layer) for layer in range(examples.n_parts)]

        def scores(pool: "Pool") -> "Tensor":
            best = examples.n_parts - 1 - int(left_out_weights(layers, examples, pool).flip(0).argmax())
            return layers[best].fit(examples)(pool)

        return scores

    def components(self) -> list[Head]:
        """Returns the view, whose code computes the scores too."""
        return [self._head]

    def problems(self) -> list[str]:
        """Returns a line if the view is no head, or chooses layers itself."""
        known = head_names(besides=BestLayer)
        return [] if self.view in known else [str(one_of("task.head.view", self.view, known))]

    @property
    def _head(self) -> Head:
        return head_named(self.view)


@dataclass
class _OfLayer(Head):
    """A head on one of the layers' vectors."""

    head: Head
    layer: int

    def fit(self, examples: "Examples") -> Scorer:
        """Fits the head on that layer's vectors of the examples."""
        scorer = self.head.fit(examples.part(self.layer))
        return lambda pool: scorer(pool.part(self.layer, examples.n_parts))
