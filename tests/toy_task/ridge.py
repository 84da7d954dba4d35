"""Ridge regression, fitted and held out in closed form."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

# Shapes: N texts, D hidden size.


@dataclass(frozen=True)
class Ridge:
    """number = w·x + b."""

    weight_D: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, vectors_ND: Tensor, numbers_N: Tensor, penalty: float) -> "Ridge":
        """Fits the weights, which are penalised, and the bias, which is not."""
        mean_D, bias = vectors_ND.mean(0), numbers_N.mean()
        centred_ND = vectors_ND - mean_D
        penalised_NN = centred_ND @ centred_ND.T + penalty * torch.eye(len(vectors_ND), dtype=vectors_ND.dtype)
        weight_D = centred_ND.T @ torch.linalg.solve(penalised_NN, numbers_N - bias)
        return cls(weight_D, bias - mean_D @ weight_D)

    def predict(self, vectors_ND: Tensor) -> Tensor:
        """The numbers (N)."""
        return vectors_ND @ self.weight_D + self.bias

    def save(self, path: Path) -> None:
        """Writes a safetensors file."""
        save_file({"weight": self.weight_D.contiguous(), "bias": self.bias.reshape(1)}, str(path))

    @classmethod
    def load(cls, path: Path) -> "Ridge":
        """Reads what `save` wrote."""
        tensors = load_file(str(path))
        return cls(tensors["weight"], tensors["bias"][0])


def held_out_mse(vectors_ND: Tensor, numbers_N: Tensor, penalty: float) -> Tensor:
    """The mean squared error of each text under the ridge of the others (leave-one-out), differentiable."""
    gram_NN = vectors_ND @ vectors_ND.T + 1  # the bias as one more column, penalised here
    inverse_NN = torch.linalg.inv(gram_NN + penalty * torch.eye(len(gram_NN), dtype=gram_NN.dtype))
    errors_N: Tensor = (inverse_NN @ (numbers_N - numbers_N.mean())) / inverse_NN.diagonal()
    return errors_N.square().mean()
