"""Lightning callbacks: the layer selection, checkpoints, early stopping and the progress of training."""

from layersel.callbacks.best_weights import BestWeights
from layersel.callbacks.checkpoint import TrainingCheckpoint
from layersel.callbacks.checkpoint_file import AtomicCheckpointIO
from layersel.callbacks.layer_selection import LayerSelection
from layersel.callbacks.logged_rows import LoggedRows, logged_before
from layersel.callbacks.training_progress import TrainingProgress

__all__ = [
    "AtomicCheckpointIO",
    "BestWeights",
    "LayerSelection",
    "LoggedRows",
    "TrainingCheckpoint",
    "TrainingProgress",
    "logged_before",
]
