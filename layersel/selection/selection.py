"""The outcome of a selection: scores, chosen layers, reasons, and the PEFT configuration that follows from it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from peft import LoraConfig
from torch import nn

from layersel.backbone.layers import modules_of, namesakes
from layersel.errors import UserError
from layersel.files import read_json, write_json
from layersel.selection.cost import relative_costs
from layersel.selection.named import kind_named
from layersel.selection.places import patterns, places_by_tool
from layersel.selection.rank_rule import RankRule

PLACES = ("target_modules", "target_parameters", "layers_to_transform", "layers_pattern", "exclude_modules")
"""The arguments of `peft.LoraConfig` that say where adapters stand."""
RANKS = "layersel.selection.ranks"
SCORE, CHOSEN, RESAMPLED, COST, WHY = "score", "chosen", "chosen in resamples", "cost as lowest", "why"
"""Columns of a selection's table."""
DEFAULT_SCALE = 2
"""alpha/r where nobody says it."""

V = TypeVar("V")


@dataclass(frozen=True)
class Stability:
    """How far the selection depends on which texts were in the probe.

    Attributes:
        samples: Number of resamples of the probe.
        chosen_share: For each layer, the share of samples in which it is chosen.
        rank_correlation: Mean Spearman correlation between the order of layers by a sample and that by the whole probe,
            over the samples that have an order.
    """

    samples: int
    chosen_share: list[float]
    rank_correlation: float


@dataclass(frozen=True)
class Allocation:
    """The ranks that a rule gives to the modules.

    Attributes:
        rule: The rule's name.
        rank: The rank that all modules would have without it.
        budget: The parameters that they have together at most.
        ranks: The rank of each adapted module by its full name.
    """

    rule: str
    rank: int
    budget: int
    ranks: dict[str, int]


