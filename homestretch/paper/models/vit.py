"""Vision transformers as small as the paper's, from the full encoder down to one matrix a layer.

Everything here is built of plain matrix products and softmax, because the convex phase needs Hessian and Gauss-Newton
products: the fused attention of `torch.nn.functional.scaled_dot_product_attention` has neither a second derivative nor
forward-mode differentiation. Its own plain fallback has both, and was 15 to 20 % slower than what stands below (one
CPU core, batch 512, 16 tokens, 4 heads of 16).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Attention", "EncoderLayer", "Norms", "VisionTransformer", "sine_positions"]

Norms = Literal["two-a-layer", "class-token"]
"""Which of two readings of the paper's normalisation and token count is built; both have the same parameter count."""


def sine_positions(tokens: int, width: int) -> Tensor:
    """Fixed position encoding of sines and cosines.

    `e[t, 2i] = sin(t / 10000^(2i / width))` and `e[t, 2i + 1] = cos(t / 10000^(2i / width))` (Vaswani et al. 2017,
    section 3.5).

    Args:
        tokens: How many positions.
        width: Length of one code, an even number.

    Returns:
        A float32 tensor of shape `(tokens, width)`.
    """
    position = torch.arange(tokens, dtype=torch.float64).unsqueeze(1)
    wavelength = 10_000.0 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = position / wavelength
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1).to(torch.float32)


class Attention(nn.Module):
    """Self-attention over several heads, without biases, optionally with fewer matrices than usual.

    Per head, with inputs `X` of shape `(tokens, width)`: `softmax(Q K' / sqrt(d)) V`, heads side by side, then `W_o`.

    Args:
        width: Features of a token.
        heads: Number of heads; divides `width`.
        shared_key: One matrix makes both keys and queries (`W_k = W_q`), so similarity is symmetric.
        values: Whether there are a value and an output matrix; without them `V` is `X` and the heads are the result.
        causal: Whether a token sees only itself and those before it.
    """

    def __init__(self, width: int, heads: int, *, shared_key: bool = False, values: bool = True, causal: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.shared_key = shared_key
        self.causal = causal
        self.scale = (width // heads) ** -0.5
        matrices = (1 if shared_key else 2) + (1 if values else 0)
        # One product makes queries, keys and values: fewer, larger matrix products, the same parameters.
        self.projection = nn.Linear(width, matrices * width, bias=False)
        self.output = nn.Linear(width, width, bias=False) if values else None

    def forward(self, x: Tensor) -> Tensor:
        """Attend; `x` and the result have shape `(batch, tokens, width)`."""
        made = self.projection(x).chunk(self.projection.out_features // self.projection.in_features, dim=-1)
        query = self._split(made[0])
        key = query if self.shared_key else self._split(made[1])
        value = self._split(x if self.output is None else made[-1])
        scores = (query * self.scale) @ key.transpose(-2, -1)
        if self.causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(later, float("-inf"))
        weights = torch.softmax(scores, dim=-1)
        mixed = (weights @ value).transpose(1, 2).flatten(2)
        return mixed if self.output is None else self.output(mixed)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class EncoderLayer(nn.Module):
    """One pre-norm encoder layer: attention and, where there is one, a two-layer perceptron, each around a shortcut.

    Without the perceptron the second normalisation stays and closes the layer.

    Args:
        width: Features of a token.
        heads: Number of attention heads.
        hidden: Hidden units of the perceptron; 0 for none.
        shared_key: See `Attention`.
        values: See `Attention`.
        causal: See `Attention`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        shared_key: bool = False,
        values: bool = True,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, shared_key=shared_key, values=values, causal=causal)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)) if hidden else None

    def forward(self, x: Tensor) -> Tensor:
        """Encode; `x` and the result have shape `(batch, tokens, width)`."""
        x = x + self.attention(self.norm1(x))
        return self.norm2(x) if self.mlp is None else x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """A small vision transformer: patches, fixed positions, encoder layers, mean or class token, linear head.

    Args:
        image_shape: `(channels, height, width)`; both sides are multiples of `patch`.
        classes: Number of outputs.
        hidden: Hidden units of each layer's perceptron; 0 for none.
        shared_key: See `Attention`.
        values: See `Attention`.
        norms: "two-a-layer" has two normalisations a layer and a final one, no class token (the head sees the mean over
            the tokens) and a patch projection without bias. "class-token" has no final normalisation, a learned class
            token and a biased patch projection.
        patch: Side of the square patches.
        width: Features of a token.
        layers: Number of encoder layers.
        heads: Number of attention heads.
    """

    positions: Tensor

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        hidden: int = 256,
        shared_key: bool = False,
        values: bool = True,
        norms: Norms = "two-a-layer",
        patch: int = 8,
        width: int = 64,
        layers: int = 3,
        heads: int = 4,
    ) -> None:
        super().__init__()
        channels, rows, columns = image_shape[0], image_shape[1] // patch, image_shape[2] // patch
        with_token = norms == "class-token"
        self.patch = patch
        self.embedding = nn.Linear(channels * patch * patch, width, bias=with_token)
        self.class_token = nn.Parameter(torch.zeros(width)) if with_token else None
        # Fixed, hence made anew with the model rather than kept in its state.
        self.register_buffer("positions", sine_positions(rows * columns + with_token, width), persistent=False)
        self.layers = nn.Sequential(
            *(EncoderLayer(width, heads, hidden, shared_key=shared_key, values=values) for _ in range(layers))
        )
        self.norm = None if with_token else nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of shape `(batch, classes)` for images of shape `(batch, channels, height, width)`."""
        x = self.embedding(self._patches(images))
        if self.class_token is not None:
            x = torch.cat((self.class_token.expand(x.shape[0], 1, -1), x), dim=1)
        x = self.layers(x + self.positions)
        return self.head(x[:, 0] if self.norm is None else self.norm(x).mean(dim=1))

    def _patches(self, images: Tensor) -> Tensor:
        """Cut `(batch, channels, height, width)` into `(batch, tokens, channels * patch * patch)`."""
        tiles = images.unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))
        return tiles.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
