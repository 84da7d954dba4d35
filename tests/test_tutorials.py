"""The scripts of docs/tutorials run as they are, on a tiny decoder."""

import json
import runpy
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

TUTORIALS = Path(__file__).parents[1] / "docs" / "tutorials"
TEXTS = [
    f"Write a title. {word} stress in {who}" for word in ("acute", "mild", "no") for who in ("men", "women", "mice")
]

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture
def arguments(tiny_decoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A model and a file of texts, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return [str(tiny_decoder_folder), "texts.txt"]


def run(name: str, arguments: list[str]) -> None:
    """The script, in this process."""
    runpy.run_path(str(TUTORIALS / name))["main"](*arguments)


def test_layers_for_my_data(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each score with its layers, every two scores, and the file."""
    run("layers_for_my_data.py", arguments)
    printed = capsys.readouterr().out
    assert all(f"{name}: layers [" in printed for name in ("cka", "cosine", "spectrum"))
    assert printed.count("Kendall's tau") == 3
    assert {"peft", "axolotl", "llama_factory"} <= json.loads(Path("selection.json").read_text()).keys()


def test_ranks_per_layer(arguments: list[str]) -> None:
    """The adapter that was saved loads in plain PEFT with the ranks of the file."""
    run("ranks_per_layer.py", arguments)
    content = json.loads(Path("ranks.json").read_text())
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(arguments[0]), "adapter")
    found = {
        name.removeprefix("base_model.model."): module.r["default"]
        for name, module in adapted.named_modules()
        if hasattr(module, "lora_A")
    }
    assert found == content["allocation"]["ranks"]
    assert content["axolotl"]["lora_rank_pattern"]
