"""Epochs of a decoder with its upper layers adapted: what lies below is computed once, or in every epoch.

Model: SmolLM2 (30 layers), LoRA r=8 on query and value of the last ones. Texts: the first embedded titles. Both
ways see the same batches and begin with the same adapter; they take turns, epoch by epoch.

    python benchmarks/prefix_epochs.py [LAYERS [TEXTS [EPOCHS]]]
"""

import statistics
import sys
import time

import torch

from layersel.adapters.placement import place
from layersel.backbone.backbone import Backbone
from layersel.config import build_group, choice
from layersel.data.texts.titles import Titles
from layersel.seeding import stream
from layersel.selection.score import Probe, score_named
from layersel.selection.select import make_selection
from layersel.tasks.causal_lm.module import AnswerTraining
from layersel.tasks.causal_lm.options import CausalLM

MAX_LENGTH = 192


def training(n_layers: int, cache_mb: int, texts: int) -> tuple[AnswerTraining, torch.optim.Optimizer, list[object]]:
    """A training with a cache of this size, its optimizer, and the batches of an epoch."""
    task = CausalLM(train=texts, test=1, batch_size=8, prefix_cache_mb=cache_mb)
    backbone: Backbone = build_group("model", choice("model", "smollm2")).load(task.auto_class)
    selection = make_selection(backbone, score_named("last", n=n_layers), Probe([], torch.Generator()))
    place(backbone, selection, selection.lora_config(r=8), stream(0, "adapter"))
    problem = task.problem(Titles().load(), 0)
    data = problem.data(problem.tokenized(backbone.tokenizer, MAX_LENGTH), backbone.tokenizer, 0)
    module = AnswerTraining(backbone, task)
    module.prepare(data.train_tokens, selection.layers[0])
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    return module, torch.optim.AdamW(trained, lr=1e-3), list(data.epoch_batches(stream(0, "epoch")))


def epoch(module: AnswerTraining, optimizer: torch.optim.Optimizer, batches: list[object]) -> tuple[float, list[float]]:
    """The seconds of an epoch and the loss of each step."""
    begin, losses = time.perf_counter(), []
    for batch in batches:
        optimizer.zero_grad()
        loss = module.loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    return time.perf_counter() - begin, losses


def main() -> None:
    """Print the time of each epoch both ways, their ratio, and how far the losses are apart."""
    n_layers, texts, epochs = (int(given) for given in (sys.argv[1:] + ["10", "32", "3"][len(sys.argv) - 1 :])[:3])
    ways = {"kept": training(n_layers, 1024, texts), "computed again": training(n_layers, 0, texts)}
    times: dict[str, list[float]] = {way: [] for way in ways}
    apart = 0.0
    for number in range(1, epochs + 1):
        found = {way: epoch(*parts) for way, parts in ways.items()}
        for way, (seconds, _) in found.items():
            times[way].append(seconds)
        (_, one), (_, other) = found.values()
        apart = max(apart, *(abs(a - b) / abs(b) for a, b in zip(one, other, strict=True)))
        print(f"epoch {number}: " + ", ".join(f"{way} {seconds:.1f} s" for way, (seconds, _) in found.items()))
    later = {way: statistics.median(own[1:]) for way, own in times.items()}
    print(f"{n_layers} of 30 layers, {texts} texts; the states of all texts of at most {MAX_LENGTH} tokens are kept")
    print(
        f"later epochs: {later['kept'] / later['computed again']:.2f} of the time; losses differ by {apart:.1e} at most"
    )


if __name__ == "__main__":
    main()
