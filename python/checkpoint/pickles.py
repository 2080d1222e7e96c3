"""Reads what a checkpoint's pickle would do, without doing any of it.

A pickle is a program for a small stack machine. `inspect` runs that program over descriptions
instead of objects: a tensor is its storage, sizes and strides, a call is its name. What is found is
compared with the sizes that the file really has, so that `torch.load(weights_only=True)`, which
comes after, meets no class that it must refuse, no allocation larger than the file and nothing that
takes forever.

Opcodes: the module `pickletools` of Python. The archive's layout: `torch.serialization`.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from checkpoint.file_formats import clip, refuse_file
from checkpoint.pickle_names import DTYPES, HARMLESS, STORAGE_BYTES, STRIDED
from checkpoint.pickle_values import (
    Call,
    Global,
    Mapping,
    Sequence,
    Storage,
    Tuple,
    Unsafe,
    advice_to_trust,
    check_key,
    check_keys_of,
    check_strided,
    depth_of,
)

MAXIMUM_PICKLE_BYTES = 64 * 2**20
"""Bytes of a pickle, which holds names and sizes, not weights."""
_MAXIMUM_OPERATIONS = 5_000_000
_MAXIMUM_LINE_BYTES = 65_536

_MARK = object()


@dataclass
class Inspection:
    """What a pickle refers to."""

    storages: dict[str, int]
    """Bytes by key."""


def inspect_bytes(path: Path, data: bytes) -> Inspection:
    """Inspects a pickle that lies in memory; `path` is the file to name."""
    return inspect_stream(path, io.BytesIO(data))


def inspect_stream(path: Path, stream: BinaryIO) -> Inspection:
    """Inspects the pickle at the position of `stream` and leaves the position behind it.

    Raises `Refusal` where loading it would run code, or take more than its file holds.
    """
    try:
        return _Machine().run(_operations(_Bounded(stream)))
    except Unsafe as error:
        raise refuse_file(path, error.state, error.advice) from error
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
        EOFError,
        RecursionError,
        UnicodeDecodeError,
    ) as error:
        raise refuse_file(path, "its pickle is damaged", "Download or save it again.") from error


class _Bounded:
    """A stream that gives no more at once than a pickle may have, whatever length is asked for."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.tell = stream.tell

    def read(self, count: int) -> bytes:
        """At most `count` bytes."""
        return self._stream.read(min(count, MAXIMUM_PICKLE_BYTES))

    def readline(self) -> bytes:
        """A line, or the beginning of an absurd one."""
        return self._stream.readline(_MAXIMUM_LINE_BYTES)


def _operations(stream: _Bounded) -> Iterator[tuple[str, Any]]:
    start = stream.tell()
    for count, (opcode, argument, position) in enumerate(pickletools.genops(stream)):
        if count > _MAXIMUM_OPERATIONS or (position or 0) - start > MAXIMUM_PICKLE_BYTES:
            raise Unsafe(
                "its pickle holds more objects than any list of weights needs",
                "Save the state dict alone.",
            )
        yield opcode.name, argument


