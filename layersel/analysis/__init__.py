"""Figures of a run."""

from layersel.analysis.figures import gain_curves, layer_scores, merging_bars, write_figures

__all__ = ["gain_curves", "layer_scores", "merging_bars", "write_figures"]
