"""The table for a paper, by hand."""

from pathlib import Path

from cell_folders import make_cell

from layersel.sweep.__main__ import main


def test_means_stand_by_dataset(tmp_path: Path) -> None:
    """The best one that is complete is bold in each column; names cannot break the table."""
    for dataset, base in (("A|B", 0.2), ("C\nD", 0.6)):
        for seed, shift in ((0, -0.1), (1, 0.1)):
            make_cell(tmp_path, base + shift, dataset=dataset, seed=seed, selection="cka")
            make_cell(tmp_path, base + (dataset == "A|B") / 10, dataset=dataset, seed=seed, selection="last")
        make_cell(tmp_path, 0.9, dataset=dataset, selection="random")
    make_cell(tmp_path, state="failed", dataset="A|B", seed=1, selection="random")
    main([str(tmp_path)])
    lines = (tmp_path / "results.md").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["| AWSS@95 | all datasets | A\\|B | C D |", "| --- | ---: | ---: | ---: |"]
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in lines[2:]}
    assert rows["| selection=last"] == ["**0.450** ± 0.000", "0.300 ± 0.000", "**0.600** ± 0.000 |"]
    assert rows["| selection=cka"][1:] == ["0.200 ± 0.141", "**0.600** ± 0.141 |"]
    assert rows["| base (no adapter)"][1] == "**0.400** ± 0.000"
    assert rows["| selection=random (lacks values)"][1:] == ["0.900", "0.900 |"]


def test_a_dataset_without_values_has_no_best(tmp_path: Path) -> None:
    """A dash stands there."""
    make_cell(tmp_path, 0.5)
    make_cell(tmp_path, state="failed", dataset="other")
    main([str(tmp_path)])
    lines = (tmp_path / "results.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith("| NSAIDS | other |")
    assert all(line.endswith("| - |") for line in lines[2:])
    assert len(lines) > 2


def test_of_a_loss_the_lowest_is_the_best(tmp_path: Path) -> None:
    """The direction of the metric decides, also where one configuration has one value."""
    metric = {"name": "loss", "title": "held-out loss", "higher_is_better": False}
    for value, own in ((2.5, "cka"), (2.25, "last")):
        make_cell(tmp_path, selection=own, metric=metric, metrics={"loss": value, "base/loss": 3.0})
    main([str(tmp_path)])
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "| selection=last | **2.250** | **2.250** |" in text
    assert "| selection=cka | 2.500 | 2.500 |" in text
