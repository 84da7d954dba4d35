"""Cells of task=causal_lm, by `train.py` and `evaluate.py`, against the library's own models and losses."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from grids import finish, start
from in_process import cells, here
from models import CHAT, LANGUAGE_MODELS, decoder_tokenizer, seeded
from peft import PeftModel
from small_reviews import write_reviews
from toy_instructions import examples, small_training, write_instructions, write_rows
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from layersel.data.texts.python_reference import PythonReference
from layersel.runs.fingerprints import text_fingerprint
from layersel.runs.folder import RunFolder
from layersel.tasks.causal_lm.module import AnswerTraining

EPOCHS = "task.epochs=3"
NO_RETENTION = "task/retention=none"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 instructions."""
    return write_instructions(tmp_path_factory.mktemp("data"), "toy")


@pytest.fixture(scope="module")
def command(tiny_decoder_folder: Path, data: Path) -> list[str]:
    """A training of a second, but for its output folder."""
    return [*small_training(tiny_decoder_folder), f"data.path={data}", EPOCHS]


def train(output: Path, *options: str) -> RunFolder:
    """The one finished run of a call."""
    assert here("train.py", *options, f"output={output}") == 0
    (folder,) = cells(output)
    return RunFolder(folder)


@pytest.fixture(scope="module")
def run(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run, whose retention is measured on Python's manual."""
    return train(tmp_path_factory.mktemp("runs"), *command)


def content(path: Path) -> dict[str, Any]:
    """A JSON file's."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def metrics(run: RunFolder) -> dict[str, Any]:
    """The metrics but for times."""
    return {name: own for name, own in content(run.metrics).items() if "seconds" not in name and own is not None}


def evaluated(run: RunFolder, out: Path, *options: str) -> dict[str, Any]:
    """What evaluate.py says of a run."""
    assert here("evaluate.py", f"run={run.path}", f"out={out}", "trainer=cpu", *options) == 0
    return content(out)


def assert_same(found: dict[str, Any], expected: dict[str, Any], tolerance: float = 1e-5) -> None:
    """All numbers of `found` are those of `expected`."""
    assert found == pytest.approx({name: expected[name] for name in found}, rel=tolerance, abs=tolerance)


Pair = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@pytest.fixture(scope="module")
def adapted(run: RunFolder, tiny_decoder_folder: Path) -> Pair:
    """The model with the run's adapter, by the libraries alone."""
    base = AutoModelForCausalLM.from_pretrained(tiny_decoder_folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny_decoder_folder)
    return PeftModel.from_pretrained(base, run.adapter).eval(), tokenizer


def chat(tokenizer: PreTrainedTokenizerBase, row: dict[str, str]) -> tuple[str, str]:
    """What stands before the answer, and the answer with the token that ends it."""
    asked = [{"role": "user", "content": row["prompt"]}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    return prompt, row["response"] + str(tokenizer.eos_token)


def loss_of(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, pairs: list[tuple[str, str]]) -> float:
    """The mean loss of all tokens of the answers, each text alone, by the library's own labels."""
    total, count = 0.0, 0
    for prompt, answer in pairs:
        before, after = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, answer))
        labels = torch.tensor([[-100] * len(before) + after])
        with torch.no_grad():
            total += float(model(input_ids=torch.tensor([before + after]), labels=labels).loss) * len(after)
        count += len(after)
    return total / count


def held_out(run: RunFolder, tokenizer: PreTrainedTokenizerBase) -> list[tuple[str, str]]:
    """The examples that the run has not learnt from."""
    learnt = {record["text"] for record in json.loads(run.training_records.read_text())}
    kept = [row for row in examples() if text_fingerprint(f"{row['prompt']}\n{row['response']}") not in learnt]
    return [chat(tokenizer, row) for row in kept]


def test_the_losses_are_those_of_the_libraries(run: RunFolder, adapted: Pair, tiny_decoder_folder: Path) -> None:
    """The plain PEFT folder on the plain model has the held-out loss that the run has measured; so has the base."""
    model, tokenizer = adapted
    found, pairs = metrics(run), held_out(run, tokenizer)
    assert found["n_test"] == len(pairs) == 7
    assert found["n_answer_tokens"] == sum(len(tokenizer(answer)["input_ids"]) for _, answer in pairs)
    assert found["loss"] == pytest.approx(loss_of(model, tokenizer, pairs), rel=1e-5)
    with model.disable_adapter():
        assert found["base/loss"] == pytest.approx(loss_of(model, tokenizer, pairs), rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))


