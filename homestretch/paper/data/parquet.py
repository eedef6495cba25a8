"""Image sets in the hub's parquet layout: a column of PNG or JPEG bytes and a column of labels."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from homestretch.errors import DataError
from homestretch.paper.data.raw import MAX_IMAGES, ImageSet, RawImages, checked, joined

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import FileMetaData

__all__ = ["decode_rows", "read_parquet"]

_ROWS_AT_A_TIME = 64  # few, since a dictionary of a few large values can unpack to that many of them
_MAX_BYTES = 1 << 28  # of one row group, unpacked
_MAX_ENCODED = 1 << 16  # of one image; 32 by 32 by 3 is 3 KiB unpacked


def read_parquet(paths: Sequence[Path], image_set: ImageSet, limit: int | None = None) -> RawImages:
    """Read one split of an image set from parquet files.

    Args:
        paths: The files, in order.
        image_set: What they should hold.
        limit: Stop after this many rows.

    Returns:
        The images.

    Raises:
        DataError: Not parquet, damaged, other columns, images of another size, or labels out of range.
    """
    pieces: list[RawImages] = []
    missing = MAX_IMAGES if limit is None else limit
    for path in paths:
        row = 0
        for batch in _batches(path, image_set):
            piece = decode_rows(batch.slice(0, missing), image_set, path, row)
            pieces.append(piece)
            row += len(piece.labels)
            missing -= len(piece.labels)
            if missing <= 0:
                return joined(pieces)
    if not pieces:
        raise DataError(f"{', '.join(map(str, paths))}: holds no rows")
    return joined(pieces)


def decode_rows(rows: pa.RecordBatch | pa.Table, image_set: ImageSet, source: Path | str, first_row: int = 0) -> RawImages:
    """Decode the images of some rows.

    Args:
        rows: A column of images (bytes, or a structure with a field `bytes`) and a column of labels.
        image_set: What they should hold.
        source: Where they came from, for messages.
        first_row: The number of the first of them there, for messages.

    Raises:
        DataError: Other columns, something that is not a PNG or JPEG image of the set's size, or labels out of range.
    """
    import pyarrow as pa

    image_column, label_column = _columns(rows.schema, image_set, source)
    images = rows.column(image_column)
    at = images.type.get_field_index("bytes") if isinstance(images.type, pa.StructType) else None
    # Of a structure only the bytes are touched: the path beside them is nobody's business here.
    encoded = (images if at is None else images.flatten()[at]).to_pylist()
    labels = rows.column(label_column)
    if labels.null_count:
        raise DataError(f"{source}: column {label_column!r} has rows without a label")
    pixels = np.empty((len(encoded), *image_set.shape), dtype=np.uint8)
    with warnings.catch_warnings():
        # Pillow warns before it refuses; an image of that size is refused below anyway.
        warnings.simplefilter("ignore")
        for row, data in enumerate(encoded):
            pixels[row] = _decoded(data, image_set, f"{source}: row {first_row + row}")
    try:
        numbers = np.asarray(labels.to_pylist(), dtype=np.int64)
    except OverflowError as error:
        raise DataError(f"{source}: column {label_column!r} has a label beyond 64 bits") from error
    return checked(RawImages(pixels, numbers), image_set, source, first_row)


def _batches(path: Path, image_set: ImageSet) -> Iterator[pa.RecordBatch]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f'{path}: reading parquet needs pyarrow: pip install "homestretch[cli]"') from error
    try:
        with parquet.ParquetFile(path) as file:
            columns = _columns(file.schema_arrow, image_set, path)
            _check_size(file.metadata, path)
            yield from file.iter_batches(batch_size=_ROWS_AT_A_TIME, columns=list(columns))
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise DataError(f"{path}: not a readable parquet file, perhaps cut short ({_first_line(error)})") from error


def _columns(schema: pa.Schema, image_set: ImageSet, source: Path | str) -> tuple[str, str]:
    import pyarrow as pa

    names = schema.names
    image = next((name for name in image_set.image_column if names.count(name) == 1), None)
    if image is None or names.count(image_set.label_column) != 1:
        raise DataError(
            f"{source}: {image_set.name} needs a column {' or '.join(image_set.image_column)} and a column "
            f"{image_set.label_column}, the file has {', '.join(names[:20]) or 'none'}"
        )
    kind = schema.field(image).type
    if isinstance(kind, pa.StructType) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise DataError(f"{source}: column {image!r} holds {kind}, not the bytes of PNG or JPEG images")
    if not pa.types.is_integer(schema.field(image_set.label_column).type):
        raise DataError(f"{source}: column {image_set.label_column!r} does not hold whole numbers")
    return image, image_set.label_column


def _check_size(metadata: FileMetaData, path: Path) -> None:
    if metadata.num_rows > MAX_IMAGES:
        raise DataError(f"{path}: promises {metadata.num_rows} rows, more than the {MAX_IMAGES} that are read")
    for group in range(metadata.num_row_groups):
        if metadata.row_group(group).total_byte_size > _MAX_BYTES:
            raise DataError(f"{path}: row group {group} unpacks to more than {_MAX_BYTES} bytes")


def _decoded(data: bytes | None, image_set: ImageSet, where: str) -> np.ndarray:
    """Decode one image to bytes of shape `(channels, height, width)`, after a look at the size it claims."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(f'{where}: decoding images needs Pillow: pip install "homestretch[cli]"') from error
    channels, height, width = image_set.shape
    mode = "L" if channels == 1 else "RGB"
    if not data or len(data) > _MAX_ENCODED:
        raise DataError(f"{where}: {len(data) if data else 'no'} bytes where an image should be")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.size != (width, height) or image.mode != mode:
                size = f"{image.size[0]}x{image.size[1]} {image.mode}"
                raise DataError(f"{where}: the image is {size}, {image_set.name} has {width}x{height} {mode}")
            flat = np.frombuffer(image.tobytes(), dtype=np.uint8)
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise DataError(f"{where}: not a readable PNG or JPEG image ({_first_line(error)})") from error
    return flat.reshape(height, width, channels).transpose(2, 0, 1)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
