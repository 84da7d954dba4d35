"""A training that is interrupted at any step goes on and ends with the same bits."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from resuming import N_BATCHES, N_STEPS, Attempt, assert_goes_on_as, attempt
from torch import Tensor

from layersel.adapters.adapter import Adapter
from layersel.adapters.kinds.lora import Lora
from layersel.callbacks import AtomicCheckpointIO, logged_before
from layersel.callbacks.checkpoint import LAST
from layersel.callbacks.checkpoint_file import read_checkpoint
from layersel.errors import UserError
from layersel.selection.score import Score, score_named
from layersel.tasks.screening.datamodule import ScreeningData
from layersel.tasks.screening.losses.pairs import RandomPairs
from layersel.tasks.screening.losses.pairwise import Pairwise
from layersel.tasks.screening.options import Screening
from layersel.training.options import TrainerOptions

ADAPTER = Lora(rank=4, dropout=0.3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Attempt]:
    """An uninterrupted training with a checkpoint before each step and one after the last."""
    folder = tmp_path_factory.mktemp("whole")
    return folder / "checkpoints", attempt(folder, adapter=ADAPTER)


def test_writing_checkpoints_changes_nothing(tmp_path: Path, whole: tuple[Path, Attempt]) -> None:
    """With `checkpoint_seconds=null` none is written, and the training is the same."""
    assert_goes_on_as(attempt(tmp_path, seconds=None, adapter=ADAPTER), whole[1], 0)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_checkpoint_is_written_when_its_time_has_come(tmp_path: Path) -> None:
    """One is written at the start, for the selection may have taken long, at the end, and after so many seconds."""
    attempt(tmp_path, seconds=1e9)
    steps = [read_checkpoint(tmp_path / "checkpoints" / f"{step}.ckpt")["global_step"] for step in range(N_STEPS + 1)]
    assert steps == [0] * N_STEPS + [N_STEPS]


@pytest.mark.parametrize("step", range(N_STEPS + 1))
def test_a_resumed_training_ends_with_the_same_bits(step: int, whole: tuple[Path, Attempt], tmp_path: Path) -> None:
    """From every step on batches, losses, learning rates, random states, parameters and the log are the same."""
    checkpoints, expected = whole
    assert_goes_on_as(attempt(tmp_path, checkpoints / f"{step}.ckpt", adapter=ADAPTER), expected, step)


def test_tokens_and_seconds_are_counted_on(whole: tuple[Path, Attempt], tmp_path: Path) -> None:
    """What a training costs includes what was done before an interruption."""
    checkpoints, expected = whole
    resumed = attempt(tmp_path, checkpoints / "3.ckpt", adapter=ADAPTER).toy.module
    before = read_checkpoint(checkpoints / "3.ckpt")
    assert 0 < before["n_tokens"] < resumed.n_tokens == expected.toy.module.n_tokens
    assert resumed.seconds_before == before["seconds"] > 0
    assert read_checkpoint(tmp_path / "checkpoints" / f"{N_STEPS}.ckpt")["seconds"] > before["seconds"]


def test_a_training_may_be_interrupted_again_and_again(tmp_path: Path, whole: tuple[Path, Attempt]) -> None:
    """Each attempt does one step, writes it down and is stopped, in one folder whose log it takes over."""

    def stop(step: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    file = tmp_path / "checkpoints" / LAST
    for step in range(N_STEPS):
        with pytest.raises(KeyboardInterrupt):
            attempt(tmp_path, file if step else None, seconds=1e9, then=stop, adapter=ADAPTER)
        assert [row["step"] for row in logged_before(file)] == list(range(step + 1))
    assert_goes_on_as(attempt(tmp_path, file, adapter=ADAPTER), whole[1], N_STEPS)


def test_steps_that_end_within_an_epoch(tmp_path: Path) -> None:
    """`max_steps` counts from the beginning, and nothing is trained beyond it."""
    expected = attempt(tmp_path / "whole", max_steps=4)
    for step in (2, 3, 4):
        resumed = attempt(tmp_path / str(step), tmp_path / "whole" / "checkpoints" / f"{step}.ckpt", max_steps=4)
        assert_goes_on_as(resumed, expected, step)


@pytest.mark.parametrize("cache_mb", [0, 0.012])
def test_a_small_prefix_cache_does_not_show(cache_mb: float, tmp_path: Path) -> None:
    """Whether a hidden state is kept does not depend on the step at which its text is first seen.

    All texts together do not fit into 12 KB; those of a step would.
    """
    options = {"prefix_cache_mb": cache_mb, "batch_size": 4, "epochs": 1}
    expected = attempt(tmp_path, **options)
    resumed = attempt(tmp_path / "again", tmp_path / "checkpoints" / "3.ckpt", **options)
    assert_goes_on_as(resumed, expected, 3)
    assert [len(training.toy.module._texts) for training in (expected, resumed)] == [0, 0]


def test_skipped_batches_are_counted_on(tmp_path: Path) -> None:
    """With two pairs a batch many have no loss."""
    expected = attempt(tmp_path, batch_size=2, epochs=1)
    assert 0 < expected.toy.module.skipped_batches < 12
    resumed = attempt(tmp_path / "again", tmp_path / "checkpoints" / "9.ckpt", batch_size=2, epochs=1)
    assert_goes_on_as(resumed, expected, 9)


def test_a_training_without_any_loss_stays_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one also if it is taken up when it has ended."""
    monkeypatch.setattr("layersel.tasks.screening.losses.pairwise.Pairwise.of", lambda *_: None)
    for resume_from in (None, tmp_path / "checkpoints" / LAST):
        with pytest.raises(UserError, match=r"all 6 batches of \d+ pairs lacked"):
            attempt(tmp_path, resume_from)


