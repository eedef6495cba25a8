"""The five models of the paper: four vision transformers and one convolutional network."""

from homestretch.paper.models.build import (
    MODELS,
    ModelRow,
    Outputs,
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
    "build_model",
    "model_table",
    "overdetermination",
    "parameter_count",
]
