"""Operators that only move elements, as steps that can be applied to an array."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Reshape:
    """Other extents over the same elements; 0 keeps an extent, -1 is what is left."""

    dims: tuple[int, ...]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Gives `array` the extents."""
        dims = [array.shape[at] if dim == 0 else dim for at, dim in enumerate(self.dims)]
        return array.reshape(dims)


@dataclass(frozen=True)
class Transpose:
    """Axes in another order."""

    order: tuple[int, ...]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Reorders the axes of `array`."""
        return array.transpose(self.order)


@dataclass(frozen=True)
class First:
    """The first elements of an axis."""

    axis: int
    length: int

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Cuts `array`."""
        return array[(slice(None),) * self.axis + (slice(0, self.length),)]


@dataclass(frozen=True)
class Several:
    """Cuts of several axes, or none."""

    steps: tuple[First, ...]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Cuts `array`."""
        for step in self.steps:
            array = step.apply(array)
        return array


@dataclass(frozen=True)
class AddAxes:
    """New axes of one element."""

    axes: tuple[int, ...]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Adds the axes to `array`."""
        return np.expand_dims(array, self.axes)


@dataclass(frozen=True)
class DropAxes:
    """Fewer axes of one element; all of them where `axes` is None."""

    axes: tuple[int, ...] | None

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Drops the axes of `array`."""
        return np.squeeze(array, self.axes)


Movement = Reshape | Transpose | Several | AddAxes | DropAxes
