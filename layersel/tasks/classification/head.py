"""The linear head: fitted on vectors as they are, or trained beside an adapter; one file for both."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from layersel.errors import UserError
from layersel.files import atomic_path

NOTHING = 1e-6
"""The share of the widest column's spread up to which a column is constant but for rounding."""

# Shapes: N texts, D width of a vector, K classes (1 where a number is predicted).


@dataclass(frozen=True, eq=False)
class LinearHead:
    """outputs = W·x + b: log-odds of classes, or a number.

    Attributes:
        weight_KD: W, float64.
        bias_K: b, float64.
        classes: The names of the classes; none where a number is predicted.
        of_pairs: Whether it has learnt from pairs of texts; None where a file of an earlier version does not say.
    """

    weight_KD: Tensor
    bias_K: Tensor
    classes: tuple[str, ...]
    of_pairs: bool | None = None

    def outputs(self, vectors_ND: Tensor) -> Tensor:
        """Returns the outputs (N×K, float64) for vectors.

        Raises:
            UserError: A vector is not finite.
        """
        if not bool(vectors_ND.isfinite().all()):
            raise UserError("head: vectors are not finite; lower task.learning_rate, or use precision=fp32")
        return vectors_ND.double() @ self.weight_KD.T + self.bias_K

    def predicted(self, outputs_NK: Tensor) -> Tensor:
        """Returns the index of the likeliest class, or the number, of each text (N)."""
        return outputs_NK.argmax(dim=1) if self.classes else outputs_NK[:, 0]

    def save(self, path: Path) -> None:
        """Writes a safetensors file."""
        tensors = {"weight": self.weight_KD.contiguous(), "bias": self.bias_K.contiguous()}
        with atomic_path(path) as draft:
            about = {"classes": json.dumps(self.classes), "of_pairs": json.dumps(self.of_pairs)}
            save_file(tensors, str(draft), metadata=about)

    @classmethod
    def load(cls, path: Path) -> "LinearHead":
        """Reads what `save` wrote.

        Raises:
            UserError: The file is missing or damaged.
        """
        try:
            with safe_open(str(path), framework="pt") as file:
                about = file.metadata()
                classes, of_pairs = tuple(json.loads(about["classes"])), json.loads(about.get("of_pairs", "null"))
                return cls(file.get_tensor("weight"), file.get_tensor("bias"), classes, of_pairs)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"head: {str(path)!r} cannot be read ({error}); train again with force=true") from error


class TrainedHead(nn.Module):
    """A linear head while it is trained, on standardised vectors: its learning rate suits any model then.

    Args:
        width: D.
        n_outputs: K.
    """

    mean_D: Tensor
    scale_D: Tensor

    def __init__(self, width: int, n_outputs: int):
        super().__init__()
        self.register_buffer("mean_D", torch.zeros(width))
        self.register_buffer("scale_D", torch.ones(width))
        self.linear = nn.Linear(width, n_outputs)

    def forward(self, vectors_ND: Tensor) -> Tensor:
        """Returns the outputs (N×K)."""
        return self.linear((vectors_ND - self.mean_D) / self.scale_D)  # type: ignore[no-any-return]

    def standardise(self, vectors_ND: Tensor) -> None:
        """Takes from vectors where they lie and how far they are spread."""
        mean_D, scale_D = standard(vectors_ND.double())
        self.mean_D.copy_(mean_D)
        self.scale_D.copy_(scale_D)

    @torch.no_grad()
    def start(self, head: LinearHead) -> None:
        """Takes the weights of another head, so that it gives the same outputs."""
        weight_KD = head.weight_KD.to(self.scale_D.device)
        self.linear.weight.copy_(weight_KD * self.scale_D)
        self.linear.bias.copy_(head.bias_K.to(self.mean_D.device) + weight_KD @ self.mean_D.double())

    @torch.no_grad()
    def linear_head(self, classes: tuple[str, ...]) -> LinearHead:
        """Returns the same head on vectors as they are."""
        weight_KD = self.linear.weight.double() / self.scale_D.double()
        bias_K = self.linear.bias.double() - weight_KD @ self.mean_D.double()
        return LinearHead(weight_KD.cpu(), bias_K.cpu(), classes)


def standard(values_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean (D) and the standard deviation (D) of each column, 1 where it is next to nothing.

    MiniLM's last norm has weights of 1e-33: at length 1 such a column would tell as much as others while nothing
    changes, and more than all of them as soon as a layer is skipped or a weight is rounded.
    """
    scale_D = values_ND.std(dim=0, correction=0)
    return values_ND.mean(dim=0), torch.where(scale_D > NOTHING * scale_D.max(), scale_D, torch.ones_like(scale_D))
