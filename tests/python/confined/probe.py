"""A program for the sandbox's tests: does what its request names, and tells what came of it."""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from child import dialog


def _attempt(action: Callable[[], object]) -> str:
    """What came of an action: "done", or the class of its error."""
    try:
        action()
    except OSError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _write(path: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write("x")


def _connect(address: str) -> None:
    host, port = address.rsplit(":", 1)
    socket.create_connection((host, int(port)), timeout=5).close()


def _outlive(path: str) -> None:
    """Starts a process that keeps on writing to `path`."""
    if os.fork() != 0:
        return
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    for descriptor in range(3):
        os.close(descriptor)
    for beat in range(200):
        with open(path, "w", encoding="utf-8") as file:
            file.write(str(beat))
        time.sleep(0.05)
    os._exit(0)


def _hold(path: str) -> None:
    """Locks a file and never lets go, of the interpreter neither: no other thread gets to run."""
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        sum(range(10**13))


def _serve(request: dict[str, Any], tell: dialog.Dialog) -> dict[str, Any]:
    argument = request.get("argument", "")
    match request["action"]:
        case "echo":
            tell.progress("echo", 0.5)
            tell.warn("a warning")
            return {"argument": argument, "environment": dict(os.environ), "folder": os.getcwd()}
        case "attempt":
            attempts = (partial(_ACTIONS[name], of) for name, of in argument)
            return {"done": [_attempt(attempt) for attempt in attempts]}
        case "raise":
            _ACTIONS[argument[0]](argument[1])
            return {}
        case "processes":
            return {"processes": sum(name.isdigit() for name in os.listdir("/proc"))}
        case "privileges":
            with open("/proc/self/status", encoding="ascii") as file:
                rows = dict(line.split(":", 1) for line in file)
            wanted = ("CapInh", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs")
            return {name: rows[name].strip() for name in wanted}
        case "import":
            importlib.import_module(argument)
        case "print":
            print("a line of a library")
            os.write(1, b"a line of native code\n")
            return {}
        case "garbage":
            for descriptor in range(3, 64):
                try:
                    os.write(descriptor, b"\x00garbage\xff\n")
                except OSError:
                    continue
        case "flood":
            for descriptor in range(3, 64):
                try:
                    while True:
                        os.write(descriptor, b"x" * 65536)
                except OSError:
                    continue
        case "lines":
            while True:
                tell.progress(str(time.monotonic()))
        case "allocate":
            return {"held": len(bytearray(argument))}
        case "allocate with torch":
            import torch

            for size in argument:
                torch.zeros(size, dtype=torch.uint8)
                tell.progress(f"held {size}")
        case "sleep":
            time.sleep(argument)
        case "hold":
            tell.progress("hold")
            _hold(argument)
        case "kill":
            os.kill(os.getpid(), argument)
            time.sleep(60)
        case "close input":
            time.sleep(argument)
            os.close(0)
            time.sleep(argument)
        case "exit":
            os._exit(argument)
        case "bug":
            print("some last words", file=sys.stderr)
            raise KeyError("an oversight")
        case "refuse":
            raise dialog.Refusal(argument[0], argument[1])
    return {}


_ACTIONS: dict[str, Callable[[Any], object]] = {
    "read": _read,
    "write": _write,
    "list": os.listdir,
    "connect": _connect,
    "look up": lambda host: socket.getaddrinfo(host, 80),
    "listen": lambda _: socket.create_server(("127.0.0.1", 0)).close(),
    "run": lambda command: subprocess.run(command, check=True, capture_output=True),
    "shell": os.system,
    "fork": lambda _: os.fork() or os._exit(0),
    "outlive": _outlive,
    "remove": os.remove,
    "rename": lambda paths: os.rename(*paths),
    "link": lambda paths: os.symlink(*paths),
    "make": os.mkdir,
    "mode": lambda path: os.chmod(path, 0o777),
    "hard link": lambda paths: os.link(*paths),
    "temporary": lambda _: tempfile.TemporaryDirectory().cleanup(),
    "native": lambda name: getattr(ctypes.CDLL(None), name),
    "library": ctypes.CDLL,
    "signal parent": lambda _: os.kill(os.getppid(), 15),
    "raise limit": lambda _: resource.setrlimit(resource.RLIMIT_CORE, (1, 1)),
}


dialog.serve(_serve)
