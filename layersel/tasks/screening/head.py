"""The logistic head: from a record's vector to its score."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from layersel.errors import UserError
from layersel.files import atomic_path

# Shapes: N records, D hidden size.


@dataclass(frozen=True)
class LogisticHead:
    """score = w·x + b, the log-odds that a record is included; x is scaled to length 1 where `normalize` says so."""

    weight_D: Tensor
    bias: Tensor
    normalize: bool

    @classmethod
    def fit(cls, vectors_ND: Tensor, labels_N: Tensor, c: float, normalize: bool) -> "LogisticHead":
        """Fit on labelled vectors, in float64; `c` is the inverse strength of the L2 penalty.

        Raises:
            UserError: A vector is not finite: the training went astray, or the precision is too low.
        """
        if not bool(vectors_ND.isfinite().all()):
            raise UserError("head: vectors are not finite; lower task.learning_rate, or use precision=fp32")
        model = LogisticRegression(C=c, max_iter=10_000, tol=1e-8)
        model.fit(_features(vectors_ND, normalize).numpy(), labels_N.numpy())
        return cls(torch.from_numpy(model.coef_[0].copy()), torch.from_numpy(model.intercept_.copy())[0], normalize)

    @classmethod
    def held_out_loss(cls, vectors_ND: Tensor, labels_N: Tensor, c: float, normalize: bool) -> float:
        """Returns the mean log loss of each record under the head that the others give (leave-one-out)."""
        losses = []
        for record in range(len(labels_N)):
            others = torch.arange(len(labels_N)) != record
            score = cls.fit(vectors_ND[others], labels_N[others], c, normalize).scores(vectors_ND[record : record + 1])
            losses.append(binary_cross_entropy_with_logits(score, labels_N[record : record + 1].double()))
        return float(torch.stack(losses).mean())

    def scores(self, vectors_ND: Tensor) -> Tensor:
        """Returns the log-odds (N, float64) of each record."""
        return _features(vectors_ND, self.normalize) @ self.weight_D + self.bias

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        with atomic_path(path) as draft:
            tensors = {"weight": self.weight_D.contiguous(), "bias": self.bias.reshape(1)}
            save_file(tensors, str(draft), metadata={"normalize": str(int(self.normalize))})

    @classmethod
    def load(cls, path: Path) -> "LogisticHead":
        """Read what `save` wrote."""
        try:
            with safe_open(str(path), framework="pt") as file:
                weight, bias = file.get_tensor("weight"), file.get_tensor("bias")[0]
                normalize = file.metadata()["normalize"] == "1"
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise UserError(
                f"head: {str(path)!r} cannot be read ({error}); expected a file of a finished run"
            ) from error
        return cls(weight, bias, normalize)


def _features(vectors_ND: Tensor, normalize: bool) -> Tensor:
    vectors_ND = vectors_ND.double()
    return torch.nn.functional.normalize(vectors_ND, dim=1) if normalize else vectors_ND
