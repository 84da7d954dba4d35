"""Training by the loss of the tokens that are to be predicted."""

import torch
from torch import Tensor

from layersel.tasks.causal_lm.datamodule import AnswerBatch
from layersel.tasks.causal_lm.losses import token_losses
from layersel.training.adapter_module import AdapterModule


class AnswerTraining(AdapterModule):
    """Trains the adapter by the mean loss over the tokens of a step that are to be predicted."""

    def loss(self, batch: AnswerBatch) -> Tensor:
        """Returns the sum of the losses of the batch's tokens, divided so that a step has the mean over its tokens.

        On several devices each takes a share of the texts; the mean of what they return is the loss of the batch.
        """
        cache = self._prepared()
        rank, devices = self.share()
        answers = dict(zip(batch.texts, batch.answers, strict=True))
        own = batch.texts[rank::devices]
        groups = cache.batches(own or batch.texts[:1])  # a device without a text still takes part
        sums = [token_losses(cache, group, [answers[text] for text in group])[0].sum() for group in groups]
        return torch.stack(sums).sum() * (devices / batch.n_tokens if own else 0.0)
