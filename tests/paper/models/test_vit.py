from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from homestretch.paper.models.vit import Attention, EncoderLayer, VisionTransformer, sine_positions


def reference_attention(module: Attention, x: torch.Tensor) -> torch.Tensor:
    """Head by head and token by token, from the definition."""
    width = x.shape[-1]
    matrices = list(module.projection.weight.split(width))
    query = x @ matrices[0].T
    key = query if module.shared_key else x @ matrices[1].T
    value = x if module.output is None else x @ matrices[-1].T
    size = width // module.heads
    mixed = torch.zeros_like(x)
    for head in range(module.heads):
        part = slice(head * size, (head + 1) * size)
        for sample in range(x.shape[0]):
            for token in range(x.shape[1]):
                similarity = key[sample, :, part] @ query[sample, token, part] / math.sqrt(size)
                mixed[sample, token, part] = similarity.softmax(dim=0) @ value[sample, :, part]
    return mixed if module.output is None else mixed @ module.output.weight.T


@pytest.mark.parametrize(
    ("shared_key", "values", "matrices"), [(False, True, 4), (True, True, 3), (True, False, 1), (False, False, 2)]
)
def test_attention_follows_its_definition(shared_key, values, matrices):
    torch.manual_seed(0)
    module = Attention(8, 2, shared_key=shared_key, values=values).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    assert sum(p.numel() for p in module.parameters()) == matrices * 64
    torch.testing.assert_close(module(x), reference_attention(module, x), rtol=1e-12, atol=1e-12)


def test_attention_agrees_with_torch():
    torch.manual_seed(1)
    ours = Attention(8, 2).double()
    peer = torch.nn.MultiheadAttention(8, 2, bias=False, batch_first=True, dtype=torch.float64)
    peer.in_proj_weight.data.copy_(ours.projection.weight)
    peer.out_proj.weight.data.copy_(ours.output.weight)
    x = torch.randn(3, 4, 8, dtype=torch.float64)
    torch.testing.assert_close(ours(x), peer(x, x, x, need_weights=False)[0], rtol=1e-12, atol=1e-12)


def test_a_layer_without_perceptron_ends_in_its_second_normalisation():
    layer = EncoderLayer(8, 2, 0).double()
    out = layer(torch.randn(2, 3, 8, dtype=torch.float64))
    torch.testing.assert_close(out.mean(-1), torch.zeros(2, 3, dtype=torch.float64), rtol=0, atol=1e-12)


def test_a_layer_with_perceptron_agrees_with_torch():
    torch.manual_seed(2)
    layer = EncoderLayer(8, 2, 16).double()
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    middle = x + layer.attention(functional.layer_norm(x, (8,)))
    hidden = functional.gelu(functional.linear(functional.layer_norm(middle, (8,)), *layer.mlp[0].parameters()))
    torch.testing.assert_close(layer(x), middle + functional.linear(hidden, *layer.mlp[2].parameters()))


def test_positions_are_sines_and_cosines():
    codes = sine_positions(5, 6)
    for token in range(5):
        for pair in range(3):
            angle = token / 10_000 ** (2 * pair / 6)
            expected = torch.tensor([math.sin(angle), math.cos(angle)])
            torch.testing.assert_close(codes[token, 2 * pair : 2 * pair + 2], expected)


def test_patches_embed_like_a_strided_convolution():
    model = VisionTransformer((3, 32, 32), 10)
    images = torch.randn(2, 3, 32, 32)
    kernels = model.embedding.weight.reshape(64, 3, 8, 8)
    expected = functional.conv2d(images, kernels, stride=8).flatten(2).transpose(1, 2)
    torch.testing.assert_close(model.embedding(model._patches(images)), expected, rtol=1e-4, atol=1e-5)


def test_the_class_token_adds_one_token_and_decides():
    model = VisionTransformer((1, 16, 16), 3, norms="class-token")
    seen = []
    model.layers.register_forward_hook(lambda module, inputs, output: seen.append(output))
    scores = model(torch.randn(2, 1, 16, 16))
    assert seen[0].shape == (2, 5, 64)
    torch.testing.assert_close(scores, model.head(seen[0][:, 0]))


@pytest.mark.parametrize("norms", ["two-a-layer", "class-token"])
def test_the_state_holds_parameters_only(norms):
    model = VisionTransformer((1, 16, 16), 3, norms=norms)
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}