@dataclass(frozen=True)
class Selection:
    """Which layers to adapt, and why.

    Attributes:
        score: Name of the score.
        scores: One number a layer, higher = adapt it; NaN where the layer was excluded from the comparison.
        layers: The chosen layers, sorted indices from 0.
        reasons: For each layer one line, why it was chosen or not.
        modules: For each layer, the full module name of each projection, by standard names.
        stability: How stable the choice is under resampling of the probe, where the score offers this.
        measured: Whether the scores say something about the layers; those of a control only order them.
        weights: For each layer, the number of weights in its linear modules; empty if they were not counted.
        head_weights: The number of weights of the language model's head, if the model has one.
        module_scores: One number for each linear module by its full name, where the layers' scores are made of these.
        widths: The outputs and the inputs of each module in `modules`, by its full name.
        allocation: The ranks of the adapted modules, where they are not all the same.
        namesakes: The full names of the model's other modules whose own name is that of one in `modules`.
    """

    score: str
    scores: list[float]
    layers: list[int]
    reasons: list[str]
    modules: list[dict[str, str]]
    stability: Stability | None = None
    measured: bool = True
    weights: list[int] = field(default_factory=list)
    head_weights: int = 0
    module_scores: dict[str, float] = field(default_factory=dict)
    widths: dict[str, list[int]] = field(default_factory=dict)
    allocation: Allocation | None = None
    namesakes: list[str] = field(default_factory=list)

    def target_modules(self, projections: Sequence[str] | None = None) -> list[str]:
        """Returns the full names of the modules that compute these projections in the chosen layers.

        Args:
            projections: Standard names: query, key, value, output, gate, up, down. None is query and value, and the key
                too where the model fuses them.

        Raises:
            UserError: The model has no such projection, or fuses it with one that is not asked for.
        """
        return sorted({name for modules in self.targets(projections).values() for name in modules})

    def targets(self, projections: Sequence[str] | None = None) -> dict[int, list[str]]:
        """Returns, for each chosen layer, the full names of the modules that compute these projections in it.

        Args:
            projections: As for `target_modules`.

        Raises:
            UserError: The model has no such projection, or fuses it with one that is not asked for.
        """
        return {layer: list(dict.fromkeys(self._modules_of(layer, projections))) for layer in self.layers}

    def _modules_of(self, layer: int, projections: Sequence[str] | None) -> list[str]:
        named = self.modules[layer]
        if projections is None:
            fused = "query" in named and named["query"] == named.get("key")
            projections = ("query", "key", "value") if fused else ("query", "value")
        return modules_of(named, projections)

    def lora_config(
        self,
        r: int = 8,
        lora_alpha: float | None = None,
        projections: Sequence[str] | None = None,
        alpha: float | None = None,
        ranks: str | RankRule | None = None,
        **options: Any,
    ) -> LoraConfig:
        """Makes a PEFT configuration that puts LoRA on the chosen layers only.

        Modules with ranks of their own are in its `rank_pattern`. LoRA's scale is lora_alpha/r in all of them, as
        `alpha_pattern` says. With use_rslora=True each has lora_alpha/√(its own rank) instead: that scale is made to
        follow the rank, so that modules of all ranks learn alike.

        Args:
            r: Rank.
            lora_alpha: Scale of the update, lora_alpha/r; 2·r by default.
            projections: Standard names of the projections to adapt in each chosen layer. None is query and value; where
                the model computes these and the key in one module, that module whole.
            alpha: Another name of `lora_alpha`.
            ranks: Name of a rule that gives each module a rank of its own by the scores (`proportional`, `gora`), with
                as many parameters in all as r has everywhere; or the rule with its options; or `uniform`. None is r
                everywhere, or the ranks that the selection has been given already.
            options: Further arguments of `peft.LoraConfig`, such as task_type="CAUSAL_LM".

        Raises:
            UserError: No layer is chosen (an empty list would make PEFT adapt nothing or everything), rank below 1,
                both names of the scale, modules to adapt or ranks beside the selection's, a projection that the model
                lacks, or scores or bounds that give no ranks.
        """
        if not self.layers:
            raise UserError(
                "lora_config: expected at least one chosen layer, but the selection is empty; use the model as it is"
            )
        if not hasattr(r, "__index__") or r < 1:
            raise UserError(f"r: expected a whole number of at least 1, but got {r}")
        if isinstance(projections, str):
            raise UserError(f"projections: expected a list, such as [{projections!r}], but got {projections!r}")
        if None not in (lora_alpha, alpha):
            raise UserError(f"lora_alpha: expected one scale, but got lora_alpha={lora_alpha} and alpha={alpha}")
        for name in PLACES:
            if name in options:
                raise UserError(f"{name}: expected none, as the selection says where; use projections=…, or its layers")
        given = lora_alpha if alpha is None else alpha
        given = DEFAULT_SCALE * r if given is None else given
        allocated = self if ranks is None else self.allocated(ranks, r, projections)
        return LoraConfig(
            r=r,
            lora_alpha=given,
            target_modules=allocated._adapted(r, projections),
            **allocated._patterns(r, given, options),
            **options,
        )

    def within(self, whole: nn.Module, part: str) -> "Selection":
        """Returns the selection with the names that its modules have in `whole`, a part of which was scored.

        PEFT, given `whole` and the names in the part, would adapt modules of other parts whose names end alike.

        Args:
            whole: The model of several parts, such as a T5 or one that reads images and texts.
            part: The name of the scored model in it, such as `encoder` or `model.language_model`.

        Raises:
            UserError: `whole` has no such part, or one that lacks the selection's modules.
        """

        def renamed(values: Mapping[str, V]) -> dict[str, V]:
            return {f"{part}.{name}": own for name, own in values.items()}

        modules = [{own: f"{part}.{name}" for own, name in named.items()} for named in self.modules]
        known = {name for name, _ in whole.named_modules()}
        missing = sorted({name for named in modules for name in named.values()} - known)
        if missing:
            raise UserError(
                f"part: expected the name of the scored model in {type(whole).__name__}, but got {part!r}, and "
                f"there is no {missing[0]}; look it up in named_modules()"
            )
        return replace(
            self,
            modules=modules,
            module_scores=renamed(self.module_scores),
            widths=renamed(self.widths),
            allocation=self.allocation and replace(self.allocation, ranks=renamed(self.allocation.ranks)),
            namesakes=namesakes(whole, modules),
        )

    def allocated(self, ranks: str | RankRule, r: int = 8, projections: Sequence[str] | None = None) -> "Selection":
        """Returns the selection with a rank for each adapted module, which its table, files and configurations have.

        Args:
            ranks: As for `lora_config`.
            r: The rank that decides the budget: as many parameters as with it everywhere.
            projections: As for `lora_config`.

        Raises:
            UserError: Unknown rule, or scores or bounds that give no ranks.
        """
        rule = ranks if isinstance(ranks, RankRule) else kind_named(RANKS, RankRule, "ranks", ranks)()
        problems = rule.problems()
        if problems:
            raise UserError("; ".join(problems))
        return rule.allocate(self, r, projections)

    def _adapted(self, r: int, projections: Sequence[str] | None) -> list[str]:
        """Returns the modules to adapt, those that have been given ranks if some have."""
        own = self.allocation
        if own is None:
            return self.target_modules(projections)
        again = "allocate them anew with ranks=…, or use ranks='uniform'"
        if r != own.rank:
            raise UserError(
                f"r: expected {own.rank}, with which the modules were given their ranks, but got {r}; {again}"
            )
        if projections is not None and set(self.target_modules(projections)) != set(own.ranks):
            raise UserError(f"projections: expected those that were given ranks, but got {list(projections)}; {again}")
        return list(own.ranks)

    def _patterns(self, r: int, alpha: float, options: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        """Returns what tells PEFT the ranks that are not r, and their scales."""
        if self.allocation is None:
            return {}
        for name in ("rank_pattern", "alpha_pattern"):
            if name in options:
                raise UserError(f"{name}: expected none, as the modules have been given ranks; use ranks='uniform'")
        others = {name: own for name, own in self.allocation.ranks.items() if own != r}
        return patterns(others, None if options.get("use_rslora") else alpha / r)

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Returns column names, and a row for each layer.

        Scores, ranks and the share of resamples are in it where they are known; `cost as lowest` is that of a training
        step whose lowest adapted layer it is, with all layers' as 1.
        """
        depth = range(len(self.scores))
        columns: dict[str, Sequence[Any]] = {"layer": depth}
        if self.measured:
            columns[SCORE] = self.scores
        columns[CHOSEN] = [layer in self.layers for layer in depth]
        if self.allocation is not None:
            columns["adapter rank"] = [self.ranks_of(layer) for layer in depth]
        if self.stability is not None:
            columns[RESAMPLED] = self.stability.chosen_share
        if sum(self.weights):
            columns[COST] = relative_costs(self.weights, self.head_weights)
        columns[WHY] = self.reasons
        return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]

    def ranks_of(self, layer: int) -> str:
        """Returns the ranks of a layer's modules in words: one number if they are all the same."""
        given = {} if self.allocation is None else self.allocation.ranks
        own = {projection: given[name] for projection, name in self.modules[layer].items() if name in given}
        alike = set(own.values())
        if len(alike) <= 1:
            return "".join(map(str, alike))
        return ", ".join(f"{projection} {rank}" for projection, rank in own.items())

    def to_dict(self) -> dict[str, Any]:
        """Returns plain lists and numbers, for JSON and checkpoints."""
        return asdict(self)

    def save(self, path: str | Path, projections: Sequence[str] | None = None) -> None:
        """Writes the selection as JSON, and where its adapters stand, for tools that know nothing of layersel.

        The keys `peft`, `axolotl` and `llama_factory` hold what `peft.LoraConfig(r=8, **content["peft"])` and the files
        of these trainers take. They are left out if no layer is chosen, as an empty list would mean all of them, and if
        no projections are named for a model whose layers have no query and value that layersel knows.

        Ranks that modules have been given are in `peft` and `axolotl` as patterns, which name every module, with the
        scale alpha/r = 2, so that r and alpha beside them do not matter. LLaMA-Factory's file cannot say them, and its
        key is left out then.

        Args:
            path: The file.
            projections: As for `lora_config`; None is those that were given ranks, if some were.

        Raises:
            UserError: The model has no such projection, or fuses it with one that is not asked for.
        """
        tools = {}
        known = all({"query", "value"} <= self.modules[layer].keys() for layer in self.layers)
        if self.allocation is not None:
            targets = self._adapted(self.allocation.rank, projections)
            tools = places_by_tool(self.modules, self.layers, targets, self.namesakes)
            del tools["llama_factory"]
            own = patterns(self.allocation.ranks, DEFAULT_SCALE)
            tools["peft"] |= own
            tools["axolotl"] |= {f"lora_{name}": value for name, value in own.items()}
        elif self.layers and (known or projections is not None):
            targets = self.target_modules(projections)
            tools = places_by_tool(self.modules, self.layers, targets, self.namesakes)
        write_json(Path(path), self.to_dict() | tools)

    @classmethod
    def load(cls, path: str | Path) -> "Selection":
        """Reads what `save` wrote, or the selection.json of a run.

        Raises:
            UserError: There is no such file, or it holds no selection.
        """
        try:
            return cls.from_dict(read_json(Path(path), "write it anew"))
        except FileNotFoundError as error:
            raise UserError(f"path: {error}; expected a file that Selection.save has written") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"path: expected a selection in {str(path)!r}, but it holds something else") from error

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Selection":
        """Restores what `to_dict` gave; a null, which is how JSON keeps NaN, becomes NaN again.

        Keys that are no attributes, such as those that `save` adds, are left out.
        """
        content = {name: value for name, value in content.items() if name in {own.name for own in fields(cls)}}
        stability, allocation = content["stability"], content.get("allocation")
        if stability is not None:
            correlation = _nan_if_null(stability["rank_correlation"])
            stability = Stability(**{**stability, "rank_correlation": correlation})
        restored = {
            "stability": stability,
            "allocation": None if allocation is None else Allocation(**allocation),
            "scores": [_nan_if_null(score) for score in content["scores"]],
            "module_scores": {name: _nan_if_null(own) for name, own in content.get("module_scores", {}).items()},
        }
        return cls(**content | restored)


def _nan_if_null(value: float | None) -> float:
    return math.nan if value is None else value
