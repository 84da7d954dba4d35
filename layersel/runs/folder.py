"""The folder of one run: its files, and a status that says whether they can be trusted."""

import shutil
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from omegaconf import OmegaConf

from layersel.errors import DamagedError, UserError, error_line
from layersel.files import file_name, read_json, read_sealed, remove, sha256, write_json, write_sealed, write_text
from layersel.runs.holder import Holder, heartbeat, silence
from layersel.terminal.interrupts import is_interrupted
from layersel.terminal.tables import note

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
    is dead may another process take the folder. Taking it is guarded by the file `lock`. It seals the run as well: when
    an attempt ends, it holds the SHA-256 of each file that later steps trust, and its own. What is read is verified;
    the log, the figures and files of the user's are not.
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
        self.curves = path / "curves.json"
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
        """The state: `running`, `finished`, `failed`, `interrupted` (a dead holder's too), None if nothing ran yet.

        Raises:
            DamagedError: The status is not as it was written.
        """
        return self._state_of(self.read_status())

    def take(self, force: bool = False, retry: bool = True, results: Iterable[str] = ()) -> Attempt | None:
        """Take the folder for an attempt; None if the run has finished and `force` does not ask for it again.

        Args:
            force: Whether a finished run is run again.
            retry: Whether a failed one is.
            results: Names of files that people work on, which `force` does not remove once they have been changed.

        Raises:
            RunBusyError: Another process holds it.
            RunFailedError: An earlier attempt failed, and `retry` does not ask for another.
            DamagedError: The status is not as it was written, and `force` does not ask for another attempt.
            UserError: One of the results has been changed.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            before = self._status_before(force)
            state = self._state_of(before)
            if state == FINISHED and not force:
                return None
            if before is not None and state == RUNNING:
                raise RunBusyError(f"{str(self.path)!r}: {self._living(before)} runs this cell; wait for it", self)
            if state == FAILED and not (retry or force):
                raise self.failure()
            for name, checksum in (before or {}).get("files", {}).items():
                file = self.path / name
                if name in results and file.is_file() and sha256(file) != checksum:
                    raise UserError(
                        f"force: {str(file)!r} has been changed since the run wrote it; move it elsewhere first"
                    )
            number = 1 if before is None else before.get("attempt", 0) + 1
            resumes = state == INTERRUPTED and not force and self.checkpoint.is_file()
            attempt = Attempt(Holder.here(), number, resumes, time.time())
            self._write_status(RUNNING, attempt, holder=asdict(attempt.holder))
        return attempt

    def failure(self) -> RunFailedError:
        """Returns why a run that has failed is not tried again unless that is asked for."""
        reason = (self.read_status() or {}).get("error")
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
            KeyboardInterrupt: The block was interrupted, whatever error came of it.
        """
        results = list(results)
        try:
            with heartbeat(self.status):
                self._clear(results, keep_progress=attempt.resumes)
                write_json(self.identity, identity)
                write_text(self.config, OmegaConf.to_yaml(OmegaConf.create(config)))
                yield
            self._close(FINISHED, attempt, results)
        except BaseException as error:
            interrupted = is_interrupted(error)
            state = INTERRUPTED if interrupted else FAILED
            self._close_failed(state, attempt, results, error_line(error), traceback.format_exc())
            if interrupted and not isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            raise
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def read_config(self) -> dict[str, Any]:
        """Returns the config of a finished run.

        Raises:
            UserError: No run is there, it did not finish, or the file is damaged.
        """
        state = self.state
        if state is None:
            where = str(self.path)
            raise UserError(f"run: expected the folder of a finished run, but {where!r} has no status.json; train it")
        if state != FINISHED:
            raise UserError(f"run: {str(self.path)!r} is {state}, not finished; run its training again")
        return OmegaConf.to_container(OmegaConf.load(self.checked(self.config)))  # type: ignore[return-value]

    def read_status(self) -> dict[str, Any] | None:
        """Returns the content of `status.json`; None if nothing ran yet.

        Raises:
            DamagedError: It is not as it was written.
        """
        try:
            return read_sealed(self.status, self._remedy)
        except FileNotFoundError:
            return None

    def read_identity(self) -> dict[str, Any]:
        """Returns what the cell is, as `identity.json` has it."""
        return dict(self._read(self.identity, dict))

    def read_metrics(self) -> dict[str, Any]:
        """Returns the metrics of a finished run."""
        return dict(self._read(self.metrics, dict))

    def read_selection(self) -> dict[str, Any] | None:
        """Returns the chosen layers and their scores as they were written; None of a run that chose none."""
        return dict(self._read(self.selection, dict)) if self.holds(self.selection) else None

    def read_curves(self) -> dict[str, dict[str, Any]]:
        """Returns the curves of the outcomes by name, as they were written; none of a run that recorded none."""
        return dict(self._read(self.curves, dict)) if self.holds(self.curves) else {}

    def read_training_records(self) -> list[dict[str, Any]]:
        """Returns what the run has learnt from; nothing if no run is there."""
        return list(self._read(self.training_records, list)) if self.holds(self.training_records) else []

    def read_learnt(self) -> frozenset[str]:
        """Returns the fingerprints of the texts that the run has learnt from."""
        return frozenset(record["text"] for record in self.read_training_records())

    def read_merged(self) -> list[str]:
        """Returns the names of the datasets whose adapters the run has merged; none if it is no merging run."""
        return list(self._read(self.merging, dict)["adapters"]) if self.holds(self.merging) else []

    def read_steps(self) -> list[str]:
        """Returns the steps that a finished run took."""
        return list(self._read(self.compression, dict)["steps"])

    def holds(self, path: Path) -> bool:
        """Returns whether the run wrote `path`, a file or a folder of files, whether or not it is still there."""
        checksums = self.checksums(path)
        return path.exists() if checksums is None else bool(checksums)

    def checksums(self, path: Path) -> dict[str, str] | None:
        """Returns the SHA-256 that each file at or below `path` had when the run ended; None if it has not."""
        name = path.relative_to(self.path).as_posix()
        files = (self.read_status() or {}).get("files")
        if files is None:
            return None
        return {file: own for file, own in files.items() if file == name or file.startswith(f"{name}/")}

    def checked(self, path: Path) -> Path:
        """Returns `path`, a file of the run or a folder of files, which is as it was when the run ended.

        Of a run that has not ended, or of a folder that is none, there is nothing to verify it by.

        Raises:
            DamagedError: A file is missing, cannot be read or has another content.
        """
        checksums = self.checksums(path)
        if checksums == {}:
            raise DamagedError(path, "is missing", self._remedy)
        for name, checksum in (checksums or {}).items():
            self._verify(self.path / name, checksum)
        return path

    @property
    def _remedy(self) -> str:
        return f"delete the folder {str(self.path)!r} and run it again"

    def _verify(self, file: Path, checksum: str) -> None:
        try:
            damage = None if sha256(file) == checksum else "is damaged (its checksum is another)"
        except FileNotFoundError:
            damage = "is missing"
        except OSError as error:
            damage = f"cannot be read ({error.strerror})"
        if damage is not None:
            raise DamagedError(file, damage, self._remedy)

    def _read(self, file: Path, kind: type) -> Any:
        """Returns the content of a JSON file of the run, verified once the run has ended."""
        try:
            content = read_json(self.checked(file), self._remedy)
        except FileNotFoundError as error:
            raise DamagedError(file, "is missing", self._remedy) from error
        if not isinstance(content, kind):
            raise DamagedError(file, f"is damaged (no {kind.__name__})", self._remedy)
        return content

    def _status_before(self, force: bool) -> dict[str, Any] | None:
        try:
            return self.read_status()
        except DamagedError:
            if not force:
                raise
            remove(self.status)
            return None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(self.lock)
        try:
            lock.acquire()
        except OSError as error:
            raise UserError(
                f"output: expected a folder with file locks, but got {str(self.path)!r} ({error.strerror}); remove "
                f"{str(self.lock)!r}, or name another folder with output=…"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _state_of(self, status: dict[str, Any] | None) -> str | None:
        if status is None:
            return None
        return INTERRUPTED if status["state"] == RUNNING and self._living(status) is None else str(status["state"])

    def _living(self, status: dict[str, Any]) -> Holder | None:
        """Returns the holder that a running status names, if it lives."""
        holder = Holder(**status["holder"])
        return holder if holder.is_alive(silence(self.status, self.lock)) else None

    def _write_status(self, state: str, attempt: Attempt, **more: Any) -> None:
        content = {"state": state, "attempt": attempt.number, "started": attempt.started, "updated": time.time()}
        write_sealed(self.status, content | more)

    def _close(self, state: str, attempt: Attempt, results: Iterable[str], **more: Any) -> None:
        files = {file.relative_to(self.path).as_posix(): sha256(file) for file in self._written(results)}
        with self._locked():
            status = self.read_status()
            if status is None or status.get("holder", {}).get("mark") != attempt.holder.mark:
                raise RuntimeError(f"{str(self.path)!r} was taken by another process, as this one gave no sign of life")
            self._write_status(state, attempt, files=files, **more)

    def _close_failed(self, state: str, attempt: Attempt, results: Iterable[str], error: str, trace: str) -> None:
        """Closes the attempt with its traceback; a full disk may have room for the error alone, or for neither.

        Then the run counts as interrupted once this process has ended.
        """
        for details in ({"error": error, "traceback": trace}, {"error": error}):
            with suppress(OSError):
                self._close(state, attempt, results, **details)
                break

    def _parts(self, results: Iterable[str]) -> list[Path]:
        """Returns the files and folders that later steps trust."""
        about = (self.identity, self.config, self.selection, self.compression, self.merging, self.training_records)
        learnt = (self.metrics, self.curves, self.adapter, self.model, self.datasets)
        return [*about, *learnt, *(self.path / name for name in results)]

    def _written(self, results: Iterable[str]) -> list[Path]:
        """Returns those files that an attempt has written."""
        parts = self._parts(results)
        return sorted(file for part in parts for file in (part, *part.rglob("*")) if file.is_file())

    def _clear(self, results: Iterable[str], keep_progress: bool) -> None:
        """Removes the results of an earlier attempt, which must not stand beside this one's; other files stay."""
        progress = () if keep_progress else (self.checkpoints,)
        for part in (*self._parts(results), self.figures, self.logs, *progress):
            remove(part)


def learnt_by_run(part: Path) -> frozenset[str]:
    """Returns the fingerprints of the texts that the run has learnt from whose adapter or model `part` is.

    There are none if it is no run's.

    Raises:
        DamagedError: The run has ended, and `part` is not as it was then.
    """
    run = RunFolder(part.parent)
    if run.holds(part):
        run.checked(part)
    return run.read_learnt()


def finished_runs(paths: Iterable[Path]) -> Iterator[tuple[RunFolder, dict[str, Any], dict[str, Any]]]:
    """Yields the finished runs among folders, each with its identity and its metrics; a line says which are damaged."""
    for folder in map(RunFolder, paths):
        try:
            if folder.state != FINISHED:
                continue
            found = folder, folder.read_identity(), folder.read_metrics()
        except DamagedError as error:
            note(f"left out: {error}", once=True)
        else:
            yield found


def check_writable(folder: Path, argument: str = "output") -> str | None:
    """Returns why nothing can be written below `folder`, in one line; None if it can. Makes the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return f"{argument}: cannot write to {str(folder)!r} ({error.strerror}); name another folder with {argument}=…"
    return None
