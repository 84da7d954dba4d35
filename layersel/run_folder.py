"""The folder of one run: its files, and a status that says whether they can be trusted."""

import json
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from layersel.errors import UserError
from layersel.files import file_name, write_json, write_text

RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"


class RunFolder:
    """A run's folder. Only one whose status is `finished` is ever read."""

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.yaml"
        self.status = path / "status.json"
        self.selection = path / "selection.json"
        self.metrics = path / "metrics.json"
        self.ranking = path / "ranking.csv"
        self.training_records = path / "training_records.json"
        self.head = path / "head.safetensors"
        self.adapter = path / "adapter"
        self.compression = path / "compression.json"
        self.model = path / "model"
        self.merging = path / "merging.json"
        self.rankings = path / "rankings"
        self.heads = path / "heads"
        self.figures = path / "figures"

    def review_head(self, review: str) -> Path:
        """The head of one of the reviews of a merging run."""
        return self.heads / f"{file_name(review)}.safetensors"

    @property
    def state(self) -> str | None:
        """`running`, `finished`, `failed`, `interrupted`, or None where nothing ran yet."""
        if not self.status.is_file():
            return None
        return str(json.loads(self.status.read_text(encoding="utf-8"))["state"])

    @contextmanager
    def recording(self, config: dict[str, Any]) -> Iterator[None]:
        """The block is the run: its status, its config, and the traceback if it fails."""
        started = time.time()
        self._write_status(RUNNING, started)
        self._clear()
        write_text(self.config, OmegaConf.to_yaml(OmegaConf.create(config)))
        try:
            yield
        except BaseException as error:
            state = INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
            self._write_status(state, started, error=repr(error), traceback=traceback.format_exc())
            raise
        self._write_status(FINISHED, started)

    def read_config(self) -> dict[str, Any]:
        """The config of a finished run.

        Raises:
            UserError: No run is there, or it did not finish.
        """
        if self.state is None:
            raise UserError(f"run: expected the folder of a finished run, but {str(self.path)!r} has no status.json")
        if self.state != FINISHED:
            raise UserError(f"run: {str(self.path)!r} is {self.state}, not finished; run its training again")
        return OmegaConf.to_container(OmegaConf.load(self.config))  # type: ignore[return-value]

    def read_metrics(self) -> dict[str, Any]:
        """The metrics of a finished run."""
        return dict(json.loads(self.metrics.read_text(encoding="utf-8")))

    def read_learnt(self) -> set[str]:
        """Fingerprints of the texts that the run has learnt from; none if no run is there."""
        if not self.training_records.is_file():
            return set()
        return {record["text"] for record in json.loads(self.training_records.read_text(encoding="utf-8"))}

    def read_steps(self) -> list[str]:
        """The steps that a finished run took.

        Raises:
            UserError: It does not say.
        """
        if not self.compression.is_file():
            raise UserError(f"run: {str(self.path)!r} has no {self.compression.name}; run its training again")
        return list(json.loads(self.compression.read_text(encoding="utf-8"))["steps"])

    def _write_status(self, state: str, started: float, **more: str) -> None:
        write_json(self.status, {"state": state, "started": started, "updated": time.time(), **more})

    def _clear(self) -> None:
        """Results of an earlier attempt must not stand beside those of this one."""
        for file in (
            self.config,
            self.selection,
            self.metrics,
            self.ranking,
            self.training_records,
            self.head,
            self.compression,
            self.merging,
        ):
            file.unlink(missing_ok=True)
        for folder in (self.adapter, self.model, self.rankings, self.heads, self.figures, self.path / "logs"):
            shutil.rmtree(folder, ignore_errors=True)


def check_writable(folder: Path, argument: str = "output") -> str | None:
    """Why nothing can be written below `folder`, in one line; None if it can. Makes the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return f"{argument}: cannot write to {str(folder)!r} ({error.strerror}); name another folder with {argument}=…"
    return None
