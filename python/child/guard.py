"""An audit hook that refuses sockets, writes outside the writable folders, and subprocesses.

It confines the program where no namespace can (see `namespaces.py`), and is a second wall where one
does. It is in place before the first library is imported and before any file of a model is opened,
and it can't be taken out again.

What it cannot hold: an audit hook sees what Python's own functions do. Native code that is already
running in the process (a library with a hole in its parser, a function called through ctypes) acts
unseen, and Python code that is free to run, as in a pickle that is trusted, can reach native code:
`kernel_filters.py` is for that, where the kernel has it. A path is judged before it is opened, so a
thread that swaps a folder for a link in between wins. Reading is free. A model is therefore never
given the chance to run code in the first place; this hook is for what gets past that.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from child.dialog import Refusal

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# O_TMPFILE has O_DIRECTORY's bits; what remains of it tells that an unnamed file is written.
_WRITING |= getattr(os, "O_TMPFILE", 0) & ~getattr(os, "O_DIRECTORY", 0)
_MAXIMUM_TOLD = 20

# Libraries of the system that torch, timm and NumPy load by name.
_SYSTEM_LIBRARIES = frozenset(
    ("libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "libgomp.so.1", "libstdc++.so.6")
    + ("libcuda.so", "libcuda.so.1", "libamdhip64.so", "libSystem.B.dylib", "libc.dylib")
    + ("kernel32", "kernel32.dll", "msvcrt", "msvcrt.dll", "psapi", "vcruntime140.dll")
)
# What code would reach for in the C library to get round the rest.
_FORBIDDEN_SYMBOLS = frozenset(
    ("system popen fork vfork clone syscall execl execle execlp execv execve execvp execvpe")
    .split()
    + "posix_spawn posix_spawnp socket connect bind sendto sendmsg open open64 openat".split()
    + "openat64 creat fopen fopen64 unlink unlinkat rename renameat remove rmdir mkdir".split()
    + "mkdirat symlink link chmod truncate kill ptrace dlopen mount setrlimit prlimit".split()
    + "setrlimit64 prlimit64 process_vm_writev mprotect LoadLibraryW CreateProcessW".split()
)
# What libraries run in passing and do without: Triton and ctypes.util look for libraries so.
_UNTOLD = frozenset(("ldconfig", "gcc", "cc", "ld", "objdump"))


class Forbidden(Refusal, PermissionError):
    """What was attempted is refused. Libraries see a permission that is lacking."""

    def __init__(self, attempt: str) -> None:
        message = (
            f"Cannot {attempt}: the sandbox refuses it. A conversion needs no such thing; don't "
            "trust the model's files."
        )
        PermissionError.__init__(self, errno.EPERM, message)
        self.kind = "input"
        self.message = message

    def __str__(self) -> str:
        return self.message


class Guard:
    """The hook, with what it lets pass.

    `writable` are the folders that may be written, `libraries` those that native code may be loaded
    from. `network` opens sockets. `tell` hears of each attempt, of which the program itself may
    make nothing.
    """

    def __init__(
        self,
        writable: Sequence[str],
        libraries: Sequence[str],
        network: bool,
        tell: Callable[[str], None],
    ) -> None:
        self._writable = tuple(os.path.realpath(folder) for folder in writable)
        self._libraries = tuple(os.path.realpath(folder) for folder in libraries)
        self._tell = tell
        self._told: set[str] = set()
        self._handlers: dict[str, Callable[[tuple[Any, ...]], None]] = {
            "open": self._open,
            "os.remove": self._change("remove"),
            "os.rmdir": self._change("remove"),
            "os.mkdir": self._make,
            "os.truncate": self._change("truncate", directory=None),
            "os.utime": self._change("change the times of", directory=3),
            "os.chmod": self._change("change the mode of", directory=2),
            "os.lchmod": self._change("change the mode of", directory=None),
            "os.chown": self._change("change the owner of", directory=3),
            "os.chflags": self._change("change the flags of", directory=None),
            "os.lchflags": self._change("change the flags of", directory=None),
            "os.setxattr": self._change("change the attributes of", directory=None),
            "os.removexattr": self._change("change the attributes of", directory=None),
            "os.rename": self._rename,
            "os.link": self._link,
            "os.symlink": self._symlink,
            "sqlite3.connect": self._database,
            "ctypes.dlopen": self._library,
            "ctypes.dlsym": self._symbol,
            "import": self._import,
            "os.kill": self._kill,
            "os.killpg": self._kill,
            "resource.setrlimit": self._limit,
            "resource.prlimit": self._limit,
            "os.system": self._program("run the command"),
            "os.exec": self._program("run the program"),
            "os.posix_spawn": self._program("run the program"),
            "os.spawn": self._program("run the program", at=1),
            "os.startfile": self._program("open with its program"),
            "os.startfile/2": self._program("open with its program"),
            "subprocess.Popen": self._program("run the program"),
            "_winapi.CreateProcess": self._program("run the program"),
            "pty.spawn": self._program("run the program"),
            "webbrowser.open": self._program("open in a browser"),
            "os.fork": self._refused("start a process"),
            "os.forkpty": self._refused("start a process"),
            "winreg.CreateKey": self._refused("write the registry"),
            "winreg.SetValue": self._refused("write the registry"),
            "winreg.DeleteKey": self._refused("write the registry"),
            "winreg.DeleteValue": self._refused("write the registry"),
            "syslog.syslog": self._refused("write to the system's log"),
        }
        if not network:
            self._handlers |= {
                "socket.__new__": self._socket,
                "socket.connect": self._address("connect to"),
                "socket.bind": self._address("listen on"),
                "socket.sendto": self._address("send to"),
                "socket.sendmsg": self._address("send to"),
                "socket.getaddrinfo": self._host,
                "socket.gethostbyname": self._host,
                "socket.gethostbyaddr": self._host,
                "socket.getnameinfo": self._host,
            }

    def install(self) -> None:
        """From here on every attempt is judged, in every thread, to the end of the process."""
        handlers = self._handlers.get

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            handler = handlers(event)
            if handler is not None:
                handler(arguments)

        sys.addaudithook(hook)

    def _refuse(self, attempt: str, untold: bool = False) -> None:
        refused = Forbidden(attempt)
        if not untold and attempt not in self._told and len(self._told) < _MAXIMUM_TOLD:
            self._told.add(attempt)
            self._tell(f"Refused to {attempt}.")
        raise refused

    def _within(self, path: Any, directory: Any = -1) -> bool:
        """Whether what `path` names, beside the open folder `directory`, may be written."""
        if isinstance(path, int):
            return True  # A descriptor was judged when it was opened.
        text = os.fsdecode(path)
        if text in ("/dev/null", "nul", "NUL"):
            return True
        if not os.path.isabs(text) and isinstance(directory, int) and directory >= 0:
            try:
                text = os.path.join(os.readlink(f"/proc/self/fd/{directory}"), text)
            except OSError:
                return False
        # The last part itself is what changes, unless it is a link that is opened.
        return _is_below(os.path.realpath(text), self._writable)

    def _names(self, path: Any, directory: Any = -1) -> bool:
        """As `_within`, for what takes a link for what it is and does not follow it."""
        if isinstance(path, int):
            return True
        folder, name = os.path.split(os.fsdecode(path).rstrip("/"))
        if name in ("", ".", ".."):
            return self._within(path, directory)
        return self._within(folder or ".", directory)

    def _open(self, arguments: tuple[Any, ...]) -> None:
        path, mode, flags = arguments
        if not isinstance(flags, int) or not flags & _WRITING or isinstance(path, int):
            return
        # Whoever opens by number and name gives no mode: the folder that it is in isn't told here.
        unknown = mode is None and not os.path.isabs(os.fsdecode(path))
        if unknown or not self._within(path):
            self._refuse(f'write "{_text(path)}"')

    def _make(self, arguments: tuple[Any, ...]) -> None:
        path, beside = arguments[0], _at(arguments, 2)
        # What is there already can't be made: the system says so.
        if not self._names(path, beside) and not os.path.isdir(path):
            self._refuse(f'make the folder "{_text(path)}"')

    def _change(
        self, verb: str, directory: int | None = 1
    ) -> Callable[[tuple[Any, ...]], None]:
        """A handler of events about a path; `directory` is which argument is its open folder."""

        def handle(arguments: tuple[Any, ...]) -> None:
            beside = -1 if directory is None else _at(arguments, directory)
            if not self._names(arguments[0], beside) or (
                directory != 1 and not self._within(arguments[0], beside)
            ):
                self._refuse(f'{verb} "{_text(arguments[0])}"')

        return handle

    def _rename(self, arguments: tuple[Any, ...]) -> None:
        source, target = arguments[:2]
        if not self._names(source, _at(arguments, 2)) or not self._names(target, _at(arguments, 3)):
            self._refuse(f'rename "{_text(source)}" to "{_text(target)}"')

    def _link(self, arguments: tuple[Any, ...]) -> None:
        source, target = arguments[:2]
        if not self._within(source, _at(arguments, 2)) or not self._names(
            target, _at(arguments, 3)
        ):
            self._refuse(f'link "{_text(target)}" to "{_text(source)}"')

    def _symlink(self, arguments: tuple[Any, ...]) -> None:
        source, target = arguments[:2]
        if not self._names(target, _at(arguments, 2)):
            self._refuse(f'link "{_text(target)}" to "{_text(source)}"')

    def _database(self, arguments: tuple[Any, ...]) -> None:
        name = os.fsdecode(arguments[0])
        if name.startswith("file:") or (name not in ("", ":memory:") and not self._within(name)):
            self._refuse(f'open the database "{_text(name)}"')

    def _library(self, arguments: tuple[Any, ...]) -> None:
        if arguments[0] is None or isinstance(arguments[0], int):
            return
        name = os.fsdecode(arguments[0])
        if os.path.dirname(name) == "":
            allowed = name in _SYSTEM_LIBRARIES
        else:
            allowed = _is_below(os.path.realpath(name), self._libraries)
        if not allowed:
            self._refuse(f'load the library "{_text(name)}"')

    def _symbol(self, arguments: tuple[Any, ...]) -> None:
        name = arguments[1]
        if (name.decode("utf-8", "replace") if isinstance(name, bytes) else name) in (
            _FORBIDDEN_SYMBOLS
        ):
            self._refuse(f'call the system\'s function "{_text(name)}"')

    def _import(self, arguments: tuple[Any, ...]) -> None:
        file = arguments[1]
        if file is not None and not _is_below(os.path.realpath(file), self._libraries):
            self._refuse(f'load the library "{_text(file)}"')

    def _kill(self, arguments: tuple[Any, ...]) -> None:
        if arguments[0] != os.getpid():
            self._refuse(f"signal the process {_text(arguments[0])}")

    def _limit(self, arguments: tuple[Any, ...]) -> None:
        import resource

        which, limits = arguments[-2:] if len(arguments) > 1 else (None, None)
        if isinstance(which, int) and isinstance(limits, (tuple, list)) and len(limits) == 2:
            hard = resource.getrlimit(which)[1]
            if hard == resource.RLIM_INFINITY or 0 <= limits[1] <= hard:
                return
        if limits is None:
            return
        self._refuse("raise a limit of the system")

    def _socket(self, arguments: tuple[Any, ...]) -> None:
        family = arguments[1]
        # Event loops wake themselves through a pair of local sockets, which leads nowhere.
        if family != getattr(socket, "AF_UNIX", None):
            self._refuse("open a socket")

    def _address(self, verb: str) -> Callable[[tuple[Any, ...]], None]:
        return lambda arguments: self._refuse(f"{verb} {_text(_at(arguments, 1))}")

    def _host(self, arguments: tuple[Any, ...]) -> None:
        self._refuse(f'look up the host "{_text(arguments[0])}"')

    def _program(self, verb: str, at: int = 0) -> Callable[[tuple[Any, ...]], None]:
        def handle(arguments: tuple[Any, ...]) -> None:
            what = _text(_at(arguments, at))
            self._refuse(f'{verb} "{what}"', untold=os.path.basename(what) in _UNTOLD)

        return handle

    def _refused(self, attempt: str) -> Callable[[tuple[Any, ...]], None]:
        return lambda _: self._refuse(attempt)


def _is_below(path: str, folders: Sequence[str]) -> bool:
    return any(
        path == folder or path.startswith(folder.rstrip("/\\") + os.sep) for folder in folders
    )


def _at(arguments: tuple[Any, ...], index: int) -> Any:
    return arguments[index] if index < len(arguments) else -1


def _text(value: Any) -> str:
    """What was attempted, short enough for a message."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = str(value)
    return text if len(text) <= 300 else text[:299] + "…"
