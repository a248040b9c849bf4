"""Sequential bottleneck adapters (Seq_bn; Pfeiffer et al. 2020), for post-LN and for pre-LN backbones."""

from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn
from torch.nn.functional import relu
from transformers import PreTrainedModel

from langlift.adapters.invertible import attach_invertible
from langlift.adapters.method import AdapterConfig, Method, MethodSettings
from langlift.backbones.registry import backbone_of
from langlift.errors import InputError


@dataclass(frozen=True)
class SeqBnConfig(AdapterConfig):
    """A bottleneck adapter in every layer and, optionally, an invertible adapter on the embeddings.

    The bottleneck has size ``hidden_size / reduction_factor``. ``invertible`` makes it Seq_bn_inv.
    ``inverse_at_head`` runs the inverse before the MLM head's decoder; without it only the forward block is
    applied, as in arXiv 2502.10140. ``leave_out`` are layers, counted from 0, that get no adapter: MAD-X 2.0
    (Pfeiffer et al. 2021, arXiv 2012.15562) leaves out the last.
    """

    reduction_factor: float = 16.0
    invertible: bool = False
    inverse_at_head: bool = True
    leave_out: tuple[int, ...] = ()

    @classmethod
    def from_settings(cls, method: Method, settings: MethodSettings) -> Self:
        """The configuration for a recipe's settings."""
        invertible = "inverse_at_head" in method.settings
        left = tuple(sorted(set(settings.leave_out)))
        return cls(settings.reduction_factor, invertible, settings.inverse_at_head, left)

    @property
    def method(self) -> str:
        """``seq_bn`` or ``seq_bn_inv``."""
        return "seq_bn_inv" if self.invertible else "seq_bn"

    def settings(self) -> dict[str, Any]:
        """The configuration as settings of a recipe."""
        inverse = {"inverse_at_head": self.inverse_at_head} if self.invertible else {}
        return {"reduction_factor": self.reduction_factor, "leave_out": list(self.leave_out), **inverse}

    def bottleneck_size(self, hidden_size: int) -> int:
        """Size of the bottleneck, at least 1."""
        return max(1, int(hidden_size // self.reduction_factor))

    def attach(self, model: PreTrainedModel, name: str, first: bool) -> None:
        """Add a bottleneck to every layer that is not left out; only the ``first`` adapter gets an invertible
        block.

        InputError if ``leave_out`` names a layer that does not exist, or all layers; also as ``bottleneck_places``
        and ``attach_invertible``.
        """
        places = bottleneck_places(model)
        left = set(self.leave_out)
        if max(left, default=0) >= len(places) or len(left) == len(places):
            raise InputError(
                f"leave_out: {', '.join(map(str, self.leave_out))} for a model with {len(places)} layers",
                f"layers are counted from 0 to {len(places) - 1}, and one at least needs an adapter",
            )
        hidden_size: int = model.config.hidden_size
        for layer, place in enumerate(places):
            if layer not in left:
                adapter = Bottleneck(hidden_size, self.bottleneck_size(hidden_size))
                place.adapters[name] = adapter.to(device=model.device, dtype=model.dtype)
        if self.invertible and first:
            attach_invertible(model, name, self.inverse_at_head)


class Bottleneck(nn.Module):
    """``A(z) = U relu(D z + b_d) + b_u`` with D: d -> m and U: m -> d.

    Weights are initialised from N(0, 0.02), biases to 0. The residual connection is not included.
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
    ``s <- s + A_i(LN s)`` for each adapter, then ``y = LN s``. Weight and bias are shared with the LayerNorm it
    replaces, under the same names; without adapters it computes the same.
    """

    adapters: nn.ModuleDict

    @classmethod
    def at(cls, body: nn.Module, path: str) -> Self:
        """The one in place of the LayerNorm at ``path``; it is replaced if it is still an ordinary one."""
        norm = body.get_submodule(path)
        if isinstance(norm, cls):
            return norm
        if not isinstance(norm, nn.LayerNorm):
            raise TypeError(f"{path} is a {type(norm).__name__}, not a LayerNorm")
        adapted = cls(norm.normalized_shape, eps=norm.eps, device="meta")
        adapted.weight, adapted.bias = norm.weight, norm.bias
        adapted.adapters = nn.ModuleDict()
        body.set_submodule(path, adapted)
        return adapted

    def forward(self, s: Tensor) -> Tensor:
        """Shape [batch, length, d] -> the same."""
        for adapter in self.adapters.values():
            s = s + adapter(super().forward(s))
        return super().forward(s)


class AdaptedOutput(nn.Module):
    """The output of a pre-LN layer, passed through a stack of bottleneck adapters.

    The output s already includes the residual, so each adapter is added to it: ``s <- s + A_i(s)``.
    """

    adapters: nn.ModuleDict

    def __init__(self) -> None:
        super().__init__()
        self.adapters = nn.ModuleDict()

    @classmethod
    def at(cls, body: nn.Module, path: str) -> Self:
        """The one after the layer at ``path``: its child ``adapted_output``, called by a forward hook."""
        layer: Any = body.get_submodule(path)
        if not hasattr(layer, "adapted_output"):
            layer.adapted_output = cls()
            layer.register_forward_hook(layer.adapted_output.after_layer)
        place: Self = layer.adapted_output
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


Place = AdaptedLayerNorm | AdaptedOutput


def bottleneck_places(model: PreTrainedModel) -> list[Place]:
    """The modules that hold the bottleneck adapters, one per layer; created in place if missing.

    InputError if layers share their weights.
    """
    backbone, body = backbone_of(model), model.base_model
    paths = [backbone.bottleneck.format(layer=layer) for layer in range(model.config.num_hidden_layers)]
    if len({id(body.get_submodule(path)) for path in paths}) < len(paths):
        raise InputError(
            f"{backbone.model_type}: its layers share weights, but each layer needs its own adapter",
            "choose a base model whose layers do not share weights",
        )
    kind: type[Place] = AdaptedOutput if backbone.pre_layer_norm else AdaptedLayerNorm
    return [kind.at(body, path) for path in paths]
