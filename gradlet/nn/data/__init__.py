"""Data sets, and the batches in which they are looked at."""

from gradlet.nn.data.datasets import (
    ConcatDataset,
    Dataset,
    Subset,
    TensorDataset,
    random_split,
)
from gradlet.nn.data.images import (
    CLASSES,
    DATASETS,
    FASHION,
    FILES,
    MNIST,
    DataUnavailableError,
    Source,
    Split,
    cifar10,
    digits,
    fashion_mnist,
    load,
    mnist,
)
from gradlet.nn.data.loader import DataLoader, batches
from gradlet.nn.data.text import Characters, TextDataset, read_text
from gradlet.nn.idx import DamagedFileError

__all__ = [
    "CLASSES",
    "Characters",
    "ConcatDataset",
    "DATASETS",
    "DamagedFileError",
    "DataLoader",
    "DataUnavailableError",
    "Dataset",
    "FASHION",
    "FILES",
    "MNIST",
    "Source",
    "Split",
    "Subset",
    "TensorDataset",
    "TextDataset",
    "batches",
    "cifar10",
    "digits",
    "fashion_mnist",
    "load",
    "mnist",
    "random_split",
    "read_text",
]
