"""The outcome of a selection: scores, chosen layers, reasons, and the PEFT configuration that follows from it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from peft import LoraConfig

from layersel.backbone.layers import modules_of
from layersel.errors import UserError
from layersel.files import read_json, write_json
from layersel.selection.places import places_by_tool

PLACES = ("target_modules", "target_parameters", "layers_to_transform", "layers_pattern", "exclude_modules")
"""The arguments of `peft.LoraConfig` that say where adapters stand."""


@dataclass(frozen=True)
class Stability:
    """How far the selection depends on which texts were in the probe.

    Attributes:
        samples: Number of bootstrap samples of the probe.
        chosen_share: For each layer, the share of samples in which it is chosen.
        rank_correlation: Mean Spearman correlation between the order of layers by a sample and that by the whole probe,
            over the samples that have an order.
    """

    samples: int
    chosen_share: list[float]
    rank_correlation: float


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

    def target_modules(self, projections: Sequence[str] | None = None) -> list[str]:
        """Returns the full names of the modules that compute these projections in the chosen layers.

        Args:
            projections: Standard names: query, key, value, output, gate, up, down. None is query and value, and the key
                too where the model fuses them.

        Raises:
            UserError: The model has no such projection, or fuses it with one that is not asked for.
        """
        return sorted({name for layer in self.layers for name in self._modules_of(layer, projections)})

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
        **options: Any,
    ) -> LoraConfig:
        """Makes a PEFT configuration that puts LoRA on the chosen layers only.

        Args:
            r: Rank.
            lora_alpha: Scale of the update, lora_alpha/r; 2·r by default.
            projections: Standard names of the projections to adapt in each chosen layer. None is query and value; where
                the model computes these and the key in one module, that module whole.
            alpha: Another name of `lora_alpha`.
            options: Further arguments of `peft.LoraConfig`, such as task_type="CAUSAL_LM".

        Raises:
            UserError: No layer is chosen (an empty list would make PEFT adapt nothing or everything), rank below 1,
                both names of the scale, modules to adapt beside the selection's, or a projection that the model lacks.
        """
        if not self.layers:
            raise UserError(
                "lora_config: expected at least one chosen layer, but the selection is empty; use the model as it is"
            )
        if r < 1:
            raise UserError(f"r: expected a rank of at least 1, but got {r}")
        if None not in (lora_alpha, alpha):
            raise UserError(f"lora_alpha: expected one scale, but got lora_alpha={lora_alpha} and alpha={alpha}")
        for name in PLACES:
            if name in options:
                raise UserError(f"{name}: expected none, as the selection says where; use projections=…, or its layers")
        given = lora_alpha if alpha is None else alpha
        return LoraConfig(
            r=r,
            lora_alpha=2 * r if given is None else given,
            target_modules=self.target_modules(projections),
            **options,
        )

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Returns column names, and a row for each layer; scores only if they were measured."""
        rows = [
            [layer, *([score] if self.measured else []), layer in self.layers, reason]
            for layer, (score, reason) in enumerate(zip(self.scores, self.reasons, strict=True))
        ]
        return ["layer", *(["score"] if self.measured else []), "chosen", "why"], rows

    def to_dict(self) -> dict[str, Any]:
        """Returns plain lists and numbers, for JSON and checkpoints."""
        return asdict(self)

    def save(self, path: str | Path, projections: Sequence[str] | None = None) -> None:
        """Writes the selection as JSON, and where its adapters stand, for tools that know nothing of layersel.

        The keys `peft`, `axolotl` and `llama_factory` hold what `peft.LoraConfig(r=8, **content["peft"])` and the files
        of these trainers take. They are left out if no layer is chosen, as an empty list would mean all of them, and if
        no projections are named for a model whose layers have no query and value that layersel knows.

        Args:
            path: The file.
            projections: As for `lora_config`.

        Raises:
            UserError: The model has no such projection, or fuses it with one that is not asked for.
        """
        tools = {}
        known = all({"query", "value"} <= self.modules[layer].keys() for layer in self.layers)
        if self.layers and (known or projections is not None):
            tools = places_by_tool(self.modules, self.layers, self.target_modules(projections))
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
        stability = content["stability"]
        if stability is not None:
            correlation = _nan_if_null(stability["rank_correlation"])
            stability = Stability(**{**stability, "rank_correlation": correlation})
        return cls(
            **{**content, "scores": [_nan_if_null(score) for score in content["scores"]], "stability": stability}
        )


def _nan_if_null(value: float | None) -> float:
    return math.nan if value is None else value
