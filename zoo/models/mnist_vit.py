"""A small vision transformer for MNIST whose trained weights are bundled."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.data import Preprocessing
from zoo.models.base import model

_PATCH = 4


class Attention(nn.Module):
    """Softmax attention with several heads; queries, keys and values from one layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) -> the same."""
        batch, tokens, width = x.shape
        split = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    """Attention and two layers with GELU, each behind a layer norm and beside an identity."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) -> the same."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


@model(
    "mnist5k-vit",
    "a vision transformer of four blocks (GELU, layer norm, softmax attention) for MNIST, "
    "trained on mnist5k by zoo.train",
    input_shape=(1, 28, 28),
    classes=10,
    preprocessing=Preprocessing(mean=(0.1307,), std=(0.3081,)),
    data="mnist5k",
    weights="mnist5k-vit.safetensors",
)
class MnistVit(nn.Module):
    """Patches of 4x4, a class token, `depth` blocks of `width` channels for (B, 1, 28, 28)."""

    def __init__(
        self, classes: int = 10, *, width: int = 64, depth: int = 4, heads: int = 4
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, _PATCH, stride=_PATCH)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, (28 // _PATCH) ** 2 + 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 28, 28) -> (B, classes)."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])
