"""The counts of trained parameters in docs/adapters.md, evaluated against models."""

import re
from pathlib import Path

import pytest
from models import WIDTH, tiny
from placing import KINDS, adapter_of, in_place, kind_of

from layersel.adapters.placement import count_parameters
from layersel.backbone.backbone import Backbone

DOCUMENT = Path(__file__).parents[2] / "docs" / "adapters.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
]
FORMULAS = {row[0].strip("`| "): row[3].strip("`") for row in ROWS[1:]}
NUMBERS = {"d": WIDTH, "r": 4, "b": 8, "n": 50}


def test_every_kind_has_a_row() -> None:
    """In the order of no list, but all of them."""
    assert sorted(FORMULAS) == KINDS


@pytest.mark.parametrize(("layers", "projections"), [([1], ["query", "value"]), ([0, 2], ["query", "key", "value"])])
@pytest.mark.parametrize("name", [name for name in KINDS if name != "full"])
def test_the_documented_count_is_that_of_the_model(name: str, layers: list[int], projections: list[str]) -> None:
    """For two square modules in one layer, and three in each of two."""
    numbers = NUMBERS | {"L": len(layers), "m": len(projections)}
    expected = eval(re.sub("·", "*", FORMULAS[name]), {"__builtins__": {}}, numbers)  # noqa: S307 - our own document
    adapted = in_place(name, layers=layers, projections=projections)
    assert count_parameters(adapted.backbone)[0] == expected


@pytest.mark.parametrize("name", KINDS)
def test_layers_are_counted_before_there_is_an_adapter(name: str) -> None:
    """On all projections, which are of several widths; kinds whose layers share something, or nothing, count none."""
    model = tiny("bert")
    counts = adapter_of(name, model).layer_parameters(Backbone(model, None, "mean"))
    assert (counts is not None) == kind_of(name).counts_layers == (name not in ("frozen", "lora_drop", "tied_lora"))
    if counts is not None:
        assert count_parameters(in_place(name, layers=[0, 2]).backbone)[0] == counts[0] + counts[2]


@pytest.mark.parametrize(("name", "expected"), [("lora", 4 * (32 + 48)), ("dora", 4 * (32 + 48) + 48)])
def test_widths_count_apart(name: str, expected: int) -> None:
    """An `up` of 32 inputs and 48 outputs: r·(d_in + d_out), and a magnitude for each output."""
    assert count_parameters(in_place(name, layers=[1], projections=["up"]).backbone)[0] == expected


@pytest.mark.parametrize(("projection", "expected"), [("up", 48), ("down", 48), ("query", 32)])
def test_ia3_counts_what_it_scales(projection: str, expected: int) -> None:
    """Outputs, but the inputs of `down`: the 48 inner activations either way."""
    assert count_parameters(in_place("ia3", layers=[1], projections=[projection]).backbone)[0] == expected


@pytest.mark.parametrize("layers", [[1], [0, 2]])
def test_full_trains_all_of_its_layers(layers: list[int]) -> None:
    """A BERT layer has 4 square matrices and two of d·4d (here 32·48), with biases, and two norms."""
    layer = 4 * (WIDTH**2 + WIDTH) + (2 * WIDTH * 48 + 48 + WIDTH) + 2 * 2 * WIDTH
    assert count_parameters(in_place("full", layers=layers).backbone)[0] == len(layers) * layer