class _Machine:
    """The stack machine of pickle over descriptions."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._storages: dict[str, int] = {}

    def run(self, operations: Iterator[tuple[str, Any]]) -> Inspection:
        for name, argument in operations:
            if name in _PUSHED:
                self._stack.append(argument)
            elif name == "STOP":
                break
            else:
                handler = _HANDLERS.get(name)
                if handler is None:
                    raise Unsafe(
                        f"its pickle uses {name}, which checkpoints do not", advice_to_trust()
                    )
                handler(self, argument)
        return Inspection(self._storages)

    def _pop_mark(self) -> list[Any]:
        items: list[Any] = []
        while (item := self._stack.pop()) is not _MARK:
            items.append(item)
        items.reverse()
        return items

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def constant(self, value: Any) -> None:
        self._stack.append(value)

    def mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def pop(self, _: Any) -> None:
        self._stack.pop()

    def pop_mark(self, _: Any) -> None:
        self._pop_mark()

    def duplicate(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def ignore(self, _: Any) -> None:
        """An opcode without an effect here."""

    def empty_dict(self, _: Any) -> None:
        self._push(Mapping())

    def empty_sequence(self, _: Any) -> None:
        self._push(Sequence())

    def empty_tuple(self, _: Any) -> None:
        self._push(Tuple())

    def tuple_of_mark(self, _: Any) -> None:
        self._make_tuple(self._pop_mark())

    def tuple_of(self, count: int) -> Callable[[Any], None]:
        def make(_: Any) -> None:
            items = self._stack[len(self._stack) - count :]
            del self._stack[len(self._stack) - count :]
            if len(items) != count:
                raise IndexError
            self._make_tuple(items)

        return make

    def _make_tuple(self, items: list[Any]) -> None:
        value = Tuple(items)
        value.depth = depth_of(items) + 1
        self._push(value)

    def append(self, _: Any) -> None:
        self._extend([self._stack.pop()])

    def appends(self, _: Any) -> None:
        self._extend(self._pop_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, Sequence):
            raise ValueError
        target.items.extend(items)
        target.depth = max(target.depth, depth_of(items) + 1)

    def add_items(self, _: Any) -> None:
        items = self._pop_mark()
        for item in items:
            check_key(item)
        self._extend(items)

    def set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def set_items(self, _: Any) -> None:
        self._set(self._pop_mark())

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        for key in items[::2]:
            check_key(key)
        depth = depth_of(items[1::2]) + 1
        if isinstance(target, Mapping):
            target.depth = max(target.depth, depth)
        elif not isinstance(target, Call):
            raise ValueError

    def put(self, index: Any) -> None:
        self._memo[int(index)] = self._stack[-1]

    def memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def get(self, index: Any) -> None:
        self._push(self._memo[int(index)])

    def global_name(self, argument: Any) -> None:
        module, _, name = str(argument).partition(" ")
        self._push_global(module, name)

    def stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._push_global(str(module), str(name))

    def _push_global(self, module: str, name: str) -> None:
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        full = f"{module}.{name}"
        harmless = full in HARMLESS or (
            module == "torch"
            and (name in DTYPES or name in STORAGE_BYTES or name.endswith("Tensor"))
            and "." not in name
        )
        if not harmless:
            raise Unsafe(
                f'its pickle wants "{clip(full)}", which is code and not weights',
                advice_to_trust(),
            )
        self._push(Global(full))

    def persistent(self, _: Any) -> None:
        identifier = self._stack.pop()
        if (
            not isinstance(identifier, tuple)
            or len(identifier) < 5
            or not all(
                isinstance(part, kind)
                for part, kind in zip(
                    identifier[1:5], (Global, str, (str, bytes), int), strict=True
                )
            )
        ):
            raise ValueError
        _, storage, key, _, elements = identifier[:5]
        width = STORAGE_BYTES.get(storage.name.rsplit(".", 1)[-1])
        if width is None or elements < 0:
            raise ValueError
        self._storages[key] = max(self._storages.get(key, 0), elements * width)
        self._push(Storage(key, elements, elements * width))

    def reduce(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise ValueError
        if function.name in STRIDED:
            check_strided(arguments)
        elif function.name == "builtins.bytearray":
            if any(isinstance(argument, int) for argument in arguments):
                raise Unsafe("its pickle allocates memory of its own", advice_to_trust())
        elif function.name in ("builtins.set", "collections.OrderedDict", "collections.Counter"):
            check_keys_of(arguments)
        self._push(Mapping() if function.name.startswith("collections.") else Call(function.name))

    def new_object(self, _: Any) -> None:
        self.reduce(None)

    def build(self, _: Any) -> None:
        self._stack.pop()
        if not self._stack:
            raise ValueError


def _handlers() -> dict[str, Callable[[_Machine, Any], None]]:
    table: dict[str, Callable[[_Machine, Any], None]] = {
        "MARK": _Machine.mark,
        "POP": _Machine.pop,
        "POP_MARK": _Machine.pop_mark,
        "DUP": _Machine.duplicate,
        "PROTO": _Machine.ignore,
        "FRAME": _Machine.ignore,
        "EMPTY_DICT": _Machine.empty_dict,
        "EMPTY_LIST": _Machine.empty_sequence,
        "EMPTY_SET": _Machine.empty_sequence,
        "EMPTY_TUPLE": _Machine.empty_tuple,
        "TUPLE": _Machine.tuple_of_mark,
        "APPEND": _Machine.append,
        "APPENDS": _Machine.appends,
        "ADDITEMS": _Machine.add_items,
        "SETITEM": _Machine.set_item,
        "SETITEMS": _Machine.set_items,
        "BINPUT": _Machine.put,
        "LONG_BINPUT": _Machine.put,
        "PUT": _Machine.put,
        "MEMOIZE": _Machine.memoize,
        "BINGET": _Machine.get,
        "LONG_BINGET": _Machine.get,
        "GET": _Machine.get,
        "GLOBAL": _Machine.global_name,
        "STACK_GLOBAL": _Machine.stack_global,
        "BINPERSID": _Machine.persistent,
        "REDUCE": _Machine.reduce,
        "NEWOBJ": _Machine.new_object,
        "BUILD": _Machine.build,
        "NONE": lambda machine, _: machine.constant(None),
        "NEWTRUE": lambda machine, _: machine.constant(True),
        "NEWFALSE": lambda machine, _: machine.constant(False),
    }
    for count in (1, 2, 3):
        table[f"TUPLE{count}"] = lambda machine, _, count=count: machine.tuple_of(count)(None)
    return table


_HANDLERS = _handlers()
# fmt: off
_PUSHED = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
))
# fmt: on
