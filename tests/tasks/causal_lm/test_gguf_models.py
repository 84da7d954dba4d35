"""A model in one GGUF file is that of a plain folder, which is made of it once."""

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import decoder_tokenizer, llama, ragged, seeded
from torch.testing import assert_close
from transformers import LlamaForCausalLM, PreTrainedModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.gguf import _write, dequantised
from layersel.backbone.pretrained import Pretrained
from layersel.errors import UserError

gguf = pytest.importorskip("gguf")

CAUSAL_LM = "AutoModelForCausalLM"
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
"""A layer's modules in the library and in the file."""


def permuted(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Rows in the order of llama.cpp, whose rotary positions turn neighbouring dimensions."""
    own = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2)
    return own.reshape(weight.shape)


def write_gguf(model: PreTrainedModel, file: Path) -> None:
    """Writes a Llama with the tokenizer of bytes in float32, as llama.cpp's converter does."""
    config = model.config
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    tokenizer = json.loads(decoder_tokenizer().backend_tokenizer.to_str())
    vocabulary = sorted(tokenizer["model"]["vocab"].items(), key=lambda own: own[1])
    special = {own["content"] for own in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    own_name = {"<unk>": "<|endoftext|>"}  # the library adds this one where it is missing
    writer.add_token_list([own_name.get(token, token) for token, _ in vocabulary])
    writer.add_token_types([3 if token in special else 1 for token, _ in vocabulary])
    writer.add_token_merges([own if isinstance(own, str) else " ".join(own) for own in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(3)
    for name, tensor in model.state_dict().items():
        writer.add_tensor(*_renamed(name, tensor.numpy(), config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _renamed(name: str, weight: np.ndarray[Any, Any], config: Any) -> tuple[str, np.ndarray[Any, Any]]:
    outer = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm", "lm_head.weight": "output"}
    if name in outer:
        return f"{outer[name]}.weight", weight
    _, _, layer, module = name.removesuffix(".weight").split(".", 3)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(module.split(".")[-1])
    own = weight if heads is None else permuted(weight, heads)
    return f"blk.{layer}.{NAMES[module]}.weight", np.ascontiguousarray(own)


@pytest.fixture(scope="module")
def original() -> PreTrainedModel:
    """A tiny Llama whose head is its own."""
    return seeded(lambda: LlamaForCausalLM(llama()))


@pytest.fixture(scope="module")
def file(original: PreTrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in a file."""
    file = tmp_path_factory.mktemp("gguf") / "tiny-f32.gguf"
    write_gguf(original, file)
    return file


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "layersel" / "dequantised"


def load(file: Path) -> Backbone:
    """The model of a file, with its head."""
    return Pretrained(path=str(file), pooling="last", max_length=64).load(CAUSAL_LM)


@pytest.mark.usefixtures("cache")
def test_logits_and_tokens_are_those_of_the_original(original: PreTrainedModel, file: Path) -> None:
    """The file's model is in float32 with plain weights, and its tokenizer reads and writes as before."""
    backbone = load(file)
    batch = backbone.batch(ragged((7, 12, 3)))
    with torch.no_grad():
        found, expected = (model(**batch).logits[batch["attention_mask"] > 0] for model in (backbone.model, original))
    assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert {parameter.dtype for parameter in backbone.model.parameters()} == {torch.float32}
    own, text = decoder_tokenizer(), "A trial of 12 patients, randomised.\nIt wörked."
    assert backbone.tokenizer is not None
    assert backbone.tokenizer(text, add_special_tokens=False)["input_ids"] == own(text)["input_ids"]
    assert (backbone.tokenizer.eos_token, backbone.tokenizer.bos_token) == ("<|end|>", "<s>")


def test_the_folder_is_made_once(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second load reads it, and a plain load of the folder gives the same; nothing else is left there."""
    first = load(file).model.state_dict()
    (folder,) = cache.iterdir()
    assert folder.name.startswith("tiny-f32-")
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr("layersel.backbone.gguf._write", lambda *_: pytest.fail("it was made again"))
    assert_close(load(file).model.state_dict(), first, rtol=0, atol=0)
    assert_close(load(folder).model.state_dict(), first, rtol=0, atol=0)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    assert list(cache.iterdir()) == [folder]


def test_another_file_of_the_same_name_has_its_own_folder(file: Path, cache: Path, tmp_path: Path) -> None:
    """The folder is that of the content."""
    load(file)
    other = tmp_path / file.name
    write_gguf(seeded(lambda: LlamaForCausalLM(llama()), seed=1), other)
    assert not torch.equal(load(other).model.lm_head.weight, load(file).model.lm_head.weight)
    assert len(list(cache.iterdir())) == 2


def test_a_failure_leaves_nothing(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, a killed process: the next load makes the folder anew."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        with pytest.raises(UserError, match=r"^model\.path: .* cannot be loaded \(No space left on device\)"):
            load(file)
    assert list(cache.iterdir()) == []
    load(file)
    assert len(list(cache.iterdir())) == 1


def test_a_file_that_ends_early_is_refused(file: Path, cache: Path, tmp_path: Path) -> None:
    """Wherever it ends, in one line, and nothing is kept of it."""
    whole = file.read_bytes()
    for share in (0.001, 0.1, 0.5, 0.99):
        damaged = tmp_path / "damaged.gguf"
        damaged.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UserError, match=r"^model\.path: .*damaged\.gguf' cannot be loaded") as caught:
            load(damaged)
        assert "\n" not in str(caught.value)
    assert not cache.exists() or list(cache.iterdir()) == []


def test_a_folder_that_another_process_has_made_meanwhile_stays(file: Path, cache: Path) -> None:
    """It may be read already: it is the very same one afterwards, and the second is gone."""
    folder = dequantised(file)
    before = {path: path.stat().st_ino for path in (folder, *folder.iterdir())}
    _write(file, folder)
    assert {path: path.stat().st_ino for path in (folder, *folder.iterdir())} == before
    assert list(cache.iterdir()) == [folder]


def _make(file: Path, gate: Any, found: Any) -> None:
    gate.wait()
    try:
        found.put(str(dequantised(file)))
    except BaseException as error:
        found.put(repr(error))


def test_processes_at_once(file: Path, cache: Path) -> None:
    """All of them find one folder, which is whole."""
    context = multiprocessing.get_context("fork")
    gate, found = context.Barrier(3), context.Queue()
    processes = [context.Process(target=_make, args=(file, gate, found)) for _ in range(3)]
    for process in processes:
        process.start()
    folders = [found.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert folders == [str(folder) for folder in cache.iterdir()] * 3
    load(file)


@pytest.mark.real
@pytest.mark.usefixtures("cache")
def test_a_cell_of_a_file(file: Path, tmp_path: Path) -> None:
    """A run on a file is found and evaluated again."""
    from in_process import cells, here
    from toy_instructions import small_training, write_instructions

    data = write_instructions(tmp_path, "toy")
    options = [*small_training(file), f"data.path={data}", "task/retention=none", f"output={tmp_path / 'runs'}"]
    assert here("train.py", *options) == 0
    (run,) = cells(tmp_path / "runs")
    assert here("evaluate.py", f"run={run}", f"out={tmp_path / 'out.json'}", "trainer=cpu") == 0
    found, expected = (json.loads(path.read_text()) for path in (tmp_path / "out.json", run / "metrics.json"))
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
