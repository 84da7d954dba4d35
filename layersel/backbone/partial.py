"""Runs only a part of a stack of layers inside the model's own forward pass.

The model itself still makes its masks, position biases and rotary tables; only the layers are bypassed. So a prefix
and a suffix together give what the whole model gives, whatever the architecture.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


class _Reached(Exception):  # noqa: N818 - a signal
    """Carries the hidden states out of a forward pass that need not go on."""

    def __init__(self, hidden: Tensor):
        self.hidden = hidden


def run_until(forward: Callable[[], Any], layer: nn.Module) -> Tensor:
    """Calls `forward` as far as `layer` and returns the hidden states (B×T×D) that enter it."""

    def stop(_: int, hidden: Tensor) -> None:
        raise _Reached(hidden)

    try:
        with entering([layer], stop):
            forward()
    except _Reached as reached:
        return reached.hidden
    raise RuntimeError(f"the forward pass never entered {type(layer).__name__}")


@contextmanager
def entering(layers: Iterable[nn.Module], see: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Within the block `see` is given the index and the hidden states (B×T×D) of each of `layers` that is entered."""
    with ExitStack() as stack:
        for place, layer in enumerate(layers):

            def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], place: int = place) -> None:
                see(place, args[0] if args else kwargs["hidden_states"])

            stack.callback(layer.register_forward_pre_hook(enter, with_kwargs=True).remove)
        yield


@contextmanager
def start_at(layers: nn.ModuleList, start: int, hidden: Tensor, arity: int | None) -> Iterator[None]:
    """Within the block the model skips its first `start` layers and feeds `hidden` (B×T×D) to the next one.

    `arity` is the length of the tuple that a layer returns, None if it returns a tensor.
    """

    def inject(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

    with ExitStack() as stack:
        for layer in layers[:start]:
            stack.enter_context(bypassed(layer, arity))
        stack.callback(layers[start].register_forward_pre_hook(inject, with_kwargs=True).remove)
        yield


@contextmanager
def giving(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Within the block `module` gives what `forward` gives, in place of its own forward pass."""
    own = vars(module).get("forward")  # an instance has one if it is wrapped, by Accelerate for instance
    module.forward = forward
    try:
        yield
    finally:
        del module.forward  # the class's own forward shows again
        if own is not None:
            module.forward = own


def bypassed(layer: nn.Module, arity: int | None) -> AbstractContextManager[None]:
    """Within the block `layer` does not run, and gives the hidden states that enter it, as `arity` says."""

    def identity(hidden_states: Tensor, *_: Any, **__: Any) -> Any:
        return hidden_states if arity is None else (hidden_states, *[None] * (arity - 1))

    return giving(layer, identity)
