"""`python -m layersel.selection`: the same choice as the library's, from files of texts; one line for what is wrong."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from label_free import LABEL_FREE, LOOKING
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoTokenizer

from layersel.config import CONF
from layersel.selection.__main__ import main
from layersel.selection.ranks.proportional import Proportional
from layersel.selection.score import score_named
from layersel.selection.scoring import read_options
from layersel.selection.select import select_layers
from layersel.selection.selection import Selection

TEXTS = [f"{word} stress in patients" for word in ("acute", "chronic", "severe", "mild", "no", "some", "less", "more")]
Run = Callable[..., Selection]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the texts in each form."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8-sig")
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text, "id": 1}) + "\n" for text in TEXTS))
    (tmp_path / "blocks.txt").write_text("\n\n".join(TEXTS))
    (tmp_path / "texts.csv").write_text("id;abstract\n" + "".join(f'{i};"{text}"\n' for i, text in enumerate(TEXTS)))
    (tmp_path / "one.tsv").write_text("anything\n" + "\n".join(TEXTS))
    return tmp_path


@pytest.fixture
def run(tiny_model_folder: Path, folder: Path) -> Run:
    """Runs the command on the tiny model; returns what it wrote."""

    def run(*arguments: str) -> Selection:
        assert main([f"path={tiny_model_folder}", *arguments]) == 0
        return Selection.load(folder / "selection.json")

    return run


def _expected(model_folder: Path, **options: object) -> Selection:
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    return select_layers(AutoModel.from_pretrained(model_folder), TEXTS, tokenizer=tokenizer, **options)


@pytest.mark.parametrize(
    "texts",
    [
        "texts.txt",
        "blocks.txt",
        "texts.jsonl",
        "texts.csv column=abstract",
        "one.tsv column=anything",
        "texts.jsonl column=text",
    ],
)
def test_the_choice_is_the_librarys(
    texts: str, run: Run, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From every form of file, with the table and the file's name on the terminal."""
    found = run(*f"texts={texts}".split(), "n=2")
    printed = capsys.readouterr()
    expected = _expected(tiny_model_folder, n=2)
    assert found.layers == expected.layers
    assert found.scores == pytest.approx(expected.scores, abs=1e-5, nan_ok=True)
    assert "Layers by cka" in printed.out
    assert printed.out.endswith("The selection is in selection.json\n")
    assert printed.err == ""


