"""Small image data sets as NumPy arrays, found on this machine or downloaded once.

Each set is looked for in the cache folder, then where Debian's package of it installs it, and then
downloaded from its official mirrors into the cache folder.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradlet.base import settings
from gradlet.nn.idx import DamagedFileError, damaged, read_idx

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
CLASSES = 10


@dataclass(frozen=True)
class Source:
    """Where a data set in IDX files is to be had.

    Attributes:
        folder: its name in the cache folder.
        installed: where a package of the operating system puts it, if one does.
        mirrors: addresses to which a file name is appended.
        checksums: SHA-256 of each of `FILES` as the mirrors have them.
    """

    folder: str
    installed: Path | None
    mirrors: tuple[str, ...]
    checksums: tuple[str, ...]


FASHION = Source(
    folder="fashion-mnist",
    installed=Path("/usr/share/datasets/fashion-mnist"),
    mirrors=(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    checksums=(
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
)
MNIST = Source(
    folder="mnist",
    installed=None,
    mirrors=(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    checksums=(
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
)


# One file of 10,000 records: a label, then the red, green and blue pixels of an image.
CIFAR_RECORD = 1 + 3 * 32 * 32
CIFAR_FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
CIFAR_RECORDS = 10_000
CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR_MIRRORS = (f"https://www.cs.toronto.edu/~kriz/{CIFAR_ARCHIVE}",)
CIFAR_CHECKSUM = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"


class DataUnavailableError(RuntimeError):
    """A data set is neither on this machine nor to be downloaded."""


def fashion_mnist() -> Split:
    """Zalando's Fashion-MNIST (Xiao et al. 2017): clothes in 10 classes, 28x28 grey pixels.

    Returns:
        x_train (60000, 1, 28, 28), y_train (60000,), x_test (10000, 1, 28, 28), y_test (10000,),
        all uint8; pixels are 0 (background) to 255.

    Raises:
        DataUnavailableError: no copy here and no mirror answers.
        DamagedFileError: a file found here is not whole.
    """
    return _idx_images(FASHION)


def mnist() -> Split:
    """LeCun's MNIST: handwritten digits; shapes, dtypes and errors as of `fashion_mnist`."""
    return _idx_images(MNIST)


def cifar10() -> Split:
    """Krizhevsky's CIFAR-10 (2009): photographs of animals and vehicles in 10 classes.

    Returns:
        x_train (50000, 3, 32, 32), y_train (50000,), x_test (10000, 3, 32, 32), y_test (10000,),
        all uint8. Errors are as of `fashion_mnist`.
    """
    import tarfile  # here, for few programs need it and it takes long to load

    archive = settings.cache_folder() / "data" / "cifar-10" / CIFAR_ARCHIVE
    if not archive.is_file():
        _download("cifar-10", CIFAR_MIRRORS, archive, CIFAR_CHECKSUM)
    try:
        with tarfile.open(archive, "r:gz") as opened:
            parts = [_cifar_part(archive, opened, name) for name in CIFAR_FILES]
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise damaged(archive, f"it cannot be unpacked ({error})") from error
    images = np.concatenate([x for x, _ in parts[:-1]])
    labels = np.concatenate([y for _, y in parts[:-1]])
    return images, labels, *parts[-1]


def _cifar_part(archive: Path, opened: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one file in the archive."""
    size = CIFAR_RECORD * CIFAR_RECORDS
    try:
        file = opened.extractfile(f"cifar-10-batches-bin/{name}")
    except KeyError:
        file = None
    content = b"" if file is None else file.read(size + 1)
    if len(content) != size:
        raise damaged(archive, f"{name} in it does not hold {CIFAR_RECORDS} images")
    records = np.frombuffer(content, np.uint8).reshape(CIFAR_RECORDS, CIFAR_RECORD)
    labels = records[:, 0].copy()
    if labels.max() >= CLASSES:
        raise damaged(archive, f"{name} in it has a label {labels.max()}, of {CLASSES} classes")
    return records[:, 1:].reshape(-1, 3, 32, 32).copy(), labels


def digits() -> Split:
    """The 1,797 handwritten digits of 8x8 pixels that come with scikit-learn.

    They are shuffled the same way each time, and the last 360 are the test split.

    Returns:
        x_train (1437, 1, 8, 8), y_train (1437,), x_test (360, 1, 8, 8), y_test (360,), all uint8;
        pixels, 0 to 16 in the original, are scaled to 0 to 255.

    Raises:
        DataUnavailableError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataUnavailableError(
            "the digits data set comes with scikit-learn, which is not installed: "
            "pip install scikit-learn"
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x = np.rint(pixels[order] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    y = labels[order].astype(np.uint8)
    return x[:-360], y[:-360], x[-360:], y[-360:]


DATASETS = {"fashion": fashion_mnist, "mnist": mnist, "cifar10": cifar10, "digits": digits}


def load(name: str) -> tuple[str, Split]:
    """The data set `fashion`, `mnist`, `cifar10` or `digits`, which stands in for an absent one.

    Returns:
        The name of what was loaded, and its arrays. A line on stderr says if it is another.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; there are {', '.join(DATASETS)}")
    try:
        return name, DATASETS[name]()
    except DataUnavailableError as error:
        if name == "digits":
            raise
        print(f"{error} Using scikit-learn's 8x8 digits instead.", file=sys.stderr)
        return "digits", digits()


def _idx_images(source: Source) -> Split:
    folder = _find(source)
    x_train, y_train = _idx_pair(folder / FILES[0], folder / FILES[1])
    x_test, y_test = _idx_pair(folder / FILES[2], folder / FILES[3])
    return x_train, y_train, x_test, y_test


def _idx_pair(images_file: Path, labels_file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 1, H, W) and their labels (N,)."""
    images, labels = read_idx(images_file), read_idx(labels_file)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DamagedFileError(
            f"{images_file} holds an array of shape {images.shape} and {labels_file} one of "
            f"{labels.shape}: they do not belong together. Delete both and run again to have "
            "them fetched anew."
        )
    if labels.size and labels.max() >= CLASSES:
        raise DamagedFileError(
            f"{labels_file} holds a label {labels.max()}, but there are {CLASSES} classes. "
            "Delete it and run again to have it fetched anew."
        )
    return images[:, None], labels


def _find(source: Source) -> Path:
    """A folder with all four files, which are downloaded if need be."""
    cached = settings.cache_folder() / "data" / source.folder
    for folder in (cached, source.installed):
        if folder is not None and all((folder / name).is_file() for name in FILES):
            return folder
    for name, checksum in zip(FILES, source.checksums, strict=True):
        if not (cached / name).is_file():
            _download(source.folder, [m + name for m in source.mirrors], cached / name, checksum)
    return cached


def _download(title: str, urls: Sequence[str], path: Path, checksum: str) -> None:
    # Its modules of the network take a fifth of gradlet's import time, for use once in a lifetime.
    from gradlet.nn import download

    try:
        download.fetch(urls, path, checksum)
    except OSError as error:
        raise DataUnavailableError(
            f"{title} is not in {path.parent} and cannot be downloaded ({error})."
        ) from error
