"""AdaLoRA in a model: its ranks fall during the training."""

from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor

from layersel.adapters.placed import ExportedLora
from layersel.backbone.backbone import Backbone

MEANS = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""The names of the running means that PEFT's allocator keeps of each parameter."""


class AdaLoraPlaced(ExportedLora):
    """AdaLoRA in the layers of a backbone; what it adds and saves is a standard LoRA.

    Args:
        backbone: The backbone that carries it.
        layers: Indices of its layers.
        adapted: PEFT's wrapper.
        start: Share of the steps before ranks begin to fall.
        end: Share of the steps after which they stay.
    """

    def __init__(self, backbone: Backbone, layers: list[int], adapted: PeftModel, start: float, end: float):
        super().__init__(backbone, layers, adapted)
        self._start, self._end = start, end
        self._settled = False

    def begin(self, n_steps: int) -> None:
        """Scales the schedule to the training; ranks are allocated anew in about a hundred of its steps."""
        config = self.adapted.peft_config["default"]
        config.total_step = n_steps
        config.tfinal = n_steps - max(round(self._end * n_steps), 1)
        config.tinit = min(round(self._start * n_steps), n_steps - config.tfinal - 1)
        config.deltaT = max(n_steps // 100, 1)
        config.rank_pattern = None

    def state(self) -> dict[str, Any]:
        """Returns the running means, the triplets that are left, and whether these stay as they are."""
        allocator = self.adapted.base_model.rankallocator
        means = {name: getattr(allocator, name) for name in MEANS}
        return means | {"left": self.adapted.peft_config["default"].rank_pattern, "settled": self._settled}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores what `state` returned; nothing to restore is allowed."""
        if not state:
            return
        allocator, device = self.adapted.base_model.rankallocator, self.backbone.device
        for name in MEANS:
            setattr(allocator, name, {key: value.to(device) for key, value in state[name].items()})
        self.adapted.peft_config["default"].rank_pattern = state["left"]
        self._settled = state["settled"]

    def penalty(self) -> Tensor:
        """Returns the weight times the mean over A and B of ‖A·Aᵀ − I‖ and ‖Bᵀ·B − I‖ (equation 4, Frobenius norms)."""
        weight: float = self.adapted.peft_config["default"].orth_reg_weight
        deviations = []
        for _, layer in self._tuners():
            down_RI, up_OR = layer.lora_A["default"], layer.lora_B["default"]
            eye_RR = torch.eye(len(down_RI), device=down_RI.device, dtype=down_RI.dtype)
            deviations += [(down_RI @ down_RI.T - eye_RR).norm(), (up_OR.T @ up_OR - eye_RR).norm()]
        return weight * torch.stack(deviations).mean()

    def after_step(self, step: int) -> None:
        """Updates the importance from the gradients of this step, and zeroes what is over the budget.

        A step that was skipped at the end of the schedule, where the ranks are settled, is made up for by the next.
        """
        tuner = self.adapted.base_model
        config, allocator = self.adapted.peft_config["default"], tuner.rankallocator
        done, last = step + 1, config.total_step - config.tfinal
        if done >= last and not self._settled:
            self._settled = True
            done = last
            if not allocator.exp_avg_ipt:  # it is the first step that is not skipped
                allocator.update_ipt(tuner.model)
        tuner.update_and_allocate(done)

    def factors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Returns those of the triplets that are left; a module without any gets one of zeros: LoRA has no rank 0."""
        return {name: _factors(layer) for name, layer in self._tuners()}


def _factors(layer: LoraLayer) -> tuple[Tensor, Tensor]:
    values_R, down_RI, up_OR = (getattr(layer, f"lora_{part}")["default"].detach() for part in "EAB")
    values_R = values_R[:, 0]
    kept = values_R.nonzero()[:, 0] if values_R.any() else torch.tensor([0], device=values_R.device)
    scale = layer.scaling["default"] / (layer.ranknum["default"].detach() + 1e-5)
    return scale * up_OR[:, kept] * values_R[kept], down_RI[kept].clone()
