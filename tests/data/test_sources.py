"""Sources as configuration: the YAML, the schema and the objects agree; the demo review is what it says."""

import json
import os
import runpy
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import MISSING, OmegaConf

from layersel.data.reviews.cohen import Cohen
from layersel.data.reviews.demo import Demo
from layersel.data.reviews.source import ReviewSource
from layersel.data.reviews.swift import Swift
from layersel.data.reviews.synergy import Synergy
from layersel.data.reviews.table import Table
from layersel.data.source import Source
from layersel.data.texts.embedded import Embedded
from layersel.data.texts.glue import Glue
from layersel.data.texts.hub import Hub
from layersel.data.texts.instructions import Instructions
from layersel.data.texts.source import TextSource
from layersel.data.texts.text import Text
from layersel.data.texts.titles import INSTRUCTION, Titles
from layersel.errors import UserError

ROOT = Path(__file__).parents[2]
REVIEWS: dict[str, type[ReviewSource]] = {
    "demo": Demo,
    "table": Table,
    "cohen": Cohen,
    "swift": Swift,
    "synergy": Synergy,
}
TEXTS: dict[str, type[TextSource]] = {
    "embedded": Embedded,
    "titles": Titles,
    "text": Text,
    "instructions": Instructions,
    "glue": Glue,
    "hub": Hub,
}
SOURCES: dict[str, type[Source]] = {**REVIEWS, **TEXTS}
GIVEN: dict[str, dict[str, str]] = {
    "demo": {"duplicates": "drop"},
    "table": {"path": "records.csv", "duplicates": "drop"},
    "cohen": {"review": "ADHD", "duplicates": "drop"},
    "swift": {"review": "Fluoride", "duplicates": "drop"},
    "synergy": {"review": "Donners_2021", "duplicates": "drop"},
    "embedded": {"question": "place"},
    "titles": {"path": "records.csv"},
    "text": {"path": "texts.csv", "labels": "numbers"},
    "instructions": {"path": "chats.jsonl", "messages_column": "turns"},
    "glue": {"task": "sst2", "path": "glue"},
    "hub": {"path": "stanfordnlp/imdb", "test_split": "unsupervised"},
}
LIGHT = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    module, _, kind = name.rpartition(".")
    getattr(importlib.import_module(module), kind)().problems()
heavy = ("torch", "numpy", "pandas", "pyarrow", "datasets", "transformers", "huggingface_hub", "openpyxl")
print([name for name in heavy if name in sys.modules])
"""


def test_every_source_is_here() -> None:
    """A new file of conf/data has its row."""
    assert {path.stem for path in (ROOT / "conf" / "data").glob("*.yaml")} == set(SOURCES) == set(GIVEN)


def test_sources_are_light() -> None:
    """Neither the import nor the check of the options loads what only the reading needs."""
    names = [f"{kind.__module__}.{kind.__qualname__}" for kind in SOURCES.values()]
    command = [sys.executable, "-c", LIGHT, json.dumps(names)]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout == "[]\n"


@pytest.mark.parametrize("name", SOURCES)
def test_yaml_has_exactly_the_schema(name: str) -> None:
    """The option's file lists every field with its default, and begins with the line that --help shows."""
    path = ROOT / "conf" / "data" / f"{name}.yaml"
    config = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(config, dict)
    assert config.pop("_target_") == f"{SOURCES[name].__module__}.{SOURCES[name].__qualname__}"
    assert config == {field.name: field.default for field in fields(SOURCES[name])}
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("name", SOURCES)
def test_schema_instantiates(name: str) -> None:
    """OmegaConf takes the dataclass as a schema, and Hydra makes the source from the file."""
    schema = OmegaConf.structured(SOURCES[name])
    config = OmegaConf.load(ROOT / "conf" / "data" / f"{name}.yaml")
    target = config.pop("_target_")
    merged = OmegaConf.merge(schema, config, GIVEN[name])
    source = instantiate({"_target_": target, **OmegaConf.to_container(merged)})
    assert source == SOURCES[name](**GIVEN[name])


@pytest.mark.parametrize("source", REVIEWS.values())
def test_all_problems_at_once(source: type[ReviewSource]) -> None:
    """Every wrong option is named, each in one line."""
    issues = source(label_level="title", duplicates="merge").problems()
    missing = [field.name for field in fields(source) if field.default == MISSING]
    for option in ["label_level", "duplicates", *missing]:
        assert [issue.startswith(f"data.{option}: expected ") and "\n" not in issue for issue in issues].count(
            True
        ) == 1
    with pytest.raises(UserError, match=r"data\.duplicates"):
        source(duplicates="merge").load()


@pytest.mark.parametrize(("label_level", "included"), [("full_text", 43), ("abstract", 61)])
def test_demo_review(label_level: str, included: int) -> None:
    """300 records with titles, 43 included; only the publisher's own duplicate is in it."""
    review = Demo(label_level=label_level).load()
    report = review.report
    assert (report.records, report.unlabelled, report.missing_titles) == (300, 0, 0)
    assert report.included == included
    assert (report.duplicate_records, report.conflicting) == (1, ())
    assert review.name == "ptsd"


def test_fingerprint_is_of_the_content() -> None:
    """It stays what it was, whatever the review is called, and changes with a label."""
    review = Demo().load()
    assert review.fingerprint() == "5ca2ef985e50151f"
    assert replace(review, name="other").fingerprint() == review.fingerprint()
    relabelled = (replace(review.records[0], label=None), *review.records[1:])
    assert replace(review, records=relabelled).fingerprint() != review.fingerprint()
    assert review.lines() == review.report.lines()


def test_demo_has_attribution() -> None:
    """The licence asks for authors, source, licence and changes."""
    text = (ROOT / "layersel" / "data" / "reviews" / "demo_review" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for part in ("van de Schoot", "10.17605/OSF.IO/VK4BE", "licenses/by/4.0", "Changes"):
        assert part in text


@pytest.mark.skipif("LAYERSEL_DATA" not in os.environ, reason="LAYERSEL_DATA is not set")
def test_script_makes_the_demo_review(tmp_path: Path) -> None:
    """The embedded file is what the script makes of its source, byte for byte."""
    source = Path(os.environ["LAYERSEL_DATA"]) / "van_de_Schoot_2017.csv"
    if not source.is_file():
        pytest.skip("the source file is not in $LAYERSEL_DATA")
    script = runpy.run_path(str(ROOT / "scripts" / "make_demo_review.py"))
    script["make"](source, tmp_path / "ptsd.csv")
    assert (tmp_path / "ptsd.csv").read_bytes() == script["TARGET"].read_bytes()


def test_titles_tell_how_their_records_were_read(tmp_path: Path) -> None:
    """All but the labels, which they do not use; a dropped copy takes no abstract away."""
    path = tmp_path / "a.csv"
    path.write_text("title,abstract,pmid,included\nSleep,,12,1\nSleep,We slept.,12,0\nWar,,13,0\n", encoding="utf-8")
    found = Titles(path=str(path)).load()
    assert [(own.prompt, own.response) for own in found.examples] == [(f"{INSTRUCTION}We slept.", "Sleep")]
    review = Table(path=str(path), label_level="none", duplicates="drop").load()
    left_out = "1 records without a title or an abstract are left out"
    assert found.notes == ("2 records", *review.lines()[1:], left_out)
    assert "duplicates: 1 records repeat one of 1 publications, 1 dropped" in found.notes
