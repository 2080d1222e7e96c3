"""Exports architectures drawn by a seed, each with a tiny configuration and random weights.

    python architectures.py SCRATCH_FOLDER SEED COUNT
    python architectures.py SCRATCH_FOLDER NAME...       (transformers/bert, timm/resnet)

prints a line of JSON for each: `registry`, `name`, and `outcome`: "passed", "refused" (a typed
error, in `message`), "differs" (the comparison failed; its words are in `message`), "unbuildable"
(transformers or timm can't make it from a shrunk configuration: no verdict on the exporter, and
another is drawn instead), "slow" (not done within minutes), or
"bug" with a traceback. `error` is the largest relative L2 error of an output.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
_ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(_ROOT / "python"), str(_ROOT / "fixtures"), str(Path(__file__).parent)]
warnings.filterwarnings("ignore")

from exporting import compare  # noqa: E402
from exporting import inputs  # noqa: E402
from exporting import onnx_export  # noqa: E402
import torch  # noqa: E402
from child.dialog import Refusal  # noqa: E402
from families import randomize  # noqa: E402
from checkpoint.sources import LoadedModel  # noqa: E402
from listener import Listener  # noqa: E402
from tiny_configurations import draw, tiny_timm, tiny_transformers  # noqa: E402
from exporting.units import ExportUnit  # noqa: E402

_TOLERANCE = 1e-4
_SECONDS = 240


class _Unbuildable(Exception):
    """No tiny model of this architecture can be made."""


class _TooLong(BaseException):
    """The time is over; no handler of a failed attempt may take it for one."""


@contextlib.contextmanager
def _limit(seconds: int) -> Iterator[None]:
    """Raises `_TooLong` where its body takes longer."""

    def raise_timeout(*_: object) -> None:
        raise _TooLong(f"longer than {seconds} seconds")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, raise_timeout)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _models(registry: str, name: str) -> Iterator[LoadedModel]:
    """The small models of an architecture, most faithful configuration first."""
    try:
        modules = tiny_transformers(name) if registry == "transformers" else [tiny_timm(name)]
        for module in modules:
            randomize(module, 0)
            config = getattr(module, "config", None) if registry == "transformers" else None
            if config is not None:
                with contextlib.suppress(Exception):
                    module.set_attn_implementation("eager")
            yield LoadedModel(
                module=module.requires_grad_(False),
                kind="transformers" if registry == "transformers" else "timm",
                config=config,
                model_type=name,
                architecture=type(module).__name__,
                task="base",
                source="a test",
                timm_config=getattr(module, "pretrained_cfg", None),
            )
    except Refusal:
        raise
    except Exception as error:
        raise _Unbuildable(f"{type(error).__name__}: {error}") from error


def _units(registry: str, name: str) -> list[ExportUnit]:
    """The units of the first configuration that runs."""
    first: Refusal | None = None
    for loaded in _models(registry, name):
        try:
            return list(inputs.example(loaded, "base", True, 0))
        except Refusal as refusal:
            first = first or refusal
    assert first is not None
    raise first


def export(registry: str, name: str, folder: Path) -> dict[str, Any]:
    """Exports one architecture; gives its outcome."""
    listener = Listener()
    errors: list[float] = []
    failures: list[str] = []
    exporters: list[str] = []
    with _limit(_SECONDS):
        for unit in _units(registry, name):
            path = folder / "model.onnx"
            exported = onnx_export.export(unit, path, None, "auto", "auto", listener)
            verdict = compare.compare(exported.unit, path, _TOLERANCE, 1, listener)
            errors += [output["relativeL2"] for output in verdict["outputs"]]
            failures += verdict["failures"]
            exporters.append(exported.exporter)
            path.unlink()
    return {
        "outcome": "differs" if failures else "passed",
        "message": failures[0][:500] if failures else None,
        "error": max(errors, default=None),
        "exporters": exporters,
        "warnings": listener.warnings,
    }


def main(arguments: list[str]) -> None:
    """Exports what the arguments say."""
    folder = Path(arguments[0])
    names: Iterable[tuple[str, ...]]
    if arguments[1].isdigit():
        names, left = draw(int(arguments[1])), int(arguments[2])
    else:
        names, left = [tuple(name.split("/", 1)) for name in arguments[1:]], len(arguments)
    for registry, name in names:
        if left == 0:
            break
        start = time.monotonic()
        torch.manual_seed(0)
        try:
            outcome = export(registry, name, folder)
        except Refusal as refusal:
            outcome = {"outcome": "refused", "message": refusal.message}
        except _Unbuildable as error:
            outcome = {"outcome": "unbuildable", "message": str(error)[:300]}
        except _TooLong as error:
            outcome = {"outcome": "slow", "message": str(error)}
        except Exception:
            outcome = {"outcome": "bug", "message": traceback.format_exc()[-3000:]}
        seconds = round(time.monotonic() - start, 1)
        line = {"registry": registry, "name": name, **outcome, "seconds": seconds}
        print(json.dumps(line), flush=True)
        left -= outcome["outcome"] != "unbuildable"


if __name__ == "__main__":
    main(sys.argv[1:])
