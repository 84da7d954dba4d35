"""The training of a linear head, and of the adapter below it."""

from collections.abc import Sequence

import torch
from lightning import Callback
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from layersel.backbone.backbone import Backbone
from layersel.backbone.prefix import PrefixCache
from layersel.callbacks import BestWeights
from layersel.data.tokens import TokenIds
from layersel.errors import UserError
from layersel.seeding import stream
from layersel.tasks.amounts import amount
from layersel.tasks.classification.datamodule import Batch
from layersel.tasks.classification.head import LinearHead, TrainedHead, standard
from layersel.tasks.classification.options import Classification
from layersel.tasks.classification.probe import fit_probe
from layersel.training.adapter_module import AdapterModule, Part

# Shapes: N examples, D width of a vector, K classes (1 where a number is predicted).

SEEN_FIRST = 256
"""Most examples whose pretrained vectors the head is standardised by, and starts from."""


class ClassificationModule(AdapterModule):
    """Trains a head, and the adapter, by the cross-entropy of classes or the squared error of standardised numbers.

    Args:
        backbone: Is adapted.
        options: The task's options.
        targets: The targets (N) of the examples that are learnt from: indices of classes, or numbers.
        classes: The names of the classes; none for numbers.
        seed: Of the head's initial values.
    """

    options: Classification

    def __init__(
        self, backbone: Backbone, options: Classification, targets: Tensor, classes: tuple[str, ...], seed: int
    ):
        super().__init__(backbone, options)
        self.targets_N, self.classes, self.seed = targets, classes, seed
        self.if_not_finite = "lower task.learning_rate or task.head_learning_rate"
        balanced = bool(classes) and options.class_weights == "balanced"
        self.class_weights = _balanced(targets, len(classes)) if balanced else None
        mean, scale = standard(targets[:, None])
        self.mean, self.scale = (0.0, 1.0) if classes else (float(mean), float(scale))
        self._validation: PrefixCache | None = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=stream(seed, "head weights"))))
            self.head = TrainedHead(backbone.model.config.hidden_size * backbone.n_parts, len(classes) or 1)

    def prepare(self, tokens: Sequence[TokenIds], start: int) -> None:
        """Makes the cache, and readies the head by vectors of the model as it is before the training."""
        super().prepare(tokens, start)
        order = torch.randperm(len(self.targets_N), generator=stream(self.seed, "head"))
        seen = sorted(order[:SEEN_FIRST].tolist())
        self.backbone.eval()
        with torch.no_grad():
            vectors_ND = PrefixCache(self.backbone, [tokens[index] for index in seen], 0, 0).vectors(range(len(seen)))
        self.head.to(vectors_ND.device).standardise(vectors_ND)
        if self.options.head_start == "probe":
            targets_N, balanced = self.targets_N[seen], self.options.class_weights == "balanced"
            targets_N = targets_N if self.classes else (targets_N - self.mean) / self.scale
            self.head.start(fit_probe(vectors_ND, targets_N, self.classes, balanced))

    def loss(self, batch: Batch) -> Tensor:
        """Returns the loss of a batch."""
        return self._loss(self.head(self.vectors(batch.texts)), batch.targets)

    def adapter_start(self, steps: int) -> int:
        """Returns the step at which the adapter is unfrozen.

        Raises:
            UserError: It never would be.
        """
        start = amount(self.options.unfreeze_after, steps)
        if start and start >= steps and self.placed.layers:
            raise UserError(
                f"task.unfreeze_after: expected fewer than the {steps} steps of the training, but got "
                f"{self.options.unfreeze_after:g}; for the head alone give selection=none"
            )
        return start

    def parts(self, steps: int) -> list[Part]:
        """Returns the adapter and the head."""
        head = list(self.head.parameters())
        own = {id(parameter) for parameter in head}
        adapter = [parameter for parameter in self._trained() if id(parameter) not in own]
        start = self.adapter_start(steps)
        return [Part(adapter, self.options.learning_rate, start), Part(head, self.options.head_learning_rate)]

    def configure_callbacks(self) -> list[Callback]:
        """Returns what stops early and keeps the best weights, if that is wanted."""
        return [] if self.options.patience is None else [BestWeights(self.options.patience)]

    def validation_loss(self) -> float:
        """Returns the loss of the validation examples; every process of a training computes all of it."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        tokens, targets_N = data.validation_tokens, data.validation_targets
        if self._validation is None:
            self._validation = PrefixCache(
                self.backbone, tokens, self._prepared().start, self.options.prefix_cache_bytes
            )
        with torch.no_grad(), self.trainer.precision_plugin.forward_context():
            return float(self._loss(self.head(self._validation.vectors(range(len(tokens)))), targets_N))

    def trained_head(self) -> LinearHead:
        """Returns the head on vectors as they are, and of numbers as they are."""
        head = self.head.linear_head(self.classes)
        if self.classes:
            return head
        return LinearHead(head.weight_KD * self.scale, head.bias_K * self.scale + self.mean, ())

    def _loss(self, outputs_NK: Tensor, targets_N: Tensor) -> Tensor:
        targets_N = targets_N.to(outputs_NK.device)
        if self.classes:
            weights_K = None if self.class_weights is None else self.class_weights.to(outputs_NK.device)
            return cross_entropy(outputs_NK.float(), targets_N.long(), weights_K)
        return mse_loss(outputs_NK[:, 0].float(), (targets_N.float() - self.mean) / self.scale)


def _balanced(targets_N: Tensor, n_classes: int) -> Tensor:
    """Returns a weight for each class (K), with which all that have examples weigh the same, 1 on average."""
    counts_K = torch.bincount(targets_N.long(), minlength=n_classes).float()
    return len(targets_N) / ((counts_K > 0).sum() * counts_K.clamp(min=1))
