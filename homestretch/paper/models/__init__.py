"""The five models of the paper, four vision transformers and one convolutional network, and a transformer for text."""

from homestretch.paper.models.build import (
    MODELS,
    ModelRow,
    Outputs,
    build_gpt,
    build_model,
    model_table,
    overdetermination,
    parameter_count,
)
from homestretch.paper.models.vit import Norms

__all__ = [
    "MODELS",
    "ModelRow",
    "Norms",
    "Outputs",
    "build_gpt",
    "build_model",
    "model_table",
    "overdetermination",
    "parameter_count",
]
