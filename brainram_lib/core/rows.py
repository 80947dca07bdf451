"""Rows of an array that is too large for memory, read batch by batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

Index = slice | Tensor


class Rows:
    """Some rows of an array, which may be memory-mapped; indexed like a tensor, they are read on access.

    rows[i], rows[a:b] and rows[i, j] are float32 tensors in memory, or whatever `mapped` makes of what is stored.

    Args:
        array: rows first; of single or half precision.
        chosen: which of its rows; all if not given.
        mapped: called with every tensor that was read, in the array's own precision.
    """

    def __init__(
        self,
        array: np.ndarray,
        chosen: Int[np.ndarray, " n"] | None = None,
        mapped: Callable[[Tensor], Tensor] = Tensor.float,
    ) -> None:
        self._array, self._mapped = array, mapped
        self._chosen = np.arange(len(array)) if chosen is None else chosen

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that a tensor of all the rows would have."""
        return (len(self._chosen), *self._array.shape[1:])

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: Index | tuple[Index, ...]) -> Tensor:
        first, *rest = (_of_numpy(one) for one in (index if isinstance(index, tuple) else (index,)))
        return self._mapped(torch.from_numpy(np.array(self._array[self._chosen[first], *rest])))


def _of_numpy(index: Index) -> slice | np.ndarray:
    return index if isinstance(index, slice) else index.numpy()


def as_tensor(array: np.ndarray) -> Tensor:
    """A float32 tensor of an array that may be memory-mapped or of half precision."""
    return torch.from_numpy(np.array(array, dtype=np.float32))
