"""Labelled batches for scores: whole, or split into examples where the task has a loss for a single one."""

import torch
from toy_training import toy_tokens

from layersel.data.tokens import TokenizedTexts
from layersel.tasks.causal_lm.datamodule import AnswerData
from layersel.tasks.classification.datamodule import ClassificationData
from layersel.tasks.screening.datamodule import ScreeningData
from layersel.tasks.screening.losses.pairwise import Pairwise
from layersel.tasks.screening.options import Screening
from layersel.training.hyperparameters import Hyperparameters

TOKENS = toy_tokens()
ANSWERS = [[0] + [1] * (len(own) - 1) for own in TOKENS]
TEXTS = TokenizedTexts([str(own) for own in TOKENS], TOKENS, [len(own) for own in TOKENS], 32, ANSWERS)


def test_classification_has_examples() -> None:
    """Each with its target, in the order of the batches."""
    data = ClassificationData(TEXTS, range(3, 13), [], torch.arange(len(TOKENS)), 4, seed=0)
    whole, single = data.labelled_batches(2), data.labelled_batches(2, per_example=True)
    assert [len(batch.texts) for batch in whole] == [4, 4]
    assert [batch.texts for batch in single] == [[text] for batch in whole for text in batch.texts]
    assert torch.equal(torch.cat([batch.targets for batch in single]), torch.cat([batch.targets for batch in whole]))
    assert all(batch.targets.shape == (1,) for batch in single)


def test_language_models_have_examples() -> None:
    """The loss of each is the mean over its own tokens: their sum is divided by how many it has."""
    data = AnswerData(TEXTS, range(3, 13), Hyperparameters(batch_size=4, accumulate=2), 0, [])
    whole, single = data.labelled_batches(2), data.labelled_batches(2, per_example=True)
    assert [batch.texts for batch in single] == [[text] for batch in whole for text in batch.texts]
    assert [batch.answers for batch in single] == [[own] for batch in whole for own in batch.answers]
    assert [batch.n_tokens for batch in single] == [len(TOKENS[3 + batch.texts[0]]) - 1 for batch in single]


def test_the_batch_is_the_smallest_unit_of_screening() -> None:
    """A record alone has no loss, so a batch stays whole."""
    options = Screening(loss=Pairwise(), batch_size=8)
    data = ScreeningData(TOKENS, range(12), torch.arange(12) % 2, options, seed=0)
    whole, single = data.labelled_batches(3), data.labelled_batches(3, per_example=True)
    assert [batch.texts for batch in single] == [batch.texts for batch in whole]
    assert [batch.pairs_P2.tolist() for batch in single] == [batch.pairs_P2.tolist() for batch in whole]
