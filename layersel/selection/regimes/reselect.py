"""Re-selection: the training begins in all adapted layers, and goes on in those that it has moved farthest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from layersel.errors import UserError
from layersel.selection.regime import AfterStep, Regime, State
from layersel.selection.score import count_of

if TYPE_CHECKING:
    from layersel.selection.selection import Selection


@dataclass
class Reselect(Regime):
    """After `after` steps in all layers with an adapter, the `n` of them with the largest drift are kept.

    The drift is that of `selection=drift`, of the very adapters that are trained: no warm-up is thrown away. The kept
    adapters go on from where they are, with their optimizer's means, under the same schedule of the learning rate. The
    others are switched off for good and taken out at the end, so that their layers are the pretrained ones.

    No single paper has it. The criterion is the mask criterion "movement" of Zhou et al. 2019, "Deconstructing lottery
    tickets: zeros, signs, and the supermask", taken of a whole layer. What is not kept has no change, as the singular
    values that AdaLoRA drops within its training (Zhang et al. 2023), and what is kept goes on as there. Lottery
    tickets rewind what is kept to where it started, which is `selection=drift`. The first steps of AdamW are of one
    size everywhere, so that a choice after a few of them is near chance.

    The first steps have the memory and the time of `regime=fixed` in all layers. Later ones have the backward pass of
    the kept layers only, no adapters in the others, and their optimizer's means are freed; the cached prefix still ends
    below the lowest layer that had an adapter. The drift itself costs a product of each adapter's own factors, or, of
    adapters that are not of low rank, a copy of one weight matrix at a time.
    """

    n: float = 0.5
    """Layers that are kept: a count (3), or a share of those with an adapter below 1 (0.5)."""
    after: float = 0.3
    """Steps of the adapters' training before the choice: a count (20), or a share of them below 1 (0.3)."""
    relative: bool = False
    """Divide the drift by ‖W‖_F of the same matrices."""

    keeps_base: ClassVar[bool] = True
    compares_changes: ClassVar[bool] = True

    @property
    def reads_weights(self) -> bool:
        """Returns whether their norms are asked for."""
        return self.relative

    def layers_at(self, step: int, layers: Sequence[int], seed: int, state: State) -> list[int]:
        """Returns the layers that have an adapter."""
        return self.carriers(layers, state)

    def after_step(self, done: int, seed: int, state: State, trained: AfterStep) -> State:
        """Returns the drift of each layer with an adapter, once it is time, and how many steps it took.

        Raises:
            UserError: No adapter has moved, or one is not finite.
        """
        if state or done != self.settled(trained.steps):
            return state
        from layersel.backbone.layers import find_linear
        from layersel.selection.scores.drift import drifts

        squares = trained.squared_changes()
        linears = find_linear(trained.backbone.model)
        groups = [{name: own for name, own in linears[layer].items() if name in squares} for layer in trained.layers]
        found = drifts(squares, groups, self.relative)
        if not all(map(math.isfinite, found)):
            raise UserError("regime=reselect: a changed weight is not finite; lower task.learning_rate")
        if not any(found):
            raise UserError(f"regime.after: no adapter has moved by step {done}; use more steps, or regime=fixed")
        return {"drifts": found, "after": done}

    def carriers(self, layers: Sequence[int], state: State) -> list[int]:
        """Returns all layers before the choice, and the kept ones after it."""
        if not state:
            return list(layers)
        import torch

        from layersel.selection.budget import choose_layers

        drifts_L = torch.tensor(state["drifts"], dtype=torch.float64)
        return [layers[place] for place in choose_layers(drifts_L, count_of(self.n, len(layers)))]

    def settled(self, steps: int) -> int:
        """Returns the step before which the choice is made."""
        return count_of(self.after, steps)

    def chosen(self, selection: "Selection", state: State) -> "Selection":
        """Returns the kept layers with the drift of each."""
        if not state:
            return selection
        from layersel.terminal.tables import counted

        when = counted(state["after"], "step")
        kept = self.carriers(selection.layers, state)
        drifts = dict(zip(selection.layers, state["drifts"], strict=True))
        order = sorted(drifts, key=lambda layer: (-drifts[layer], -layer))
        reasons = ["no adapter" for _ in selection.scores]
        for place, layer in enumerate(order, start=1):
            what = "kept" if layer in kept else "taken out"
            reasons[layer] = f"rank {place} of {len(order)} after {when}; {what}"
        scores = [drifts.get(layer, math.nan) for layer in range(len(selection.scores))]
        return replace(
            selection,
            score="drift",
            scores=scores,
            layers=kept,
            reasons=reasons,
            stability=None,
            measured=True,
            module_scores={},
        )

    def line(self, layers: int) -> str:
        """Returns how many of the layers are kept, and when."""
        when = f"{self.after:.0%} of the steps" if self.after < 1 else f"{self.after:g} steps"
        return f"reselect: after {when}, the {count_of(self.n, layers)} of the {layers} layers that moved most are kept"

    def check(self, layers: int, steps: int) -> None:
        """Raises a `UserError` if more layers are to be kept than there are, or none of the steps is left then."""
        self.check_n(self.n, layers)
        if self.settled(steps) >= steps:
            raise UserError(
                f"regime.after: expected fewer than the {steps} steps of the adapters' training, but got {self.after:g}"
            )

    def problems(self) -> list[str]:
        """Returns one line for each option that is neither a count nor a share."""
        return self.amount_problems("n", "after")
