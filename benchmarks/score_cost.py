"""What each score that needs no training costs beside one pass of the same texts through the model.

Each score, with its defaults, scores all layers of the model on the first 64 titles and abstracts of the embedded
review, in a process of its own; a pass over these texts is timed right before and right behind it: forward, and for
scores of gradients backward too. The loss of labelled batches, or of single texts where a score wants these, is the
mean square of the last hidden states, which costs next to nothing itself. Seconds are those of the process in one
thread, which other processes disturb less than the clock's. The peak of memory is that of the process above what it
holds with the model loaded, sampled every two milliseconds.

    python benchmarks/score_cost.py [MODEL [MAX_LENGTH [SCORE ...]]]

MODEL is a choice of the group `model`, or the folder of one.
"""

import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import psutil
import torch

from layersel.backbone.backbone import Backbone, Batch
from layersel.backbone.encode import token_batches
from layersel.backbone.modes import evaluating
from layersel.config import build_group, choice, choices
from layersel.data.reviews.demo import Demo
from layersel.data.tokens import tokenize
from layersel.errors import UserError
from layersel.selection.gradients import see_gradients
from layersel.selection.score import GRADIENTS, WARM_UP, Probe, score_named, score_names
from layersel.selection.select import score_layers

TEXTS = 64
MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """What was measured of one score.

    Attributes:
        seconds: Of the score.
        passes: The same in passes, of the kind that it makes.
        peak: MiB above the loaded model while the score was computed.
        peak_of_pass: The same for a pass.
    """

    seconds: float
    passes: float
    peak: float
    peak_of_pass: float


def without_training() -> list[str]:
    """The scores that measure something of the model as it is."""
    scores = {name: score_named(name) for name in score_names()}
    return [name for name, score in scores.items() if score.measures and WARM_UP not in score.needs]


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """The seconds that the work takes, and the MiB by which memory grows at most meanwhile."""
    process, done = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.process_time()
    try:
        work()
    finally:
        seconds = time.process_time() - begin
        done.set()
        watcher.join()
    return seconds, (peak - before) / MIB


def one_pass(backbone: Backbone, batches: Sequence[Batch]) -> None:
    """Runs the model over the texts."""
    with evaluating(backbone):
        for batch in batches:
            backbone.last_states(batch)


def cost(model: str, max_length: int, name: str) -> Cost | str:
    """Measures a score in a fresh process; a line if it cannot score these texts."""
    torch.set_num_threads(1)
    named = choice("model", model) if model in choices("model") else choice("model", "minilm") | {"path": model}
    backbone = build_group("model", named).load()
    records = Demo().load().records[:TEXTS]
    tokens = tokenize([f"{record.title} {record.abstract}" for record in records], backbone.tokenizer, max_length)
    batches = token_batches(backbone, tokens)
    score, generator = score_named(name), torch.Generator().manual_seed(0)
    single = [batch for text in tokens for batch in token_batches(backbone, [text])]

    def loss(batch: Batch) -> torch.Tensor:
        return backbone.last_states(batch).square().mean()

    together = Probe(batches, generator, batches, loss)
    probe = Probe(batches, generator, single, loss) if score.per_example else together

    def reference() -> None:
        if GRADIENTS in score.needs:
            see_gradients(backbone, together, lambda _: None)
        else:
            one_pass(backbone, batches)

    reference()  # a warm-up
    before, peak_of_pass = measured(reference)
    try:
        seconds, peak = measured(lambda: score_layers(score, backbone, probe))
    except UserError as error:
        return str(error)
    after, _ = measured(reference)
    return Cost(seconds, 2 * seconds / (before + after), peak, peak_of_pass)


def main() -> None:
    """Prints a row for each score."""
    model, max_length, *names = sys.argv[1:] + ["minilm", "256"][len(sys.argv) - 1 :]
    print(f"{model}, {TEXTS} texts of at most {max_length} tokens, one thread")
    print(f"{'score':<14}{'seconds':>9}{'passes':>9}{'peak MiB':>10}{'of a pass':>11}")
    for name in names or without_training():
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(cost, model, int(max_length), name).result()
        if isinstance(found, str):
            print(f"{name:<14}{found}")
        else:
            numbers = f"{found.seconds:>9.2f}{found.passes:>9.2f}{found.peak:>10.0f}{found.peak_of_pass:>11.0f}"
            print(f"{name:<14}{numbers}", flush=True)


if __name__ == "__main__":
    main()
