"""Sequential bottleneck adapters (Seq_bn; Pfeiffer et al. 2020), for post-LN and for pre-LN backbones."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import relu


@dataclass(frozen=True)
class SeqBnConfig:
    """A bottleneck adapter in every layer, and optionally an invertible one on the embeddings.

    The bottleneck is ``hidden_size / reduction_factor`` wide. ``invertible`` makes it Seq_bn_inv.
    ``inverse_at_head`` runs the inverse before the masked head's decoder; without it the block runs
    forward only, as the adapters of arXiv 2502.10140 were trained and scored.
    """

    reduction_factor: float = 16.0
    invertible: bool = False
    inverse_at_head: bool = True

    def bottleneck_size(self, hidden_size: int) -> int:
        """Width of the bottleneck, at least 1."""
        return max(1, int(hidden_size // self.reduction_factor))


class Bottleneck(nn.Module):
    """``A(z) = U relu(D z + b_d) + b_u`` with D: d -> m and U: m -> d.

    Weights start from N(0, 0.02), biases from 0. The residual is not part of it.
    """

    def __init__(self, hidden_size: int, bottleneck_size: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden_size, bottleneck_size)
        self.up = nn.Linear(bottleneck_size, hidden_size)
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(self, z: Tensor) -> Tensor:
        """Shape [..., d] -> [..., d], in the dtype of ``z``."""
        output: Tensor = self.up(relu(self.down(z)))
        return output


class AdaptedLayerNorm(nn.LayerNorm):
    """The LayerNorm that closes a post-LN layer, with a stack of bottleneck adapters inside.

    With s = h + x (feed-forward output plus residual) the published ``z = LN(h + x); a = A(z) + h;
    y = LN(a + x)`` is ``y = LN(s + A(LN s))``; a stack repeats the inner step:
    ``s <- s + A_i(LN s)`` for each adapter, then ``y = LN s``. Weight and bias are those of the
    LayerNorm it replaces, under the same names; without adapters it is that LayerNorm.
    """

    adapters: nn.ModuleDict

    @classmethod
    def around(cls, norm: nn.LayerNorm) -> "AdaptedLayerNorm":
        """A replacement for ``norm`` that shares its parameters."""
        adapted = cls(norm.normalized_shape, eps=norm.eps, device="meta")
        adapted.weight, adapted.bias = norm.weight, norm.bias
        adapted.adapters = nn.ModuleDict()
        return adapted

    def forward(self, s: Tensor) -> Tensor:
        """Shape [batch, length, d] -> the same."""
        for adapter in self.adapters.values():
            s = s + adapter(super().forward(s))
        return super().forward(s)


class AdaptedOutput(nn.Module):
    """The output of a pre-LN layer, passed through a stack of bottleneck adapters.

    The output s is already a sum with the residual, so each adapter adds to it: ``s <- s + A_i(s)``.
    """

    adapters: nn.ModuleDict

    def __init__(self) -> None:
        super().__init__()
        self.adapters = nn.ModuleDict()

    @classmethod
    def behind(cls, layer: nn.Module) -> "AdaptedOutput":
        """Hooked behind ``layer``, as its child ``adapted_output``; the layer's own code stays as it is."""
        place = cls()
        layer.adapted_output = place
        layer.register_forward_hook(place.after_layer)
        return place

    def forward(self, s: Tensor) -> Tensor:
        """Shape [batch, length, d] -> the same."""
        for adapter in self.adapters.values():
            s = s + adapter(s)
        return s

    def after_layer(self, module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        """Forward hook of the layer."""
        adapted: Tensor = self(output)
        return adapted
