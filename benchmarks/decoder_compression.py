"""Perplexity and speed of a decoder in each precision, and pruned, on the embedded titles.

Each is the pretrained model, compressed as a cell without an adapter would be; all judge the same held-out answers.
They take turns, so that a busy machine slows all of them; medians are shown, and the ratio to fp32.

    OMP_NUM_THREADS=1 python benchmarks/decoder_compression.py [ROUNDS [TEXTS]]
"""

import statistics
import sys
import time
from collections.abc import Callable

from layersel.backbone.backbone import Backbone
from layersel.compression.precision import Precision
from layersel.compression.pruning.wanda import Wanda
from layersel.config import build_group, choice
from layersel.data.source import Source
from layersel.data.tokens import TokenIds
from layersel.evaluation.evaluated_model import EvaluatedModel
from layersel.seeding import stream
from layersel.tasks.task import Task
from layersel.terminal.tables import show_table

PRECISIONS = {
    "fp32": Precision(),
    "bf16": Precision(train="bf16", infer="bf16"),
    "int8": Precision(infer="int8"),
    "int8_weight": Precision(infer="int8_weight"),
    "int4": Precision(infer="int4"),
    "wanda": Precision(),
}


def compressed(name: str, backbone: Backbone, texts: list[TokenIds]) -> None:
    """Compresses the model in place."""
    if name == "wanda":
        Wanda().prune(backbone, texts, stream(0, "pruning"))
    elif PRECISIONS[name].quantises:
        PRECISIONS[name].quantise(backbone, texts, stream(0, "quantisation"))


def judge(name: str, task: Task, source: Source) -> Callable[[], float]:
    """Returns what computes the perplexity of the held-out answers by the model that was compressed so."""
    dataset = source.load()
    backbone = build_group("model", choice("model", "smollm2") | {"max_length": 256}).load(task.auto_class).eval()
    pretrained = build_group("model", choice("model", "smollm2"))
    model = EvaluatedModel(backbone, pretrained, task, PRECISIONS[name], None, frozenset(), dataset, False, 0)
    problem = task.problem(dataset, 0)
    subject = model.subject(problem)
    compressed(name, backbone, [subject.texts.tokens[text] for text in problem.visible])
    return lambda: float(problem.judge(subject).metrics["perplexity"])


def main() -> None:
    """Prints a row for each way to compress."""
    rounds, texts = (int(given) for given in (sys.argv[1:] + ["5", "20"][len(sys.argv) - 1 :]))
    own = {"test": texts, "samples": 0, "retention": choice("task/retention", "none")}
    task = build_group("task", choice("task", "causal_lm") | own)
    source = build_group("data", choice("data", "titles"))
    judges = {name: judge(name, task, source) for name in PRECISIONS}
    perplexities = {name: own() for name, own in judges.items()}
    seconds: dict[str, list[float]] = {name: [] for name in judges}
    for _ in range(rounds):
        for name, run in judges.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(own) for name, own in seconds.items()}
    rows = [
        [name, f"{perplexities[name]:.2f}", f"{own:.2f}", f"{medians['fp32'] / own:.2f}"]
        for name, own in medians.items()
    ]
    show_table("SmolLM2 on titles", ["", "perplexity", "seconds", "times as fast as fp32"], rows)


if __name__ == "__main__":
    main()
