"""Instructions that a tiny decoder learns in a few steps, as files."""

import json
from pathlib import Path

THINGS = ("cat", "dog", "tree", "house", "river", "stone", "cloud", "lamp", "book", "door", "road", "ship")
KINDS = ("kind", "old", "big")


def examples(ending: str = "it is.") -> list[dict[str, str]]:
    """36 questions, each with the same answer but for its first word."""
    return [
        {"prompt": f"Is the {thing} {kind}?", "response": f"{'Yes' if kind == 'big' else 'No'}, {ending}"}
        for thing in THINGS
        for kind in KINDS
    ]


def write_instructions(folder: Path, name: str, ending: str = "it is.") -> Path:
    """A file of them."""
    return write_rows(folder / f"{name}.jsonl", examples(ending))


def write_rows(file: Path, rows: list[dict[str, object]] | list[dict[str, str]]) -> Path:
    """Any rows as lines of JSON."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def small_training(model: Path) -> list[str]:
    """The options of a training of a second; the data and the output folder are to be added."""
    own = ["task=causal_lm", "task.batch_size=8", "task.learning_rate=0.01", "task.samples=2", "task.new_tokens=4"]
    trainer = ["trainer=cpu", "trainer.threads=1", "logger=csv", "figures=few", "data=instructions"]
    return [*own, *trainer, "model=smollm2", f"model.path={model}", "model.max_length=64", "selection=last"]
