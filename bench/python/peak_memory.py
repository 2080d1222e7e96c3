"""Runs a program and prints, as one JSON line, its exit code, its seconds and the peak resident
memory of it and of all processes below it.

Peak memory is the sum over the processes of each one's own highest mark (VmHWM, which the kernel
keeps), an upper bound of the memory that they held at one time. Linux only.

    peak_memory.py PROGRAM ARGUMENT...
"""

import json
import os
import subprocess
import sys
import time

POLL_SECONDS = 0.01


def parents():
    """The parent of every process."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    found[int(name)] = int(file.read().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
    return found


def family(root):
    """The processes from `root` down."""
    members = {root}
    of = parents()
    while True:
        more = {process for process, parent in of.items() if parent in members} - members
        if not more:
            return members
        members |= more


def high_water_mark(process):
    """VmHWM of a process in bytes; 0 when it has ended."""
    try:
        with open(f"/proc/{process}/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


begin = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
peaks = {}
while True:
    for process in family(child.pid):
        peaks[process] = max(peaks.get(process, 0), high_water_mark(process))
    ended, status, usage = os.wait4(child.pid, os.WNOHANG)
    if ended:
        break
    time.sleep(POLL_SECONDS)
# What the kernel kept of the child itself also covers the time since the last look.
peaks[child.pid] = max(peaks.get(child.pid, 0), usage.ru_maxrss * 1024)
result = {
    "code": os.waitstatus_to_exitcode(status),
    "seconds": time.perf_counter() - begin,
    "peakBytes": sum(peaks.values()),
    "processes": len(peaks),
}
print(json.dumps(result))
