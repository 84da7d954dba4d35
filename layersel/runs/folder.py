"""The folder of one run: its files, and a status that says whether they can be trusted."""

import json
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from omegaconf import OmegaConf

from layersel.errors import UserError, error_line
from layersel.files import file_name, write_json, write_text
from layersel.runs.holder import Holder, heartbeat, silence

RUNNING, FINISHED, FAILED, INTERRUPTED = "running", "finished", "failed", "interrupted"


class RunBusyError(UserError):
    """Raised where another process works on the folder `run`."""

    def __init__(self, message: str, run: "RunFolder"):
        super().__init__(message)
        self.run = run


class RunFailedError(UserError):
    """Raised where an earlier attempt failed, and another one was not asked for."""


@dataclass(frozen=True)
class Attempt:
    """One try at a run, which this process has taken.

    Attributes:
        holder: This process.
        number: 1 for the first.
        resumes: Whether it goes on from the checkpoint of an interrupted one.
        started: Unix time.
    """

    holder: Holder
    number: int
    resumes: bool
    started: float


class RunFolder:
    """A run's folder. Only one whose status is `finished` is ever read.

    `status.json` is the folder's lock too: while it says `running`, its holder touches it, and only where that holder
    is dead may another process take the folder. Taking it is guarded by the file `lock`.
    """

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.yaml"
        self.status = path / "status.json"
        self.lock = path / "lock"
        self.identity = path / "identity.json"
        self.checkpoints = path / "checkpoints"
        self.checkpoint = self.checkpoints / "last.ckpt"
        self.logs = path / "logs"
        self.selection = path / "selection.json"
        self.metrics = path / "metrics.json"
        self.training_records = path / "training_records.json"
        self.adapter = path / "adapter"
        self.compression = path / "compression.json"
        self.model = path / "model"
        self.merging = path / "merging.json"
        self.figures = path / "figures"
        self.datasets = path / "datasets"

    def of_dataset(self, name: str) -> Path:
        """Returns the folder of what a merging run has for one of its datasets."""
        return self.datasets / file_name(name)

    @property
    def state(self) -> str | None:
        """The state: `running`, `finished`, `failed`, `interrupted` (a dead holder's too), None if nothing ran yet."""
        return self._state_of(self._read_status())

    def take(self, force: bool = False, retry: bool = True) -> Attempt | None:
        """Take the folder for an attempt; None if the run has finished and `force` does not ask for it again.

        Raises:
            RunBusyError: Another process holds it.
            RunFailedError: An earlier attempt failed, and `retry` does not ask for another.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with FileLock(self.lock):
            before = self._read_status()
            state = self._state_of(before)
            if state == FINISHED and not force:
                return None
            if before is not None and state == RUNNING:
                raise RunBusyError(f"{str(self.path)!r}: {self._living(before)} runs this cell; wait for it", self)
            if state == FAILED and not (retry or force):
                raise self.failure()
            number = 1 if before is None else before.get("attempt", 0) + 1
            resumes = state == INTERRUPTED and not force and self.checkpoint.is_file()
            attempt = Attempt(Holder.here(), number, resumes, time.time())
            self._write_status(RUNNING, attempt, holder=asdict(attempt.holder))
        return attempt

    def failure(self) -> RunFailedError:
        """Returns why a run that has failed is not tried again unless that is asked for."""
        reason = (self._read_status() or {}).get("error")
        return RunFailedError(f"{str(self.path)!r} has failed before ({reason}); retry=true runs it again")

    @contextmanager
    def recording(
        self, attempt: Attempt, identity: dict[str, Any], config: dict[str, Any], results: Iterable[str] = ()
    ) -> Iterator[None]:
        """Records the block as the attempt: what it is, its status, and the traceback if it fails.

        Args:
            attempt: As `take` gave it.
            identity: What the cell is.
            config: Its options.
            results: Names of the task's own files, of which those of an earlier attempt are removed.

        Raises:
            RuntimeError: The process was thought dead, and another one has taken the folder.
        """
        try:
            with heartbeat(self.status):
                self._clear(results, keep_progress=attempt.resumes)
                write_json(self.identity, identity)
                write_text(self.config, OmegaConf.to_yaml(OmegaConf.create(config)))
                yield
            self._close(FINISHED, attempt)
        except BaseException as error:
            state = INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED
            self._close(state, attempt, error=error_line(error), traceback=traceback.format_exc())
            raise
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def read_config(self) -> dict[str, Any]:
        """Returns the config of a finished run.

        Raises:
            UserError: No run is there, or it did not finish.
        """
        if self.state is None:
            raise UserError(f"run: expected the folder of a finished run, but {str(self.path)!r} has no status.json")
        if self.state != FINISHED:
            raise UserError(f"run: {str(self.path)!r} is {self.state}, not finished; run its training again")
        return OmegaConf.to_container(OmegaConf.load(self.config))  # type: ignore[return-value]

    def read_identity(self) -> dict[str, Any]:
        """Returns what the cell is, as `identity.json` has it."""
        return dict(_read_json(self.identity))

    def read_metrics(self) -> dict[str, Any]:
        """Returns the metrics of a finished run."""
        return dict(_read_json(self.metrics))

    def read_training_records(self) -> list[dict[str, Any]]:
        """Returns what the run has learnt from; nothing if no run is there."""
        return list(_read_json(self.training_records)) if self.training_records.is_file() else []

    def read_learnt(self) -> frozenset[str]:
        """Returns the fingerprints of the texts that the run has learnt from."""
        return frozenset(record["text"] for record in self.read_training_records())

    def read_merged(self) -> list[str]:
        """Returns the names of the datasets whose adapters the run has merged; none if it is no merging run."""
        return list(_read_json(self.merging)["adapters"]) if self.merging.is_file() else []

    def read_steps(self) -> list[str]:
        """Returns the steps that a finished run took.

        Raises:
            UserError: It does not say.
        """
        if not self.compression.is_file():
            raise UserError(f"run: {str(self.path)!r} has no {self.compression.name}; run its training again")
        return list(_read_json(self.compression)["steps"])

    def _read_status(self) -> dict[str, Any] | None:
        return dict(_read_json(self.status)) if self.status.is_file() else None

    def _state_of(self, status: dict[str, Any] | None) -> str | None:
        if status is None:
            return None
        return INTERRUPTED if status["state"] == RUNNING and self._living(status) is None else str(status["state"])

    def _living(self, status: dict[str, Any]) -> Holder | None:
        """Returns the holder that a running status names, if it lives."""
        if "holder" not in status:  # of a time when folders had none
            return None
        holder = Holder(**status["holder"])
        return holder if holder.is_alive(silence(self.status, self.lock)) else None

    def _write_status(self, state: str, attempt: Attempt, **more: Any) -> None:
        content = {"state": state, "attempt": attempt.number, "started": attempt.started, "updated": time.time()}
        write_json(self.status, content | more)

    def _close(self, state: str, attempt: Attempt, **more: Any) -> None:
        with FileLock(self.lock):
            status = self._read_status()
            if status is None or status.get("holder", {}).get("mark") != attempt.holder.mark:
                raise RuntimeError(f"{str(self.path)!r} was taken by another process, as this one gave no sign of life")
            self._write_status(state, attempt, **more)

    def _clear(self, results: Iterable[str], keep_progress: bool) -> None:
        """Removes the results of an earlier attempt, which must not stand beside this one's; other files stay."""
        progress = () if keep_progress else (self.checkpoints, self.logs)
        for folder in (self.adapter, self.model, self.figures, self.datasets, *progress):
            shutil.rmtree(folder, ignore_errors=True)
        written = (self.config, self.selection, self.metrics, self.training_records, self.compression, self.merging)
        for file in (*written, *(self.path / name for name in results)):
            file.unlink(missing_ok=True)


def _read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def check_writable(folder: Path, argument: str = "output") -> str | None:
    """Returns why nothing can be written below `folder`, in one line; None if it can. Makes the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return f"{argument}: cannot write to {str(folder)!r} ({error.strerror}); name another folder with {argument}=…"
    return None
