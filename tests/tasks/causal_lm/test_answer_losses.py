"""The losses are those of the library's own models, on each text alone, however texts and tokens are put together."""

from collections.abc import Iterator

import pytest
import torch
from models import LANGUAGE_MODELS, ragged, seeded
from torch import Tensor
from torch.testing import assert_close
from transformers import PreTrainedModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.prefix import PrefixCache
from layersel.data.tokens import TokenIds
from layersel.tasks.causal_lm import losses
from layersel.tasks.causal_lm.datamodule import AnswerBatch
from layersel.tasks.causal_lm.losses import text_losses, token_losses
from layersel.tasks.causal_lm.module import AnswerTraining
from layersel.tasks.causal_lm.options import CausalLM

TOKENS = ragged((7, 12, 3, 30, 12, 2))
ANSWERS = [[0] * 4 + [1] * 3, [1] * 12, [0, 0, 1], [0] * 5 + [1] * 10 + [0] * 5 + [1] * 10, [0] * 11 + [1], [1, 1]]
N_PREDICTED = [3, 11, 1, 20, 1, 1]
"""How many tokens of each text are to be predicted: the first one of a text never is, as nothing stands before it."""


@pytest.fixture(scope="module", params=LANGUAGE_MODELS)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A tiny decoder with its head in float32; a test leaves it as it was."""
    return seeded(LANGUAGE_MODELS[request.param])


@pytest.fixture
def backbone(model: PreTrainedModel) -> Iterator[Backbone]:
    """The decoder, no batch of which holds more than two of the longer texts."""
    yield Backbone(model, pooling="last", batch_tokens=40)
    model.zero_grad()


def of_the_library(model: PreTrainedModel, ids: TokenIds, answers: list[int]) -> float:
    """The library's own loss of a text alone, in float64: its mean over all labels that are not −100."""
    double = type(model)(model.config).double().eval()
    double.load_state_dict(model.state_dict())
    labels = [token if answer else -100 for token, answer in zip(ids, answers, strict=True)]
    with torch.no_grad():
        return float(double(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss)


@pytest.fixture(scope="module")
def expected(model: PreTrainedModel) -> Tensor:
    """The library's loss of each text."""
    return torch.tensor([of_the_library(model, *own) for own in zip(TOKENS, ANSWERS, strict=True)], dtype=torch.double)


@pytest.mark.parametrize("start", [0, 1, 2])
def test_the_loss_of_each_text(backbone: Backbone, expected: Tensor, start: int) -> None:
    """In batches and above a prefix it is that of the text alone in float64, and each token is counted once."""
    try:
        cache = PrefixCache(backbone, TOKENS, start, max_bytes=10**6)
        for _ in range(2):  # the second time above what is kept
            found_N2 = text_losses(cache, range(len(TOKENS)), ANSWERS, "loss")
            assert found_N2[:, 1].tolist() == N_PREDICTED
            assert_close(found_N2[:, 0] / found_N2[:, 1], expected, rtol=1e-5, atol=1e-5)
    finally:
        assert len(cache) == (len(TOKENS) if start else 0)


def test_the_texts_that_are_asked_for_in_their_order(backbone: Backbone, expected: Tensor) -> None:
    """Rows are those of `texts`, whatever batches they are put into."""
    cache, texts = PrefixCache(backbone, TOKENS, 0, 0), [4, 0, 3]
    found_N2 = text_losses(cache, texts, ANSWERS, "loss")
    assert_close(found_N2[:, 0] / found_N2[:, 1], expected[texts], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch", [[0, 1, 2, 3, 4, 5], [3], [5, 2]])
def test_the_loss_of_each_token(backbone: Backbone, batch: list[int]) -> None:
    """It is −log p of the token, by a loop over the model's own logits; rows say whose it is."""
    cache = PrefixCache(backbone, TOKENS, 0, 0)
    with torch.no_grad():
        found_M, rows_M = token_losses(cache, batch, [ANSWERS[text] for text in batch])
    naive, rows = [], []
    for row, text in enumerate(batch):
        with torch.no_grad():
            logits_TV = backbone.model(input_ids=torch.tensor([TOKENS[text]])).logits[0].double()
        for place in range(1, len(TOKENS[text])):
            if ANSWERS[text][place]:
                naive.append(logits_TV[place - 1].logsumexp(0) - logits_TV[place - 1, TOKENS[text][place]])
                rows.append(row)
    assert rows_M.tolist() == rows
    assert_close(found_M.double(), torch.stack(naive), rtol=1e-5, atol=1e-5)


def gradients(backbone: Backbone, batch: list[int], start: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
    """The summed loss of a batch, and the gradient of each parameter that it reaches."""
    backbone.model.zero_grad()
    cache = PrefixCache(backbone, TOKENS, start, max_bytes=10**6)
    loss = token_losses(cache, batch, [ANSWERS[text] for text in batch])[0].sum()
    loss.backward()
    reached = {name: own.grad for name, own in backbone.model.named_parameters() if own.grad is not None}
    return loss.detach(), reached


@pytest.mark.parametrize("at_once", [1, 7, 36, 37])
def test_parts_of_the_head_change_nothing(backbone: Backbone, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tokens pass the head at once, values and gradients are the same."""
    loss, whole = gradients(backbone, [0, 1, 2, 3, 4, 5])
    whole = {name: own.clone() for name, own in whole.items()}
    monkeypatch.setattr(losses, "AT_ONCE", at_once)
    again, parts = gradients(backbone, [0, 1, 2, 3, 4, 5])
    assert_close(again, loss, rtol=1e-5, atol=1e-5)
    assert_close(parts, whole, rtol=1e-4, atol=1e-4)
    assert len(whole) > 20


def test_gradients_above_a_prefix_are_the_same(backbone: Backbone) -> None:
    """Only that they end at the prefix."""
    first = {f"{name}.{own}" for name, module in backbone.named_modules() if module is backbone.layers[2]
             for own, _ in module.named_parameters()}  # fmt: skip
    names = {name.removeprefix("model.") for name in first}
    _, whole = gradients(backbone, [1, 3, 0])
    whole = {name: whole[name].clone() for name in names}
    _, above = gradients(backbone, [1, 3, 0], start=2)
    assert not any("layers.0." in name or ".h.0." in name for name in above)
    assert_close({name: above[name] for name in names}, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("devices", [1, 2, 3, 7])
def test_shares_of_devices_have_the_loss_of_the_batch_as_their_mean(
    backbone: Backbone, devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a device has no text; the mean over tokens is the library's own over all labels of the batch."""
    module = AnswerTraining(backbone, CausalLM())
    module.prepare(TOKENS, start=0)
    n_tokens = sum(sum(ANSWERS[text][1:]) for text in (3, 0, 5, 1))
    batch = AnswerBatch([3, 0, 5, 1], [ANSWERS[text] for text in (3, 0, 5, 1)], n_tokens)
    found = []
    for rank in range(devices):
        monkeypatch.setattr(module, "share", lambda rank=rank: (rank, devices))
        found.append(module.loss(batch))
    assert all(loss.requires_grad for loss in found)  # else a device would wait for the others for ever
    sums = sum(of_the_library(backbone.model, TOKENS[text], ANSWERS[text]) * N_PREDICTED[text] for text in batch.texts)
    assert float(torch.stack(found).mean()) == pytest.approx(sums / 35, rel=1e-5)


def test_the_mode_of_the_model_is_kept(backbone: Backbone) -> None:
    """Losses of whole texts are measured without dropout and gradients; afterwards layers train as before."""
    backbone.train_suffix(1)
    modes = [module.training for module in backbone.modules()]
    found_N2 = text_losses(PrefixCache(backbone, TOKENS, 0, 0), [0], ANSWERS, "loss")
    assert [module.training for module in backbone.modules()] == modes
    assert not found_N2.requires_grad
    backbone.eval()
