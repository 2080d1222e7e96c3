"""Changes bytes of good checkpoints and programs: each must load or be refused, whatever changes.

`fuzz.py FOLDER COUNT SEED` prints a line of JSON: how many loaded, how many were refused, and the
tracebacks of those that ended otherwise. Changes lie where they say something (headers, pickles,
graphs), which is most of a small file.
"""

from __future__ import annotations

import json
import random
import sys
import traceback
import warnings
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "python"), str(Path(__file__).parent)]


class Silent:
    """A dialog that nobody listens to."""

    def progress(self, *_: Any) -> None:
        """Says nothing."""

    def warn(self, *_: Any) -> None:
        """Says nothing."""


def changed(data: bytes, dice: random.Random) -> bytes:
    """The same with a few bytes replaced, removed, doubled or moved."""
    result = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 5))):
        at = dice.randrange(len(result))
        length = dice.choice((1, 1, 2, 4, 30))
        kind = dice.randrange(5)
        if kind == 0:
            result[at] = dice.randrange(256)
        elif kind == 1:
            result[at] ^= 1 << dice.randrange(8)
        elif kind == 2:
            del result[at : at + length]
        elif kind == 3:
            result[at:at] = result[at : at + length]
        else:
            result[at : at + length] = bytes(dice.choice((b"\0", b"\xff", b"9")) * length)
        if not result:
            return b"\0"
    return bytes(result)


def parts(path: Path) -> list[str]:
    """The entries of a zip that say something, or none for another file."""
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        return [
            name
            for name in archive.namelist()
            if name.endswith((".pkl", ".json", ".py")) or "/code/" in name
        ]


def mutate(path: Path, target: Path, dice: random.Random) -> None:
    """Writes a changed copy: of the file's bytes, or of one entry within its zip."""
    entries = parts(path)
    if not entries or dice.random() < 0.2:
        data = path.read_bytes()
        head = data[:4000]
        target.write_bytes(changed(head, dice) + data[4000:])
        return
    chosen = dice.choice(entries)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(entry, changed(data, dice) if entry.filename == chosen else data)


def main() -> None:
    """Makes the originals, changes them, loads each."""
    folder, count, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore")
    import good
    from checkpoint import sources
    from child.dialog import Refusal
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    requests = dict(good.cases(folder))
    chosen = [
        requests["a safetensors file"],
        requests["a wrapped state dict of parallel training"],
        requests["a state dict of before PyTorch 1.6"],
        requests["a torch.export program"],
        requests["TorchScript"],
        {"source": requests["a folder with safetensors, single"]["source"], "_config": True},
    ]
    dice = random.Random(seed)
    outcome = {"loaded": 0, "refused": 0, "bugs": []}
    for number in range(count):
        request = dict(chosen[number % len(chosen)])
        if request.pop("_config", False):
            original = Path(request["source"]) / "config.json"
            request["config"] = str(folder / "changed.json")
            (folder / "changed.json").write_bytes(changed(original.read_bytes(), dice))
        else:
            original = Path(request["source"])
            request["source"] = str(folder / f"changed{original.suffix}")
            mutate(original, Path(request["source"]), dice)
        try:
            sources.load(request, Silent())
            outcome["loaded"] += 1
        except Refusal:
            outcome["refused"] += 1
        except Exception:
            outcome["bugs"].append(f"{number} of {original.name}: {traceback.format_exc()[-1500:]}")
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
