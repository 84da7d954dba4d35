"""Training by the loss of the tokens that are to be predicted."""

from torch import Tensor

from layersel.tasks.causal_lm.datamodule import AnswerBatch
from layersel.tasks.causal_lm.losses import token_losses
from layersel.training.adapter_module import AdapterModule


class AnswerTraining(AdapterModule):
    """Trains the adapter by the mean loss over the tokens of a batch that are to be predicted."""

    def loss(self, batch: AnswerBatch) -> Tensor:
        """Returns the mean loss over the batch's tokens; on several devices each takes a share of the texts.

        The mean of what the devices return, and so of their gradients, is the loss of the whole batch.
        """
        cache = self._prepared()
        counts = [sum(marks[1:]) for marks in batch.answers]
        rank, devices = self.share()
        own = list(range(len(batch.texts)))[rank::devices]
        place = {batch.texts[row]: row for row in own}
        groups = cache.batches(list(place)) or [batch.texts[:1]]  # a device without a text still takes part
        weight = devices / sum(counts) if own else 0.0
        sums = [
            token_losses(cache, group, [batch.answers[place.get(text, 0)] for text in group])[0].sum()
            for group in groups
        ]
        return sum(sums[1:], sums[0]) * weight
