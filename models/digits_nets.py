"""The two float architectures: a depthwise-separable CNN and a vision transformer.

Both are written so that the exported graph holds plain operators with constant
shapes: every reshape leaves the batch axis as -1, and attention is spelled out.
"""

import torch
from torch import Tensor, nn

CLASSES = 10


class Tap(nn.Identity):
    """A tensor that the integer model stores; the QAT twin puts a fake quantizer here."""


class ConvUnit(nn.Module):
    """Convolution, batch normalization and an optional activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        act: nn.Module | None = None,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        # A ReLU is only a clamp of the convolution's own output; a curve needs its input stored too.
        self.act_tap = Tap() if isinstance(act, nn.Hardswish) else nn.Identity()
        self.act = act or nn.Identity()
        self.tap = Tap()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit."""
        out: Tensor = self.tap(self.act(self.act_tap(self.norm(self.conv(x)))))
        return out


def separable(inputs: int, outputs: int, act: nn.Module | None, stride: int = 1) -> nn.Sequential:
    """A 3x3 depthwise unit with ReLU6, then a 1x1 pointwise unit with `act`."""
    return nn.Sequential(
        ConvUnit(inputs, inputs, 3, nn.ReLU6(), stride, groups=inputs),
        ConvUnit(inputs, outputs, 1, act),
    )


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from the image's channel means."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            Tap(),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(),
            Tap(),
            nn.Conv2d(squeezed, channels, 1),
            Tap(),
            nn.Hardsigmoid(),
            Tap(),
        )
        self.tap = Tap()

    def forward(self, x: Tensor) -> Tensor:
        """Gate the channels of `x`."""
        out: Tensor = self.tap(x * self.gate(x))
        return out


class DigitsCnn(nn.Module):
    """HardSwish stem, a residual separable block, max/average pooling, a gated block, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.image_tap = Tap()
        self.stem = ConvUnit(1, 32, 3, nn.Hardswish())
        self.residual = separable(32, 32, None)
        self.add_tap = Tap()
        self.max_pool = nn.MaxPool2d(2)
        self.avg_pool = nn.Sequential(nn.AvgPool2d(2), Tap())
        self.concat_tap = Tap()
        self.gated = nn.Sequential(separable(64, 96, nn.ReLU()), SqueezeExcite(96, 24))
        self.last = separable(96, 128, nn.ReLU(), stride=2)
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), Tap())
        self.head = nn.Linear(128, CLASSES)
        self.logits_tap = Tap()

    def forward(self, image: Tensor) -> Tensor:
        """Logits of a batch of images."""
        x = self.stem(self.image_tap(image))
        x = self.add_tap(x + self.residual(x))
        x = self.concat_tap(torch.cat([self.max_pool(x), self.avg_pool(x)], dim=1))
        x = self.global_pool(self.last(self.gated(x)))
        logits: Tensor = self.logits_tap(self.head(x.flatten(1)))
        return logits


class Attention(nn.Module):
    """Multi-head self-attention over a fixed number of tokens."""

    def __init__(self, tokens: int, width: int, heads: int) -> None:
        super().__init__()
        self.split = (-1, tokens, heads, width // heads)
        self.merge = (-1, tokens, width)
        self.scale = (width // heads) ** -0.5
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens of `x`, each head by its own softmax(QK^T) V."""
        query = self.query(x).reshape(self.split).permute(0, 2, 1, 3)
        key = self.key(x).reshape(self.split).permute(0, 2, 3, 1)
        value = self.value(x).reshape(self.split).permute(0, 2, 1, 3)
        weights = torch.softmax(torch.matmul(query, key) * self.scale, dim=-1)
        mixed = torch.matmul(weights, value).permute(0, 2, 1, 3).reshape(self.merge)
        out: Tensor = self.project(mixed)
        return out


class EncoderBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, tokens: int, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(tokens, width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """Apply attention and the MLP, each added to its input."""
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class DigitsVit(nn.Module):
    """Vision transformer over the sixteen 2x2 patches, with mean pooling."""

    def __init__(self, width: int = 64, heads: int = 4, hidden: int = 128, depth: int = 3) -> None:
        super().__init__()
        tokens = 16
        self.flat = (-1, width, tokens)
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.position = nn.Parameter(0.02 * torch.randn(1, tokens, width))
        self.blocks = nn.Sequential(*(EncoderBlock(tokens, width, heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of a batch of images."""
        tokens = self.patches(image).reshape(self.flat).permute(0, 2, 1)
        tokens = self.norm(self.blocks(tokens + self.position))
        logits: Tensor = self.head(tokens.mean(dim=1))
        return logits
