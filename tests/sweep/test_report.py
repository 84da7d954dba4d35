"""The report of a grid: whole, safe, and usable in a browser."""

import base64
import csv
import hashlib
import io
import itertools
import json
import math
import random
import re
import statistics
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from cell_folders import make_cell, make_grid
from chromium import CHROMIUM, Page, chromium

from layersel.sweep.report import PAGE, SCRIPTS, report_html
from layersel.sweep.summary import summarise
from layersel.tasks.task import Metric

LAYERS = 12
DATASETS = ["ADHD", "Antihistamines", "Estrogens", "NSAIDS", "Statins"]
LEVEL = {"ADHD": 0.62, "Antihistamines": 0.09, "Estrogens": 0.24, "NSAIDS": 0.55, "Statins": 0.31}

MINUS = "\N{MINUS SIGN}"
AWSS = Metric("awss@95", "AWSS@95")

Record = dict[str, Any]


def cell(draw: random.Random, **labels: Any) -> Record:
    """A finished cell with plausible numbers, as collecting gives it."""
    given = {"dataset": "NSAIDS", "model": "minilm", "selection": "cka", "n": 3, "adapter": "lora", "rank": 8}
    given |= {"precision": "fp32", "pruning": "none", "merging": "none", "seed": 0} | labels
    layers = _layers(draw, given["selection"], given["n"])
    base = LEVEL.get(given["dataset"], 0.4) + draw.gauss(0, 0.02)
    awss = base + 0.02 * len(layers) ** 0.5 - 0.03 * (given["precision"] == "int4") + draw.gauss(0, 0.03)
    configuration = " ".join(f"{name}={value}" for name, value in given.items() if name not in {"dataset", "seed"})
    options = {f"{group}._target_": f"layersel.{group}.{given[group]}" for group in ("selection", "pruning", "merging")}
    options |= {f"option{number}.value": number for number in range(40)}
    return {
        "cell": f"{given['dataset']}-{given['selection']}{given['n']}-seed{given['seed']}-{draw.getrandbits(32):08x}",
        "state": "finished",
        "error": None,
        "overrides": f"seed={given['seed']},selection={given['selection']},selection.n={given['n']}",
        "configuration": configuration,
        "name": f"selection={given['selection']} n={given['n']} rank={given['rank']}",
        **given,
        **options,
        "selection.n": given["n"],
        "layers": ",".join(map(str, layers)),
        "n_layers": LAYERS,
        "awss@95": awss,
        "base/awss@95": base,
        "tfidf/awss@95": base + draw.gauss(0.01, 0.05),
        "wss@95": awss - 0.05,
        "average_precision": awss / 2,
        "auroc": 0.5 + awss / 2,
        **{f"metric{number}@95": draw.random() for number in range(40)},
        "parameters/trainable": 2 * 384 * given["rank"] * 2 * len(layers),
        "seconds/total": 20.0 + 3 * len(layers) + draw.random(),
    }


def _layers(draw: random.Random, selection: str, n: int | None) -> list[int]:
    if selection in {"none", "all"} or n is None:
        return list(range(LAYERS)) if selection == "all" else []
    last = list(range(LAYERS - n, LAYERS))
    return {"last": last, "first": list(range(n))}.get(selection) or sorted(
        draw.sample(range(LAYERS), n) if selection == "random" else [*last[:-1], draw.choice(range(LAYERS - n))]
    )


def grid(draw: random.Random, **axes: list[Any]) -> list[Record]:
    """A cell for each combination of the labels' values."""
    combinations: list[Record] = [{}]
    for name, values in axes.items():
        combinations = [{**one, name: value} for one in combinations for value in values]
    return [cell(draw, **labels) for labels in combinations]


def broken(record: Record, state: str, error: str | None) -> Record:
    """The cell as it would be had it not finished: without any result."""
    results = {name: None for name in record if "@" in name or "/" in name or name in {"layers", "n_layers", "auroc"}}
    return {**record, **results, "average_precision": None, "state": state, "error": error}


def groups_of(cells: list[Record]) -> list[Record]:
    """Groups over seeds, and over all datasets, as collecting gives them (with simple intervals)."""
    groups = []
    for configuration in dict.fromkeys(record["configuration"] for record in cells):
        own = [record for record in cells if record["configuration"] == configuration]
        groups.append(_group(own, "all datasets"))
        datasets = sorted({str(record["dataset"]) for record in own})
        groups += [
            _group([record for record in own if str(record["dataset"]) == dataset], dataset) for dataset in datasets
        ]
    return groups


def _group(cells: list[Record], dataset: str) -> Record:
    done = [record for record in cells if record["state"] == "finished"]
    values = [record["awss@95"] for record in done if record["awss@95"] is not None]
    mean = statistics.mean(values) if values else None
    std = statistics.stdev(values) if len(values) > 1 else None
    half = None if std is None else 2 * std / len(values) ** 0.5
    return {
        "configuration": cells[0]["configuration"],
        "name": cells[0]["name"],
        "kind": "ranked",
        "dataset": dataset,
        "metric": "awss@95",
        "n": len(values),
        "expected": len(cells),
        "failed": sum(record["state"] == "failed" for record in cells),
        "missing": sum(record["state"] == "missing" for record in cells),
        "mean": mean,
        "std": std,
        "low": None if mean is None or half is None else mean - half,
        "high": None if mean is None or half is None else mean + half,
        "parameters": statistics.mean(record["parameters/trainable"] for record in done) if values else None,
        "seconds": statistics.mean(record["seconds/total"] for record in done) if values else None,
        "pareto": cells[0]["n"] == 3 if dataset == "all datasets" else None,
    }


