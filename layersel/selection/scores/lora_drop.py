"""LoRA-drop: how much the LoRA of a layer adds to what passes through it (Zhou et al. 2025)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.selection.score import LayerScores, Probe, ProbeScore, WarmUpScore

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.backbone.backbone import Backbone


@dataclass
class LoraDrop(WarmUpScore, ProbeScore):
    """Score of a layer = its share of Σ‖ΔW·x‖² after a warm-up, x what enters its adapted modules.

    The sum is over the real tokens of the probe and over the modules of the layer; the shares of all layers add up to
    1. In the paper the layers within the budget keep a LoRA of their own and all others share one, which is
    `adapter=lora_drop`; any other adapter leaves these as they are.

    Reference: Zhou et al. 2025, "LoRA-drop: efficient LoRA parameter pruning based on output evaluation", section 3.
    """

    needs: ClassVar[frozenset[str]] = WarmUpScore.needs | ProbeScore.needs

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Trains, then runs the probe once.

        Raises:
            UserError: The warm-up fails, or a module is given something else than tokens of texts.
        """
        import torch

        from layersel.backbone.inputs import seeing_inputs
        from layersel.backbone.modes import evaluating
        from layersel.terminal.progress import progress

        with self.warmed_up(probe) as warm, evaluating(backbone):
            layers = warm.linears(backbone)
            linears = {name: linear for own in layers for name, linear in own.items()}
            sums = dict.fromkeys(linears, 0.0)

            def see(name: str, inputs_NI: "Tensor") -> None:
                up_OR, down_RI = (factor.double() for factor in warm.factors[name])
                inner_NR = inputs_NI.double() @ down_RI.T
                sums[name] += float((inner_NR @ (up_OR.T @ up_OR) * inner_NR).sum())

            with seeing_inputs(backbone, linears, see, user=f"selection={self.name}", instead="selection=drift"):
                for batch in progress(probe.batches, "probing the layers"):
                    backbone.last_states(batch)
        total = sum(sums.values())
        shares = {name: own / total for name, own in sums.items()}
        values = [sum(shares[name] for name in own) for own in layers]
        return LayerScores(torch.tensor(values, dtype=torch.float64), modules=shares)