def test_layers_are_not_scored_again(
    tmp_path: Path, whole: tuple[Path, Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The selection is the checkpoint's, whatever the score would say now."""

    def again(*_: Any) -> None:
        raise AssertionError("the selection was computed again")

    monkeypatch.setattr(type(score_named("last")), "scores", again)
    resumed = attempt(tmp_path, whole[0] / "2.ckpt", adapter=ADAPTER)
    assert resumed.toy.selector.selection == whole[1].toy.selector.selection
    assert resumed.toy.module.placed.layers == [1, 2]


def test_an_ignored_signal_stays_ignored(tmp_path: Path, whole: tuple[Path, Attempt]) -> None:
    """A process may leave it to another one, or run under `nohup`: the training goes on."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        ended = attempt(tmp_path, then=lambda step: os.kill(os.getpid(), signal.SIGTERM), adapter=ADAPTER)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert_goes_on_as(ended, whole[1], 0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"adapter": Lora(rank=8, dropout=0.3)},
            r"^adapter\.rank: expected 4 as in the .* '.*2\.ckpt', but got 8",
        ),
        (
            {"score": score_named("first", n=2)},
            r"^selection: expected last as in the .*, but got first; delete it",
        ),
        (
            {"score": score_named("last", n=1)},
            r"^selection\.n: expected 2 as in the .*, but got 1; delete it",
        ),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    options: dict[str, Adapter | Score], expected: str, tmp_path: Path, whole: tuple[Path, Attempt]
) -> None:
    """The message is one line with the option that differs."""
    with pytest.raises(UserError, match=expected):
        attempt(tmp_path, whole[0] / "2.ckpt", **{"adapter": ADAPTER} | options)


@pytest.mark.parametrize("content", [lambda whole: whole[: len(whole) // 2], lambda _: b"", lambda _: b"no checkpoint"])
def test_a_damaged_checkpoint_is_refused(
    content: Callable[[bytes], bytes], tmp_path: Path, whole: tuple[Path, Attempt]
) -> None:
    """The message is one line; no training begins anew in silence."""
    file = tmp_path / "damaged.ckpt"
    file.write_bytes(content((whole[0] / "2.ckpt").read_bytes()))
    with pytest.raises(UserError, match=r"^resume: expected a checkpoint, but '.*damaged\.ckpt' cannot be read"):
        attempt(tmp_path, file, adapter=ADAPTER)


def test_a_flipped_bit_in_a_checkpoint_changes_nothing(tmp_path: Path, whole: tuple[Path, Attempt]) -> None:
    """It is refused, or it stands where nothing is read: between two parts, in a date."""
    content, expected = (whole[0] / "2.ckpt").read_bytes(), read_checkpoint(whole[0] / "2.ckpt")
    file, refused = tmp_path / "last.ckpt", 0
    places = range(0, len(content), 211)
    for place in places:
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            assert _same(read_checkpoint(file), expected), place
        except UserError:
            refused += 1
    assert refused > len(places) / 2


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _write_for_ever(file: Path, content: dict[str, Any]) -> None:
    while True:
        AtomicCheckpointIO().save_checkpoint(content, file)


def test_a_kill_within_writing_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """SIGKILL at random moments; what lies there is always complete."""
    file = tmp_path / LAST
    content = {"value": torch.arange(100_000)}
    AtomicCheckpointIO().save_checkpoint(content, file)
    for attempted in range(10):
        process = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(file, content))
        process.start()
        time.sleep(0.01 + 0.003 * attempted)
        process.kill()
        process.join()
        assert torch.equal(read_checkpoint(file)["value"], content["value"])


@pytest.fixture
def handlers() -> Iterator[None]:
    """Signal handlers of the test are gone after it; a training must have left them as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("last", [1, N_STEPS - 1])
def test_an_interruption_waits_for_the_end_of_the_step(
    number: signal.Signals, last: int, tmp_path: Path, whole: tuple[Path, Attempt]
) -> None:
    """It comes out as KeyboardInterrupt when the step is in the checkpoint; afterwards signals are as before."""
    before = signal.getsignal(number)

    def interrupt(step: int) -> None:
        if step == last:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        attempt(tmp_path, seconds=1e9, then=interrupt, adapter=ADAPTER)
    assert signal.getsignal(number) is before
    file = tmp_path / "checkpoints" / LAST
    assert read_checkpoint(file)["global_step"] == last + 1
    assert_goes_on_as(attempt(tmp_path, file, adapter=ADAPTER), whole[1], last + 1)


@pytest.mark.usefixtures("handlers")
def test_a_second_interruption_does_not_wait(tmp_path: Path) -> None:
    """The checkpoint is the one before."""

    def interrupt(step: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("it did wait")

    with pytest.raises(KeyboardInterrupt):
        attempt(tmp_path, then=interrupt)
    assert read_checkpoint(tmp_path / "checkpoints" / LAST)["global_step"] == 3


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_before_the_training_does_not_wait(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores may take minutes."""

    def interrupt(*_: Any) -> None:
        os.kill(os.getpid(), number)
        time.sleep(1)
        raise AssertionError("it did wait")

    before = signal.getsignal(number)
    monkeypatch.setattr(type(score_named("last")), "scores", interrupt)
    with pytest.raises(KeyboardInterrupt):
        attempt(tmp_path)
    assert signal.getsignal(number) is before


@pytest.mark.usefixtures("handlers")
def test_signals_of_a_cluster_are_left_to_its_handlers(
    tmp_path: Path, whole: tuple[Path, Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under SLURM submitit lets SIGTERM pass and queues the job again on SIGUSR2; Lightning does not on SIGUSR1."""
    for name in ("PROCID", "LOCALID", "NODEID"):
        monkeypatch.setenv(f"SLURM_{name}", "0")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "cell")
    came = []

    def handler(number: int, frame: FrameType | None) -> None:
        came.append((number, step_now[0]))

    step_now = [-1]
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGUSR2, handler)

    def send(step: int) -> None:
        step_now[0] = step
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGUSR2)
        if step == 3:
            assert read_checkpoint(tmp_path / "checkpoints" / LAST)["global_step"] == 3

    assert_goes_on_as(attempt(tmp_path, seconds=1e9, then=send, adapter=ADAPTER), whole[1], 0)
    assert sorted(came) == [(signal.SIGUSR2, 2), (signal.SIGTERM, 2)]


def test_a_checkpoint_holds_no_code_and_no_pretrained_weight(whole: tuple[Path, Attempt]) -> None:
    """It is read without unpickling; a few times the trained parameters is all that it takes."""
    file = whole[0] / LAST
    content = torch.load(file, weights_only=True)
    assert content["state_dict"].keys() == whole[1].trained.keys()
    assert content["callbacks"]["LayerSelection"]["selection"]["layers"] == [1, 2]
    assert logged_before(file) == content["logged"]


def test_a_step_that_is_only_fetched_is_not_counted(whole: tuple[Path, Attempt]) -> None:
    """The checkpoint before the last step of an epoch stands between two steps, not in the last."""
    progress = read_checkpoint(whole[0] / f"{N_BATCHES - 1}.ckpt")["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    assert set(progress["current"].values()) == set(progress["total"].values()) == {N_BATCHES - 1}
    assert progress["is_last_batch"] is False


def test_the_batches_of_a_resumed_epoch() -> None:
    """Those that were seen come last, in that epoch only; all are there."""
    options = Screening(loss=Pairwise(pairs=RandomPairs(2)), batch_size=2)
    data = ScreeningData([[1]] * 6, range(6), torch.arange(6) % 2, options, 0)
    plain = [batch.pairs_P2.tolist() for batch in data.train_dataloader()]
    data.load_state_dict({"epoch": 0, "seen": 4})
    assert [batch.pairs_P2.tolist() for batch in data.train_dataloader()] == plain[4:] + plain[:4]
    data.load_state_dict({"epoch": 1, "seen": 4})
    assert [batch.pairs_P2.tolist() for batch in data.train_dataloader()] == plain


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_a_time_below_zero_is_a_problem(seconds: float) -> None:
    """The message is one line."""
    (problem,) = TrainerOptions(accelerator="cpu", checkpoint_seconds=seconds).problems()
    assert problem == f"trainer.checkpoint_seconds: expected 0 or more, or null, but got {seconds:g}"


def _write_interrupted(file: Path, content: dict[str, Any]) -> None:
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    for attempted in range(300):
        try:
            # Again after a second: Python itself loses an interruption that falls into a finaliser.
            signal.setitimer(signal.ITIMER_REAL, 0.0002 + 0.00001 * attempted, 1)
            _write_for_ever(file, content)
        except KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, 0)


def test_an_interruption_within_writing_stays_one(tmp_path: Path) -> None:
    """PyTorch that writes to a file raises an error of its own in its place, or aborts the process."""
    content = {str(part): torch.zeros(32, 4) for part in range(40)}
    process = multiprocessing.get_context("fork").Process(target=_write_interrupted, args=(tmp_path / LAST, content))
    process.start()
    process.join(60)
    process.kill()
    assert process.exitcode == 0
