"""LoRA-drop: how much the LoRA of a layer adds to what passes through it (Zhou et al. 2025)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.selection.resampled import ResampledScore
from layersel.selection.score import LayerScores, Probe, ProbeScore, WarmUpScore

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.backbone.backbone import Backbone


@dataclass
class LoraDrop(WarmUpScore, ResampledScore, ProbeScore):
    """Score of a layer = its share of Σ‖ΔW·x‖² after a warm-up, x what enters its adapted modules.

    The sum is over the real tokens of the probe and over the modules of the layer; the shares of all layers add up to
    1. In the paper the layers within the budget keep a LoRA of their own and all others share one, which is
    `adapter=lora_drop`; any other adapter leaves these as they are. The resamples are of the probe's texts; the warm-up
    stays the same.

    Reference: Zhou et al. 2025, "LoRA-drop: efficient LoRA parameter pruning based on output evaluation", section 3.
    """

    needs: ClassVar[frozenset[str]] = WarmUpScore.needs | ProbeScore.needs

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Trains, then runs the probe once.

        Raises:
            UserError: The warm-up fails, or a module is given something else than tokens of texts.
        """
        import torch

        from layersel.selection.activations import see_probe, sums_by_text

        with self.warmed_up(probe) as warm:
            layers = warm.linears(backbone)
            linears = {name: linear for own in layers for name, linear in own.items()}
            sums = dict.fromkeys(linears, 0.0)
            by_text: dict[str, list[Tensor]] = {name: [] for name in linears}

            def see(name: str, inputs_NI: "Tensor", lengths: list[int]) -> None:
                up_OR, down_RI = (factor.double() for factor in warm.factors[name])
                inner_NR = inputs_NI.double() @ down_RI.T
                squares_NR = inner_NR @ (up_OR.T @ up_OR) * inner_NR
                sums[name] += float(squares_NR.sum())
                by_text[name].append(sums_by_text(squares_NR.sum(dim=1), lengths).cpu())

            see_probe(backbone, probe.batches, linears, see, self.name)
        total = sum(sums.values())
        shares = {name: own / total for name, own in sums.items()}
        values = [sum(shares[name] for name in own) for own in layers]
        sums_LT = torch.stack([torch.stack([torch.cat(by_text[name]) for name in own]).sum(dim=0) for own in layers])

        def of(rows: "Tensor") -> "Tensor":
            sums_L = sums_LT[:, rows].sum(dim=1)
            return sums_L / sums_L.sum()

        resampled_SL = self.resampled(sums_LT.shape[1], probe.generator, of)
        return LayerScores(torch.tensor(values, dtype=torch.float64), resampled_SL=resampled_SL, modules=shares)
