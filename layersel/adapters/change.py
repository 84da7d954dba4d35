"""What an adapter adds to one weight matrix."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Change:
    """ΔW = merged − pretrained weight, with its true sign and scale.

    Attributes:
        dense: ΔW (d_out×d_in), float32 on the CPU; also a `Conv1D`'s, whose own weight is d_in×d_out.
        factors: B (d_out×r) and A (r×d_in) with B·A = ΔW, the scale within B; None if the method is not low rank.
    """

    dense: Tensor
    factors: tuple[Tensor, Tensor] | None = None

    @classmethod
    def low_rank(cls, up_OR: Tensor, down_RI: Tensor) -> "Change":
        """Returns the change B·A."""
        up_OR, down_RI = (factor.detach().float().cpu().contiguous() for factor in (up_OR, down_RI))
        return cls(up_OR @ down_RI, (up_OR, down_RI))
