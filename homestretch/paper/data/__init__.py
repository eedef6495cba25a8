"""The image sets of the paper, and real handwritten digits that need no network."""

from homestretch.paper.data.image_data import ImageData, one_hot
from homestretch.paper.data.load import DATA_VARIABLE, load_data
from homestretch.paper.data.raw import SETS

SET_NAMES: tuple[str, ...] = tuple(SETS)
"""What `load_data` accepts."""

__all__ = ["DATA_VARIABLE", "SET_NAMES", "ImageData", "load_data", "one_hot"]
