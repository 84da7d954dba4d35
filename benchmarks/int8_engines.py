"""Linear layers of MiniLM and mpnet in int8 by each engine against fp32, with the instructions of several CPUs.

Each kind of CPU is a process of its own, in which oneDNN, MKL (fp32) and PyTorch are kept from newer instructions than
that CPU has, by the variables that each of them reads. A layer is the sum of its linear parts, with 512 rows and 1 %
outlier columns: four of d x d, one of d x 4d and one of 4d x d. fp32 and the engines take turns; medians are shown.
Reference kernels, which take more than 20 times as long, are left out.

    OMP_NUM_THREADS=1 python benchmarks/int8_engines.py
    OMP_NUM_THREADS=1 python benchmarks/int8_engines.py --rounds 30 --output runs/precision
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from precision_table import write_table
from torch import nn

from layersel.compression.precision import HOPELESS
from layersel.compression.quantisation.engines import ENGINES, usable_engines
from layersel.compression.quantisation.int8_linear import Int8Linear
from layersel.compression.quantisation.race import FP32, ROWS, race

OLDER = {"MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
CPUS = {
    "this CPU": {},
    "AVX-512 with VNNI": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"},
    "AVX2 with VNNI": {"ONEDNN_MAX_CPU_ISA": "AVX2_VNNI", **OLDER},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", **OLDER},
}
WIDTHS = {"MiniLM": 384, "mpnet": 768}


def main() -> None:
    """Measures here if it is told to, or else in a process for each kind of CPU; prints and writes the table."""
    options = _options()
    if options.here:
        print(json.dumps(measured(options.rounds)))
        return
    table = []
    for cpu, variables in CPUS.items():
        command = [sys.executable, __file__, "--here", "--rounds", str(options.rounds)]
        done = subprocess.run(command, env=os.environ | variables, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
        table += [{"instructions": cpu, **row} for row in json.loads(done.stdout)]
    write_table(table, Path(options.output) / "engines")


@torch.no_grad()
def measured(rounds: int) -> list[dict[str, Any]]:
    """Returns the milliseconds of each model's layer in fp32 and by each engine, and how fast the fastest is."""
    rows = []
    for model, width in WIDTHS.items():
        taken = layer_milliseconds(width, rounds)
        winner = min(set(taken) - {FP32}, key=taken.__getitem__)
        times = {f"{name} (ms)": taken.get(name) for name in (FP32, *ENGINES)}
        rows.append({"layer of": model, **times, "fastest": winner, "times fp32": taken[FP32] / taken[winner]})
    return rows


def layer_milliseconds(width: int, rounds: int) -> dict[str, float]:
    """Returns the medians of the milliseconds of a layer's linear parts, in fp32 and by the engines that move."""
    parts = {(width, width): 4, (width, 4 * width): 1, (4 * width, width): 1}
    taken: dict[str, float] = {}
    ratios = race(torch.randn(4 * width, width), width // 100 + 1, usable_engines()).ratios
    kept = [FP32, *(name for name, ratio in ratios.items() if ratio <= HOPELESS)]
    for (inputs, outputs), count in parts.items():
        linear = nn.Linear(inputs, outputs)
        columns_K = torch.arange(inputs // 100 + 1)
        modules = {name: linear if name == FP32 else Int8Linear.of(linear, columns_K, ENGINES[name]) for name in kept}
        for name, milliseconds in medians(modules, torch.randn(ROWS, inputs), rounds).items():
            taken[name] = taken.get(name, 0) + count * milliseconds
    return taken


def medians(modules: dict[str, nn.Module], x: torch.Tensor, rounds: int) -> dict[str, float]:
    """Returns the median of the milliseconds that each module takes; they take turns, after a round for warming up."""
    taken: dict[str, list[float]] = {name: [] for name in modules}
    for _ in range(rounds + 1):
        for name, module in modules.items():
            begin = time.perf_counter()
            module(x)
            taken[name].append(1000 * (time.perf_counter() - begin))
    return {name: statistics.median(values[1:]) for name, values in taken.items()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="rounds, after one that does not count")
    parser.add_argument("--output", default="runs/precision", help="folder of the table")
    parser.add_argument("--here", action="store_true", help="measure in this process and print JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