def test_it_learns_and_says_what_is_forgotten(run: RunFolder) -> None:
    """The held-out loss falls far; the change on texts of another domain is a difference."""
    found = metrics(run)
    assert found["loss"] < 0.9 * found["base/loss"]
    assert found["n_retention"] == 60
    assert found["retention_change"] == found["retention_loss"] - found["base/retention_loss"] != 0
    assert content(run.metrics)["difference/low"] is None  # 7 texts are too few


def test_the_retention_is_the_loss_of_the_whole_texts(run: RunFolder, adapted: Pair) -> None:
    """All of a text is predicted but its first token, without a token that ends it."""
    model, tokenizer = adapted
    total = count = 0.0
    for example in PythonReference().load().examples:
        ids = tokenizer(example.text)["input_ids"][:64]
        with torch.no_grad():
            total += float(model(input_ids=torch.tensor([ids]), labels=torch.tensor([ids])).loss) * (len(ids) - 1)
        count += len(ids) - 1
    assert metrics(run)["retention_loss"] == pytest.approx(total / count, rel=1e-5)


def test_sample_answers(run: RunFolder, adapted: Pair) -> None:
    """They are what the library's greedy search says to the first held-out prompts."""
    model, tokenizer = adapted
    samples = [json.loads(line) for line in (run.path / "samples.jsonl").read_text().splitlines()]
    pairs = held_out(run, tokenizer)[:2]
    assert [(sample["prompt"], sample["expected"]) for sample in samples] == [
        (prompt, answer.removesuffix(str(tokenizer.eos_token))) for prompt, answer in pairs
    ]
    for sample, (prompt, _) in zip(samples, pairs, strict=True):
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        said = model.generate(input_ids=ids, max_new_tokens=4, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
        assert sample["answered"] == tokenizer.decode(said, skip_special_tokens=True).strip()


def test_figures_and_curves(run: RunFolder) -> None:
    """The layers' scores and the examples' losses are drawn; the loss of the steps is kept."""
    drawn = {path.stem for path in run.figures.iterdir()}
    assert {"layers", "losses"} <= drawn
    assert "loss" in content(run.curves)


def test_the_same_cell_again(run: RunFolder, command: list[str]) -> None:
    """With `force=true` every number comes again."""
    before = metrics(run)
    again = train(run.path.parent, *command, "force=true")
    assert metrics(again) == before


def test_without_a_prefix_cache(run: RunFolder, command: list[str], tmp_path: Path) -> None:
    """Several epochs above what is kept end where those of the whole model do."""
    without = train(tmp_path, *command, "task.prefix_cache_mb=0")
    assert_same(metrics(without), metrics(run))


@pytest.mark.parametrize("options", [["task.batch_size=4", "task.accumulate=2"], ["task.recompute=true"]], ids=str)
def test_ways_to_take_less_memory(run: RunFolder, command: list[str], options: list[str], tmp_path: Path) -> None:
    """Smaller batches, whose gradients make one step, or layers that are computed again: the same numbers."""
    own = train(tmp_path, *command, *options)
    assert_same(metrics(own), metrics(run), 1e-4)


@pytest.mark.parametrize(("step", "more"), [(1, []), (7, []), (3, ["task.batch_size=4", "task.accumulate=2"])])
def test_stopped_and_resumed(
    run: RunFolder, command: list[str], step: int, more: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that is stopped, be it within a step, goes on in the next one and ends with the same numbers."""
    real, seen = AnswerTraining.loss, []

    def stopped(module: AnswerTraining, batch: Any) -> Any:
        seen.append(batch)
        if len(seen) == step + 1:
            raise KeyboardInterrupt
        return real(module, batch)

    options = [*command, *more, "trainer.checkpoint_seconds=0", f"output={tmp_path / 'stopped'}"]
    with monkeypatch.context() as patch:
        patch.setattr(AnswerTraining, "loss", stopped)
        assert here("train.py", *options) == 130
    assert here("train.py", *options) == 0
    (folder,) = cells(tmp_path / "stopped")
    assert content(folder / "status.json")["attempt"] == 2
    whole = train(tmp_path / "whole", *command, *more) if more else run
    assert metrics(RunFolder(folder)) == metrics(whole)


@pytest.mark.real
def test_killed_and_resumed(run: RunFolder, command: list[str], tmp_path: Path) -> None:
    """SIGKILL too costs no more than time."""
    options = [*command, "trainer.checkpoint_seconds=0", f"output={tmp_path}"]
    process = start(*options)
    while not list(tmp_path.glob("*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.communicate()[1]
    process.kill()
    process.communicate()
    assert finish(start(*options))[0] == 0
    (folder,) = cells(tmp_path)
    assert metrics(RunFolder(folder)) == metrics(run)


@pytest.mark.real
def test_two_devices(run: RunFolder, command: list[str], tmp_path: Path) -> None:
    """Each takes a share of the texts, and the numbers are those of one."""
    status, _, errors = finish(start(*command, "trainer.devices=2", f"output={tmp_path}"))
    assert (status, errors) == (0, "")
    (folder,) = cells(tmp_path)
    assert_same(metrics(RunFolder(folder)), metrics(run))


def test_evaluate(run: RunFolder, tmp_path: Path) -> None:
    """On its own data a run has its own metrics; on other data those of the libraries."""
    found = evaluated(run, tmp_path / "own.json")
    assert found.keys() >= {"loss", "perplexity", "retention_loss", "n_test", "n_answer_tokens"}
    assert_same(found, metrics(run))


def test_evaluate_on_other_data(run: RunFolder, adapted: Pair, tmp_path: Path) -> None:
    """All examples that the run has not learnt from are tested on."""
    model, tokenizer = adapted
    file = write_rows(tmp_path / "more.jsonl", [*examples(), *examples("it was.")[:5]])
    found = evaluated(run, tmp_path / "other.json", "data=instructions", f"data.path={file}")
    pairs = [*held_out(run, tokenizer), *(chat(tokenizer, row) for row in examples("it was.")[:5])]
    assert found["n_test"] == 7 + 5
    assert found["loss"] == pytest.approx(loss_of(model, tokenizer, pairs), rel=1e-5)


def test_figures_of_other_data_leave_out_what_was_learnt(run: RunFolder, tmp_path: Path) -> None:
    """The pretrained model is judged on the same examples."""
    file = write_rows(tmp_path / "more.jsonl", [*examples(), *examples("it was.")[:5]])
    folder = tmp_path / "figures"
    options = ["data=instructions", f"data.path={file}", "head=fit", f"figures={folder}"]
    evaluated(run, tmp_path / "other.json", *options)
    assert (folder / "losses.png").stat().st_size > 0


@pytest.mark.parametrize("template", ["auto", "alpaca", "plain"])
def test_what_was_learnt_is_known_however_it_is_written(
    template: str, run: RunFolder, tiny_decoder_folder: Path, data: Path, tmp_path: Path
) -> None:
    """Only the seven examples are tested on that the adapter's run has held out."""
    model = ["task=causal_lm", NO_RETENTION, "model=smollm2", f"model.path={tiny_decoder_folder}", "trainer=cpu"]
    options = ["data=instructions", f"data.path={data}", f"task.template={template}", "task.samples=0"]
    out = tmp_path / "metrics.json"
    assert here("evaluate.py", *model, *options, f"adapter_folder={run.adapter}", f"out={out}") == 0
    assert content(out)["n_test"] == 7


def test_a_quantised_model_is_calibrated_on_other_texts(tiny_decoder_folder: Path, tmp_path: Path) -> None:
    """One row that is tested on is enough; without texts of another domain the line says what is missing."""
    file = write_rows(tmp_path / "one.jsonl", examples()[:1])
    model = ["task=causal_lm", "model=smollm2", f"model.path={tiny_decoder_folder}", "trainer=cpu"]
    options = ["data=instructions", f"data.path={file}", "task.samples=0", "precision=int8_weight"]
    out = tmp_path / "metrics.json"
    assert here("evaluate.py", *model, *options, f"out={out}") == 0
    assert content(out)["n_test"] == 1
    assert here("evaluate.py", *model, *options, NO_RETENTION, f"out={tmp_path / 'none.json'}") == 2


def test_the_datas_own_test_rows_are_judged_on(tiny_decoder_folder: Path, tmp_path: Path) -> None:
    """Not those that a model may have learnt from."""
    files = [write_rows(tmp_path / f"{name}.jsonl", rows) for name, rows in (("a", examples()), ("b", examples()[:9]))]
    model = ["task=causal_lm", NO_RETENTION, "model=smollm2", f"model.path={tiny_decoder_folder}", "trainer=cpu"]
    options = ["data=instructions", f"data.path={files[0]}", f"data.test_path={files[1]}", "task.samples=0"]
    out = tmp_path / "metrics.json"
    assert here("evaluate.py", *model, *options, f"out={out}") == 0
    assert content(out)["n_test"] == 9


def test_evaluate_a_pretrained_model_with_an_adapter(
    run: RunFolder, tiny_decoder_folder: Path, data: Path, tmp_path: Path
) -> None:
    """The adapter's folder on the model is the run."""
    model = ["task=causal_lm", NO_RETENTION, "model=smollm2", f"model.path={tiny_decoder_folder}", "trainer=cpu"]
    options = [*model, "model.max_length=64", "data=instructions", f"data.path={data}"]
    out = tmp_path / "out.json"
    assert here("evaluate.py", *options, f"adapter_folder={run.adapter}", f"out={out}") == 0
    assert_same({"loss": content(out)["loss"]}, metrics(run))


COMPRESSED = {
    "wanda": ["pruning=wanda"],
    "8-bit weights": ["precision=int8_weight"],
    "int8": ["precision=int8", "precision.engine=int_mm"],
    "fewer layers": ["pruning=layers"],
    "fewer layers, then trained": ["pruning=layers", "order=[prune,train]"],
    "4-bit weights": ["precision=int4"],
    "wanda, 4-bit weights": ["pruning=wanda", "precision=int4"],
    "8-bit weights beside an adapter": ["precision=int8_weight", "order=[train,quantise]"],
    "full fine-tuning, int8": ["adapter=full", "precision=int8"],
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_models_keep_their_head(name: str, command: list[str], run: RunFolder, tmp_path: Path) -> None:
    """What a run leaves has its losses and answers, and these are not those of the model that is not compressed."""
    own = train(tmp_path / "runs", *command, NO_RETENTION, *COMPRESSED[name])
    found = metrics(own)
    assert_same(evaluated(own, tmp_path / "out.json"), found)
    assert found["loss"] != pytest.approx(metrics(run)["loss"], rel=1e-6)
    if "fewer" not in name and "wanda" not in name:
        assert found["loss"] < found["base/loss"]


def test_a_compressed_folder_is_a_plain_one(command: list[str], tmp_path: Path) -> None:
    """A pruned model, adapter merged, is loaded by the library alone, and has the run's loss."""
    own = train(tmp_path, *command, NO_RETENTION, "pruning=wanda")
    model = AutoModelForCausalLM.from_pretrained(own.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(own.model)
    assert metrics(own)["loss"] == pytest.approx(loss_of(model, tokenizer, held_out(own, tokenizer)), rel=1e-5)


@pytest.mark.parametrize("method", ["average", "ties"])
def test_two_domains_are_merged(command: list[str], method: str, tmp_path: Path) -> None:
    """One adapter for two files; each is judged on its own held-out examples and beside its own adapter."""
    files = [write_instructions(tmp_path, "first"), write_instructions(tmp_path, "second", "it was.")]
    options = [option for option in command if not option.startswith("data.path")]
    listed = f"merging.datasets=[{','.join(map(str, files))}]"
    assert here("train.py", *options, NO_RETENTION, f"merging={method}", listed, f"output={tmp_path / 'runs'}") == 0
    runs = cells(tmp_path / "runs")
    (merged,) = (RunFolder(path) for path in runs if (path / "merging.json").is_file())
    assert len(runs) == 3
    found = metrics(merged)
    for name in ("first", "second"):
        (own,) = (RunFolder(path) for path in runs if path.name.startswith(f"{name}-"))
        assert found[f"{name}/own/loss"] == pytest.approx(metrics(own)["loss"], rel=1e-6)
        assert found[f"{name}/loss"] < metrics(own)["base/loss"]
        assert (merged.path / "datasets" / name / "samples.jsonl").is_file()
        data = ["data=instructions", f"data.path={tmp_path / name}.jsonl"]
        again = evaluated(merged, tmp_path / "out.json", *data)
        assert again["n_test"] == 7
        assert again["loss"] == pytest.approx(found[f"{name}/loss"], rel=1e-5)


def test_titles_of_two_reviews_are_merged(tiny_decoder_folder: Path, tmp_path: Path) -> None:
    """`data=titles` makes instructions of each file of records."""
    files = write_reviews(tmp_path, 2, size=20)
    options = [own for own in small_training(tiny_decoder_folder) if not own.startswith("data=")]
    merging = ["data=titles", "merging=average", f"merging.datasets=[{','.join(files)}]"]
    assert here("train.py", *options, NO_RETENTION, *merging, f"output={tmp_path / 'runs'}") == 0
    (merged,) = (RunFolder(path) for path in cells(tmp_path / "runs") if (path / "merging.json").is_file())
    found = metrics(merged)
    for file in files:
        name = f"titles of {Path(file).stem}"
        assert found[f"{name}/own/loss"] != found[f"{name}/loss"]
        again = evaluated(merged, tmp_path / "out.json", "data=titles", f"data.path={file}")
        assert again["loss"] == pytest.approx(found[f"{name}/loss"], rel=1e-5)


@pytest.mark.real
def test_a_grid_and_its_report(command: list[str], tmp_path: Path) -> None:
    """Of two selections, one of which asks for the loss's gradients; the lower loss wins."""
    options = [option for option in command if not option.startswith("selection=")]
    arguments = ["-m", *options, NO_RETENTION, "selection=last,grad_norm", "grid=toy", f"output={tmp_path}"]
    status, output, errors = finish(start(*arguments))
    assert (status, errors) == (0, "")
    assert "2 cells: 2 finished now" in output
    assert "held-out loss" in output
    grid = tmp_path / "grids" / "toy"
    table = pd.read_csv(grid / "cells.csv").set_index("selection")
    assert set(table.index) == {"last", "grad_norm"}
    assert (table["loss"] < table["base/loss"]).all()
    report = (grid / "report.html").read_text(encoding="utf-8")
    assert "held-out loss" in report


ADAPTERS = sorted(path.stem for path in (Path(__file__).parents[3] / "conf" / "adapter").glob("*.yaml"))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_kind_of_adapter(adapter: str, command: list[str], tmp_path: Path) -> None:
    """Each is placed, trains two steps, changes the loss, and is read again."""
    options = [f"adapter={adapter}", "task.max_steps=2", "task.warmup=0"]
    options += ["adapter.n_frequency=100"] if adapter == "fourierft" else []
    own = train(tmp_path / "runs", *command, NO_RETENTION, *options)
    found = metrics(own)
    assert (found["loss"] == found["base/loss"]) == (adapter == "frozen")
    assert_same(evaluated(own, tmp_path / "out.json"), found)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gpt2", []),
        ("gpt2", ["precision=int4"]),
        ("llama_tied", ["pruning=layers"]),
        ("llama_tied", ["precision=int8"]),
        ("gemma2", ["precision=int4"]),
        ("gemma2", ["pruning=layers"]),
    ],
    ids=str,
)
def test_other_decoders(name: str, options: list[str], command: list[str], tmp_path: Path) -> None:
    """Tied heads, capped logits, and prompts as long as the model has positions, which leave none to an answer."""
    seeded(LANGUAGE_MODELS[name]).save_pretrained(tmp_path / name)
    decoder_tokenizer(template=CHAT).save_pretrained(tmp_path / name)
    rows = [{"prompt": f"{number} " * 60, "response": "So."} for number in range(12)]
    data = write_rows(tmp_path / "long.jsonl", rows)
    more = [f"model.path={tmp_path / name}", f"data.path={data}", "task.new_tokens=20", *options]
    own = train(tmp_path / "runs", *command, NO_RETENTION, "adapter.projections=[query,key,value]", *more)
    found = metrics(own)
    assert found["loss"] != found["base/loss"]
    assert_same(evaluated(own, tmp_path / "out.json"), found)


PLAIN = [{"text": f"The {word} is here. " * 9} for word in ("cat", "dog", "tree", "one", "two", "sun", "fox", "owl")]
TURNS = [("user", "Hi"), ("assistant", "Hello.")]
CHATS = [{"messages": [{"role": role, "content": said + name} for role, said in TURNS]} for name in "abcdefghijkl"]


@pytest.mark.parametrize(("rows", "samples"), [(PLAIN, 0), (CHATS, 2)], ids=["plain texts", "chats"])
def test_other_forms(rows: list[dict[str, object]], samples: int, command: list[str], tmp_path: Path) -> None:
    """Plain texts in passages, and conversations; samples continue only what has a beginning."""
    data = write_rows(tmp_path / "rows.jsonl", rows)
    options = [option for option in command if not option.startswith("data=")]
    own = train(tmp_path / "runs", *options, "data=text", f"data.path={data}", NO_RETENTION, "task.passage=10")
    found = metrics(own)
    assert found["loss"] < found["base/loss"]
    assert len((own.path / "samples.jsonl").read_text().splitlines()) == samples
    assert_same(evaluated(own, tmp_path / "out.json"), found)


def test_a_last_step_of_fewer_batches(command: list[str], tmp_path: Path) -> None:
    """29 examples in batches of 10, two a step, are those in batches of 20: the last step has one batch, and counts."""
    found = []
    for options in (["task.batch_size=20"], ["task.batch_size=10", "task.accumulate=2"]):
        folder = tmp_path / str(len(options))
        found.append(metrics(train(folder, *command, NO_RETENTION, *options)))
    assert_same(found[0], found[1], 1e-4)