def test_ranks_are_allocated(run: Run, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By a rule with its options, as the library does it; a control and bounds beside the rank are refused."""
    found = run("texts=texts.txt", "n=2", "ranks=proportional", "ranks.temperature=2", "rank=6", "projections=[query]")
    expected = _expected(tiny_model_folder, n=2).allocated(Proportional(temperature=2), 6, ["query"])
    assert found.allocation == expected.allocation
    assert "adapter rank" in capsys.readouterr().out
    for options, line in (
        (["score=last", "ranks=gora"], "ranks=gora: score=last measures nothing that ranks could follow"),
        (["ranks=eva"], "ranks: expected one of gora, proportional, uniform, but got 'eva'"),
        (["ranks=gora", "ranks.r_max=4"], "ranks.r_max=4: expected r_min <= rank <= r_max"),
        (["rank=0"], "rank: expected at least 1, but got 0"),
    ):
        assert main([f"path={tiny_model_folder}", *options]) == 2
        assert f"error: {line}" in capsys.readouterr().err


def test_options_of_the_score_and_of_the_model_are_the_librarys(run: Run, tiny_model_folder: Path) -> None:
    """Kernel, estimate, budget and pooling."""
    found = run("texts=texts.txt", "score.kernel=rbf", "score.debiased=true", "score.n=1", "pooling=mean", "seed=3")
    score = score_named("cka", n=1, kernel="rbf", debiased=True)
    expected = _expected(tiny_model_folder, score=score, pooling="mean")
    assert found.layers == expected.layers
    assert found.scores == pytest.approx(expected.scores, abs=1e-5)
    assert found.stability is not None


def test_the_probe_is_drawn_by_the_seed_or_the_first_texts(run: Run, tiny_model_folder: Path) -> None:
    """The command probes with as many texts as the score asks for."""
    options = ["texts=texts.txt", "score.probe_size=5", "score.bootstrap=0", "pooling=mean", "n=1"]
    first, drawn, again, other = (
        run(*options, *more) for more in (["score.draw=first"], ["seed=1"], ["seed=1"], ["seed=2"])
    )
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_model_folder), AutoModel.from_pretrained(tiny_model_folder)
    score = score_named("cka", n=1, bootstrap=0)
    expected = select_layers(model, TEXTS[:5], score=score, tokenizer=tokenizer, pooling="mean")
    assert first.scores == pytest.approx(expected.scores, abs=1e-5)
    assert drawn == again
    assert len({tuple(selection.scores) for selection in (first, drawn, other)}) == 3


@pytest.mark.parametrize("score", [name for name in LABEL_FREE if name not in {*LOOKING, "manual", "none"}])
def test_controls_and_scores_of_the_weights_need_no_texts(score: str, run: Run, tiny_model_folder: Path) -> None:
    """Nor does it look at those that it is given."""
    found = run(f"score={score}")
    assert found == run(f"score={score}", "texts=nowhere.txt")
    assert found.layers == _expected(tiny_model_folder, score=score).layers


def test_the_file_is_for_peft(run: Run, folder: Path, tiny_model_folder: Path) -> None:
    """The projections that are named, in the chosen layers, under any name of the file."""
    assert (
        main(
            [f"path={tiny_model_folder}", "score=manual", "score.layers=[0,2]", "projections=[up,key]", "out=a/b.json"]
        )
        == 0
    )
    content = json.loads((folder / "a" / "b.json").read_text())
    adapted = get_peft_model(AutoModel.from_pretrained(tiny_model_folder), LoraConfig(r=1, **content["peft"]))
    found = {name.split("model.")[2] for name, _ in adapted.named_modules() if name.endswith("lora_A")}
    ends = ("attention.self.key", "intermediate.dense")
    assert found == {f"encoder.layer.{layer}.{end}.lora_A" for layer in (0, 2) for end in ends}


BAD = {
    "no model": (["path=nowhere/at/all", "texts=texts.txt"], "path: expected a folder, a hub name or package:NAME"),
    "no package": (["path=package:no_such_model", "texts=texts.txt"], "path: package 'no_such_model' is not installed"),
    "nothing": (["path=???"], "path: missing; give path=…"),
    "no texts": ([], "texts: missing; give texts=FILE"),
    "no such file": (["texts=none.txt"], r"texts: expected a file with texts, but there is none at 'none\.txt'"),
    "a folder": (["texts=folder.txt"], r"texts: expected a file with texts, but there is none at 'folder\.txt'"),
    "empty": (["texts=empty.txt"], r"empty\.txt: expected rows, but found none"),
    "three": (["texts=three.txt"], r"texts: expected at least 4 texts in 'three\.txt', but got 3"),
    "another form": (["texts=a.pdf"], r"texts: expected one of \.jsonl, .* but got 'a\.pdf'"),
    "no JSON": (["texts=broken.jsonl"], r"broken\.jsonl, line 1: expected a JSON object"),
    "no object": (["texts=number.jsonl"], r"texts: expected at least 4 texts in 'number\.jsonl', but got 1"),
    "no key": (["texts=texts.jsonl", "column=title"], "column: expected one of text, id, but got 'title'"),
    "no column": (
        ["texts=texts.csv"],
        "data: expected columns with texts, .* but found id, abstract; name them by column=NAME$",
    ),
    "unknown score": (["score=ckaa"], "score: expected one of .*all, cka, .* but got 'ckaa'"),
    "a task's score": (["score=grad_norm"], "score: expected one that needs no labels, but got 'grad_norm'"),
    "a score of a training": (["score=drift"], "score: expected one that needs no labels, but got 'drift', which asks"),
    "unknown option": (["txts=texts.txt"], "txts: unknown option; expected one of path, texts, column"),
    "unknown option of the score": (
        ["score.kernl=rbf"],
        r"score\.kernl: unknown option; expected one of n, cumulative, max_cost",
    ),
    "bad option of the score": (["score.kernel=cubic"], r"score\.kernel: expected one of linear, rbf, but got 'cubic'"),
    "parameters of no adapter": (
        ["score.max_parameters=9"],
        r"score\.max_parameters: expected an adapter .* such as adapter=lora, but got none; use n$",
    ),
    "bad type": (["n=many"], "n: expected .*float.*, but got 'many'"),
    "half layers": (["n=2.5"], "n: expected a count of layers .*but got 2.5"),
    "no layer": (["n=0"], "score=cka n=0: expected at least one layer"),
    "no layers": (["score=none"], "score=none: expected at least one layer"),
    "too many layers": (["texts=texts.txt", "n=9"], "n: expected at most 4, the layers of this model, but got 9"),
    "budget of all": (["score=all", "n=2"], "n=2 contradicts score=all, which fixes the number of layers; use n=null"),
    "pooling": (["pooling=max"], "pooling: expected one of cls, mean, last, but got 'max'"),
    "projection": (["projections=[q_proj]"], "projections: expected one of query, key, .* but got 'q_proj'"),
    "projection of others": (
        ["score=last", "projections=[gate]"],
        "projection: expected one of query, .*but got 'gate'",
    ),
    "length": (["texts=texts.txt", "max_length=2"], "max_length: expected more than the 2 special tokens"),
    "no length": (["max_length=0"], "max_length: expected at least 1, but got 0"),
    "no option": (["texts.txt"], r"texts\.txt: expected NAME=VALUE; see --help"),
    "broken value": (["n=[1"], r"n: expected a value such as 3 or \[query,value\], but got '\[1'"),
    "folder for a file": (
        ["score=last", "out=folder.txt"],
        r"out: expected a file, but got the folder folder\.txt; give the name of a file in it",
    ),
    "what is read": (
        ["texts=texts.txt", "score=spectrum", "out=./texts.txt"],
        r"out: expected a new file, but got \./texts\.txt, which is read; give another name",
    ),
    "file for a folder": (["texts=texts.txt", "figures=three.txt"], r"figures: expected a folder, but got the file"),
    "no such labels": (
        ["texts=texts.csv", "column=abstract", "labels=lable", "figures=f"],
        "labels: expected one of id, abstract, but got 'lable'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_one_line(
    name: str, folder: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the option as it is given here, and the exit status is 2; no file is written."""
    (folder / "folder.txt").mkdir()
    (folder / "empty.txt").write_text("\n \n")
    (folder / "three.txt").write_text("a\nb\nc\n")
    (folder / "broken.jsonl").write_text('"a"\n{"text": \n')
    (folder / "number.jsonl").write_text('{"text": 3}\n')
    arguments, expected = BAD[name]
    model = [] if any(argument.startswith("path=") for argument in arguments) else [f"path={tiny_model_folder}"]
    assert main([*model, *arguments]) == 2
    error = capsys.readouterr().err
    assert re.match(f"error: {expected}", error), error
    assert error.count("\n") == 1
    assert not (folder / "selection.json").exists()
    assert (folder / "texts.txt").read_text(encoding="utf-8-sig").splitlines() == TEXTS


def test_it_tells_what_was_read_and_looked_at(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows without a text are counted, and of many texts the number that is drawn."""
    rows = "".join(f"{i},{text}\n" for i, text in enumerate(TEXTS * 4))
    (folder / "gaps.csv").write_text("id,text\n" + rows + "98,\n99,\n")
    run("texts=gaps.csv", "score.probe_size=16", "score.bootstrap=2", "pooling=mean")
    printed = capsys.readouterr().out
    assert "32 examples" in printed
    assert "2 rows without a text" in printed
    assert "a random 16 of them are looked at" in printed


def test_all_that_is_wrong_with_the_options_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A line each."""
    assert main(["path=package:no_such_model", "pooling=max", "projections=[q]"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


@pytest.mark.parametrize("arguments", [["--help"], ["path=x", "score=ckaa"], ["path=x"]])
def test_help_and_mistakes_are_answered_without_pytorch(arguments: list[str], folder: Path) -> None:
    """No library is loaded that only the work needs."""
    code = (
        "import atexit, sys\n"
        "heavy = {'torch', 'numpy', 'transformers', 'peft'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules))))\n"
        f"from layersel.selection.__main__ import main\nmain({arguments})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CONF.parent, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("[]\n"), done


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """With what it means."""
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for name in ("path", "texts", "column", "score", "n", "pooling", "max_length", "projections", "seed", "out"):
        assert re.search(rf"^  {name} +\w", printed, flags=re.MULTILINE)


def test_a_number_may_be_a_name(tiny_model_folder: Path) -> None:
    """What YAML would take for another type stays the text that was given."""
    options, *_ = read_options([f"path={tiny_model_folder}", "texts=0123", "column=1", "out=no", "score=last"])
    assert (options.texts, options.column, options.out) == ("0123", "1", "no")
