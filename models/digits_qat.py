"""Turn a trained `DigitsCnn` into its quantization-aware twin.

The twin has its batch normalizations folded, a uint8 fake quantizer at every tap
and an int8 per-channel fake quantizer on every weight. PyTorch exports those as
QuantizeLinear/DequantizeLinear pairs.
"""

import copy

import torch
from digits_nets import ConvUnit, DigitsCnn, Tap
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval

MOMENTUM = 0.05
TINY = 1e-6


class ActivationFakeQuant(nn.Module):
    """Asymmetric per-tensor uint8 rounding; its range is a moving average while training."""

    low: Tensor
    high: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(0.0))
        self.register_buffer("high", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(0.0))
        self.register_buffer("zero_point", torch.tensor(0, dtype=torch.int32))

    def _observe(self, x: Tensor) -> None:
        """Move the range towards that of `x`; it always holds 0, which must be exact."""
        weight = MOMENTUM if self.scale > 0 else 1.0
        self.low.lerp_(x.min().clamp(max=0.0), weight)
        self.high.lerp_(x.max().clamp(min=0.0), weight)
        self.scale.copy_(((self.high - self.low) / 255).clamp(min=TINY))
        self.zero_point.copy_((-self.low / self.scale).round().clamp(0, 255))

    def forward(self, x: Tensor) -> Tensor:
        """Round `x` to the grid of its range."""
        if self.training:
            self._observe(x.detach())
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point, 0, 255)


class WeightFakeQuant(nn.Module):
    """Symmetric int8 rounding of a weight, one scale for each output channel.

    PyTorch exports only the bounds -128..127, but a scale of max|w| / 127 never
    lets a weight round to -128.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(channels))
        self.register_buffer("zero_point", torch.zeros(channels, dtype=torch.int32))

    def forward(self, weight: Tensor) -> Tensor:
        """Round `weight`; the scale follows it while training, and is a constant afterwards."""
        if self.training:
            self.scale.copy_((weight.detach().flatten(1).abs().amax(dim=1) / 127).clamp(min=TINY))
        return torch.fake_quantize_per_channel_affine(weight, self.scale, self.zero_point, 0, -128, 127)


def _replace_taps(module: nn.Module) -> None:
    """Put an activation fake quantizer at every tap below `module`."""
    for name, child in module.named_children():
        if isinstance(child, Tap):
            setattr(module, name, ActivationFakeQuant())
        else:
            _replace_taps(child)


def prepare_qat(cnn: DigitsCnn) -> DigitsCnn:
    """A copy of `cnn` with folded batch normalizations and fake quantizers."""
    twin = copy.deepcopy(cnn).eval()
    for unit in [m for m in twin.modules() if isinstance(m, ConvUnit)]:
        if isinstance(unit.norm, nn.BatchNorm2d):
            unit.conv = fuse_conv_bn_eval(unit.conv, unit.norm)
            unit.norm = nn.Identity()
    _replace_taps(twin)
    for layer in [m for m in twin.modules() if isinstance(m, nn.Conv2d | nn.Linear)]:
        parametrize.register_parametrization(layer, "weight", WeightFakeQuant(len(layer.weight)))
    return twin


def freeze(twin: DigitsCnn) -> DigitsCnn:
    """End training: take the scales of the final weights, and keep every range from here on."""
    for module in twin.modules():
        if parametrize.is_parametrized(module, "weight"):
            module.train()
            _ = module.weight  # reading it runs the fake quantizer, which sets the scale
    return twin.eval()
