"""Image sets by their names on the Hugging Face hub, through its `datasets` library."""

from __future__ import annotations

import importlib

from homestretch.errors import DataError
from homestretch.paper.data.parquet import decode_rows
from homestretch.paper.data.raw import ImageSet, RawImages

__all__ = ["read_hub"]

_FOLDER = "name a folder that holds the set, by --data-dir (in Python by directory) or by the variable HOMESTRETCH_DATA"


def read_hub(image_set: ImageSet, train_limit: int | None, validation_limit: int | None) -> tuple[RawImages, RawImages]:
    """Fetch an image set, or take it from the library's own cache.

    Args:
        image_set: Which set.
        train_limit: Keep this many training images.
        validation_limit: Keep this many validation images.

    Returns:
        Training and validation images.

    Raises:
        DataError: The library is missing, the hub cannot be reached, or what it sends is not the set.
    """
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise DataError(
            f"{image_set.name} is fetched from the hub by the package datasets, which is not installed: pip install "
            f'"homestretch[hub]", or {_FOLDER}'
        ) from error

    def read(split: str, limit: int | None) -> RawImages:
        source = f"{image_set.hub} ({split})"
        try:
            rows = datasets.load_dataset(image_set.hub, split=split if limit is None else f"{split}[:{limit}]")
            for column in set(image_set.image_column) & set(rows.column_names):
                # The bytes as stored: our own decoder checks sizes before it unpacks anything.
                rows = rows.cast_column(column, datasets.Image(decode=False))
            table = rows.with_format("arrow")[:]
        except Exception as error:
            # Whatever lies beneath the library (HTTP, file locks, its own errors) has no common base class.
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise DataError(f"{source}: could not be fetched ({reason}). Try again, or {_FOLDER}") from error
        return decode_rows(table, image_set, source)

    return read("train", train_limit), read("test", validation_limit)
