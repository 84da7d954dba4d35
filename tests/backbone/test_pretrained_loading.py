"""Loading: options are checked, broken checkpoints refused in one line, foreign code never run, nothing printed."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from models import POSITIONS, bert, ragged, seeded, tiny
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM, PreTrainedModel, PreTrainedTokenizerFast

from layersel.backbone.pretrained import Pretrained
from layersel.errors import UserError


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that the test may damage."""
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))


def _refusal(folder: Path | str, **options: object) -> str:
    """The one line with which loading is refused."""
    with pytest.raises(UserError) as refused:
        Pretrained(path=str(folder), **options).load()
    message = str(refused.value)
    assert "\n" not in message
    return message


def _reconfigure(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _as_bin(folder: Path, **more: object) -> None:
    """Replaces the safetensors file by a pickled one."""
    torch.save(load_file(folder / "model.safetensors") | more, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _vectors(folder: Path) -> torch.Tensor:
    backbone = Pretrained(path=str(folder)).load()
    with torch.no_grad():
        return backbone(backbone.batch(ragged()))


class _Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, proof: Path):
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.proof,)


def test_a_saved_folder_loads_ready_for_use(tiny_model_folder: Path) -> None:
    """Evaluation mode, float32, its tokenizer, the pooling and length asked for."""
    backbone = Pretrained(path=str(tiny_model_folder), pooling="mean", max_length=128).load()
    assert backbone.n_layers == 4
    assert (backbone.pooling, backbone.max_length) == ("mean", 128)
    assert not any(module.training for module in backbone.modules())
    assert backbone.tokenizer is not None
    assert backbone.tokenizer.tokenize("trauma") == ["trauma"]


def test_a_relative_path_and_the_home_folder_are_understood(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both mean the folder, not a hub name."""
    monkeypatch.chdir(tiny_model_folder.parent)
    monkeypatch.setenv("HOME", str(tiny_model_folder.parent))
    for path in ("bert", "./bert", "~/bert"):
        assert Pretrained(path=path).location() == str(tiny_model_folder)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_checkpoints_become_float32(folder: Path, dtype: torch.dtype) -> None:
    """Transformers would keep the checkpoint's dtype, and LoRA would train in it."""
    weights = {name: tensor.to(dtype) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    _reconfigure(folder, dtype=str(dtype).removeprefix("torch."))
    backbone = Pretrained(path=str(folder)).load()
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}


@pytest.mark.parametrize("probability", [0.0, 0.3])
def test_attention_dropout_is_the_option_and_not_the_checkpoints(folder: Path, probability: float) -> None:
    """Its default 0 keeps attention on the fast path on a CPU; other dropout stays the checkpoint's."""
    backbone = Pretrained(path=str(folder), attention_dropout=probability).load()
    assert backbone.layers[0].attention.self.dropout.p == probability
    assert backbone.layers[0].output.dropout.p == 0.1


def test_a_bin_checkpoint_loads_with_the_same_vectors(folder: Path) -> None:
    """Older checkpoints such as SPECTER's have no safetensors file."""
    expected = _vectors(folder)
    _as_bin(folder)
    assert torch.equal(_vectors(folder), expected)


@pytest.mark.parametrize("within_state_dict", [True, False])
def test_a_malicious_bin_is_refused_and_does_not_run(folder: Path, tmp_path: Path, within_state_dict: bool) -> None:
    """Neither beside good tensors nor as a bare pickle."""
    proof = tmp_path / "it_ran"
    _as_bin(folder, extra=_Malicious(proof))
    if not within_state_dict:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Malicious(proof), protocol=2))
    assert "damaged or holds more than tensors" in _refusal(folder)
    assert not proof.exists()
    with suppress(pickle.UnpicklingError, RuntimeError):
        torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert proof.exists(), "the file was harmless: nothing has been tested"


def test_foreign_code_of_a_folder_is_not_run(folder: Path, tmp_path: Path) -> None:
    """`auto_map` names a module of the folder, which only `trust_remote_code` would import."""
    proof = tmp_path / "it_ran"
    (folder / "modeling_evil.py").write_text(f"import pathlib\npathlib.Path({str(proof)!r}).touch()\n")
    _reconfigure(folder, model_type="evil", auto_map={"AutoConfig": "modeling_evil.C", "AutoModel": "modeling_evil.M"})
    _refusal(folder)
    assert not proof.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_damaged_weights_are_refused(folder: Path, name: str) -> None:
    """A download that broke off, or an error page under the file's name."""
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"<html>not found</html>")
    assert "cannot be loaded" in _refusal(folder)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_hidden_layers": 6}, r"lack 32 tensors .* such as encoder.layer.4"),
        ({"hidden_size": 64}, "lack"),
        ({"model_type": "nonsense"}, "nonsense"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"model_type": "t5"}, "cannot be loaded"),
    ],
)
def test_weights_of_another_model_are_refused(folder: Path, changes: dict[str, object], expected: str) -> None:
    """Transformers would draw what is missing at random and only print a report."""
    _reconfigure(folder, **changes)
    with pytest.raises(UserError, match=expected) as refused:
        Pretrained(path=str(folder)).load()
    assert "\n" not in str(refused.value)


def test_a_checkpoint_without_pooler_and_with_a_head_is_fine(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    """The pooler is never used, and neither is the head of masked language modelling (SciBERT)."""
    model = seeded(lambda: BertForMaskedLM(bert()))
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path)
    backbone = Pretrained(path=str(tmp_path), max_length=POSITIONS).load()
    for parameter, loaded in zip(model.bert.encoder.parameters(), backbone.model.encoder.parameters(), strict=True):
        assert torch.equal(parameter, loaded)


