"""Starts a program of this folder confined: what the parent runs, with the program's name.

The first line of standard input says how, before the line of the request:

    {"program": "/path/export.py", "sandbox": "bubblewrap" | "namespaces" | "audit hook",
     "view": null | {...}, "libraries": [...], "writable": "/folder", "network": false,
     "hook": true, "memory": null | bytes, "environment": {...}}

Then, before anything of the model is opened or a library imported: the memory limit, the namespaces
(if those are asked for; bubblewrap's are there already), the kernel's filters, the audit hook.
Without "hook" namespaces are the only wall, which is for tests of them. The first line of the
answer, {"type": "confined", "natively": true}, says that all of it holds, and whether the kernel
holds native code to the same as the hook holds Python's. A process that ends without that line could
not be confined in the way asked for; its standard error says why.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from typing import Any, NoReturn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from child import dialog  # noqa: E402
from child import guard  # noqa: E402

_LINUX = sys.platform == "linux"
# Memory above the limit with which an error can still be told.
_RESERVE_BYTES = 64 << 20
# Reading files of another owner, where the administrator converts them.
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2


def main() -> NoReturn:
    """Confines this process and runs the program in it."""
    if sys.platform != "win32":
        os.closerange(3, 1024)
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        os._exit(1)
    setting: dict[str, Any] = json.loads(line)
    os.environ.clear()
    os.environ.update(setting["environment"])
    if sys.platform != "win32":
        _limit_memory(setting["memory"])
        if setting["sandbox"] != "bubblewrap":
            _watch_over(setting)
    channel = dialog.open_channel()
    natively = _LINUX and _hold_natively(setting)
    if setting["hook"] or (setting["sandbox"] == "audit hook" and not natively):
        guard.Guard(
            writable=[setting["writable"]],
            libraries=[*setting["libraries"], *_system_folders()],
            network=setting["network"],
            tell=lambda text: channel.send({"type": "warning", "message": text}),
        ).install()
    channel.send({"type": "confined", "natively": natively})
    _run(setting["program"], channel)


def _run(program: str, channel: dialog.Channel) -> NoReturn:
    """Runs the program as the main one; what it does not tell itself is told here."""
    import runpy

    sys.argv = [program]
    try:
        runpy.run_path(program, run_name="__main__")
        raise RuntimeError(f'"{program}" ended without an answer')
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is told of it.
        dialog.report(channel, error)
        os._exit(1)


def _limit_memory(limit: int | None) -> None:
    """Bounds what the process may hold: private memory that it can write, resident or not.

    Maps of files that are only read, such as the libraries' code, don't count. The bound is on
    "data" (setrlimit(2)): one on the address space would count the gigabytes that CUDA's libraries
    take there without using them.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _LINUX:
        try:
            # If the machine's memory is used up all the same, this is the process to end.
            with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
                file.write("1000")
        except OSError:
            pass
    if limit is None:
        limit = _machine_memory()
    if limit is not None:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        wanted = limit + _RESERVE_BYTES
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (min(limit, wanted), wanted))
        except (ValueError, OSError) as error:
            print(f"The memory limit can't be set: {error}", file=sys.stderr)


def _machine_memory() -> int | None:
    """Bytes of memory and swap of the machine or the container; None where they aren't told."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            rows = dict(line.split(":", 1) for line in file)
        memory = sum(int(rows[name].split()[0]) << 10 for name in ("MemTotal", "SwapTotal"))
    except (OSError, KeyError, ValueError):
        return None
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            return min(memory, int(file.read()))
    except (OSError, ValueError):
        return memory


def _watch_over(setting: dict[str, Any]) -> None:
    """Splits off the process that works, and returns in it; this one watches over it.

    The watcher runs no foreign code, so it always sees its parent's end (that of standard input)
    and takes the worker along.
    """
    if _LINUX:
        from child import namespaces

        namespaces.die_with_parent(os.getppid())
    confined = setting["sandbox"] == "namespaces"
    if confined:
        from child import namespaces

        namespaces.enter(setting["network"])
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    watcher = os.getpid()
    worker = os.fork()
    if worker != 0:
        _watch(worker, wake)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.close(wake)
    os.close(woken)
    if not _LINUX:
        return
    # Inside a namespace of its own the parent has no number.
    namespaces.die_with_parent(0 if confined else watcher)
    if confined:
        namespaces.change_root(namespaces.View(**setting["view"]))
        namespaces.drop_privileges()
        _split_off_first_process(namespaces)
    else:
        namespaces.drop_privileges(kept=(_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH))


def _hold_natively(setting: dict[str, Any]) -> bool:
    """Has the kernel refuse what the audit hook refuses; whether it does all of it.

    Namespaces hold the files already.
    """
    from child import kernel_filters

    if setting["sandbox"] == "audit hook":
        writes = kernel_filters.hold_writes([setting["writable"]])
    else:
        writes = True
        if not setting["hook"]:
            return False
    return kernel_filters.hold_calls(setting["network"]) and writes


def _split_off_first_process(namespaces: Any) -> None:
    """Leaves this process, the first of its namespace, to wait, and returns in a child.

    A first process ignores signals that it does not handle, abort() among them; and all others
    end with it.
    """
    first = os.getpid()
    worker = os.fork()
    if worker == 0:
        namespaces.die_with_parent(first)
        return
    while True:
        process, status = os.wait()
        if process == worker:
            os._exit(_exit_code(status))


def _watch(worker: int, wake: int) -> NoReturn:
    """Waits for the worker's end, or for the end of standard input, and ends likewise."""
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(0, select.POLLHUP)
    while True:
        events = dict(poll.poll())
        if wake in events:
            try:
                os.read(wake, 4096)
            except BlockingIOError:
                pass
        ended, status = os.waitpid(worker, os.WNOHANG)
        if ended == worker:
            os._exit(_exit_code(status))
        if events.get(0, 0) & ~select.POLLIN:
            os.kill(worker, signal.SIGKILL)
            os.waitpid(worker, 0)
            os._exit(1)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _system_folders() -> list[str]:
    """Folders from which this Python loads native code."""
    return [sys.prefix, sys.base_prefix, os.path.dirname(os.__file__)]


if __name__ == "__main__":
    main()
