"""The pretrained values of parameters that placing or training an adapter changes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn


class Originals:
    """Copies of parameters, taken when the object is made."""

    def __init__(self, parameters: Iterable[nn.Parameter]):
        self._copies = [(parameter, parameter.detach().clone()) for parameter in parameters]

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Within the block the parameters have their pretrained values."""
        present = [parameter.data for parameter, _ in self._copies]
        try:
            for parameter, original in self._copies:
                parameter.data = original.to(parameter.device, parameter.dtype)
            yield
        finally:
            for (parameter, _), value in zip(self._copies, present, strict=True):
                parameter.data = value
