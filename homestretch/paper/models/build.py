"""The five models of the paper by name, and how far each is determined by its data."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, get_args

import torch
from torch import nn

from homestretch.paper.models.gpt import CharacterGPT
from homestretch.paper.models.vgg import vgg5
from homestretch.paper.models.vit import Norms, VisionTransformer

__all__ = [
    "MODELS",
    "ModelRow",
    "Outputs",
    "build_gpt",
    "build_model",
    "model_table",
    "overdetermination",
    "parameter_count",
]

Outputs = Literal["softmax", "linear"]
"""What stands between the last layer's scores and the loss."""

_VIT_PARTS: dict[str, dict[str, int | bool]] = {
    "vit-mlp": {"hidden": 256, "shared_key": False, "values": True},
    "vit-nomlp": {"hidden": 0, "shared_key": False, "values": True},
    "vit-nomlp-wkewq": {"hidden": 0, "shared_key": True, "values": True},
    "vit-nomlp-wkewq-wvwo": {"hidden": 0, "shared_key": True, "values": False},
}
_VGG = "vgg5-max-relu"
MODELS: tuple[str, ...] = (*_VIT_PARTS, _VGG)
"""Names of the paper's models, in the order of its Table 1."""

_GRID = 8  # the side of a patch, and what three poolings by 2 divide a side by

_SETS: dict[str, tuple[tuple[int, int, int], int, int]] = {
    "mnist": ((1, 32, 32), 10, 60_000),
    "cifar-10": ((3, 32, 32), 10, 50_000),
    "cifar-100": ((3, 32, 32), 100, 50_000),
}


class ModelRow(NamedTuple):
    """One cell of the paper's table of models: `P` parameters, overdetermination ratio `Q` on the full training set."""

    set: str
    model: str
    P: int
    Q: float


def build_model(
    name: str,
    image_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    outputs: Outputs = "softmax",
    norms: Norms = "two-a-layer",
    seed: int | None = None,
) -> nn.Sequential:
    """Build one of the paper's models on the CPU, in torch's default type.

    The paper does not say what stands between the head and the squared error. With softmax outputs a run shows the
    gradient-norm pattern it describes, with linear ones it does not, so softmax is the default.

    Args:
        name: One of `MODELS`.
        image_shape: `(channels, height, width)`; both sides are multiples of 8. The paper's is 32 by 32.
        classes: Number of outputs.
        outputs: "softmax" for class probabilities, "linear" for the bare scores.
        norms: Which reading of the transformers' normalisation is built, see `VisionTransformer`; the paper leaves it
            open and the parameter count is the same. Has no effect on "vgg5-max-relu".
        seed: Makes the initial parameters a function of this number alone and leaves torch's global generator
            untouched; None draws from that generator.

    Returns:
        A network of two parts, `network` and `outputs`, from images of shape `(batch, channels, height, width)` to
        outputs of shape `(batch, classes)`.

    Raises:
        ValueError: An unknown name or choice, or a shape the network cannot cut up.
    """
    _check(name, image_shape, classes, outputs, norms)
    with _drawn_from(seed):
        network = _network(name, image_shape, classes, norms)
    last = nn.Softmax(dim=-1) if outputs == "softmax" else nn.Identity()
    return nn.Sequential(OrderedDict(network=network, outputs=last))


def build_gpt(alphabet: int, context: int, seed: int | None = None) -> CharacterGPT:
    """Build the character-level transformer on the CPU, 1.1e5 parameters for an alphabet of 100.

    Args:
        alphabet: Number of characters.
        context: Characters in a sample.
        seed: As for `build_model`.

    Returns:
        The network, see `CharacterGPT`.
    """
    if min(alphabet, context) < 2:
        raise ValueError(f"alphabet and context must be at least 2; got {alphabet} and {context}")
    with _drawn_from(seed):
        return CharacterGPT(alphabet, context)


@contextmanager
def _drawn_from(seed: int | None) -> Iterator[None]:
    """Initial parameters made in this context are a function of `seed` alone, unless it is None."""
    # No device's generator but the CPU's is forked, since everything is drawn there: the same bits wherever it runs.
    with torch.random.fork_rng(devices=[], enabled=seed is not None), torch.device("cpu"):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        yield


def _network(name: str, image_shape: tuple[int, int, int], classes: int, norms: Norms) -> nn.Module:
    if name == _VGG:
        return vgg5(image_shape, classes)
    parts = _VIT_PARTS[name]
    return VisionTransformer(
        image_shape,
        classes,
        hidden=int(parts["hidden"]),
        shared_key=bool(parts["shared_key"]),
        values=bool(parts["values"]),
        norms=norms,
    )


def _check(name: str, image_shape: tuple[int, int, int], classes: int, outputs: str, norms: str) -> None:
    for argument, given, known in (
        ("name", name, MODELS),
        ("outputs", outputs, get_args(Outputs)),
        ("norms", norms, get_args(Norms)),
    ):
        if given not in known:
            raise ValueError(f"{argument} must be one of {', '.join(known)}; got {given!r}")
    channels, height, width = image_shape
    if channels < 1 or height < _GRID or width < _GRID or height % _GRID or width % _GRID:
        raise ValueError(
            f"image_shape must be (channels, height, width) with sides that are multiples of {_GRID}; "
            f"got {tuple(image_shape)}; enlarge or pad the images first"
        )
    if classes < 2:
        raise ValueError(f"classes must be at least 2; got {classes}")


def parameter_count(model: nn.Module) -> int:
    """How many trainable numbers a model has (`P` in the paper)."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def overdetermination(samples: int, classes: int, parameters: int) -> float:
    """The paper's ratio `Q = K M / P` of equations to unknowns; below 1 the fit is underdetermined.

    Args:
        samples: `K`, the number of training examples.
        classes: `M`, the number of outputs.
        parameters: `P`, the number of parameters.

    Returns:
        The ratio.
    """
    if min(samples, classes, parameters) < 1:
        raise ValueError(f"samples, classes and parameters must be at least 1; got {samples}, {classes} and {parameters}")
    return samples * classes / parameters


def model_table(norms: Norms = "two-a-layer") -> list[ModelRow]:
    """Parameters and overdetermination ratio of every model on every image set of the paper, in the order of Table 1.

    Args:
        norms: The reading of the transformers to count; both give the same numbers.

    Returns:
        Fifteen rows of set, model, `P` and `Q`, the ratio not rounded.
    """
    rows = []
    for set_name, (shape, classes, samples) in _SETS.items():
        for model in MODELS:
            count = parameter_count(build_model(model, shape, classes, norms=norms, seed=0))
            rows.append(ModelRow(set_name, model, count, overdetermination(samples, classes, count)))
    return rows
