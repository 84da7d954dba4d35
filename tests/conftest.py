"""Tiny models and texts for all tests; one thread and no network."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

if threading.current_thread() is threading.main_thread():  # a shell's background job ignores it, as would its children
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from models import ARCHITECTURES, CHAT, bert, decoder_tokenizer, llama, seeded, tiny, tiny_tokenizer
from transformers import BertModel, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """A real WordPiece tokenizer of 400 pieces."""
    return tiny_tokenizer()


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """A saved BERT of 4 layers and 512 positions with its tokenizer: `model.path=FOLDER` loads it. Read only."""
    folder = tmp_path_factory.mktemp("tiny") / "bert"
    config = bert(num_hidden_layers=4, max_position_embeddings=512)
    seeded(lambda: BertModel(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_decoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved Llama of 4 layers and 512 positions, with its head and a tokenizer that knows chats. Read only."""
    folder = tmp_path_factory.mktemp("tiny") / "llama"
    config = llama(num_hidden_layers=4, max_position_embeddings=512)
    seeded(lambda: LlamaForCausalLM(config)).save_pretrained(folder)
    decoder_tokenizer(template=CHAT).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_cell(tiny_model_folder: Path) -> list[str]:
    """The options of a training of a second; the data and the output folder are to be added."""
    model = ["model=minilm", f"model.path={tiny_model_folder}", "model.max_length=32"]
    trainer = ["trainer=cpu", "trainer.threads=1", "logger=csv", "figures=few"]
    return [*model, *trainer, "data=table", "task.shots=4", "task.max_steps=3", "selection=last"]


@pytest.fixture(scope="session", params=ARCHITECTURES)
def shared_model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """One tiny model of each architecture; a test must leave it as it was."""
    return tiny(request.param)


@pytest.fixture(params=ARCHITECTURES)
def fresh_model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A tiny model of each architecture for the test alone, which may change it."""
    return tiny(request.param)


@pytest.fixture
def global_rng_untouched() -> Iterator[None]:
    """Fails a test after which the global random state is another."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before), "the global random state has changed"
