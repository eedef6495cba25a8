from __future__ import annotations

import pytest
import torch
from torch import nn

from homestretch.paper.models.vgg import Convolution, vgg5


@pytest.mark.parametrize("channels", [1, 3])
def test_convolution_and_its_gradients_are_torch_s(channels):
    torch.manual_seed(0)
    ours = Convolution(channels, 4, kernel_size=3, padding=1).double()
    peer = nn.Conv2d(channels, 4, kernel_size=3, padding=1).double()
    peer.load_state_dict(ours.state_dict())
    images = torch.randn(2, channels, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(ours(images), peer(images))
    for module in (ours, peer):
        module(images).square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, peer.weight.grad)
    torch.testing.assert_close(ours.bias.grad, peer.bias.grad)
    assert ours.weight.is_contiguous()


def test_layers_and_shapes_are_the_paper_s():
    shapes = [tuple(p.shape) for p in vgg5((3, 32, 32), 10).parameters() if p.dim() > 1]
    assert shapes == [(32, 3, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (64, 1024), (10, 64)]
