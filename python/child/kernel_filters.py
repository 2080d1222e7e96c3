"""What the kernel refuses to a process at its own request, without namespaces or privileges: with
Landlock every write outside some folders and the start of any program, with seccomp sockets, new
processes and signals to others. It holds native code too, which an audit hook does not see. Most
containers that forbid namespaces allow both.

It does not see changes of a file's attributes (its mode, owner, times).

Interfaces as in landlock(7), landlock_create_ruleset(2), seccomp(2) and the kernel's headers
linux/landlock.h, linux/filter.h and linux/seccomp.h. All of it holds for the thread that calls and
what that starts, so it is called before there are others.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

from child.namespaces import call

_SYS_LANDLOCK_CREATE_RULESET = 444
_SYS_LANDLOCK_ADD_RULE = 445
_SYS_LANDLOCK_RESTRICT_SELF = 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
# Removing and making files of every kind.
_CHANGE_FOLDER = sum(1 << bit for bit in range(4, 13))
# What later versions of Landlock know of, by version.
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_SCOPE_ABSTRACT_SOCKETS = 1 << 0
_SCOPE_SIGNALS = 1 << 1

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_RETURN_ALLOW = 0x7FFF0000
_RETURN_ERROR = 0x00050000
_EPERM = 1
_ENOSYS = 38
_CLONE_THREAD = 0x00010000

_LOAD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_AT_LEAST = 0x35
_JUMP_ANY_BIT = 0x45
_RETURN = 0x06
# Where struct seccomp_data holds the call's number, the machine, and the first argument's low half.
_AT_NUMBER = 0
_AT_MACHINE = 4
_AT_FIRST_ARGUMENT = 16
# Calls of the 32-bit interface with 64-bit registers carry this bit.
_X32 = 0x40000000

# Machine, as the kernel's audit names it, and the numbers of calls there.
_MACHINES: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            "socket": 41,
            "clone": 56,
            "fork": 57,
            "vfork": 58,
            "execve": 59,
            "kill": 62,
            "ptrace": 101,
            "tkill": 200,
            "tgkill": 234,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "execveat": 322,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "ptrace": 117,
            "kill": 129,
            "tkill": 130,
            "tgkill": 131,
            "socket": 198,
            "clone": 220,
            "execve": 221,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "execveat": 281,
        },
    ),
}
# Later calls have one number everywhere.
_EVERYWHERE = {"pidfd_send_signal": 424, "io_uring_setup": 425, "clone3": 435}
_REFUSED = (
    "fork vfork execve execveat ptrace tkill process_vm_readv process_vm_writev pidfd_send_signal "
    "io_uring_setup"
).split()


def hold_writes(writable: Sequence[str]) -> bool:
    """Lets only what is below `writable` be changed, and no program be started, from here on.

    Returns whether the kernel does that. Needs "no new privileges" to be set.
    """
    try:
        version = _landlock(
            _SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION
        )
    except OSError:
        return False
    # Before version 3 a file could be cut off all the same.
    if version < 3:
        return False
    access = _EXECUTE | _WRITE_FILE | _CHANGE_FOLDER | _REFER | _TRUNCATE
    scope = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if version >= 6 else 0
    attributes = struct.pack("=QQQ", access, 0, scope)[: 24 if version >= 6 else 8]
    ruleset = _landlock(
        _SYS_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0
    )
    try:
        for folder in writable:
            _allow(ruleset, folder, access & ~_EXECUTE)
        _allow(ruleset, "/dev/null", _WRITE_FILE | _TRUNCATE)
        _landlock(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def hold_calls(network: bool) -> bool:
    """Refuses new processes, signals to others, and sockets unless `network`, from here on.

    Returns whether the kernel does that. Needs "no new privileges" to be set.
    """
    machine, numbers = _MACHINES.get(os.uname().machine, (0, {}))
    if machine == 0 or struct.calcsize("P") != 8:
        return False
    program = _calls_filter(machine, numbers | _EVERYWHERE, network)
    instructions = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(instructions))
    try:
        call(
            "prctl",
            _PR_SET_SECCOMP,
            ctypes.c_ulong(_SECCOMP_MODE_FILTER),
            ctypes.c_char_p(header),
            ctypes.c_ulong(0),
            ctypes.c_ulong(0),
        )
    except OSError:
        return False
    return True


def _calls_filter(machine: int, numbers: dict[str, int], network: bool) -> bytes:
    """The filter as the kernel's classic BPF: what is not refused below is allowed."""
    process = os.getpid()
    refuse = _instruction(_RETURN, _RETURN_ERROR | _EPERM)
    allow = _instruction(_RETURN, _RETURN_ALLOW)
    code = [
        _instruction(_LOAD, _AT_MACHINE),
        _instruction(_JUMP_EQUAL, machine, 1, 0),
        refuse,
        _instruction(_LOAD, _AT_NUMBER),
        _instruction(_JUMP_AT_LEAST, _X32, 0, 1),
        refuse,
    ]
    for name in [*_REFUSED, *([] if network else ["socket"])]:
        if name in numbers:
            code += [_instruction(_JUMP_EQUAL, numbers[name], 0, 1), refuse]
    # The C library falls back on clone, whose flags can be seen here.
    code += [
        _instruction(_JUMP_EQUAL, numbers["clone3"], 0, 1),
        _instruction(_RETURN, _RETURN_ERROR | _ENOSYS),
        _instruction(_JUMP_EQUAL, numbers["clone"], 0, 4),
        _instruction(_LOAD, _AT_FIRST_ARGUMENT),
        _instruction(_JUMP_ANY_BIT, _CLONE_THREAD, 0, 1),
        allow,
        refuse,
    ]
    for name in ("kill", "tgkill"):
        code += [
            _instruction(_JUMP_EQUAL, numbers[name], 0, 4),
            _instruction(_LOAD, _AT_FIRST_ARGUMENT),
            _instruction(_JUMP_EQUAL, process, 0, 1),
            allow,
            refuse,
        ]
    return b"".join([*code, allow])


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


def _allow(ruleset: int, path: str, access: int) -> None:
    """Allows `access` to what is at and below `path`."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", access, descriptor)
        _landlock(_SYS_LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)


def _landlock(number: int, *arguments: object) -> int:
    return call("syscall", ctypes.c_long(number), *arguments)
