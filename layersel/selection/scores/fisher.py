"""Fisher: how much the loss of single examples changes with the weights of a layer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.resampled import ResampledScore
from layersel.selection.score import LabelledScore, LayerScores, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class Fisher(ResampledScore, LabelledScore):
    """Score of a layer = the sum over the weights of its matrices of the mean over examples of the squared gradient.

    This is the trace of the empirical Fisher information, with the labels of the data and not the model's own
    (Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks", take its diagonal). Gradients of
    opposite sign, which cancel out in `grad_norm`, add up here.

    An example is one text with its label or response, and a batch of it alone has the task's own loss: the mean over
    the tokens of a response, for instance, and no class weight, which is a factor within a batch' mean. Where a loss
    compares texts with each other there is none of a single text: there the batch is the smallest unit, and the mean is
    over the squared gradients of batches (`TrainingData.examples`). The resamples are of the same units.
    """

    batches: int = 4
    """Labelled batches whose examples the loss is taken of; each example takes a pass of its own."""

    @property
    def per_example(self) -> bool:
        """Returns that it is to be so."""
        return True

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Averages the squared norms; a linear module's score is that of its own weight.

        Raises:
            UserError: The loss is undefined for all examples, or a gradient is not finite.
        """
        from layersel.selection.gradients import layer_sums, squared_norms, summed_scores

        squares = squared_norms(backbone, probe)
        resampled_SL = self.resampled_means(layer_sums(backbone, squares), probe.generator)
        values = {name: float(squares_N.mean()) for name, squares_N in squares.items()}
        return summed_scores(backbone, values, resampled_SL)
