"""The text of a review's protocol as a view of the ranking: its cosines, its file, and what it leaves alone."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir
from in_process import cells, here
from rankings import scores_of
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity
from small_reviews import write_reviews
from transformers import PreTrainedTokenizerFast

from layersel.cell.members import name_a_dataset, training_configs
from layersel.config import CONF
from layersel.data.reviews.demo import Demo
from layersel.data.tokens import TokenizedTexts
from layersel.tasks.screening.heads.best_layer import BestLayer
from layersel.tasks.screening.heads.examples import Examples, FittedHead, ProtocolText
from layersel.tasks.screening.heads.named import head_named
from layersel.tasks.screening.heads.protocol import Protocol
from layersel.tasks.screening.losses.pairwise import Pairwise
from layersel.tasks.screening.options import Screening

QUESTION = "Which trajectories do symptoms of post-traumatic stress follow after trauma?"


@pytest.fixture
def examples() -> Examples:
    """20 records of the demo review with random vectors of two layers, and a protocol."""
    generator = torch.Generator().manual_seed(0)
    texts = [f"{record.title} {record.abstract}" for record in Demo().load().records[:20]]
    protocol = ProtocolText(QUESTION, torch.randn(6, generator=generator))
    return Examples(torch.randn(20, 6, generator=generator), torch.arange(20) % 2, texts, 2, protocol)


def protocol_of(examples: Examples) -> ProtocolText:
    """The protocol, which is there."""
    assert examples.protocol is not None
    return examples.protocol


def test_scores_are_cosines_to_the_protocol(examples: Examples) -> None:
    """The cosines are scikit-learn's; the document frequencies are those of the records alone."""
    known, texts = examples.at(range(12)), list(examples.texts)
    by_vectors = FittedHead.fit(Protocol(), known).scores(examples.vectors_ND, texts)
    expected = cosine_similarity(examples.vectors_ND, protocol_of(examples).vector_D[None])[:, 0]
    assert by_vectors.numpy() == pytest.approx(expected, abs=1e-6)
    vectoriser = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_df=0.95).fit(texts)
    by_words = FittedHead.fit(Protocol(view="tfidf"), known).scores(examples.vectors_ND, texts)
    expected = cosine_similarity(vectoriser.transform(texts), vectoriser.transform([QUESTION]))[:, 0]
    assert by_words.numpy() == pytest.approx(expected, abs=1e-12)
    assert by_words.unique().numel() > 5


@pytest.mark.parametrize("name", ["protocol", "protocol_tfidf", "with_protocol"])
def test_the_protocol_is_kept_with_the_examples(name: str, examples: Examples, tmp_path: Path) -> None:
    """The head that a file gives back scores as it did."""
    head = FittedHead.fit(head_named(name), examples.at(range(12)))
    head.save(tmp_path / "head.safetensors")
    again = FittedHead.load(tmp_path / "head.safetensors", head_named(name))
    records = examples.vectors_ND, list(examples.texts)
    assert torch.equal(again.scores(*records), head.scores(*records))
    assert protocol_of(again.examples).text == QUESTION


def test_each_layer_has_its_part_of_the_protocol(examples: Examples) -> None:
    """The vector of the protocol is cut into layers as that of every record is."""
    second = examples.part(1)
    assert torch.equal(protocol_of(second).vector_D, protocol_of(examples).vector_D[3:])
    assert second.vectors_ND.shape == (20, 3)


def test_another_head_is_the_same_beside_a_protocol(examples: Examples) -> None:
    """The text is no record: it is nobody's neighbour, and no word of it is counted."""
    records = examples.vectors_ND, list(examples.texts)
    for name in ("adaptive", "nearest", "elas_u4"):
        head, known = head_named(name), examples.at(range(12))
        alone = FittedHead.fit(head, replace(known, protocol=None)).scores(*records)
        assert torch.equal(FittedHead.fit(head, known).scores(*records), alone)


