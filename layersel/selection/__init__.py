"""Which layers to adapt: scores of the layers, budgets, and the selection made of them."""

from layersel.selection.score import LayerScores, Probe, ProbeScore, Score, score_named
from layersel.selection.select import Measure, choose_layers, make_selection, select_layers
from layersel.selection.selection import Selection

__all__ = [
    "LayerScores",
    "Measure",
    "Probe",
    "ProbeScore",
    "Score",
    "Selection",
    "choose_layers",
    "make_selection",
    "score_named",
    "select_layers",
]
