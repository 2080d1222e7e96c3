"""Makes sources of every kind, good and bad, and has python/export.py answer a request for each.

`run.py good|bad FOLDER` prints a line of JSON for every case:

    {"name", "answer": the last line of the dialog, "warnings": [...], "seconds", "grown": bytes
     that the process took beyond what it had, "left": what lies in the output folder and the
     SHA-256 of each,
     "executed": whether code from the source ran}

Every request is served by a process of its own, forked from one that has imported the libraries,
through the same JSON lines as ever; only the seconds that importing takes are spared.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import select
import shutil
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "python"), str(Path(__file__).parent)]

_SECONDS = 120
_MEMORY_BYTES = 6 << 30
DEFAULTS: dict[str, Any] = {
    "command": "export",
    "modelType": None,
    "config": None,
    "task": "auto",
    "opset": None,
    "dynamic": True,
    "exporter": "auto",
    "outputName": "model.onnx",
    "externalData": "auto",
    "verify": True,
    "tolerance": 1e-4,
    "seed": 0,
    "trustPickle": False,
    "randomWeights": False,
    "allowHub": False,
}


def ask(name: str, request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Has a forked process serve the request; gives the line to print."""
    output = folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    evidence = folder / "executed"
    evidence.unlink(missing_ok=True)
    full = {**DEFAULTS, "outputFolder": str(output), **request}
    to_child, from_child = os.pipe(), os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _serve(to_child, from_child, int(request.get("_memory") or _MEMORY_BYTES))
    os.close(to_child[0])
    os.close(from_child[1])
    os.write(to_child[1], json.dumps(full).encode() + b"\n")
    text = _read_all(from_child[0], child, started)
    os.close(to_child[1])
    os.close(from_child[0])
    _, _, usage = os.wait4(child, 0)
    lines = [json.loads(line) for line in text.splitlines()]
    return {
        "name": name,
        "answer": next((line for line in lines if line["type"] in ("result", "error")), None),
        "warnings": [line["message"] for line in lines if line["type"] == "warning"],
        "seconds": time.monotonic() - started,
        "grown": max(0, usage.ru_maxrss - _resident()) * 1024,
        "left": {
            entry.name: hashlib.sha256(entry.read_bytes()).hexdigest()
            for entry in sorted(output.iterdir())
        },
        "executed": evidence.exists(),
    }


def _read_all(descriptor: int, child: int, started: float) -> str:
    """All that the process answers; it is ended when it takes too long."""
    parts: list[bytes] = []
    while True:
        left = _SECONDS - (time.monotonic() - started)
        ready, _, _ = select.select([descriptor], [], [], max(0.0, left))
        if not ready:
            os.kill(child, 9)
            return ""
        part = os.read(descriptor, 1 << 16)
        if not part:
            return b"".join(parts).decode()
        parts.append(part)


def _serve(to_child: tuple[int, int], from_child: tuple[int, int], memory: int) -> NoReturn:
    """In the forked process: what `python export.py` does."""
    os.dup2(to_child[0], 0)
    os.dup2(from_child[1], 1)
    for descriptor in (*to_child, *from_child):
        os.close(descriptor)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)
    sys.stdin = os.fdopen(0, "r")
    sys.stdout = os.fdopen(1, "w")
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory + (64 << 20)))
    from child import dialog
    import export

    dialog.serve(export.export)


def _resident() -> int:
    """Kilobytes that this process holds, and with it one forked from it to begin with."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def main() -> None:
    """Makes the cases that were asked for, serves them one after another."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    import timm  # noqa: F401
    import torch
    import transformers  # noqa: F401
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if kind == "good":
        from good import cases
    else:
        from bad import cases
    for name, request in cases(folder):
        print(json.dumps(ask(name, request, folder)), flush=True)


if __name__ == "__main__":
    main()
