from __future__ import annotations

import struct
import sys
import zlib

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from homestretch.errors import DataError
from homestretch.paper.data import parquet as module
from homestretch.paper.data.parquet import decode_rows, read_parquet
from homestretch.paper.data.raw import SETS


def same(raw, expected) -> bool:
    return np.array_equal(raw.pixels, expected.pixels) and np.array_equal(raw.labels, expected.labels)


@pytest.mark.parametrize("name", ["mnist", "cifar-10", "cifar-100"])
@pytest.mark.parametrize(("image", "plain"), [("image", False), ("img", False), ("img", True)])
def test_png_images_come_back_exactly(tmp_path, make_raw, write_parquet, name, image, plain):
    raw = make_raw(name, 5)
    write_parquet(tmp_path / "a.parquet", name, raw, image, plain)
    assert same(read_parquet([tmp_path / "a.parquet"], SETS[name]), raw)


def test_jpeg_images_come_back_nearly(tmp_path, make_raw, write_parquet):
    raw = make_raw("cifar-10", 3)
    raw.pixels[:] = np.linspace(0, 255, 32, dtype=np.uint8)
    write_parquet(tmp_path / "a.parquet", "cifar-10", raw, kind="JPEG")
    read = read_parquet([tmp_path / "a.parquet"], SETS["cifar-10"])
    assert np.abs(read.pixels.astype(int) - raw.pixels).max() <= 8


@pytest.mark.parametrize(("limit", "expected"), [(None, 9), (20, 9), (7, 7), (5, 5), (3, 3), (1, 1)])
def test_shards_are_read_in_order_up_to_the_limit(tmp_path, monkeypatch, make_raw, write_parquet, limit, expected):
    monkeypatch.setattr(module, "_ROWS_AT_A_TIME", 2)
    first, second = make_raw("mnist", 5), make_raw("mnist", 4, seed=1)
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    write_parquet(paths[0], "mnist", first)
    write_parquet(paths[1], "mnist", second)
    read = read_parquet(paths, SETS["mnist"], limit)
    assert read.labels.tolist() == [*first.labels, *second.labels][:expected]
    assert np.array_equal(read.pixels, np.concatenate([first.pixels, second.pixels])[:expected])


@pytest.mark.parametrize("broken", ["image", "label"])
def test_rows_are_counted_through_the_file(tmp_path, monkeypatch, make_raw, encode, broken):
    monkeypatch.setattr(module, "_ROWS_AT_A_TIME", 2)
    images, labels = [encode(pixels) for pixels in make_raw("mnist", 4).pixels], [0, 1, 2, 3]
    if broken == "image":
        images[3] = b"x"
    else:
        labels[3] = 10
    parquet.write_table(pa.table({"image": images, "label": labels}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: .*row 3"):
        read_parquet([tmp_path / "a.parquet"], SETS["mnist"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"picture": [b"x"], "label": [1]}, "needs a column image or img and a column label, the file has picture"),
        ({"image": [b"x"], "fine_label": [1]}, "the file has image, fine_label"),
        ({"image": ["text"], "label": [1]}, "not the bytes of PNG or JPEG"),
        ({"image": [{"path": "a.png"}], "label": [1]}, "not the bytes of PNG or JPEG"),
        ({"image": [b"x"], "label": [1.5]}, "does not hold whole numbers"),
        ({"image": [b"not an image"], "label": [1]}, "row 0: not a readable PNG or JPEG"),
        ({"image": pa.array([None], pa.binary()), "label": [1]}, "row 0: no bytes where an image should be"),
        ({"image": [bytes(100_000)], "label": [1]}, "row 0: 100000 bytes where an image should be"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "holds no rows"),
    ],
)
def test_other_columns_and_cells_are_refused_by_name(tmp_path, columns, message):
    path = tmp_path / "mnist-train.parquet"
    parquet.write_table(pa.table(columns), path)
    with pytest.raises(DataError, match=message) as caught:
        read_parquet([path], SETS["mnist"])
    assert "mnist-train.parquet" in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pa.array([3, None]), "rows without a label"),
        (pa.array([3, 10]), "label 10 in row 1"),
        (pa.array([3, 2**63], pa.uint64()), "beyond 64 bits"),
    ],
)
def test_labels_out_of_range_are_refused(make_raw, encode, labels, message):
    images = [encode(pixels) for pixels in make_raw("mnist", 2).pixels]
    with pytest.raises(DataError, match=f"here: .*{message}"):
        decode_rows(pa.table({"image": images, "label": labels}), SETS["mnist"], "here")


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be this large."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(29, 28), (12_000, 10_000), (40_000, 40_000), (2**31 - 1, 2**31 - 1), (0, 0)])
def test_an_image_of_another_size_is_refused_before_it_is_unpacked(size):
    with pytest.raises(DataError, match="row 0: "):
        decode_rows(pa.table({"image": [bomb(*size)], "label": [0]}), SETS["mnist"], "here")


