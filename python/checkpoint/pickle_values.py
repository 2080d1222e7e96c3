"""What the objects of a pickle are described as, and what a checkpoint's may be.

Nothing here is loaded: a tensor is its storage, sizes and strides, a call is its name. The checks
raise `Unsafe` for what would take memory or time without bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_MAXIMUM_DEPTH = 200
# Elements of a tensor that repeats its storage by strides of zero, as `expand` makes them.
_MAXIMUM_EXPANDED_ELEMENTS = 2**22
_DAMAGED = "It is damaged: download or save it again."


@dataclass(frozen=True)
class Global:
    """A class or a function, by its module and name."""

    name: str


@dataclass(frozen=True)
class Storage:
    """The memory of a tensor, by its key in the archive."""

    key: str
    elements: int
    bytes: int


@dataclass
class Call:
    """The result of a call, or of anything else that is not looked into."""

    name: str


@dataclass
class Mapping:
    """A dictionary; `depth` is how deeply it nests."""

    depth: int = 1


@dataclass
class Sequence:
    """A list or a set; `depth` is how deeply it nests."""

    items: list[Any] = field(default_factory=list)
    depth: int = 1


class Tuple(tuple[Any, ...]):
    """A tuple that knows how deeply it nests."""

    depth: int = 1


class Unsafe(Exception):
    """What is wrong with the pickle, to be completed with the file's name."""

    def __init__(self, state: str, advice: str = _DAMAGED) -> None:
        super().__init__(state)
        self.state = state
        self.advice = advice


def advice_to_trust() -> str:
    """What to do about a pickle that is more than a list of weights."""
    return (
        "Save the state dict alone, with torch.save or as safetensors, or load this one with "
        "--trust-pickle if you trust where it comes from."
    )


def depth_of(items: list[Any]) -> int:
    """How deeply `items` nest. Raises `Unsafe` where that is absurd."""
    depth = max(
        (item.depth for item in items if isinstance(item, (Mapping, Sequence, Tuple))),
        default=0,
    )
    if depth > _MAXIMUM_DEPTH:
        raise Unsafe("its pickle nests more deeply than any list of weights", advice_to_trust())
    return depth


def check_key(key: Any) -> None:
    """Only what is hashed at once may be a key: nested tuples can take exponential time."""
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts:
        if part is not None and not isinstance(part, (str, bytes, int, float, Global)):
            raise Unsafe("its pickle has keys that are not names", advice_to_trust())


def check_keys_of(arguments: tuple[Any, ...]) -> None:
    """The same for keys given as a list, plain or of pairs."""
    for argument in arguments:
        items = argument.items if isinstance(argument, Sequence) else argument
        if not isinstance(items, (list, tuple)):
            continue
        for item in items:
            pair = item.items if isinstance(item, Sequence) else item
            check_key(pair[0] if isinstance(pair, (list, tuple)) and pair else pair)


def check_strided(arguments: tuple[Any, ...]) -> None:
    """A tensor must lie within its storage and not claim vastly more elements than it has.

    `arguments` are those of torch's functions that make a tensor: storage, offset, sizes, strides.
    """
    storage, offset, sizes, strides = arguments[:4]
    if not isinstance(storage, Storage):
        raise ValueError
    numbers = (offset, *sizes, *strides)
    if len(sizes) != len(strides) or not all(
        type(number) is int and number >= 0 for number in numbers
    ):
        raise ValueError
    elements = 1
    for size in sizes:
        elements *= size
    if elements == 0:
        return
    last = offset + sum((size - 1) * step for size, step in zip(sizes, strides, strict=True))
    if last >= max(storage.elements, 1) or storage.elements == 0:
        raise Unsafe(
            f"a tensor of the sizes {list(sizes)} reaches past its storage of "
            f"{storage.elements} elements"
        )
    if elements > max(storage.elements, _MAXIMUM_EXPANDED_ELEMENTS):
        raise Unsafe(
            f"a tensor of the sizes {list(sizes)} claims {elements} elements and its storage "
            f"has {storage.elements}"
        )
