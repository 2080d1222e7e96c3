"""Confinement by Linux namespaces of one's own, where there is no bubblewrap but the system lets an
unprivileged process have them: a file system that holds only what is listed, no network but a
loopback that is down, no other processes, no privileges. What bubblewrap does, done by the process
itself before it opens anything that is not to be trusted.

Interfaces as in the manual pages user_namespaces(7), mount_namespaces(7), pivot_root(2),
mount_setattr(2) and capabilities(7). Needs Linux 5.12.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
from collections.abc import Sequence
from dataclasses import dataclass

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000

_MS_NOSUID = 0x2
_MS_NODEV = 0x4
_MS_NOEXEC = 0x8
_MS_BIND = 0x1000
_MS_REC = 0x4000
_MS_PRIVATE = 0x40000
_MNT_DETACH = 2

_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SYS_MOUNT_SETATTR = 442
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 0x1
_MOUNT_ATTR_NOSUID = 0x2
_MOUNT_ATTR_NODEV = 0x4

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63

# Parts of /proc through which a process of the administrator could change the system.
_PROC_COVERED = ("sys", "sysrq-trigger", "irq", "bus", "fs")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_BASE = "/tmp"
_OLD = "/old"
_NEW = "/new"


@dataclass(frozen=True)
class View:
    """The file system that a confined process sees.

    `system` are paths that are seen where they are, if they exist; `readable` and `writable` pairs
    of a path outside and the path inside at which it is seen. Later ones cover earlier ones.
    """

    system: Sequence[str]
    readable: Sequence[tuple[str, str]]
    writable: Sequence[tuple[str, str]]


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapabilityData(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


_libc: ctypes.CDLL | None = None


def call(function: str, *arguments: object) -> int:
    """Calls a function of the C library that gives -1 on failure; OSError says which and why."""
    global _libc
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
    result = getattr(_libc, function)(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        what = " ".join(str(argument) for argument in arguments)
        raise OSError(number, f"{os.strerror(number)} ({function} {what})")
    return result


def die_with_parent(parent: int) -> None:
    """Kills this process when its parent, which is `parent`, ends."""
    call("prctl", _PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), *_zeros(3))
    if os.getppid() != parent:
        os._exit(1)


def drop_privileges(kept: Sequence[int] = ()) -> None:
    """Gives up every capability but `kept`, for good, and what programs with set-user-id give."""
    call("prctl", _PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), *_zeros(3))
    for capability in range(_LAST_CAPABILITY + 1):
        if capability in kept:
            continue
        try:
            call("prctl", _PR_CAPBSET_DROP, ctypes.c_ulong(capability), *_zeros(3))
        except OSError:
            # There are no more capabilities, or this process has none to drop.
            break
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    data = (_CapabilityData * 2)()
    call("capget", ctypes.byref(header), data)
    for index in range(2):
        mask = sum(1 << (number - 32 * index) for number in kept if number // 32 == index)
        data[index].effective &= mask
        data[index].permitted &= mask
        data[index].inheritable = 0
    call("capset", ctypes.byref(header), data)


def enter(network: bool) -> None:
    """Puts this process into namespaces of its own; its next child is the first process in them."""
    user, group = os.geteuid(), os.getegid()
    flags = _CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWIPC | _CLONE_NEWUTS
    call("unshare", flags | (0 if network else _CLONE_NEWNET))
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def change_root(view: View) -> None:
    """Replaces the file system by `view`. To be called by the first process after `enter`."""
    working = os.getcwd()
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", _BASE, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755")
    os.mkdir(_BASE + _OLD)
    os.mkdir(_BASE + _NEW)
    _pivot_root(_BASE, _BASE + _OLD)
    os.chdir("/")
    # A root has to be a mount of its own.
    _mount(_NEW, _NEW, None, _MS_BIND | _MS_REC)

    _mount_proc()
    _make_devices()
    for path in view.system:
        if os.path.exists(_OLD + path):
            _bind(_OLD + path, _NEW + path, _MOUNT_ATTR_RDONLY)
    for outside, inside in view.readable:
        _bind(_OLD + outside, _NEW + inside, _MOUNT_ATTR_RDONLY)
    for outside, inside in view.writable:
        _bind(_OLD + outside, _NEW + inside, 0)

    call("umount2", _OLD.encode(), _MNT_DETACH)
    os.chdir(_NEW)
    _pivot_root(".", ".")
    call("umount2", b".", _MNT_DETACH)
    os.chdir("/")
    _restrict("/", _MOUNT_ATTR_RDONLY, recursive=False)
    os.chdir(working)


def _mount_proc() -> None:
    proc = _NEW + "/proc"
    os.mkdir(proc)
    _mount("proc", proc, "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    for name in _PROC_COVERED:
        path = f"{proc}/{name}"
        if os.path.exists(path):
            _mount(path, path, None, _MS_BIND | _MS_REC)
            _restrict(path, _MOUNT_ATTR_RDONLY)


def _make_devices() -> None:
    os.mkdir(_NEW + "/dev")
    for name in _DEVICES:
        path = f"{_NEW}/dev/{name}"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
        _mount(f"{_OLD}/dev/{name}", path, None, _MS_BIND)
    os.symlink("/proc/self/fd", _NEW + "/dev/fd")


def _bind(outside: str, inside: str, attributes: int) -> None:
    """Shows `outside` at `inside`, where there may be something already that it then covers."""
    is_folder = stat.S_ISDIR(os.stat(outside).st_mode)
    if not os.path.exists(inside):
        if is_folder:
            os.makedirs(inside)
        else:
            os.makedirs(os.path.dirname(inside), exist_ok=True)
            os.close(os.open(inside, os.O_CREAT | os.O_WRONLY, 0o600))
    _mount(outside, inside, None, _MS_BIND | _MS_REC)
    _restrict(inside, attributes)


def _restrict(path: str, attributes: int, recursive: bool = True) -> None:
    """Sets attributes of the mount at `path` and of those below; never set-user-id or devices."""
    wanted = _MountAttributes(attributes | _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV, 0, 0, 0)
    call(
        "syscall",
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.c_uint(_AT_RECURSIVE if recursive else 0),
        ctypes.byref(wanted),
        ctypes.c_size_t(ctypes.sizeof(wanted)),
    )


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    call(
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        None if kind is None else kind.encode(),
        ctypes.c_ulong(flags),
        None if data is None else data.encode(),
    )


def _pivot_root(new: str, old: str) -> None:
    machine = os.uname().machine
    number = _SYS_PIVOT_ROOT.get(machine)
    if number is None:
        raise OSError(f"the number of pivot_root is not known on {machine}")
    call("syscall", ctypes.c_long(number), os.fsencode(new), os.fsencode(old))


def _zeros(count: int) -> list[ctypes.c_ulong]:
    return [ctypes.c_ulong(0)] * count
