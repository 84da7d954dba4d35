"""A library of 50,000 records: read, split, ranked and written, with the time and the memory of each step.

The records are those of the embedded review, over and over with a new id and a new first word in title and abstract;
each twentieth repeats the one before it. The scores are random: what an encoder takes is not measured.

    python benchmarks/large_library.py [RECORDS] [FORMAT ...]     formats: csv, xlsx, ris, bib; all unless named
"""

import csv
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from layersel.data.reviews.demo import Demo
from layersel.data.reviews.records import Record, Review
from layersel.data.reviews.table import Table
from layersel.tasks.screening.options import Screening
from layersel.tasks.screening.problem import ScreeningProblem
from layersel.tasks.screening.ranking import write_ranking

T = TypeVar("T")
FORMATS = ("csv", "xlsx", "ris", "bib")


def library(count: int) -> list[Record]:
    """The records: no two the same but each twentieth and the one before it."""
    demo = Demo().load().records
    made = []
    for number in range(count):
        place = number - 1 if number % 20 == 19 else number
        one = demo[place % len(demo)]
        title, abstract = f"R{place} {one.title}", f"R{place} {one.abstract}"
        fields = {"year": "2004", "authors": "Adams, R; Berg, T"}
        made.append(Record(str(number), title, abstract, one.label if number % 10 == 0 else None, fields))
    return made


def write_bibtex(path: Path, records: list[Record]) -> None:
    """As reference managers write it: braces in titles, percent signs with a backslash."""
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            texts = {"title": record.title, "abstract": record.abstract}
            plain = {
                name: "".join(c for c in text if c not in "{}\\").replace("%", r"\%") for name, text in texts.items()
            }
            fields = {**plain, "title": f"{{{plain['title']}}}", "author": "Adams, R and Berg, T", "year": "2004"}
            if record.label is not None:
                fields["included"] = str(record.label)
            lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
            file.write(f"@article{{k{record.id},\n{lines}}}\n\n")


def write(path: Path, records: list[Record]) -> None:
    """The library in one format, without ranks."""
    if path.suffix == ".bib":
        write_bibtex(path, records)
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["id", "title", "abstract", "authors", "year", "included"])
            for one in records:
                label = "" if one.label is None else one.label
                table.writerow([one.id, one.title, one.abstract, one.fields["authors"], one.fields["year"], label])
    else:
        write_ranking(path, records, [0.0] * len(records))


def timed(what: str, work: Callable[[], T]) -> T:
    """Does it; prints the seconds it took and the most memory that the process has had."""
    began = time.perf_counter()
    outcome = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what:<28} {time.perf_counter() - began:7.1f} s   peak {peak:5.2f} GiB", flush=True)
    return outcome


def run(folder: Path, records: list[Record], extension: str) -> None:
    """One format from the file to the ranking."""
    source = folder / f"library.{extension}"
    timed(f"{extension}: made", lambda: write(source, records))
    review: Review = timed(f"{extension}: read", Table(path=str(source)).load)
    print("\n".join(f"    {line}" for line in review.lines()))
    problem = timed(f"{extension}: split", lambda: ScreeningProblem.draw(Screening(), review, 0))
    timed(f"{extension}: reported", problem.lines)
    dropped: Review = timed(f"{extension}: without duplicates", Table(path=str(source), duplicates="drop").load)
    scores = torch.rand(len(dropped.records), generator=torch.Generator().manual_seed(0)).tolist()
    out = folder / f"ranking.{extension if extension != 'bib' else 'csv'}"
    timed(f"{extension}: ranking {out.suffix}", lambda: write_ranking(out, dropped.records, scores))


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    with tempfile.TemporaryDirectory() as folder:
        records = library(count)
        for extension in sys.argv[2:] or FORMATS:
            run(Path(folder), records, extension)
