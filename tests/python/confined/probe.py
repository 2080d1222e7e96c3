"""A program for the sandbox's tests: does what its request names, and tells what came of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import dialog


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


def _flood() -> None:
    line = b"x" * 65536
    while True:
        os.write(3, line)


def _serve(request: dict[str, Any], tell: dialog.Dialog) -> dict[str, Any]:
    argument = request.get("argument", "")
    match request["action"]:
        case "echo":
            tell.progress("echo", 0.5)
            tell.warn("a warning")
            return {"argument": argument, "environment": dict(os.environ), "folder": os.getcwd()}
        case "attempt":
            done = {name: _attempt(lambda name=name, of=of: _ACTIONS[name](of)) for name, of in argument}
            return {"done": done}
        case "raise":
            _ACTIONS[argument[0]](argument[1])
            return {}
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

            return {"held": torch.zeros(argument, dtype=torch.uint8).numel()}
        case "sleep":
            time.sleep(argument)
        case "spin":
            # Holds the interpreter, so that no thread of Python gets to run.
            sum(range(10**12))
        case "kill":
            os.kill(os.getpid(), argument)
            time.sleep(60)
        case "close input":
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
}


dialog.serve(_serve)
