"""Which of the adapted layers are trained, step by step."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from layersel.config import Choice
from layersel.errors import UserError
from layersel.selection.score import count_of

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone
    from layersel.selection.selection import Selection

State = Mapping[str, Any]
"""What a regime has found so far, in plain values for checkpoints; empty before the first step."""


@dataclass(frozen=True)
class AfterStep:
    """What a regime may look at after a step.

    Attributes:
        backbone: The model.
        layers: The layers that carry an adapter, sorted.
        steps: The number of steps that the training of the adapter has.
        squared_changes: Computes ‖ΔW‖²_F of each adapted weight matrix by the full name of its module.
        loss: Computes the loss of the step's batch, without dropout, while the adapters of some layers add only a share
            of what they add; None where it is undefined.
    """

    backbone: "Backbone"
    layers: Sequence[int]
    steps: int
    squared_changes: Callable[[], dict[str, float]]
    loss: Callable[[Collection[int], float], float | None]


@dataclass
class Regime(Choice):
    """A way to train the adapted layers, all of them or in turns.

    What it does at a step depends on the step, the layers, the seed and its state alone, so that a training can resume.
    Steps count from the one with which the training of the adapter begins.
    """

    moves: ClassVar[bool] = True
    """This flag says whether some layers rest while others are trained."""
    keeps_base: ClassVar[bool] = False
    """This flag says whether adapters must stand beside weights that they leave as they are, to be switched off."""
    compares_changes: ClassVar[bool] = False
    """This flag says whether weight changes are compared, so that adapters must change nothing else, at one rank."""

    @property
    def reads_weights(self) -> bool:
        """Returns whether the pretrained weights are looked at, so that they must not be quantised."""
        return False

    def layers_at(self, step: int, layers: Sequence[int], seed: int, state: State) -> list[int]:
        """Returns the layers, sorted, that a step trains.

        Args:
            step: The number of the optimizer's step, from 0.
            layers: The layers that carry an adapter.
            seed: Of the draws.
            state: What `after_step` has returned last.
        """
        raise NotImplementedError

    def after_step(self, done: int, seed: int, state: State, trained: AfterStep) -> State:
        """Returns the state when `done` steps are done.

        Raises:
            UserError: What has been trained gives nothing to go on from.
        """
        return state

    def carriers(self, layers: Sequence[int], state: State) -> list[int]:
        """Returns the layers that have an adapter from now on; those of the others are switched off for good."""
        return list(layers)

    def settled(self, steps: int) -> int:
        """Returns the step, out of so many, from which on the same layers have an adapter."""
        return 0

    def chosen(self, selection: "Selection", state: State) -> "Selection":
        """Returns the selection that the training has left, with what there is to say of each layer."""
        return selection

    def line(self, layers: int) -> str | None:
        """Returns what a person is told of the turns of so many layers; None for nothing."""
        return None

    def check(self, layers: int, steps: int) -> None:
        """Checks the options against the number of layers with an adapter, and of training steps.

        Raises:
            UserError: There are too few.
        """

    def check_n(self, n: float, layers: int) -> None:
        """Raises a `UserError` if the count or share `regime.n` asks for more layers than have an adapter."""
        if count_of(n, layers) > layers:
            raise UserError(f"regime.n: expected at most {layers}, the layers with an adapter, but got {n:g}")

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, as far as shows without a model."""
        return []

    def amount_problems(self, *names: str) -> list[str]:
        """Returns one line for each of these options that is neither a count nor a share."""
        amounts = {name: getattr(self, name) for name in names}
        return [
            f"regime.{name}: expected a count (1, 2, …) or a share such as 0.5, but got {value:g}"
            for name, value in amounts.items()
            if not 0 < value < float("inf") or (value > 1 and value != int(value))
        ]
