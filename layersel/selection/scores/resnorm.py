"""Residual norm of the Layer Card: how much of what the loss asks for a layer's own inputs can give."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.errors import UserError
from layersel.selection.score import LabelledScore, LayerScores, Probe

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.backbone.backbone import Backbone

# Shapes: O outputs, I inputs of a linear module.


@dataclass
class Resnorm(LabelledScore):
    """Score of a layer = √Σ ‖G Σ^{−1/2}‖²_F over its linear modules, with Σ = E[xxᵀ] of what enters a module.

    It is the projected residual norm of Xu et al. 2026, "Understanding and guiding layer placement in
    parameter-efficient fine-tuning of large language models": for a squared loss G = E[r·xᵀ], r the residual, and
    G Σ^{−1} x is the linear function of x that is closest to r, whose mean square is ‖G Σ^{−1/2}‖²_F. So, other than
    for `grad_norm`, a module whose inputs are large or alike does not count for more.

    G (O×I) is the gradient of the mean loss over the labelled batches; Σ (I×I) is of all real tokens of these batches,
    from the same passes, and not centred. It is singular where there are fewer tokens than inputs, or inputs repeat
    each other, so λ = `ridge` · tr(Σ)/I is added to its diagonal, as by the damping of GPTQ (Frantar et al. 2023); how
    the paper treats this is not known here. What turns the inputs, or scales all of them, changes nothing.

    Modules that share an input, as query, key and value do, share a Σ, which takes 4·I² bytes: 11 MB a layer of MiniLM
    and 690 MB a layer of a Llama of 7 billion weights, most of it for the inputs of the last module. It has no
    resamples, which would need G and Σ of every batch at once.
    """

    ridge: float = 0.01
    """λ, which is added to the diagonal of Σ, as a share of the mean of that diagonal."""

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Measures the gradients and the inputs of all linear modules in the same passes.

        Raises:
            UserError: A layer has no linear modules, the loss is undefined for all batches, a gradient is not finite, a
                module is given something else than tokens of texts, or the ridge is too small.
        """
        import torch

        from layersel.backbone.inputs import seeing_inputs
        from layersel.backbone.layers import turned_OI
        from layersel.selection.gradients import mean_gradients
        from layersel.selection.measures.second_moments import SecondMoments
        from layersel.selection.module_types import linear_layers

        seen, layers = SecondMoments(), linear_layers(backbone, self.name)
        linears = {name: module for own in layers for name, module in own.items()}
        with seeing_inputs(backbone, linears, seen.add, user="selection=resnorm", instead="selection=gora"):
            gradients = mean_gradients(backbone, probe)
        modules = {
            name: residual_norm(turned_OI(linear, gradients[name]), seen.mean(name), self.ridge)
            for name, linear in linears.items()
        }
        values = [math.hypot(*(modules[name] for name in layer)) for layer in layers]
        return LayerScores(torch.tensor(values, dtype=torch.float64), modules=modules)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, a ridge that is not above 0 among them."""
        found = super().problems()
        if not 0 < self.ridge < math.inf:
            found.append(f"selection.ridge: expected a number above 0, but got {self.ridge:g}")
        return found


def residual_norm(gradient_OI: "Tensor", moment_II: "Tensor", ridge: float) -> float:
    """Computes ‖G (Σ + λ)^{−1/2}‖_F with λ = ridge · tr(Σ)/I, in float64; 0 where nothing but zeros enters.

    Raises:
        UserError: Σ + λ is singular.

    Example:
        >>> import torch
        >>> round(residual_norm(torch.tensor([[6.0, 4.0]]), torch.tensor([[9.0, 0.0], [0.0, 1.0]]), 1e-9), 6)
        4.472136
    """
    import torch

    moment_II = moment_II.double()
    mean = moment_II.diagonal().mean()
    if mean == 0:
        return 0.0
    damped_II = moment_II + ridge * mean * torch.eye(len(moment_II), dtype=torch.float64, device=moment_II.device)
    lower_II, failed = torch.linalg.cholesky_ex(damped_II)
    if failed:
        raise UserError(f"selection.ridge: expected one at which inputs can be told apart, but got {ridge:g}; raise it")
    whitened_IO = torch.linalg.solve_triangular(lower_II, gradient_OI.double().T, upper=False)
    return float(torch.linalg.vector_norm(whitened_IO))
