"""IST: each step draws layers by an importance learnt from what their adapters are worth (Yao et al. 2024)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from layersel.errors import UserError
from layersel.selection.regime import AfterStep, Regime, State
from layersel.selection.score import count_of

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from layersel.selection.selection import Selection

# Shapes: A layers with an adapter.

TRIES = 20
"""How often each set of suppressed layers is drawn at most until it is another one than those before."""


@dataclass
class Ist(Regime):
    """Each step trains `n` layers, drawn by their importance I; the others rest, with the adapters that they have.

    The chance of a layer goes with σ(I), and I starts at 0. Every `every` steps, `candidates` sets of `suppressed`
    layers are drawn, with chances that go with σ(−I). Each is tried on a batch: its adapters' responses are multiplied
    by `beta`, which gives the loss L_c and the reward r_c = exp(−L_c) − mean of exp(−L). Where suppressing layers has
    done less harm than suppressing others, they matter less: I_l −= mu · r_c · σ(I_l)(1 − σ(I_l)) for each of them.

    Reference: Yao et al. 2024, "Layer-wise importance matters: less memory for better performance in
    parameter-efficient fine-tuning of large language models", figure 3 (fine-tuning loop and importance updating loop),
    in the formulas and with the numbers of the published code, which calls −I the importance. It differs in these: the
    batch is the one that the step has been trained on, not one drawn from the same data for this; a response is what an
    adapter adds to its module's output, so that it need not be a LoRA; shares are rounded, not cut; sets are drawn anew
    at most 20 times until they differ, not for ever.

    A step costs what one of `regime=lisa` does: gradients and activations of the drawn layers only, down to the lowest
    of them, but the optimizer's means of every layer that was ever drawn. Every `every` steps, `candidates` forward
    passes of a batch are added, without gradients.
    """

    n: float = 0.25
    """Layers that are trained at a time: a count (2), or a share of those with an adapter below 1 (0.25)."""
    every: int = 10
    """Steps after which the importance is updated."""
    candidates: int = 3
    """Sets of layers that are compared then; fewer where the layers have no more."""
    suppressed: float = 0.5
    """Layers whose adapters are suppressed in each of them: a count, or a share of those with an adapter below 1."""
    beta: float = 0.25
    """β, by which the responses of suppressed adapters are multiplied."""
    mu: float = 10.0
    """μ, the learning rate of the importance."""

    keeps_base: ClassVar[bool] = True

    def layers_at(self, step: int, layers: Sequence[int], seed: int, state: State) -> list[int]:
        """Returns the layers that this step draws."""
        from layersel.seeding import stream

        generator = stream(seed, f"layers of step {step}")
        drawn = (
            _importance(state, len(layers)).sigmoid().multinomial(count_of(self.n, len(layers)), generator=generator)
        )
        return sorted(layers[place] for place in drawn.tolist())

    def after_step(self, done: int, seed: int, state: State, trained: AfterStep) -> State:
        """Returns the importance of the layers, updated if it is time and the batch has a loss.

        Raises:
            UserError: The loss of a candidate is not finite.
        """
        if done % self.every:
            return state
        from layersel.seeding import stream

        importance_A = _importance(state, len(trained.layers))
        sets = self._candidates(importance_A, stream(seed, f"candidates after step {done}"))
        losses = [trained.loss([trained.layers[place] for place in own], self.beta) for own in sets]
        found = [loss for loss in losses if loss is not None]
        if len(found) < len(sets):
            return state
        if not all(map(math.isfinite, found)):
            raise UserError(f"regime=ist: the loss with suppressed layers is {found}; lower task.learning_rate")
        rewards = [math.exp(-loss) for loss in found]
        mean = math.fsum(rewards) / len(rewards)
        slope_A = importance_A.sigmoid() * (1 - importance_A.sigmoid())
        for places, reward in zip(sets, rewards, strict=True):
            importance_A[places] -= self.mu * (reward - mean) * slope_A[places]
        return {"importance": importance_A.tolist()}

    def chosen(self, selection: "Selection", state: State) -> "Selection":
        """Returns the same layers, with the importance that each has at the end."""
        reasons = list(selection.reasons)
        for layer, own in zip(selection.layers, _importance(state, len(selection.layers)).tolist(), strict=True):
            reasons[layer] += f"; importance {own:+.2g} by IST"
        return replace(selection, reasons=reasons)

    def line(self, layers: int) -> str:
        """Returns how many of the layers are trained at a time."""
        count = count_of(self.n, layers)
        return f"ist: {count} of the {layers} layers are trained at a time, drawn in each step by their importance"

    def check(self, layers: int, steps: int) -> None:
        """Raises a `UserError` if there are fewer layers than are to be drawn, or no more than are suppressed."""
        self.check_n(self.n, layers)
        if count_of(self.suppressed, layers) >= layers:
            raise UserError(
                f"regime.suppressed: expected fewer than the {layers} layers with an adapter, but got "
                f"{self.suppressed:g}; use more layers, or regime=fixed"
            )

    def problems(self) -> list[str]:
        """Returns one line for each option that is out of range."""
        found = self.amount_problems("n", "suppressed")
        least = {"every": 1, "candidates": 2}
        found += [
            f"regime.{name}: expected at least {bound}, but got {getattr(self, name)}"
            for name, bound in least.items()
            if getattr(self, name) < bound
        ]
        if not 0 <= self.beta < 1:
            found.append(f"regime.beta: expected 0 <= beta < 1, but got {self.beta:g}")
        if not 0 < self.mu < math.inf:
            found.append(f"regime.mu: expected a number above 0, but got {self.mu:g}")
        return found

    def _candidates(self, importance_A: "Tensor", generator: "Generator") -> list[list[int]]:
        """Draws different sets of places among the layers, sorted."""
        chances_A, count = (-importance_A).sigmoid(), count_of(self.suppressed, len(importance_A))
        found: list[list[int]] = []
        for _ in range(self.candidates * TRIES):
            drawn = sorted(chances_A.multinomial(count, generator=generator).tolist())
            if drawn not in found:
                found.append(drawn)
            if len(found) == self.candidates:
                break
        return found


def _importance(state: State, count: int) -> "Tensor":
    """Returns the importance (A, float64) of `count` layers."""
    import torch

    return torch.tensor(state.get("importance", [0.0] * count), dtype=torch.float64)
