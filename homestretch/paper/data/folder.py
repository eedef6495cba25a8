"""Finding an image set's files in a folder: parquet, IDX or CIFAR binary, told by name and confirmed by content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from homestretch.errors import DataError
from homestretch.paper.data.cifar_binary import read_cifar_binary
from homestretch.paper.data.idx import read_idx
from homestretch.paper.data.parquet import read_parquet
from homestretch.paper.data.raw import ImageSet, RawImages

__all__ = ["read_folder"]


class _Files(NamedTuple):
    """One set's files: how they are read, and which belong to training and validation."""

    read: Callable[[Sequence[Path], ImageSet, int | None], RawImages]
    training: list[Path]
    validation: list[Path]


def read_folder(
    directory: Path, image_set: ImageSet, train_limit: int | None, validation_limit: int | None
) -> tuple[RawImages, RawImages]:
    """Read an image set from a folder or from the sub-folders in which the hub and the archives put it.

    Args:
        directory: The folder.
        image_set: Which set.
        train_limit: Stop after this many training images.
        validation_limit: Stop after this many validation images.

    Returns:
        Training and validation images.

    Raises:
        DataError: No such folder, none of the set's files in it, some of them missing, or one that cannot be read.
    """
    if not directory.is_dir():
        raise DataError(
            f"{directory}: no such folder: name one that holds {image_set.name}, by --data-dir (in Python by directory) or "
            "by the variable HOMESTRETCH_DATA"
        )
    places = [place for place in (directory, *(directory / name for name in image_set.folders)) if place.is_dir()]
    for place in places:
        for files in _candidates(place, image_set):
            if files.training and files.validation:
                training = files.read(files.training, image_set, train_limit)
                return training, files.read(files.validation, image_set, validation_limit)
            if files.training or files.validation:
                present, absent = ("training", "test") if files.training else ("test", "training")
                raise DataError(f"{place}: has {image_set.name}'s {present} files but not its {absent} files")
    _refuse_pickles(places, image_set)
    raise DataError(f"{directory}: no files of {image_set.name} here. {_expected(image_set)} {_contents(directory)}")


def _candidates(place: Path, image_set: ImageSet) -> Iterator[_Files]:
    for stem in image_set.stems:
        yield _Files(read_parquet, _parquet(place, f"{stem}-train"), _parquet(place, f"{stem}-test"))
    yield _Files(read_parquet, _parquet(place, "train"), _parquet(place, "test"))
    if image_set.name == "mnist":
        yield _Files(read_idx, _idx(place, "train"), _idx(place, "t10k"))
    if image_set.name == "cifar-10":
        batches = [place / f"data_batch_{number}.bin" for number in range(1, 6)]
        found = [path for path in batches if path.is_file()]
        if found and len(found) < len(batches):
            raise DataError(f"{next(path for path in batches if path not in found)}: missing beside {found[0].name}")
        yield _Files(read_cifar_binary, found, _existing(place / "test_batch.bin"))
    if image_set.name == "cifar-100":
        yield _Files(read_cifar_binary, _existing(place / "train.bin"), _existing(place / "test.bin"))


def _parquet(place: Path, start: str) -> list[Path]:
    """Files `START.parquet` or `START-00000-of-00001.parquet` and on, in order."""
    return _existing(place / f"{start}.parquet") or sorted(
        path for path in place.glob(f"{start}-*-of-*.parquet") if path.is_file()
    )


def _idx(place: Path, start: str) -> list[Path]:
    """The images' and the labels' file, plain before compressed, with the dash or the dot of either spelling."""
    found: list[Path] = []
    for kind in ("images{}idx3", "labels{}idx1"):
        names = (f"{start}-{kind.format(mark)}-ubyte{end}" for end in ("", ".gz") for mark in "-.")
        found += next(filter(None, (_existing(place / name) for name in names)), [])
    if len(found) == 1:
        raise DataError(f"{found[0]}: images and labels belong together, and only this one of the two is there")
    return found


def _existing(path: Path) -> list[Path]:
    return [path] if path.is_file() else []


def _refuse_pickles(places: Sequence[Path], image_set: ImageSet) -> None:
    """Say what to do instead of reading CIFAR's Python version, because a pickle can run code when it is read."""
    names = {"cifar-10": ("data_batch_1", "test_batch"), "cifar-100": ("train", "test")}.get(image_set.name, ())
    archive = f"{image_set.name}-batches-py" if image_set.name == "cifar-10" else f"{image_set.name}-python"
    for place in (*places, *(place / archive for place in places)):
        for path in (place / name for name in names):
            if path.is_file():
                raise DataError(
                    f"{path}: a Python pickle, which can run code when it is read and is refused. Take the binary "
                    f"version ({image_set.name}-binary.tar.gz from the same page) or the hub's parquet files"
                )


def _expected(image_set: ImageSet) -> str:
    own = {
        "mnist": "train-images-idx3-ubyte and the other three IDX files (.gz or not)",
        "cifar-10": "data_batch_1.bin to data_batch_5.bin and test_batch.bin",
        "cifar-100": "train.bin and test.bin",
    }[image_set.name]
    stem = image_set.stems[0]
    return (
        f"Looked for {stem}-train.parquet and {stem}-test.parquet, the hub's train-00000-of-00001.parquet and "
        f"test-00000-of-00001.parquet, or {own}."
    )


def _contents(directory: Path) -> str:
    names = sorted(path.name for path in directory.iterdir())
    listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"The folder holds {listed}." if names else "The folder is empty."