def test_a_folder_without_tokenizer_is_refused(folder: Path) -> None:
    """Transformers would give a tokenizer to which every word is unknown."""
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert "no tokenizer.json" in _refusal(folder)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("config.json", "no config.json"), ("model.safetensors", "no model.safetensors and no pytorch_model.bin")],
)
def test_an_incomplete_folder_is_refused_before_loading(folder: Path, missing: str, expected: str) -> None:
    """The check of the options refuses it."""
    (folder / missing).unlink()
    assert expected in _refusal(folder)
    assert any(expected in problem for problem in Pretrained(path=str(folder)).problems())


def test_broken_configuration_is_refused(folder: Path) -> None:
    """A config.json that is no JSON."""
    (folder / "config.json").write_text("{")
    assert "not a valid JSON" in _refusal(folder)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pooling": "max"}, "model.pooling: expected one of cls, mean, last, but got 'max'"),
        ({"max_length": 0}, "model.max_length: expected at least 1, but got 0"),
        ({"batch_tokens": -1}, "model.batch_tokens: expected at least 1, but got -1"),
        ({"attention_dropout": 1.0}, "model.attention_dropout: expected 0 <= p < 1, but got 1.0"),
        ({"attention_dropout": -0.1}, "model.attention_dropout: expected 0 <= p < 1, but got -0.1"),
        ({"path": "/none/such"}, "'/none/such' does not exist"),
        (
            {"path": "package:no_such_package"},
            "package 'no_such_package' is not installed; pip install --no-deps no-such-package",
        ),
        ({"path": "package:os; rm"}, "is not installed"),
    ],
)
def test_each_bad_option_is_a_problem(tiny_model_folder: Path, options: dict[str, object], expected: str) -> None:
    """Each has one line, with what was got and what is allowed; none of them stops the others."""
    problems = Pretrained(**{"path": str(tiny_model_folder)} | options).problems()
    assert len(problems) == 1
    assert expected in problems[0]
    assert "\n" not in problems[0]


def test_all_problems_are_reported_at_once(tiny_model_folder: Path) -> None:
    """Good options have none; a hub name cannot be judged without the network."""
    bad = Pretrained(path="/none", pooling="max", max_length=0, attention_dropout=2.0, batch_tokens=0)
    assert len(bad.problems()) == 5
    assert Pretrained(path=str(tiny_model_folder)).problems() == []
    assert Pretrained(path="allenai/specter").problems() == []


@pytest.mark.parametrize(("max_length", "expected"), [(513, "at most 512"), (2, "more than the 2 special tokens")])
def test_a_length_that_the_model_cannot_take_is_refused(
    tiny_model_folder: Path, max_length: int, expected: str
) -> None:
    """It has more than its positions; or too few for a word, where the tokenizer would silently cut nothing."""
    assert expected in _refusal(tiny_model_folder, max_length=max_length)


@pytest.mark.parametrize("name", ["roberta", "mpnet"])
def test_positions_taken_by_padding_do_not_count(name: str, tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """RoBERTa numbers positions from 2 on: of 514 in its table only 512 serve tokens."""
    model: PreTrainedModel = tiny(name)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert f"at most {POSITIONS - 2}" in _refusal(tmp_path, max_length=POSITIONS - 1)
    backbone = Pretrained(path=str(tmp_path), max_length=POSITIONS - 2).load()
    with torch.no_grad():
        assert backbone(backbone.batch(ragged([POSITIONS - 2]))).isfinite().all()


def test_a_hub_name_offline_is_refused_with_the_offline_choices() -> None:
    """What works without a network is in the same line."""
    message = _refusal("nobody/no-such-model")
    assert "model=minilm" in message
    assert "model.path=FOLDER" in message


CHILD = """
import sys, time, torch
from pathlib import Path
from transformers.utils import logging
from layersel.adapters.loading import load_adapter
from layersel.adapters.placement import place
from layersel.adapters.saving import save_adapter
from layersel.backbone.pretrained import Pretrained
from layersel.errors import UserError
from layersel import select_layers
before = logging.get_verbosity(), logging.is_progress_bar_enabled()
backbone = Pretrained(path=sys.argv[1]).load()
assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
words = ["war", "peace", "a trauma", "the care", "a nurse", "their fear", "sleep", "no sleep"]
selection = select_layers(backbone.model, words, tokenizer=backbone.tokenizer)
adapted = place(backbone, selection, selection.lora_config(), torch.Generator())
save_adapter(adapted, Path(sys.argv[2]))
load_adapter(Pretrained(path=sys.argv[1]).load(), Path(sys.argv[2]))
started = time.perf_counter()
try:
    Pretrained(path="nobody/no-such-model").load()
except UserError as error:
    print(error)
print(time.perf_counter() - started)
"""


@pytest.fixture(scope="module")
def child(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A process that believes in a network, where nothing answers, and whose output goes to a file."""
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path_factory.mktemp("hub"))}
    adapter = tmp_path_factory.mktemp("saved") / "adapter"
    return subprocess.run(
        [sys.executable, "-c", CHILD, tiny_model_folder, adapter],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_is_printed_when_the_output_is_not_a_terminal(child: subprocess.CompletedProcess[str]) -> None:
    """No bars, reports or warnings from loading, selecting, placing and saving; the user's settings return."""
    assert (child.returncode, child.stderr) == (0, "")
    assert len(child.stdout.splitlines()) == 2


def test_a_hub_that_does_not_answer_is_given_up_quickly(child: subprocess.CompletedProcess[str]) -> None:
    """The hub's own client would try for half a minute."""
    message, seconds = child.stdout.splitlines()
    assert "does not answer" in message
    assert float(seconds) < 5