def test_colour_where_grey_belongs_is_refused(encode):
    colour = encode(np.zeros((3, 28, 28), dtype=np.uint8))
    with pytest.raises(DataError, match="28x28 RGB, mnist has 28x28 L"):
        decode_rows(pa.table({"image": [colour], "label": [0]}), SETS["mnist"], "here")


def test_a_path_that_is_no_text_does_not_matter(make_raw, encode):
    raw = make_raw("mnist", 1)
    path = pa.array([b"\xff"]).view(pa.string())
    images = pa.StructArray.from_arrays([pa.array([encode(raw.pixels[0])]), path], ["bytes", "path"])
    assert same(decode_rows(pa.table({"image": images, "label": raw.labels}), SETS["mnist"], "here"), raw)


def test_truncated_images_are_refused(make_raw, encode):
    for kind in ("PNG", "JPEG"):
        data = encode(make_raw("cifar-10", 1).pixels[0], kind)
        with pytest.raises(DataError, match="row 0: not a readable"):
            decode_rows(pa.table({"img": [data[: len(data) // 2]], "label": [0]}), SETS["cifar-10"], "here")


@pytest.mark.parametrize("keep", [0, 3, 4, 100, 0.5, 0.9, -1])
def test_truncated_files_are_refused(tmp_path, make_raw, write_parquet, keep):
    path = tmp_path / "a.parquet"
    write_parquet(path, "mnist", make_raw("mnist", 3))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match=r"a\.parquet: not a readable parquet file"):
        read_parquet([path], SETS["mnist"])


def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path, make_raw, write_parquet):
    path = tmp_path / "a.parquet"
    write_parquet(path, "mnist", make_raw("mnist", 2))
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    refusals = []
    for _ in range(150):
        data = bytearray(whole)
        for place in generator.integers(0, len(data), 4):
            data[place] = generator.integers(0, 256)
        path.write_bytes(data)
        try:
            assert read_parquet([path], SETS["mnist"]).pixels.shape[1:] == (1, 28, 28)
        except DataError as error:
            refusals.append(str(error))
    assert len(refusals) > 20
    assert all("a.parquet" in message for message in refusals)


def test_too_much_is_refused_before_it_is_read(tmp_path, monkeypatch, make_raw, write_parquet):
    path = tmp_path / "a.parquet"
    write_parquet(path, "mnist", make_raw("mnist", 3))
    monkeypatch.setattr(module, "MAX_IMAGES", 2)
    with pytest.raises(DataError, match="promises 3 rows"):
        read_parquet([path], SETS["mnist"])
    monkeypatch.undo()
    monkeypatch.setattr(module, "_MAX_BYTES", 1000)
    with pytest.raises(DataError, match="row group 0 unpacks to more"):
        read_parquet([path], SETS["mnist"])


@pytest.mark.parametrize(("missing", "message"), [("pyarrow", "needs pyarrow"), ("PIL", "needs Pillow")])
def test_missing_packages_are_named(tmp_path, monkeypatch, make_raw, write_parquet, missing, message):
    path = tmp_path / "a.parquet"
    write_parquet(path, "mnist", make_raw("mnist", 1))
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(DataError, match=message):
        read_parquet([path], SETS["mnist"])
