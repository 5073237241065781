"""Text as numbers, one a character, and windows of it to learn the next character from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np


class Characters:
    """A numbering of characters, in the order of their code points.

    >>> letters = Characters("hello")
    >>> letters.encode("hole").tolist(), letters.decode([1, 0])
    ([1, 3, 2, 0], 'he')
    """

    def __init__(self, text: str) -> None:
        self.characters = "".join(sorted(set(text)))
        self.ids = {character: i for i, character in enumerate(self.characters)}

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> np.ndarray:
        """The numbers of the characters in `text`, as int64.

        Raises:
            ValueError: a character has no number.
        """
        try:
            return np.array([self.ids[character] for character in text], np.int64)
        except KeyError as error:
            raise ValueError(
                f"Characters: {error.args[0]!r} is none of the {len(self)} characters that are "
                "numbered"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """The text of numbers."""
        numbers = [int(i) for i in ids]
        wrong = [i for i in numbers if not 0 <= i < len(self)]
        if wrong:
            raise ValueError(f"Characters: {wrong[0]} is no number of {len(self)} characters")
        return "".join(self.characters[i] for i in numbers)


class TextDataset:
    """Every window of a text, with the same window one character further on.

    Args:
        text: what is read; or the numbers of its characters.
        length: characters in a window.
        characters: their numbering; that of `text` if not given.

    Raises:
        ValueError: the text is too short for a window.

    >>> x, y = TextDataset("hello", 3)[1]
    >>> x.tolist(), y.tolist()
    ([0, 2, 2], [2, 2, 3])
    """

    def __init__(self, text: str, length: int, characters: Characters | None = None) -> None:
        self.characters = characters or Characters(text)
        self.ids = self.characters.encode(text)
        self.length = length
        if not 1 <= length < len(self.ids):
            raise ValueError(
                f"TextDataset: a text of {len(self.ids)} characters has no window of {length} with "
                "a character behind it"
            )

    def __len__(self) -> int:
        return len(self.ids) - self.length

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(f"TextDataset: there is no window {index} among {len(self)}")
        x, y = self.get_batch(np.array([index]))
        return x[0], y[0]

    def get_batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places = indices[:, None] + np.arange(self.length)  # (B, T)
        return self.ids[places], self.ids[places + 1]


def read_text(path: str | Path) -> str:
    """The text in a UTF-8 file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8; says where.
    """
    try:
        return Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"read_text: {path} is not UTF-8 at byte {error.start}; save it as UTF-8 first"
        ) from error