def test_a_probe_does_not_see_the_protocol(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """The texts that layers are scored by are the same with and without one."""
    (tmp_path / "question.txt").write_text(QUESTION, encoding="utf-8")
    drawn = []
    for protocol in (None, str(tmp_path / "question.txt")):
        problem = Screening(loss=Pairwise()).problem(Demo(protocol=protocol).load(), seed=0)
        texts = TokenizedTexts.of(problem.texts(tokenizer), tokenizer, 32)
        drawn.append(problem.data(texts, tokenizer, seed=0).probe_tokens(64, first=False))
    assert drawn[0] == drawn[1]


def test_best_layer_needs_what_its_view_needs() -> None:
    """The head asks for a protocol if its view does, so that a review without one is refused before it is encoded."""
    assert BestLayer(view="protocol").needs_protocol
    assert not BestLayer(view="nearest").needs_protocol


def test_each_member_of_a_merge_has_its_own_protocol() -> None:
    """The option that names the datasets is resolved for each of them."""
    typed = ["model=minilm", "data=cohen", "data.protocol=${data.review}.txt", "merging=ties", "trainer=cpu"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=[*typed, "merging.datasets=[NSAIDS,ADHD]", "logger=csv"])
    named = name_a_dataset(config)
    cell = SimpleNamespace(data=SimpleNamespace(named_by="review"), precision=SimpleNamespace(quantises=False))
    method = SimpleNamespace(datasets=["NSAIDS", "ADHD"])
    made = training_configs(cell, method, named)  # type: ignore[arg-type]
    assert [own["data"]["protocol"] for own in made] == ["NSAIDS.txt", "ADHD.txt"]


def test_a_run_ranks_by_its_protocol(small_cell: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A protocol is measured beside the task's head, decides what the cell is, and ranks other records by the run."""
    reviews, question = write_reviews(tmp_path, 2), tmp_path / "question.md"
    question.write_text(f"# Question\n{QUESTION}", encoding="utf-8")
    options = [*small_cell, f"data.path={reviews[0]}", "selection=none", "figures=all", f"output={tmp_path / 'runs'}"]
    asked = [f"data.protocol={question}", "task/head=protocol_tfidf"]
    assert here("train.py", *options, "task/head=nearest") == 0
    assert here("train.py", *options, "task/head=nearest", asked[0], "task.other_heads=[with_protocol]") == 0
    assert "no head looks at" not in capsys.readouterr().out
    assert here("train.py", *options, "task/head=nearest", asked[0]) == 0
    assert "no head looks at data.protocol; task/head=with_protocol does" in capsys.readouterr().out
    found = [json.loads((run / "metrics.json").read_text(encoding="utf-8")) for run in cells(tmp_path / "runs")]
    assert len(found) == 3
    assert len({one["awss@95"] for one in found}) == 1
    assert sum("with_protocol_head/awss@95" in one for one in found) == 1
    assert here("train.py", *options, *asked) == 0
    (run,) = (run for run in cells(tmp_path / "runs") if "view: tfidf" in (run / "config.yaml").read_text())
    ranking = tmp_path / "other.csv"
    evaluate = ["evaluate.py", f"run={run}", f"records={reviews[1]}", f"out={ranking}", "trainer=cpu"]
    assert here(*evaluate) == 0
    with Path(reviews[1]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert scores_of(ranking).keys() == {row["title"] for row in rows}
    assert len(set(scores_of(ranking).values())) > 1
    capsys.readouterr()
    assert here(*evaluate, "data=table", f"data.path={reviews[1]}", asked[0]) == 2
    refusal = "data.protocol: expected none beside the run's head, which keeps its own; leave it out, or give head=fit"
    assert refusal in capsys.readouterr().err
    other = ["evaluate.py", f"run={run}", "data=table", f"data.path={reviews[1]}", asked[0], "trainer=cpu"]
    assert here(*other) == 2
    assert refusal in capsys.readouterr().err
    assert here(*other, "head=fit") == 0
    model = [option for option in small_cell if option.startswith("model")]
    fitted = ["evaluate.py", *model, "data=table", "trainer=cpu"]
    fitted += [f"data.path={reviews[1]}", *asked, f"records={reviews[1]}", f"out={tmp_path / 'same.csv'}"]
    assert here(*fitted) == 0
    assert len(set(scores_of(tmp_path / "same.csv").values())) > 1
    replayed = ["simulation=replay", "simulation.heads=[protocol]", "task/head=nearest", f"out={tmp_path / 'replay'}"]
    assert here("evaluate.py", *model, "data=table", f"data.path={reviews[1]}", asked[0], *replayed, "trainer=cpu") == 0
    metrics = json.loads((tmp_path / "replay" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["heads"].keys() == {"nearest", "protocol"}


def test_a_simulation_names_heads_by_their_files(
    small_cell: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of one class stand side by side; the task's own beside that of its file, if options differ."""
    (review,), question = write_reviews(tmp_path, 1), tmp_path / "question.txt"
    question.write_text(QUESTION, encoding="utf-8")
    model = [option for option in small_cell if option.startswith("model")]
    data = ["data=table", f"data.path={review}", f"data.protocol={question}", "trainer=cpu", "simulation=replay"]
    for name, own, named in (
        ("two", ["task/head=protocol_tfidf"], {"protocol_tfidf", "protocol"}),
        ("own", ["task/head=nearest", "task.head.k=1"], {"task_head", "nearest"}),
        ("one", ["task/head=nearest"], {"nearest"}),
    ):
        heads = f"simulation.heads=[{min(named) if name != 'own' else 'nearest'}]"
        out = tmp_path / name
        assert here("evaluate.py", *model, *data, *own, heads, f"out={out}") == 0
        assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))["heads"].keys() == named
    capsys.readouterr()
