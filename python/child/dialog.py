"""The dialog with the program that started this one: JSON lines on standard input and output.

The parent writes one line, the request, and keeps standard input open for as long as it lives. The
answer is any number of lines of progress and warnings and then one result or one error:

    {"type": "progress", "stage": "load weights", "fraction": 0.3}      fraction: number or null
    {"type": "warning", "message": "..."}
    {"type": "result", "value": {...}}
    {"type": "error", "kind": "input", "message": "...", "traceback": null}

Nothing else may reach that channel: what libraries print goes to standard error. A float that JSON
has no word for is written as the string "NaN", "Infinity" or "-Infinity". A process serves one
request and ends; it ends at once when its parent does.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Literal, NoReturn

Kind = Literal["input", "verification", "missing-tool", "memory", "bug"]

_STAGE_CHARACTERS = 200
_MESSAGE_CHARACTERS = 8_000
_TRACEBACK_CHARACTERS = 32_000
_MAXIMUM_WARNINGS = 500
_SECONDS_BETWEEN_PROGRESS = 0.1
# Share of the memory limit from which on a failure is put down to it.
_NEARLY_ALL = 0.9
# What the native libraries say where they are refused memory; Python's own says MemoryError.
_REFUSED_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|bad_alloc|bad allocation|not enough memory"
    r"|failed to allocate memory|out of memory|failed to map segment",
    re.IGNORECASE,
)


class Refusal(Exception):
    """An error of a stated kind, to be told as it is: a message for a person and no traceback.

    The message reads `Cannot <act> "<thing>": <state>. <what to do>`.
    """

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message


class Channel:
    """Where the lines of the answer go: standard output, as it was when this was made."""

    def __init__(self) -> None:
        """Keeps standard output and points descriptor 1 at standard error, for native code too."""
        sys.stdout.flush()
        self._descriptor = os.dup(1)
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        """Writes one line. Ends the process where nobody reads any more."""
        line = json.dumps(_representable(message), allow_nan=False).encode("ascii") + b"\n"
        try:
            with self._lock:
                left = memoryview(line)
                while left:
                    left = left[os.write(self._descriptor, left) :]
        except OSError:
            os._exit(1)


class Dialog:
    """What a request's handler tells while it works. Any thread may call."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stage = ""
        self._told = 0.0
        self._warnings = 0

    def progress(self, stage: str, fraction: float | None = None) -> None:
        """Says what is being done, and how much of it is (0 to 1). Cheap to call often."""
        now = time.monotonic()
        finished = fraction is not None and fraction >= 1
        if stage == self._stage and not finished and now - self._told < _SECONDS_BETWEEN_PROGRESS:
            return
        self._stage = stage
        self._told = now
        if fraction is not None:
            fraction = min(1.0, max(0.0, float(fraction))) if math.isfinite(fraction) else None
        self._channel.send(
            {"type": "progress", "stage": _cut(stage, _STAGE_CHARACTERS), "fraction": fraction}
        )

    def warn(self, message: str) -> None:
        """Tells a person of something that is not an error."""
        self._warnings += 1
        if self._warnings == _MAXIMUM_WARNINGS:
            message = "There are more warnings; they are left out."
        if self._warnings <= _MAXIMUM_WARNINGS:
            self._channel.send({"type": "warning", "message": _cut(message, _MESSAGE_CHARACTERS)})


_channel: Channel | None = None


def open_channel() -> Channel:
    """The one channel of this process; from the first call on nothing else prints into it."""
    global _channel
    if _channel is None:
        _channel = Channel()
    return _channel


def serve(handler: Callable[[dict[str, Any], Dialog], dict[str, Any]]) -> NoReturn:
    """Reads the request, answers with what `handler` returns or raises, and ends the process.

    A `Refusal` is told with its kind, memory that was refused as "memory", a package that is not
    there as "missing-tool", anything else as "bug" with its traceback.
    """
    channel = open_channel()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent hears it too, and ends this process.
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        os._exit(1)
    end_with_parent(sys.stdin.buffer)
    try:
        channel.send({"type": "result", "value": handler(json.loads(line), Dialog(channel))})
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is told of it.
        report(channel, error)
        _leave(1)
    _leave(0)


def report(channel: Channel, error: BaseException) -> None:
    """Sends the line that tells of `error`, or of the refusal that libraries wrapped in it."""
    refusal = next((cause for cause in _causes(error) if isinstance(cause, Refusal)), None)
    limit = _memory_limit()
    if is_memory_error(error):
        # The frames hold what filled the memory.
        error.__traceback__ = None
        _grant_reserve()
        kind, message, trace = "memory", _memory_message(limit), None
    elif refusal is not None:
        kind, message, trace = refusal.kind, refusal.message, None
    elif limit is not None and _memory_held() > _NEARLY_ALL * limit:
        # Not everyone who is refused memory says so.
        _grant_reserve()
        kind, message = "memory", _memory_message(limit)
        trace = "".join(traceback.format_exception(error))[-_TRACEBACK_CHARACTERS:]
    elif isinstance(error, ModuleNotFoundError):
        name = (error.name or "?").partition(".")[0]
        kind, trace = "missing-tool", None
        message = (
            f'Cannot import the Python package "{name}": "{sys.executable}" has none of that name. '
            f"Install it there, or leave out --python."
        )
    else:
        lines = traceback.format_exception(error)
        kind, trace = "bug", "".join(lines)[-_TRACEBACK_CHARACTERS:]
        message = f"{type(error).__name__}: {error}"
    channel.send(
        {
            "type": "error",
            "kind": kind,
            "message": _cut(message, _MESSAGE_CHARACTERS),
            "traceback": trace,
        }
    )


def is_memory_error(error: BaseException) -> bool:
    """Whether `error`, or what led to it, is that memory was refused."""
    return any(
        isinstance(cause, MemoryError)
        or (isinstance(cause, OSError) and cause.errno == 12)
        or (not isinstance(cause, Refusal) and _REFUSED_MEMORY.search(str(cause)) is not None)
        for cause in _causes(error)
    )


def end_with_parent(stream: BinaryIO) -> None:
    """Ends this process when `stream`, which the parent holds open, ends."""

    def watch() -> None:
        try:
            while stream.read1(65536):
                pass
        except (OSError, ValueError):
            pass
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and what it was raised from or while handling, nearest first."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _memory_message(limit: int | None) -> str:
    amount = "" if limit is None else f" of {limit / 1e9:.2f} GB"
    return (
        f'Cannot finish "{os.path.basename(sys.argv[0])}": the memory limit{amount} is used up. '
        "Raise it with --max-memory, or convert on a machine with more memory."
    )


def _memory_limit() -> int | None:
    """Bytes that the process may hold; None where it has no limit."""
    try:
        import resource
    except ImportError:
        return None
    soft = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _memory_held() -> int:
    """Bytes that the process holds of what is limited."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            rows = dict(line.split(":", 1) for line in file)
        return int(rows["VmData"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return 0


def _grant_reserve() -> None:
    """Raises the memory limit to its hard bound, which leaves room for telling of the error."""
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    except (ImportError, ValueError, OSError):
        pass


def _leave(code: int) -> NoReturn:
    """Ends the process without the seconds that libraries take to unload."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        pass
    os._exit(code)


def _cut(text: str, most: int) -> str:
    text = str(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _representable(value: Any) -> Any:
    """`value` as JSON can hold it: numbers of NumPy as Python's, non-finite ones as strings."""
    if isinstance(value, dict):
        return {str(key): _representable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_representable(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if hasattr(value, "item"):
        return _representable(value.item())
    raise TypeError(f"{type(value).__name__} has no place in a message")