def comparisons_of(groups: list[Record]) -> list[Record]:
    """Each configuration against the first."""
    whole = [group for group in groups if group["dataset"] == "all datasets" and group["mean"] is not None]
    return [_comparison(group, whole[0]) for group in whole[1:]]


def _comparison(group: Record, reference: Record) -> Record:
    difference = group["mean"] - reference["mean"]
    record = {
        "name": group["name"],
        "reference": reference["name"],
        "against": "configuration",
        "metric": "awss@95",
        "compared": 12,
        "uncompared": 1,
        "datasets": 5,
        "unit": "dataset",
    }
    record |= {"difference": difference, "std": 0.03, "low": difference - 0.02, "high": difference + 0.02}
    return record | {"wins": 8, "ties": 1, "losses": 3, "p": 0.00042, "p_holm": 0.031}


def write_report(path: Path, title: str, *tables: list[Record], metric: Metric = AWSS) -> None:
    """Write the report of these tables."""
    path.write_text(report_html(title, metric, *tables), encoding="utf-8")


class Parts(HTMLParser):
    """The elements of a page and their texts, as a browser would part them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.within: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element."""
        self.tags.append((tag, dict(attrs)))
        self.within = tag
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        """What follows is not in it any more."""
        self.within = None

    def handle_data(self, data: str) -> None:
        """Note the text of an element."""
        if self.within is not None:
            self.texts[self.within][-1] += data

    @property
    def data(self) -> Any:
        """The records in the page."""
        return json.loads(self.texts["script"][0], parse_constant=pytest.fail)


HOSTILE = [
    "</script><script>window.broken = 1</script>",
    "<!-- <script> ",
    "]]> --> <img src=x onerror='window.broken = 1'>",
    "\u2028line\u2029 \"quoted\" 'single' \\ & &amp; ${data} $data {{}}",
    "Ünïcode 漢字 🎉 \ud800",
]


def test_the_page_holds_all_records() -> None:
    """In their order and with all columns, also those that only some records have."""
    cells: list[Record] = [{"cell": "a", "n": 1}, {"cell": "b", "extra": [1, "x", None]}]
    tables = Parts(report_html("T", AWSS, cells, [{"name": "g"}], [])).data
    assert tables == {
        "title": "T",
        "metric": {"name": "awss@95", "title": "AWSS@95", "higher_is_better": True, "beside": None},
        "titles": {},
        "curves": {},
        "lengths": None,
        "cells": {"columns": ["cell", "n", "extra"], "rows": [["a", 1, None], ["b", None, [1, "x", None]]]},
        "groups": {"columns": ["name"], "rows": [["g"]]},
        **{name: {"columns": [], "rows": []} for name in ("comparisons", "agreement", "regrets", "chosen_layers")},
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_breaks_out_of_the_data(text: str) -> None:
    """A title, an error or a column's name arrives as it was, and adds no element to the page."""
    plain = Parts(report_html("", AWSS, [{"": ""}], [], []))
    parts = Parts(report_html(text, AWSS, [{text: text}], [], []))
    assert [tag for tag, _ in parts.tags] == [tag for tag, _ in plain.tags]
    assert parts.data["title"] == text
    assert parts.data["cells"] == {"columns": [text], "rows": [[text]]}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (math.nan, None),
        (-math.inf, None),
        (np.float64("nan"), None),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        ((1, math.nan), [1, None]),
        (10**20, 10**20),
    ],
)
def test_values_become_json(value: object, written: object) -> None:
    """Of NaN and infinities, which JSON lacks, nothing is left; numpy's scalars are plain ones."""
    assert Parts(report_html("", AWSS, [{"x": value}], [], [])).data["cells"]["rows"] == [[written]]


