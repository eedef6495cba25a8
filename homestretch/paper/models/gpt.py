"""A small decoder-only transformer over characters (after Radford et al. 2018), of the parts of the paper's transformers."""

from __future__ import annotations

from torch import Tensor, nn

from homestretch.paper.models.vit import EncoderLayer, sine_positions

__all__ = ["CharacterGPT"]


class CharacterGPT(nn.Module):
    """Scores of the next character at every position, from the characters up to it.

    Args:
        alphabet: Number of characters.
        context: Characters in a sample.
        width: Features of a character.
        layers: Number of layers, each causal attention and a perceptron.
        heads: Number of attention heads.
        hidden: Hidden units of each layer's perceptron.
    """

    positions: Tensor

    def __init__(
        self, alphabet: int, context: int, *, width: int = 64, layers: int = 2, heads: int = 4, hidden: int = 256
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(alphabet, width)
        # Fixed, hence made anew with the model rather than kept in its state.
        self.register_buffer("positions", sine_positions(context, width), persistent=False)
        self.layers = nn.Sequential(*(EncoderLayer(width, heads, hidden, causal=True) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, alphabet)

    def forward(self, characters: Tensor) -> Tensor:
        """Scores of shape ``(batch, alphabet, length)`` for characters of shape ``(batch, length)``.

        The classes come second because that is where ``torch.nn.functional.cross_entropy`` looks for them.
        """
        x = self.embedding(characters) + self.positions[: characters.shape[1]]
        return self.head(self.norm(self.layers(x))).mT
