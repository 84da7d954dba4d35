"""Lightning callbacks: the layer selection and the progress of training."""

from layersel.callbacks.layer_selection import LayerSelection
from layersel.callbacks.training_progress import TrainingProgress

__all__ = ["LayerSelection", "TrainingProgress"]
