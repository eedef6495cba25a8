from __future__ import annotations

import numpy as np
import pytest

from homestretch.errors import DataError
from homestretch.paper.data.folder import read_folder
from homestretch.paper.data.raw import SETS

IDX_PLAIN = ("{}-images-idx3-ubyte", "{}-labels-idx1-ubyte")
IDX_DOTTED = ("{}-images.idx3-ubyte", "{}-labels.idx1-ubyte")
IDX_ZIPPED = ("{}-images-idx3-ubyte.gz", "{}-labels-idx1-ubyte.gz")


def same(raw, expected) -> bool:
    return np.array_equal(raw.pixels, expected.pixels) and np.array_equal(raw.labels, expected.labels)


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("mnist", "mnist-train.parquet", "mnist-test.parquet"),
        ("mnist", "mnist/train-00000-of-00001.parquet", "mnist/test-00000-of-00001.parquet"),
        ("cifar-10", "cifar10-train.parquet", "cifar10-test.parquet"),
        ("cifar-10", "plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"),
        ("cifar-10", "train.parquet", "test.parquet"),
        ("cifar-100", "cifar100-train.parquet", "cifar100-test.parquet"),
        ("cifar-100", "cifar100/train-00000-of-00001.parquet", "cifar100/test-00000-of-00001.parquet"),
    ],
)
def test_parquet_files_are_found(tmp_path, make_raw, write_parquet, name, train, test):
    training, validation = make_raw(name, 4), make_raw(name, 3, seed=1)
    write_parquet(tmp_path / train, name, training)
    write_parquet(tmp_path / test, name, validation)
    read = read_folder(tmp_path, SETS[name], None, None)
    assert same(read[0], training)
    assert same(read[1], validation)


def test_shards_are_found_in_order(tmp_path, make_raw, write_parquet):
    pieces = [make_raw("mnist", 2, seed=seed) for seed in range(3)]
    for number, piece in enumerate(pieces):
        write_parquet(tmp_path / f"train-0000{number}-of-00003.parquet", "mnist", piece)
    write_parquet(tmp_path / "test-00000-of-00001.parquet", "mnist", pieces[0])
    training, _ = read_folder(tmp_path, SETS["mnist"], None, None)
    assert training.labels.tolist() == [label for piece in pieces for label in piece.labels]


@pytest.mark.parametrize(("names", "zipped"), [(IDX_PLAIN, False), (IDX_DOTTED, False), (IDX_ZIPPED, True)])
@pytest.mark.parametrize("place", ["", "MNIST/raw"])
def test_idx_files_are_found(tmp_path, make_raw, write_idx, names, zipped, place):
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    made = {"train": make_raw("mnist", 4), "t10k": make_raw("mnist", 3, seed=1)}
    for start, raw in made.items():
        write_idx(folder / names[0].format(start), raw.pixels[:, 0], zipped)
        write_idx(folder / names[1].format(start), raw.labels, zipped)
    training, validation = read_folder(tmp_path, SETS["mnist"], 2, None)
    assert np.array_equal(training.pixels, made["train"].pixels[:2])
    assert same(validation, made["t10k"])


@pytest.mark.parametrize("place", ["", "cifar-10-batches-bin"])
def test_cifar_10_binary_files_are_found(tmp_path, make_raw, write_cifar, place):
    made = [make_raw("cifar-10", 2, seed=seed) for seed in range(6)]
    for number, raw in enumerate(made[:5], start=1):
        write_cifar(tmp_path / place / f"data_batch_{number}.bin", "cifar-10", raw)
    write_cifar(tmp_path / place / "test_batch.bin", "cifar-10", made[5])
    training, validation = read_folder(tmp_path, SETS["cifar-10"], None, 1)
    assert training.labels.tolist() == [label for raw in made[:5] for label in raw.labels]
    assert validation.labels.tolist() == made[5].labels[:1].tolist()


@pytest.mark.parametrize("place", ["", "cifar-100-binary"])
def test_cifar_100_binary_files_are_found(tmp_path, make_raw, write_cifar, place):
    made = [make_raw("cifar-100", 3, seed=seed) for seed in range(2)]
    write_cifar(tmp_path / place / "train.bin", "cifar-100", made[0])
    write_cifar(tmp_path / place / "test.bin", "cifar-100", made[1])
    training, validation = read_folder(tmp_path, SETS["cifar-100"], None, None)
    assert same(training, made[0])
    assert same(validation, made[1])


def test_sets_in_one_folder_are_kept_apart(tmp_path, make_raw, write_parquet):
    for name, stem in (("mnist", "mnist"), ("cifar-10", "cifar10"), ("cifar-100", "cifar100")):
        for split in ("train", "test"):
            write_parquet(tmp_path / f"{stem}-{split}.parquet", name, make_raw(name, 2))
    for name in ("mnist", "cifar-10", "cifar-100"):
        assert same(read_folder(tmp_path, SETS[name], None, None)[0], make_raw(name, 2))


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("mnist", (), "no files of mnist here.*mnist-train.parquet.*The folder is empty"),
        ("cifar-10", ("notes.txt",), "no files of cifar-10 here.*The folder holds notes.txt"),
        ("mnist", ("mnist-train.parquet",), "training files but not its test files"),
        ("cifar-100", ("test.bin",), "test files but not its training files"),
        ("cifar-10", ("data_batch_1.bin", "data_batch_3.bin"), "data_batch_2.bin: missing"),
        ("mnist", ("t10k-labels-idx1-ubyte",), "t10k-labels-idx1-ubyte: images and labels belong together"),
        ("cifar-10", ("data_batch_1",), "data_batch_1: a Python pickle.*cifar-10-binary.tar.gz"),
        ("cifar-10", ("cifar-10-batches-py/test_batch",), "test_batch: a Python pickle"),
        ("cifar-100", ("cifar-100-python/train",), "train: a Python pickle.*cifar-100-binary.tar.gz"),
        ("mnist", ("mnist-train.parquet", "mnist-test.parquet"), "mnist-train.parquet: not a readable parquet"),
    ],
)
def test_wrong_folders_are_explained(tmp_path, name, files, message):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"x")
    with pytest.raises(DataError, match=message) as caught:
        read_folder(tmp_path, SETS[name], None, None)
    assert str(tmp_path) in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="gone: no such folder"):
        read_folder(tmp_path / "gone", SETS["mnist"], None, None)
