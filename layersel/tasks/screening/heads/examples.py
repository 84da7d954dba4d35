"""The labelled records that a head learns from, and their file: whatever the head, it is fitted on them again."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from layersel.errors import UserError
from layersel.files import atomic_path
from layersel.tasks.screening.heads.head import Head, Scorer
from layersel.tasks.screening.heads.pool import Pool

# Shapes: N records, D hidden size.


@dataclass(frozen=True)
class ProtocolText:
    """The text of a review's protocol.

    Attributes:
        text: Its question, or the criteria of eligibility.
        vector_D: The text's vector.
    """

    text: str
    vector_D: Tensor


@dataclass(frozen=True)
class Examples:
    """Labelled records.

    Attributes:
        vectors_ND: Their vectors.
        labels_N: Their labels, 1 included and 0 excluded.
        texts: Title and abstract of each.
        n_parts: Of how many vectors, of a layer each, theirs consist.
        protocol: The protocol of their review; None where nobody gave it.
    """

    vectors_ND: Tensor
    labels_N: Tensor
    texts: Sequence[str]
    n_parts: int = 1
    protocol: ProtocolText | None = None

    def at(self, places: Sequence[int]) -> "Examples":
        """Returns those at some places."""
        chosen = list(places)
        return replace(
            self,
            vectors_ND=self.vectors_ND[chosen],
            labels_N=self.labels_N[chosen],
            texts=[self.texts[place] for place in chosen],
        )

    def without(self, place: int) -> "Examples":
        """Returns all of them but the one at `place`."""
        return self.at([other for other in range(len(self.texts)) if other != place])

    def part(self, index: int) -> "Examples":
        """Returns the examples as one of the layers sees them."""
        protocol = self.protocol
        if protocol is not None:
            protocol = replace(protocol, vector_D=protocol.vector_D.chunk(self.n_parts)[index])
        own_ND = self.vectors_ND.chunk(self.n_parts, dim=1)[index]
        return replace(self, vectors_ND=own_ND, n_parts=1, protocol=protocol)

    def included(self) -> Tensor:
        """Returns the vectors (K×D, float64) of the included records."""
        return self.vectors_ND[self.labels_N == 1].double()

    def excluded(self) -> Tensor:
        """Returns the vectors (K×D, float64) of the excluded records."""
        return self.vectors_ND[self.labels_N == 0].double()


@dataclass(frozen=True, eq=False)
class FittedHead:
    """A head that has learnt from examples.

    Attributes:
        examples: What it has learnt from.
        scorer: Scores any records.
    """

    examples: Examples
    scorer: Scorer

    @classmethod
    def fit(cls, head: Head, examples: Examples) -> "FittedHead":
        """Fits a head.

        Raises:
            UserError: A vector is not finite, there are too few examples of a class, or there is no protocol.
        """
        if not bool(examples.vectors_ND.isfinite().all()):
            raise UserError("head: vectors are not finite; lower task.learning_rate, or use precision=fp32")
        if not bool((examples.labels_N == 1).any()):
            raise UserError(f"task.head={head.name}: expected an included record to learn from, but got none")
        if head.needs_excluded and not bool((examples.labels_N == 0).any()):
            raise UserError(
                f"task.head={head.name}: expected excluded records to learn from too, but got none; "
                "use task/head=nearest"
            )
        if head.needs_protocol and examples.protocol is None:
            raise UserError(f"task.head={head.name}: expected a protocol to compare with, but the run has kept none")
        return cls(examples, head.fit(examples))

    def scores(self, vectors_ND: Tensor, texts: Sequence[str]) -> Tensor:
        """Returns a score (N, float64) for each record, higher = likelier included."""
        return self.scorer(Pool.of(self.examples, vectors_ND, texts))[: len(texts)]

    def save(self, path: Path) -> None:
        """Writes the examples as a safetensors file, their texts and the protocol's in its header."""
        tensors = {"vectors": self.examples.vectors_ND.contiguous(), "labels": self.examples.labels_N.contiguous()}
        about = {"texts": json.dumps(list(self.examples.texts)), "parts": str(self.examples.n_parts)}
        if self.examples.protocol is not None:
            tensors["protocol"] = self.examples.protocol.vector_D.contiguous()
            about["protocol"] = self.examples.protocol.text
        with atomic_path(path) as draft:
            save_file(tensors, str(draft), metadata=about)

    @classmethod
    def load(cls, path: Path, head: Head) -> "FittedHead":
        """Fits a head on what `save` wrote.

        Raises:
            UserError: The file is missing or damaged.
        """
        try:
            with safe_open(str(path), framework="pt") as file:
                about = file.metadata()
                texts, parts = json.loads(about["texts"]), int(about.get("parts", 1))  # 1: of a run before there were
                examples = Examples(file.get_tensor("vectors"), file.get_tensor("labels"), texts, parts)
                if "protocol" in about:
                    protocol = ProtocolText(about["protocol"], file.get_tensor("protocol"))
                    examples = replace(examples, protocol=protocol)
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise UserError(
                f"head: {str(path)!r} cannot be read ({error}); expected a file of a finished run"
            ) from error
        return cls.fit(head, examples)
