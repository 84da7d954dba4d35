"""Weight pruning: single weights of the linear layers inside the blocks become zero."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.backbone.projection_names import PROJECTIONS
from layersel.compression.pruning.patterns import check_divides, parse_pattern
from layersel.compression.pruning.pruning import Pruning
from layersel.errors import UserError, one_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from layersel.backbone.backbone import Backbone
    from layersel.compression.pruning.pruned import Pruned
    from layersel.data.tokens import TokenIds

# Shapes: O outputs, I inputs of a linear layer.

SPEED = "no kernel used here skips zeros, so they save no time"

Linears = dict[str, "nn.Module"]
"""Linear modules of one block by their names without adapters."""


@dataclass
class WeightPruning(Pruning):
    """The weights with the lowest scores become zero."""

    sparsity: float | None = 0.5
    """Share of the weights that become zero, 0 to 1; null = that of the pattern."""
    pattern: str | None = None
    """Zeros in a pattern n:m, such as 2:4: n of every m consecutive inputs of an output; null = no pattern."""
    projections: list[str] | None = None
    """Which projections: query, key, value, output, gate, up, down; null = every linear layer inside the blocks."""

    def check(self, backbone: "Backbone") -> None:
        """Checks that there are linear modules to prune, and that a pattern fits them."""
        self._chosen(backbone)

    def prune(self, backbone: "Backbone", tokens: "Sequence[TokenIds]", generator: "torch.Generator") -> "Pruned":
        """Puts zeros into the chosen linear layers."""
        from layersel.compression.pruning.pruned import Pruned, weight_sparsity

        masks = self.zero_layers(backbone, self._chosen(backbone), tokens, generator)
        reached = weight_sparsity(backbone)
        figures = {"sparsity wanted": self.share, "sparsity reached": reached}
        pattern = "" if self.pattern is None else f", {self.pattern}"
        return Pruned(masks, figures=figures, note=f"{reached:.1%} zeros in the blocks{pattern}; {SPEED}")

    def zero_layers(
        self,
        backbone: "Backbone",
        layers: Sequence[Linears],
        tokens: "Sequence[TokenIds]",
        generator: "torch.Generator",
    ) -> "dict[str, Tensor]":
        """Zeroes the lowest scores in the linear modules of each block; returns the masks by name."""
        from layersel.backbone.layers import weight_OI

        return {
            name: self.zero_lowest(module, self.scores(weight_OI(module).detach(), generator))
            for linears in layers
            for name, module in linears.items()
        }

    def zero_lowest(self, module: "nn.Module", scores_OI: "Tensor") -> "Tensor":
        """Zeroes the weights of `module` with the lowest scores; returns the mask of the others on the CPU."""
        from layersel.compression.pruning.pruned import zero

        keep_OI = self.keep(scores_OI).cpu()
        zero(module, keep_OI)
        return keep_OI

    def scores(self, weight_OI: "Tensor", generator: "torch.Generator") -> "Tensor":
        """Returns the scores (O×I) of the weights of a module, where they depend on nothing else."""
        raise NotImplementedError

    def keep(self, scores_OI: "Tensor") -> "Tensor":
        """Returns the mask (O×I) of the weights that stay; those of one output, or of one group, are compared."""
        from layersel.compression.pruning.masks import keep_highest, keep_pattern

        if self.pattern is not None:
            return keep_pattern(scores_OI, self.pattern)
        return keep_highest(scores_OI, self.share)

    @property
    def share(self) -> float:
        """Returns the share of zeros wanted.

        Raises:
            UserError: Neither a share nor a pattern is given.
        """
        if self.pattern is not None:
            n, m = parse_pattern(self.pattern)
            return n / m
        if self.sparsity is None:
            raise UserError("pruning.sparsity: expected 0 to 1 or a pruning.pattern, but got neither")
        return self.sparsity

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong: shares, patterns, contradictions, unknown projections."""
        found = self._share_problems()
        unknown = [name for name in self.projections or () if name not in PROJECTIONS]
        found += [str(one_of("pruning.projections", name, PROJECTIONS)) for name in unknown]
        if self.projections == []:
            found.append(f"pruning.projections: expected null or some of {', '.join(PROJECTIONS)}, but got none")
        return found

    def _share_problems(self) -> list[str]:
        try:
            share = self.share
        except UserError as error:
            return [str(error)]
        if not 0 <= share <= 1:
            return [f"pruning.sparsity: expected 0 to 1, but got {share:g}"]
        if self.sparsity is not None and not math.isclose(self.sparsity, share):
            fits = f"null or {share:g} with pruning.pattern={self.pattern}"
            return [f"pruning.sparsity: expected {fits}, but got {self.sparsity:g}"]
        return []

    def _chosen(self, backbone: "Backbone") -> list[Linears]:
        """Returns the linear modules to prune, block by block.

        Raises:
            UserError: There is none, one cannot be pruned, or the pattern does not fit it.
        """
        from layersel.backbone.layers import find_linear, modules_of, weight_OI
        from layersel.compression.pruning.pruned import check_prunable

        layers = find_linear(backbone.model)
        if self.projections is not None:
            layers = [
                {name: linears[name] for name in modules_of(named, self.projections)}
                for linears, named in zip(layers, backbone.projections, strict=True)
            ]
        for name, module in (item for linears in layers for item in linears.items()):
            check_prunable(name, module)
            if self.pattern is not None:
                check_divides(self.pattern, weight_OI(module).shape[1], name)
        return layers
