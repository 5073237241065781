"""Small image data sets as NumPy arrays, found on this machine or downloaded once.

Each set is looked for in the cache folder, then where Debian's package of it installs it, and then
downloaded from its official mirrors into the cache folder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradlet.base import settings
from gradlet.nn.idx import DamagedFileError, read_idx

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


DATASETS = {"fashion": fashion_mnist, "mnist": mnist, "digits": digits}


def load(name: str) -> tuple[str, Split]:
    """The data set `fashion`, `mnist` or `digits`; digits stand in for one that cannot be had.

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


def batches(
    x: Any,
    y: Any,
    size: int,
    shuffle: bool = False,
    seed: int | None = None,
    drop_last: bool = False,
) -> Iterator[tuple[Any, Any]]:
    """Pairs of `size` elements of `x` and `y` along the first axis.

    Args:
        shuffle: in a random order, which `seed` fixes.
        drop_last: leave out what remains when `size` does not divide the number of elements.

    Raises:
        ValueError: lengths differ, or no batch of `size` can be had.

    >>> [b.tolist() for _, b in batches(np.zeros(5), np.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    count = len(x)
    if len(y) != count:
        raise ValueError(f"batches: x has {count} elements and y has {len(y)}; they must agree")
    if size < 1:
        raise ValueError(f"batches: size must be at least 1, not {size}")
    if drop_last and count < size:
        raise ValueError(f"batches: {count} elements make no whole batch of {size}")
    order = np.random.default_rng(seed).permutation(count) if shuffle else np.arange(count)
    end = count - count % size if drop_last else count
    return ((x[part], y[part]) for part in (order[i : i + size] for i in range(0, end, size)))


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
    # Its modules of the network take a fifth of gradlet's import time, for use once in a lifetime.
    from gradlet.nn import download

    try:
        for name, checksum in zip(FILES, source.checksums, strict=True):
            if not (cached / name).is_file():
                download.fetch([m + name for m in source.mirrors], cached / name, checksum)
    except OSError as error:
        raise DataUnavailableError(
            f"{source.folder} is not in {cached} and cannot be downloaded ({error})."
        ) from error
    return cached
