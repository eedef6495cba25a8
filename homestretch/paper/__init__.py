"""The experiments of the paper: its models and its data."""

from homestretch.paper.data import SET_NAMES, ImageData, load_data, one_hot
from homestretch.paper.models import MODELS, build_model, model_table, overdetermination

__all__ = [
    "MODELS",
    "SET_NAMES",
    "ImageData",
    "build_model",
    "load_data",
    "model_table",
    "one_hot",
    "overdetermination",
]
