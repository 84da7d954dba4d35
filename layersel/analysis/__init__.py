"""Figures of a run."""

from layersel.analysis.figures import gain_curves, layer_scores, write_figures

__all__ = ["gain_curves", "layer_scores", "write_figures"]