def test_the_page_needs_nothing_else() -> None:
    """No address but the name of SVG; a policy that forbids all but its own script and style."""
    page = report_html("grid", AWSS, grid(random.Random(0), seed=[0, 1]), [], [])
    parts = Parts(page)
    assert not [attrs for _, attrs in parts.tags if {"src", "href"} & set(attrs)]
    assert set(re.findall(r"\w+://[^\"\s]+", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\((?!\))", page)
    policy = next(attrs["content"] for _, attrs in parts.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for rule, text in (("script-src", parts.texts["script"][1]), ("style-src", parts.texts["style"][0])):
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_scripts_make_no_html_out_of_text() -> None:
    """What is put into the page is text."""
    for name in SCRIPTS:
        source = (PAGE / name).read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|Function\(", source
        )


def test_every_file_of_the_page_is_in_it() -> None:
    """Nothing lies in the folder that the report does not use."""
    assert {file.name for file in PAGE.iterdir()} == {*SCRIPTS, "template.html", "report.css"}


def test_the_same_cells_give_the_same_page() -> None:
    """To the last byte."""
    cells = grid(random.Random(0), seed=[0, 1])
    first, second = (report_html("grid", AWSS, cells, groups_of(cells), []) for _ in range(2))
    assert first == second


def large() -> list[Record]:
    """500 cells of 110 columns."""
    draw = random.Random(7)
    many = grid(
        draw,
        selection=["cka", "last", "random", "first"],
        n=[1, 2, 3, 6],
        rank=[4, 8],
        dataset=DATASETS,
        seed=[0, 1, 2],
    )
    return many + grid(draw, selection=["none", "all"], n=[None], dataset=DATASETS, seed=[0, 1])


def test_a_large_grid_is_a_small_file(tmp_path: Path) -> None:
    """500 cells stay below 6 MB."""
    cells = large()
    groups = groups_of(cells)
    write_report(tmp_path / "report.html", "large", cells, groups, comparisons_of(groups))
    assert len(cells) == 500
    assert (tmp_path / "report.html").stat().st_size < 6e6


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One Chromium for all tests, which open their own pages in it."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with chromium(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def opened(browser: Page, tmp_path: Path) -> Callable[..., Page]:
    """Opens the report of some cells, and checks that it loads without a request or a complaint."""

    def open_report(cells: list[Record], title: str = "grid") -> Page:
        groups = groups_of([record for record in cells if record.get("configuration")])
        write_report(tmp_path / "report.html", title, cells, groups, comparisons_of(groups))
        browser.look(1400)
        browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
        browser.open(tmp_path / "report.html")
        assert browser.complaints() == []
        assert browser.requests() == [(tmp_path / "report.html").as_uri()]
        return browser

    return open_report


def choose(page: Page, selector: str, value: str) -> None:
    """Choose an option of a list by its value."""
    element = f"document.querySelector({json.dumps(selector)})"
    page.value(
        f"{element}.value = {json.dumps(value)}; {element}.dispatchEvent(new Event('change', {{bubbles: true}}))"
    )


def column(page: Page, key: str, table: str = "cells") -> list[str]:
    """A column of a table as it is shown."""
    keys = page.value(f"[...document.querySelectorAll('#{table} th')].map((head) => head.dataset.key)")
    return page.texts(f"#{table} td:nth-child({keys.index(key) + 1})")


def tips(page: Page, figure: str, mark: str = "*") -> list[str]:
    """The tips of a figure's marks, each once."""
    found = page.value(f"[...document.querySelectorAll('#{figure} {mark}[data-tip]')].map((mark) => mark.dataset.tip)")
    return list(dict.fromkeys(found))


def downloaded(folder: Path, pattern: str) -> bytes:
    """The file that the page has given, once it is whole: a browser takes its name before it has the content."""
    for _ in range(1000):
        found = list(folder.glob(pattern))
        if found and found[0].stat().st_size > 0:
            return found[0].read_bytes()
        time.sleep(0.01)
    raise AssertionError(f"no {pattern} among {list(folder.iterdir())}")


def finished(cells: list[Record], **labels: Any) -> list[Record]:
    """The finished cells that have these labels."""
    return [one for one in cells if one["state"] == "finished" and labels.items() <= one.items()]


def test_hostile_texts_are_shown_as_text(opened: Callable[..., Page]) -> None:
    """In the title, the table, the figures, the selects and the list of failed cells; nothing of them runs."""
    text = HOSTILE[0] + HOSTILE[2]
    cells = grid(random.Random(0), selection=[text, "last"], dataset=[text], seed=[0, 1])
    cells.append(broken({**cells[0], "cell": text, "overrides": text}, "failed", text))
    page = opened([{**one, "name": text + one["selection"]} for one in cells], title=text)
    assert page.value("window.broken") is None
    assert page.value("document.title") == " ".join(text.split())
    assert page.texts("h1") == [text]
    assert text in column(page, "cell")
    assert page.texts("#problems code") == [text]
    assert text in page.texts("#dataset option")
    assert page.value("document.querySelectorAll('img, body script').length") == 2


def test_states_and_errors_come_first(opened: Callable[..., Page]) -> None:
    """Each state is counted; cells with the same error stand together, with their names."""
    cells = grid(random.Random(0), seed=list(range(8)))
    cells[1:3] = [broken(one, "failed", "out of memory") for one in cells[1:3]]
    cells[3] = broken(cells[3], "failed", "NaN")
    cells[4] = broken({**cells[4], "cell": None}, "missing", None)
    cells[5] = broken(cells[5], "interrupted", None)
    cells[6] = broken(cells[6], "running", None)
    page = opened(cells)
    states = [" ".join(text.split()[1:]) for text in page.texts("#states .state")]
    assert states == ["2 finished", "1 running", "1 interrupted", "3 failed", "1 missing"]
    assert page.texts("#problems code") == ["out of memory", "NaN", "stopped before its end", "never started"]
    names = page.texts("#problems li")
    assert [name.split(":")[0] for name in names[:3]] == [one["cell"] for one in cells[1:4]]
    assert names[-1] == cells[4]["overrides"]


def test_columns_sort_by_number_with_the_missing_last(opened: Callable[..., Page]) -> None:
    """Up at the first click, down at the second; a keyboard does the same; screen readers know the state."""
    cells = grid(random.Random(0), rank=[16, 2, 8, 128], seed=[0, 1])
    for one, value in zip(cells, [3, -2, None, 20, 5e-7, -10, 100, 0.25], strict=True):
        one |= {"auroc": value, "base/auroc": 0.5}
    cells[2] = broken(cells[2], "failed", "no")
    page = opened(cells)
    page.click("#cells th[data-key='rank'] button")
    assert column(page, "rank") == ["2", "2", "8", "8", "16", "16", "128", "128"]
    page.click("#cells th[data-key='auroc'] button")
    assert column(page, "auroc") == ["-10", "-2", "5.0e-7", "0.250", "3", "20", "100", ""]
    awss = sorted(one["awss@95"] for one in finished(cells))
    page.click("#cells th[data-key='awss@95'] button")
    assert column(page, "awss@95") == [*(f"{value:.3f}" for value in awss), ""]
    page.press("Enter", "\r")
    assert column(page, "awss@95") == [*(f"{value:.3f}" for value in reversed(awss)), ""]
    assert page.texts("#cells th[aria-sort=descending]") == ["awss@95"]
    assert page.texts("#cells th[aria-sort=ascending]") == []


def test_the_filter_narrows_table_and_figures(opened: Callable[..., Page]) -> None:
    """Words anywhere, column=value exactly, the selects; and all again by reset."""
    cells = grid(random.Random(0), selection=["cka", "last"], rank=[4, 40], dataset=["NSAIDS", "ADHD"], seed=[0, 1])
    page = opened(cells)
    assert page.texts("#shown") == ["16 of 16 cells"]
    page.type("#words", "CKA rank=4")
    assert page.texts("#shown") == ["4 of 16 cells"]
    assert set(column(page, "selection")) == {"cka"}
    assert set(column(page, "rank")) == {"4"}
    assert len(tips(page, "budget", "circle")) == 1
    page.value("document.getElementById('dataset').value = 'ADHD'")
    page.value("document.getElementById('dataset').dispatchEvent(new Event('input', {bubbles: true}))")
    assert column(page, "dataset") == ["ADHD", "ADHD"]
    assert {tip.splitlines()[0] for tip in tips(page, "datasets", "rect")} == {"ADHD"}
    page.type("#words", " nothing-has-this")
    assert page.texts("#shown") == ["0 of 16 cells"]
    assert page.value("document.querySelectorAll('#of-cells svg').length") == 0
    page.click("#filter button[type=reset]")
    page.wait("document.getElementById('shown').textContent === '16 of 16 cells'")


def test_the_filtered_table_is_downloaded(opened: Callable[..., Page], tmp_path: Path) -> None:
    """With all columns, in the order that is shown, commas, quotes, line breaks and unicode included."""
    cells = grid(random.Random(0), selection=["cka", "last"], seed=[0, 1])
    cells[1]["error"] = 'one, "two"\nthree ü'
    page = opened(cells)
    page.type("#words", "selection=cka")
    page.click("#cells th[data-key='seed'] button")
    page.click("#cells th[data-key='seed'] button")
    page.click("#cells .buttons button:last-child")
    rows = list(csv.DictReader(io.StringIO(downloaded(tmp_path, "cells.csv").decode(), newline="")))
    assert [row["cell"] for row in rows] == [cells[1]["cell"], cells[0]["cell"]]
    assert set(rows[0]) == set(cells[0])
    assert rows[0]["error"] == cells[1]["error"]
    assert [float(row["awss@95"]) for row in rows] == [cells[1]["awss@95"], cells[0]["awss@95"]]


def test_figures_are_saved_as_they_are(opened: Callable[..., Page], tmp_path: Path) -> None:
    """As SVG with its own light colours, and as PNG of three times the size, from a dark page too."""
    cells = grid(random.Random(0), selection=["cka", "none"], dataset=["A & <B>"], n=[1, 3], seed=[0, 1])
    page = opened(cells, title="my grid")
    shown = page.value("[...document.querySelectorAll('#budget svg *')].length")
    page.look(1400, dark=True)
    page.click("#budget .buttons button")
    image = ET.fromstring(downloaded(tmp_path, "my-grid-budget.svg"))  # noqa: S314 - the page's own
    assert image.tag == "{http://www.w3.org/2000/svg}svg"
    elements = list(image.iter())
    titles = [element.text for element in elements if element.tag.endswith("}title")]
    assert len(elements) - len(titles) == shown + 1
    assert any("cka" in title and "N = 3" in title for title in titles if title)
    values = [value for element in elements for value in element.attrib.values()]
    assert not [value for value in values if "var(" in value]
    assert elements[1].get("fill") == "rgb(255, 255, 255)"
    page.click("#budget .buttons button:last-child")
    picture = downloaded(tmp_path, "my-grid-budget.png")
    assert picture.startswith(b"\x89PNG")
    width, height = int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])
    assert (width, height) == (3 * int(image.attrib["width"]), 3 * int(image.attrib["height"]))
    assert len(picture) > 20_000


def test_the_front_is_what_nothing_beats(opened: Callable[..., Page]) -> None:
    """The numbered configurations are those of a brute-force search; zero parameters have their place."""
    cells = grid(random.Random(3), selection=["cka", "last", "none"], n=[1, 2, 3, 6], rank=[4, 8], seed=[0, 1])
    for one in cells:
        one["name"] = one["configuration"]
    page = opened(cells)
    points = [
        (group["parameters"], -group["mean"], group["name"])
        for group in groups_of(cells)
        if group["dataset"] == "all datasets"
    ]
    front = {name for x, y, name in points if not any(a <= x and b <= y and (a, b) != (x, y) for a, b, _ in points)}
    named = [tip for tip in tips(page, "pareto-parameters", "text") if "AWSS@95" in tip]
    assert {tip.splitlines()[0] for tip in named} == front
    assert len(tips(page, "pareto-parameters", "circle")) == len(points)
    at_zero = page.value(
        "new Set([...document.querySelectorAll('#pareto-parameters circle[data-tip]')]"
        ".filter((mark) => mark.dataset.tip.endsWith(' 0')).map((mark) => mark.getAttribute('cx'))).size"
    )
    assert at_zero == 1
    assert "0" in page.texts("#pareto-parameters svg text")


def test_the_budget_figure_averages_over_datasets_and_seeds(opened: Callable[..., Page]) -> None:
    """Over the datasets and seeds that every point has, with the deviation of the mean; no adapter is at zero."""
    cells = grid(
        random.Random(1), selection=["cka", "none"], n=[1, 3], dataset=["NSAIDS", "ADHD", "Statins"], seed=[0, 1, 2]
    )
    cells = [one for one in cells if one["selection"] == "cka" or one["n"] == 1]
    missing = next(one for one in cells if (one["n"], one["dataset"], one["seed"]) == (3, "ADHD", 2))
    cells[cells.index(missing)] = broken(missing, "failed", "no")
    cells = [broken(one, "failed", "no") if one["n"] == 1 and one["dataset"] == "Statins" else one for one in cells]
    page = opened([one | {"svm_head/awss@95": one.get("awss@95")} for one in cells])
    for selection, n, layers in (("cka", 1, 1), ("cka", 3, 3), ("none", 1, 0)):
        common = [
            [one for one in finished(cells, selection=selection, n=n, dataset=dataset) if one["seed"] in seeds]
            for dataset, seeds in (("NSAIDS", (0, 1, 2)), ("ADHD", (0, 1)))
        ]
        mean = statistics.mean(statistics.mean(one["awss@95"] for one in some) for some in common)
        std = math.sqrt(sum(statistics.variance(one["awss@95"] for one in some) for some in common)) / 2
        count = sum(map(len, common))
        expected = f"{selection}\nN = {layers}: AWSS@95 {mean:.3f} ± {std:.3f}\n{count} cells"
        assert expected in tips(page, "budget")
    assert "2 datasets, those that every point has" in page.texts("#budget figcaption")[0]
    legend = page.texts("#budget svg text")
    assert "tfidf" in legend
    assert not any("svm_head" in words for words in legend), "a further head of the adapted model is no baseline"


def test_several_sets_of_layers_are_one_mark_that_says_so(browser: Page, tmp_path: Path) -> None:
    """Their mean; and every figure has the deviation that the table has of the same mean."""
    for dataset, seed in itertools.product(("A", "B"), (0, 1)):
        for layer, value in ((0, 0.3), (1, 0.5)):
            options = {"selection.layers": str(layer)}
            own = value + 0.1 * seed * (dataset == "B")
            make_cell(
                tmp_path, own, selection="manual", n=None, layers=[layer], options=options, dataset=dataset, seed=seed
            )
        make_cell(tmp_path, 0.4 + 0.2 * seed * (dataset == "A"), n=2, dataset=dataset, seed=seed)
    summarise(tmp_path, [tmp_path])
    browser.look(1400)
    browser.open(tmp_path / "report.html")
    assert browser.complaints() == []
    assert {tip.partition("\n")[2] for tip in tips(browser, "budget")} >= {
        "N = 1: AWSS@95 0.425 ± 0.087\n8 cells of 2 sets of layers",
        "N = 2: AWSS@95 0.450 ± 0.071\n4 cells",
    }
    assert "A mark of several sets of layers is their mean" in browser.texts("#budget figcaption")[0]
    table = pd.read_csv(tmp_path / "groups.csv").set_index(["name", "dataset"])["std"]
    assert table["selection=cka n=2", "all datasets"] == pytest.approx(0.0707, abs=1e-4)


def test_choices_of_layers_by_dataset_and_budget(browser: Page, tmp_path: Path) -> None:
    """The means over all datasets come first, then those that the reader asks for; what is not known has no panel."""
    draw = random.Random(2)
    chosen: dict[tuple[str, int, int], int] = {}
    for dataset, seed, n in itertools.product(("A", "B"), range(4), (1, 2)):
        layers = sorted(draw.sample(range(6), n))
        make_cell(tmp_path, dataset=dataset, seed=seed, n=n, layers=layers, selection="random")
        for layer in range(6):
            chosen[dataset, n, layer] = chosen.get((dataset, n, layer), 0) + (layer in layers)
    ranks = {"scores": [0.6, 0.1, 0.2, 0.3, None, 0.5]}
    stability = {"samples": 9, "chosen_share": [1, 0, 0.25, 0, 0, 0.75], "rank_correlation": 0.875}
    make_cell(tmp_path, dataset="A", n=2, layers=[0, 5], stability=stability, **ranks)
    assert summarise(tmp_path, [tmp_path])
    browser.look(1400)
    browser.open(tmp_path / "report.html")
    assert browser.complaints() == []

    def shown() -> set[tuple[str, str]]:
        found = [tip.splitlines()[:2] for tip in tips(browser, "layers", "g") if "random" in tip]
        return {(name, about) for name, about in found}

    def share(n: int, layer: int, *datasets: str) -> str:
        count = sum(chosen[dataset, n, layer] for dataset in datasets)
        percent = f"{100 * count / 4 / len(datasets):.1f}".removesuffix(".0")
        return f"layer {layer}: chosen by {percent} % of {4 * len(datasets)} cells, 4 seeds"

    places = list(itertools.product((1, 2), range(6)))
    assert {(name, re.sub(r"(\.\d)00 %", r"\1 %", about)) for name, about in shown()} == {
        (f"random, n={n}", share(n, layer, "A", "B")) for n, layer in places
    }
    choose(browser, "#layers select", "")
    each = {(f"random, n={n}, {dataset}", share(n, layer, dataset)) for n, layer in places for dataset in ("A", "B")}
    assert shown() == each
    titles = [text for text in browser.texts("#layers svg text") if text.startswith(("chosen,", "mean", "stab"))]
    assert titles == ["chosen, % of cells", "mean rank by score", "chosen, % of resamples", "stability"]
    known = "cka, n=2, A\nlayer 2: chosen by 0 % of 1 cell, 1 seed"
    assert f"{known}\nmean rank 4, mean score 0.200\nchosen in 25 % of resamples" in tips(browser, "layers")
    assert "0.875" in browser.texts("#layers svg text")
    choose(browser, "#layers label:nth-of-type(2) select", "n=1")
    assert shown() == {(name.replace(", n=1", ""), about) for name, about in each if "n=1" in name}
    assert "stability" not in browser.texts("#layers svg text")


def test_agreement_of_scores_is_a_square(browser: Page, tmp_path: Path) -> None:
    """Every two scores from both sides, and beside them what single layers are worth where that is known."""
    names = ["selection=a", "selection=b selection.similarity=rbf", "selection=c"]
    taus = dict(zip(itertools.combinations(names, 2), (0.5, -0.25, None), strict=True))
    agreement = [{"name": one, "other": other, "tau": tau, "datasets": 1} for (one, other), tau in taus.items()]
    chosen = {"budget": "n=1", "dataset": "A", "n_layers": 1, "layer": 0, "chosen": 1, "cells": 1, "seeds": 1}
    layers = [{"name": names[0], "tau": 0.125, **chosen}]
    page = report_html("T", AWSS, [], [], [], agreement=agreement, chosen_layers=layers)
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    browser.look(1400)
    browser.open(tmp_path / "report.html")
    assert browser.complaints() == []
    words = browser.texts("#agreement svg text")
    assert (words.count("0.50"), words.count(f"{MINUS}0.25"), words.count("0.13")) == (2, 2, 1)
    assert {"a", "b similarity=rbf", "c", "oracle"} <= set(words)
    assert browser.value("document.querySelectorAll('#agreement svg rect[fill=none]').length") == 2 + 2
    coloured = "[...document.querySelectorAll('#agreement svg g[data-tip] rect[fill-opacity]')]"
    colours = browser.value(f"{coloured}.map((square) => square.getAttribute('fill'))")
    assert sorted(colours) == ["var(--heat)"] * 3 + ["var(--series-3)"] * 2


def test_bars_show_the_best_configurations(opened: Callable[..., Page]) -> None:
    """With mean and deviation over the seeds; of many the best twelve, and those that the reader ticks."""
    cells = grid(random.Random(2), n=list(range(1, 8)), rank=[4, 8], dataset=["NSAIDS", "ADHD"], seed=[0, 1, 2])
    page = opened(cells)
    means = {}
    for name in {one["name"] for one in cells}:
        some = [one["awss@95"] for one in cells if one["name"] == name]
        means[name] = statistics.mean(some)
    best = sorted(means, key=lambda name: -means[name])[:12]
    for name in best:
        values = [one["awss@95"] for one in cells if one["name"] == name and one["dataset"] == "ADHD"]
        expected = f"ADHD\n{name}\nAWSS@95 {statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}\n3 cells"
        assert expected in tips(page, "datasets", "rect")
    assert len(tips(page, "datasets", "rect")) == 24
    assert page.texts("#datasets summary") == ["Best 12 of 14 configurations"]
    page.click("#datasets summary")
    page.click("#datasets .choices label:last-child input")
    page.click("#datasets .choices label:first-child input")
    shown = {tip.splitlines()[1] for tip in tips(page, "datasets", "rect")}
    assert shown == {*best[1:], min(means, key=lambda name: means[name])}


def test_choices_are_compared_between_cells_alike(opened: Callable[..., Page]) -> None:
    """A pair agrees in all but the precision; a cell without its counterpart is in none."""
    cells = grid(random.Random(2), precision=["fp32", "int8"], rank=[4, 8], dataset=["NSAIDS", "ADHD"], seed=[0, 1])
    cells[0] = broken(cells[0], "failed", "no")
    page = opened(cells)
    differences = [
        one["awss@95"] - other["awss@95"]
        for one in finished(cells, precision="int8")
        for other in finished(cells, precision="fp32", **{name: one[name] for name in ("rank", "dataset", "seed")})
    ]
    mean, std = statistics.mean(differences), statistics.stdev(differences)
    assert len(differences) == 7
    assert f"int8: {mean:+.3f} ± {std:.3f}\n7 comparisons".replace("-", MINUS) in tips(page, "choices", "path")
    assert "precision, against fp32" in page.texts("#choices text")


def test_merged_adapters_are_compared_with_their_own(opened: Callable[..., Page]) -> None:
    """Within a cell, which measures both, and no adapter too."""
    cells = grid(random.Random(2), merging=["hybrid"], seed=[0, 1])
    for one in cells:
        one["own/awss@95"] = one["awss@95"] + 0.125
    page = opened(cells)
    assert f"hybrid: {MINUS}0.125 ± 0\n2 comparisons" in tips(page, "choices", "path")
    assert "no adapter" in page.texts("#choices text")


@pytest.mark.parametrize(
    "cells",
    [
        [],
        [broken(cell(random.Random(0)), "failed", "no")],
        [{"cell": None, "state": "missing", "error": None, "overrides": "seed=0"}],
        [{"cell": "a", "state": "finished", "configuration": "c", "dataset": None, "awss@95": None}],
    ],
    ids=["no cell", "a failed one", "a missing one", "one without results"],
)
def test_figures_without_data_say_why(opened: Callable[..., Page], cells: list[Record]) -> None:
    """No figure is drawn, each has a line instead, and the tables are there."""
    page = opened([{**cell(random.Random(0)), **dict.fromkeys(cell(random.Random(0))), **one} for one in cells])
    assert page.value("document.querySelectorAll('figure svg').length") == 0
    assert all(re.search(r"^No .*\.$", text) for text in page.texts("figcaption"))
    assert page.value("[...document.querySelectorAll('figure .buttons')].every((buttons) => buttons.hidden)")
    assert len(column(page, "cell")) == len(cells) if cells else True


def test_what_is_known_of_scores_is_shown(browser: Page, tmp_path: Path) -> None:
    """The most alike first, and the least regret; without any the section is hidden."""
    agreement = [
        {"name": "cka", "other": f"score {tau}", "tau": tau, "datasets": 1, "compared": 3} for tau in (-0.2, 0.5)
    ]
    regrets = [{"name": name, "n": 2, "regret": regret} for name, regret in (("worse", 0.2), ("best", 0.0))]
    page = report_html("T", AWSS, [{"cell": "a"}], [], [], agreement=agreement, regrets=regrets)
    for content, hidden in ((page, False), (report_html("T", AWSS, [{"cell": "a"}], [], []), True)):
        (tmp_path / "report.html").write_text(content, encoding="utf-8")
        browser.open(tmp_path / "report.html")
        assert browser.complaints() == []
        assert browser.value("document.getElementById('scores').hidden") is hidden
        if not hidden:
            assert column(browser, "other", "agreement") == ["score 0.5", "score -0.2"]
            assert column(browser, "name", "regrets") == ["best", "worse"]


def test_a_collected_grid_of_another_task(browser: Page, tmp_path: Path) -> None:
    """Its own metric, of which less is better, by its title; the references are those that its cells have."""
    rmse = {"name": "rmse", "title": "RMSE", "higher_is_better": False}
    jobs: list[Any] = []
    for selection, n, level in (("none", None, 0.5), ("cka", 1, 0.25), ("cka", 2, 0.75)):
        for dataset, seed in itertools.product(("A", "B"), (0, 1)):
            values = {"rmse": level + seed / 16, "base/rmse": 0.625, "ridge/rmse": 0.375}
            labels = {"dataset": dataset, "selection": selection, "n": n, "seed": seed}
            folder = make_cell(tmp_path, metric=rmse, metrics=values, **labels)
            jobs.append(([f"seed={seed}", f"n={n}"], {"state": "finished", "cell": folder.name}))
    made = make_grid(tmp_path, "regression", jobs)
    assert summarise(made, [made])
    browser.look(1400)
    browser.open(made / "report.html")
    assert browser.complaints() == []
    assert browser.texts("#title") == ["regression"]
    assert browser.texts("#best") == ["Lowest mean RMSE over all datasets: 0.281 by selection=cka n=1 (4 cells)."]
    assert column(browser, "name", "comparisons") == ["selection=cka n=1", "selection=cka n=2"]
    assert column(browser, "wins", "comparisons") == ["4", "0"]
    assert browser.texts("#comparisons option") == ["another configuration", "base (no adapter)", "ridge", "all"]
    choose(browser, "#comparisons select", "ridge")
    compared = zip(column(browser, "name", "comparisons"), column(browser, "difference", "comparisons"), strict=True)
    assert dict(compared) == {  # means .5, .25 and .75 plus half of 1/16, less .375
        "selection=none": "+0.156", "selection=cka n=1": f"{MINUS}0.094", "selection=cka n=2": "+0.406",
    }  # fmt: skip
    choose(browser, "#comparisons select", "")
    assert len(column(browser, "name", "comparisons")) == 2 + 3 + 3
    assert column(browser, "name", "groups")[0] == "selection=cka n=1"
    assert {"base (no adapter)", "ridge"} <= set(browser.texts("#budget svg text"))
    front = [tip.splitlines()[:2] for tip in tips(browser, "pareto-parameters", "text") if "RMSE" in tip]
    assert front == [["selection=cka n=1", "RMSE 0.281 ± 0.031"]]
    bars = [tip.splitlines()[1] for tip in tips(browser, "datasets", "rect")]
    assert bars == ["selection=cka n=1", "selection=none", "selection=cka n=2"] * 2
    rows = list(csv.DictReader((made / "cells.csv").open(encoding="utf-8", newline="")))
    assert sorted(column(browser, "cell")) == sorted(row["cell"] for row in rows)


def test_curves_are_drawn_with_their_bands(browser: Page, tmp_path: Path) -> None:
    """Each name's figure shows the best configurations, others on request, and dashed what stands beside."""
    for n, dataset, seed in itertools.product(range(1, 7), "ABC", (0, 1)):
        gain = {"title": "Gain", "x_title": "read", "y_title": "found", "x": [0, 0.5, 1]}
        y = {"adapted": [0, n / 8, 1], "base": [0, 0.125, 1]}
        loss = {"title": "Loss", "x_title": "step", "y_title": "loss", "x": [1, 2], "y": {"adapted": [2, 1 / n]}}
        make_cell(tmp_path, n / 10, n=n, dataset=dataset, seed=seed, curves={"gain": gain | {"y": y}, "loss": loss})
    assert summarise(tmp_path, [tmp_path])
    browser.look(1400)
    browser.open(tmp_path / "report.html")
    assert browser.complaints() == []
    assert browser.texts("#curves h3") == ["Gain", "Loss"]
    words = browser.texts("#curve-gain svg text")
    assert [word for word in words if word.startswith(("n=", "base"))] == [
        "n=6",
        "n=5",
        "n=4",
        "n=3",
        "base (no adapter)",
    ]
    assert "n=6\nread 0.500: found 0.750 (0.750 to 0.750)\n6 cells" in tips(browser, "curve-gain", "circle")
    bands = "document.querySelectorAll('#curve-gain svg path[fill-opacity]').length"
    assert browser.value(bands) == 4
    browser.click("#curve-gain > label input")
    assert browser.value(bands) == 5
    assert browser.texts("#curve-gain figcaption") == [
        "Mean over datasets of the means over seeds; bands: the middle half (quartiles) of the means of the datasets."
    ]
    browser.value("document.querySelector('#curve-gain details').open = true")
    browser.click("#curve-gain .choices label:nth-child(5) input")
    assert {"n=2", "n=6"} <= set(browser.texts("#curve-gain svg text"))
    assert "n=2" not in browser.texts("#curve-loss svg text")
    assert "base (no adapter)" not in browser.texts("#curve-loss svg text")


def test_lengths_of_texts_are_shown(browser: Page, tmp_path: Path) -> None:
    """The page has the drawing of the file beside it, and no place for it where nothing is known."""
    curve = {"title": "Length", "x_title": "share", "y_title": "tokens", "x": [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]}
    for name, curves in (("with", {"lengths": curve | {"y": {"included": [1, 2, 3, 4, 5, 6, 7]}}}), ("without", None)):
        make_cell(tmp_path / name, curves=curves)
        assert summarise(tmp_path / name, [tmp_path / name])
    browser.open(tmp_path / "with" / "report.html")
    assert browser.complaints() == []
    assert browser.value("document.querySelector('#lengths img').naturalWidth > 200")
    drawing = base64.b64encode((tmp_path / "with" / "lengths.svg").read_bytes()).decode()
    assert browser.value("document.querySelector('#lengths img').src") == f"data:image/svg+xml;base64,{drawing}"
    browser.open(tmp_path / "without" / "report.html")
    assert browser.value("document.querySelector('#lengths').hidden")
    assert not (tmp_path / "without" / "lengths.svg").exists()


def test_incomplete_configurations_stand_apart(browser: Page, tmp_path: Path) -> None:
    """Neither first, nor in the figure of the front; the baselines are in the table of those that are ranked."""
    for n, values in ((1, [0.25, 0.5]), (2, [0.125, 0.25]), (3, [0.875])):
        for seed, value in enumerate(values):
            make_cell(tmp_path, value, n=n, seed=seed, metrics={"tfidf/awss@95": 0.75})
    make_cell(tmp_path, state="failed", error="out of memory", n=3, seed=1)
    assert not summarise(tmp_path, [tmp_path])
    browser.look(1400)
    browser.open(tmp_path / "report.html")
    assert browser.complaints() == []
    (best,) = browser.texts("#best")
    assert (
        best == "Highest mean AWSS@95 over all datasets: 0.375 by n=1 (2 cells); 1 incomplete configuration left out."
    )
    assert column(browser, "name", "groups") == ["TF-IDF + SVM", "base (no adapter)", "n=1", "n=2"]
    assert [column(browser, key, "incomplete") for key in ("name", "mean", "n", "expected", "lacks")] == [
        ["n=3"], ["0.875"], ["1"], ["2"], ["seed 1"],
    ]  # fmt: skip
    assert len(tips(browser, "pareto-parameters", "circle")) == 2
    assert [tip.splitlines()[1] for tip in tips(browser, "datasets", "rect")] == ["n=1", "n=2", "n=3 (incomplete)"]
    assert [tip.splitlines()[1] for tip in tips(browser, "budget", "circle")] == ["N = 2: AWSS@95 0.281 ± 0.157"]
    assert browser.texts("#budget figcaption")[0].endswith("Not shown: 1 incomplete configuration.")


def test_one_cell_has_its_figures(opened: Callable[..., Page]) -> None:
    """A single value has no deviation, and no scale breaks."""
    page = opened([cell(random.Random(0))])
    assert page.value("document.querySelectorAll('figure svg').length") == 4
    assert not page.value("[...document.querySelectorAll('svg *')].some((e) => /NaN|Infinity/.test(e.outerHTML))")


@pytest.mark.parametrize("width", [360, 768, 1400])
def test_the_page_fits_its_window(opened: Callable[..., Page], width: int) -> None:
    """Only tables and figures scroll sideways, long names included; the figures are drawn to the width."""
    cells = grid(random.Random(0), dataset=["A" * 120, "B"], selection=["cka", "last"], n=[1, 3], seed=[0, 1])
    page = opened([{**one, "name": one["name"] + " and=" + "x" * 200} for one in cells], title="t" * 150)
    page.look(width)
    page.wait(f"document.querySelector('#budget svg').width.baseVal.value < {width}")
    assert page.value("document.scrollingElement.scrollWidth") <= width


def test_500_cells_are_usable_within_two_seconds(opened: Callable[..., Page]) -> None:
    """The page is read, its figures are drawn, the table is there, is sorted and filtered."""
    page = opened(large())
    assert len(column(page, "cell")) == 500
    opening = page.seconds()
    page.click("#cells th[data-key='awss@95'] button")
    sorting = page.seconds() - opening
    assert column(page, "awss@95") == sorted(column(page, "awss@95"))
    page.type("#words", "cka")
    print(
        f"opened in {opening:.2f} s, sorted in {sorting:.2f} s, filtered in {page.seconds() - opening - sorting:.2f} s"
    )
    assert page.seconds() < 2


def test_of_thousands_of_cells_the_first_are_shown(opened: Callable[..., Page]) -> None:
    """And all of them on request; the filter and the sorting are of all."""
    cells = [{"cell": f"c{number}", "state": "finished", "n": number} for number in range(1003)]
    page = opened(cells)
    assert len(column(page, "cell")) == 1000
    for _ in range(2):
        page.click("#cells th[data-key='cell'] button")
    assert column(page, "cell")[:2] == ["c1002", "c1001"]
    page.click("#cells .buttons button")
    assert len(column(page, "cell")) == 1003
