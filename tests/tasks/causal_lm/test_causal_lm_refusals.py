"""Whatever is wrong with the data, the options or the model of task=causal_lm is answered in one line."""

import importlib.util
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from in_process import here
from models import CHAT, bert, decoder_tokenizer, llama, seeded, tiny_tokenizer
from small_reviews import write_reviews
from toy_instructions import examples, small_training, write_instructions, write_rows
from transformers import (
    BertForMaskedLM,
    BertLMHeadModel,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
)

ROWS: dict[str, list[dict[str, Any]]] = {
    "no_responses": [{"prompt": own["prompt"]} for own in examples()],
    "empty": [{**own, "response": " "} for own in examples()],
    "empty_texts": [{"text": " "}, {"text": ""}],
    "labels": [{"text": f"good {number}", "label": "yes"} for number in range(6)],
    "pairs": [{"sentence1": f"good {number}", "sentence2": "bad", "label": number % 2} for number in range(6)],
    "silent": [{"messages": [{"role": "assistant", "content": "Hello."}]}] * 6,
    "all_tests": [{**own, "split": "test"} for own in examples()],
    "one": examples()[:1],
    "long": [{"text": "word " * 20}] * 6,
    "one_letter": [{"text": letter} for letter in "abcdef"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_decoder_folder: Path) -> Path:
    """Data of every kind, and models that are no language models."""
    folder = tmp_path_factory.mktemp("bad")
    write_instructions(folder, "good")
    for name, rows in ROWS.items():
        write_rows(folder / f"{name}.jsonl", rows)
    for name, make in {
        "encoder": lambda: BertForMaskedLM(bert()),
        "both_ways": lambda: BertLMHeadModel(bert()),
        "headless": lambda: LlamaModel(llama(max_position_embeddings=512)),
        "classifier": lambda: LlamaForSequenceClassification(llama(max_position_embeddings=512)),
        "other_tokenizer": lambda: LlamaForCausalLM(llama(vocab_size=300)),
    }.items():
        seeded(make).save_pretrained(folder / name)
        (tiny_tokenizer() if name in {"encoder", "both_ways"} else decoder_tokenizer(template=CHAT)).save_pretrained(
            folder / name
        )
    shutil.copytree(tiny_decoder_folder, folder / "without_template")
    decoder_tokenizer().save_pretrained(folder / "without_template")
    (folder / "without_template" / "chat_template.jinja").unlink(missing_ok=True)
    (folder / "damaged.gguf").write_bytes(b"GGUF" + bytes(range(100)))
    (folder / "empty.gguf").write_bytes(b"")
    (review,) = write_reviews(folder, 1, size=20)
    shutil.copy(review, folder / "review.csv")
    return folder


@dataclass(frozen=True)
class Bad:
    """One mistake.

    Attributes:
        arguments: Added to those of a good command line.
        says: A pattern that the one line must match.
    """

    arguments: list[str] = field(default_factory=list)
    says: str = ""


DATA = "data.path={folder}/"
TEXT = "data=text"
NO_HEAD = "model.path: expected a decoder with its head, but got"
BAD = {
    "no responses": Bad([f"{DATA}no_responses.jsonl"], "data.response_column: expected a column for it"),
    "empty responses": Bad([f"{DATA}empty.jsonl"], "empty.jsonl: expected rows to learn from, but found none"),
    "empty texts": Bad([TEXT, f"{DATA}empty_texts.jsonl"], "expected rows"),
    "pairs": Bad([TEXT, f"{DATA}pairs.jsonl"], "data: expected prompts .*, but pairs has texts to be classified"),
    "classes": Bad([TEXT, f"{DATA}labels.jsonl"], "data: expected prompts .*, but labels has texts to be classified"),
    "the demo": Bad(["data=demo"], r"data: expected a source that task=causal_lm takes \(AnswerSource\), but got Demo"),
    "texts to classify": Bad(["data=embedded"], r"task=causal_lm takes \(AnswerSource\), but got Embedded"),
    "vectors of [CLS]": Bad(["model.pooling=cls"], "model.pooling: expected last or mean, as task=causal_lm needs"),
    "a review": Bad(["data=table", f"{DATA}review.csv"], r"data: expected a source that task=causal_lm takes"),
    "an assistant alone": Bad([f"{DATA}silent.jsonl"], "data: expected prompts with responses, conversations or plain"),
    "nothing to learn from": Bad([f"{DATA}all_tests.jsonl"], "data: expected examples to learn from, but all of them"),
    "one example": Bad([f"{DATA}one.jsonl"], "task.test: expected to leave some of the 1 examples"),
    "a letter": Bad([TEXT, f"{DATA}one_letter.jsonl", "model.max_length=1"], "model.max_length: 6 of 6 examples"),
    "test too many": Bad(["task.test=36"], "task.test: expected to leave some of the 36 examples .* but got 36"),
    "test too small": Bad(["task.test=0.001"], "task.test: expected to leave some of the 36 .* but got 0.001"),
    "test 0": Bad(["task.test=0"], "task.test: expected a number of examples, or a share below 1, but got 0"),
    "test below 0": Bad(["task.test=-0.5"], "task.test: expected a number of examples, or a share .* but got -0.5"),
    "test 1.5": Bad(["task.test=1.5"], "task.test: expected a number of examples, or a share below 1, but got 1.5"),
    "test nan": Bad(["task.test=nan"], "task.test: expected a number of examples, or a share below 1, but got nan"),
    "test inf": Bad(["task.test=inf"], "task.test: expected a number of examples, or a share below 1, but got inf"),
    "train too many": Bad(["task.train=30"], "task.train: expected 1 to 29 of the examples .* but got 30"),
    "train too small": Bad(["task.train=0.001"], "task.train: expected 1 to 29 of the examples .* but got 0.001"),
    "train 0": Bad(["task.train=0"], "task.train: expected a number of examples, a share below 1, or null, but got 0"),
    "passage": Bad(["task.passage=0"], "task.passage: expected at least 1 word, but got 0"),
    "template": Bad(
        ["task.template=vicuna"], "task.template: expected one of auto, chat, alpaca, paper, plain, but got"
    ),
    "samples": Bad(["task.samples=-1"], "task.samples: expected at least 0, but got -1"),
    "new tokens": Bad(["task.new_tokens=0"], "task.new_tokens: expected at least 1, but got 0"),
    "retention": Bad(["task/retention=ruby"], "task/retention"),
    "no template": Bad(
        ["model.path={folder}/without_template", "task.template=chat"], "task.template: a conversation .* has none"
    ),
    "an encoder": Bad(["model.path={folder}/encoder"], NO_HEAD),
    "an encoder's head": Bad(["model.path={folder}/both_ways"], NO_HEAD),
    "no head": Bad(["model.path={folder}/headless"], NO_HEAD),
    "another head": Bad(["model.path={folder}/classifier"], NO_HEAD),
    "another tokenizer": Bad(
        ["model.path={folder}/other_tokenizer"], "has tokens up to number 399, but the model 300 embed"
    ),
    "a real encoder": Bad(["model.path={bert}"], NO_HEAD),
    "a damaged file": Bad(["model.path={folder}/damaged.gguf"], r"model.path: .*damaged.gguf' cannot be loaded"),
    "an empty file": Bad(["model.path={folder}/empty.gguf"], r"model.path: .*empty.gguf' cannot be loaded"),
    "no file": Bad(["model.path={folder}/none.gguf"], r"model.path: .*none.gguf' does not exist"),
    "too short": Bad(["model.max_length=14"], "model.max_length: 36 of 36 examples have no token to predict within 14"),
    "too long": Bad(["model.max_length=1000"], "model.max_length: expected at most 512"),
    "adamerging": Bad(["merging=adamerging", "merging.datasets=[a,b]"], "merging=adamerging: .*causal_lm has none"),
    "searched": Bad(
        ["merging=average", "merging.datasets=[a,b]", "merging.search=each"], "merging=average: .*causal_lm has none"
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_one_line(
    name: str,
    folder: Path,
    tiny_decoder_folder: Path,
    tiny_model_folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exit status is 2, and the one line on standard error names what is wrong."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    good = [*small_training(tiny_decoder_folder), f"data.path={folder}/good.jsonl", "task/retention=none"]
    bad = [own.format(folder=folder, bert=tiny_model_folder) for own in BAD[name].arguments]
    named = {own.partition("=")[0] for own in bad}
    options = [own for own in good if own.partition("=")[0] not in named]
    if any(own.startswith("data=") and own not in ("data=text", "data=table") for own in bad):
        options = [own for own in options if not own.startswith("data.path")]
    assert here("train.py", *options, *bad, f"output={tmp_path / 'runs'}") == 2
    errors = capfd.readouterr().err
    assert re.search(BAD[name].says, errors), errors
    assert len(errors.splitlines()) == 1
    assert errors.startswith("error: ")
    assert not list((tmp_path / "cache").rglob("model.safetensors"))


def test_without_the_package_that_reads_gguf(
    folder: Path,
    tiny_decoder_folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The line says which one to install."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *own: None if name == "gguf" else real(name, *own))
    good = [*small_training(tiny_decoder_folder), f"data.path={folder}/good.jsonl"]
    assert here("train.py", *good, f"model.path={folder}/damaged.gguf", f"output={tmp_path}") == 2
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1
    assert "needs the package that reads such files; pip install gguf" in errors[0]


def test_rows_without_a_response_are_told(folder: Path, tmp_path: Path, tiny_decoder_folder: Path) -> None:
    """They are left out, and the others learnt from."""
    rows = [*examples()[:10], {"prompt": "Well?", "response": ""}]
    data = write_rows(tmp_path / "some.jsonl", rows)
    options = [*small_training(tiny_decoder_folder), f"data.path={data}", "task/retention=none", f"output={tmp_path}"]
    assert here("train.py", *options) == 0
    (file,) = tmp_path.glob("*/metrics.json")
    assert json.loads(file.read_text())["n_test"] == 2
