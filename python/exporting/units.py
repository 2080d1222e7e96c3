"""What is exported as one file: a module with flat tensors, and a description of its inputs.

An input's shape is made of numbers and of names such as "batch_size"; a size for every name gives
tensors. So one description serves the example that a model is traced with and the inputs of other
sizes that the result is compared with.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from exporting.wrappers import Flat

Dimension = int | str
"""A number, a name, or names joined by " + "."""

Fill = Literal["tokens", "mask", "left-mask", "ones", "integers", "positions", "floats", "uniform"]
"""How an input's values are drawn. "mask": ones, the end of every row but the first 0; "left-mask":
the beginning; "integers": below `limit`; "floats": normal; "uniform": 0 to 1."""

Sizes = Mapping[str, int]
Role = Literal["model", "encoder", "decoder"]


@dataclass(frozen=True)
class Tokens:
    """The vocabulary that token ids are drawn from."""

    size: int
    special: frozenset[int] = frozenset()
    """Ids that mean something to the model, such as the place of an image: not drawn."""
    padding: int | None = None
    end: int | None = None
    """Last token of a text; some classifiers look for it."""


@dataclass(frozen=True)
class InputSpec:
    """One input of a graph."""

    name: str
    shape: tuple[Dimension, ...]
    fill: Fill
    dtype: torch.dtype = torch.int64
    limit: int = 2
    """"integers" and "positions" stay below it."""
    tokens: Tokens | None = None
    offset: str | None = None
    """A name whose size is where "positions" begin."""
    scale: float = 1.0

    def sizes(self, sizes: Sizes) -> tuple[int, ...]:
        """The shape in numbers."""
        return tuple(size_of(dimension, sizes) for dimension in self.shape)

    def draw(self, sizes: Sizes, generator: torch.Generator) -> torch.Tensor:
        """A tensor of this description; equal for equal states of the generator."""
        shape = self.sizes(sizes)
        if self.fill == "floats":
            return (torch.randn(shape, generator=generator) * self.scale).to(self.dtype)
        if self.fill == "uniform":
            return torch.rand(shape, generator=generator).to(self.dtype)
        if self.fill == "ones":
            return torch.ones(shape, dtype=self.dtype)
        if self.fill == "integers":
            high = max(1, self.limit)
            return torch.randint(0, high, shape, generator=generator).to(self.dtype)
        if self.fill == "positions":
            start = sizes.get(self.offset or "", 0)
            positions = torch.arange(start, start + shape[-1]).clamp(max=self.limit - 1)
            return positions.expand(shape).clone().to(self.dtype)
        if self.fill in ("mask", "left-mask"):
            return self._mask(shape)
        return self._tokens(shape, generator)

    def _mask(self, shape: tuple[int, ...]) -> torch.Tensor:
        mask = torch.ones(shape, dtype=self.dtype)
        for row in range(1, shape[0]):
            padding = padding_of(row, shape[-1])
            if self.fill == "mask":
                mask[row, ..., shape[-1] - padding :] = 0
            else:
                mask[row, ..., :padding] = 0
        return mask

    def _tokens(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        vocabulary = self.tokens or Tokens(2)
        ordinary = [
            token for token in range(min(vocabulary.size, 4096)) if token not in vocabulary.special
        ]
        choices = torch.tensor(ordinary or [0])
        drawn = choices[torch.randint(0, len(choices), shape, generator=generator)]
        for row in range(shape[0] if len(shape) > 1 else 0):
            length = shape[-1] - padding_of(row, shape[-1])
            if vocabulary.end is not None and length > 1:
                drawn[row, ..., length - 1] = vocabulary.end
            if vocabulary.padding is not None:
                drawn[row, ..., length:] = vocabulary.padding
        return drawn.to(self.dtype)


def padding_of(row: int, length: int) -> int:
    """How many of `length` places are padding in a row of a batch: none in the first."""
    return min((row % 3) * (length // 3), max(0, length - 2))


def size_of(dimension: Dimension, sizes: Sizes) -> int:
    """A dimension in numbers."""
    if isinstance(dimension, int):
        return dimension
    return sum(sizes[name] for name in dimension.split(" + "))


@dataclass(frozen=True)
class ExportUnit:
    """A module that becomes one ONNX file."""

    role: Role
    module: Flat
    inputs: tuple[InputSpec, ...]
    output_names: tuple[str, ...]
    sizes: dict[str, int]
    """The example's size for every name in the inputs' shapes."""
    others: tuple[dict[str, int], ...] = ()
    """Further sizes to compare with; a model may refuse some of them."""
    dynamic: frozenset[str] = frozenset()
    """The names that stay names in the file; the others become the example's numbers."""
    yielding: frozenset[str] = frozenset()
    """Of these, those that may become numbers where a model can't be traced with names."""
    fixed: dict[str, int] = field(default_factory=dict)
    """The sizes that the yielding names then take."""
    seed: int = 0
    unused: frozenset[str] = frozenset()
    """Inputs that the module takes and the file lacks, because nothing depends on them."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in the order of the module's arguments."""
        return tuple(spec.name for spec in self.inputs)

    @property
    def arguments(self) -> dict[str, torch.Tensor]:
        """The example."""
        return self.draw(self.sizes, self.seed)

    @property
    def dynamic_shapes(self) -> dict[str, dict[int, str]]:
        """For every input the axes that have names."""
        return {
            spec.name: {
                axis: dimension
                for axis, dimension in enumerate(spec.shape)
                if isinstance(dimension, str) and self.dynamic.issuperset(dimension.split(" + "))
            }
            for spec in self.inputs
        }

    def draw(self, sizes: Sizes, seed: int) -> dict[str, torch.Tensor]:
        """Inputs of the given sizes; the same for the same sizes and seed."""
        drawn: dict[str, torch.Tensor] = {}
        for spec in self.inputs:
            own = seed * 65_599 + zlib.crc32(spec.name.encode())
            generator = torch.Generator().manual_seed(own)
            drawn[spec.name] = spec.draw(sizes, generator)
        return drawn

    def yielded(self) -> ExportUnit:
        """The same with the yielding names as numbers."""
        sizes = {**self.sizes, **self.fixed}
        return replace(
            self,
            sizes=sizes,
            others=tuple({**other, **self.fixed} for other in self.others),
            dynamic=self.dynamic - self.yielding,
            yielding=frozenset(),
            fixed={},
        )

    def with_fixed(self, became: Mapping[str, Dimension]) -> ExportUnit:
        """The same where names became numbers or other names in the file."""

        def following(sizes: dict[str, int]) -> dict[str, int]:
            changed = {
                name: size_of(dimension, sizes)
                for name, dimension in became.items()
                if name in sizes
            }
            return {**sizes, **changed}

        numbers = {name for name, dimension in became.items() if isinstance(dimension, int)}
        return replace(
            self,
            others=tuple(following(other) for other in self.others),
            dynamic=self.dynamic - numbers,
        )

    def without(self, names: Sequence[str]) -> ExportUnit:
        """The same with some inputs noted as unused."""
        return replace(self, unused=self.unused.union(names))

    @property
    def file_inputs(self) -> tuple[str, ...]:
        """Names of the file's inputs, in order."""
        return tuple(name for name in self.input_names if name not in self.unused)


def names_in(specs: Sequence[InputSpec]) -> set[str]:
    """The names in the shapes of inputs."""
    return {
        name
        for spec in specs
        for dimension in spec.shape
        if isinstance(dimension, str)
        for name in re.split(r" \+ ", dimension)
    }
