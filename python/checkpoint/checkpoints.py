"""Reads the tensors of a checkpoint: one file or several, safetensors or written by torch.save.

Every file is checked before a library opens it, and mapped into memory rather than read where its
format allows, so that a checkpoint costs no memory of its own.
"""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpoint.archives import check_torch_legacy, check_torch_zip
from checkpoint.configurations import read_json
from child.dialog import Dialog, Refusal, is_memory_error
from checkpoint.file_formats import FileFormat, clip, count, identify, listing, refuse_file
from checkpoint.safetensors_check import read_header

if TYPE_CHECKING:
    import torch

_PREFERRED = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
# What trainers leave beside the weights.
_NO_WEIGHTS = re.compile(
    r"(optimizer|scheduler|scaler|training_args|rng_state|random_states|adapter_model|tokenizer|"
    r"vocab|trainer_state).*"
)
_FOREIGN = {
    ".gguf": "GGUF",
    ".h5": "TensorFlow or Keras",
    ".keras": "Keras",
    ".msgpack": "Flax",
    ".onnx": "ONNX",
    ".ckpt.index": "TensorFlow",
    ".tflite": "TensorFlow Lite",
    ".mlmodel": "Core ML",
}
# Where trainers put the state dict among other things; averaged weights are those to evaluate.
_WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "network",
    "weights",
    "params",
    "teacher",
    "student",
)
_PARALLEL_PREFIXES = ("module.", "_orig_mod.")
_FLOAT8 = "torch.float8"


@dataclass(frozen=True)
class Checkpoint:
    """The files of a checkpoint."""

    files: tuple[Path, ...]
    keys: dict[Path, frozenset[str]] = field(default_factory=dict)
    """The keys that the index takes from each file; empty where there is no index."""


@dataclass
class StateDict:
    """What a checkpoint holds."""

    tensors: dict[str, torch.Tensor]
    module: Any = None
    """A whole module instead, which only a trusted pickle gives."""


def find_checkpoint(folder: Path) -> Checkpoint | None:
    """The weights in a folder; None where there are none.

    Raises `Refusal` where shards are missing, the index leads out of the folder, it is not clear
    which file to take, or the weights are of a kind that is not read.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise Refusal("input", f'Cannot read "{folder}": {error.strerror}.') from error
    for name in _PREFERRED:
        if name in names:
            return _indexed(folder / name) if name.endswith(".json") else _single(folder / name)
    indices = [name for name in names if name.endswith(".index.json")]
    if len(indices) == 1:
        return _indexed(folder / indices[0])
    files = [
        name
        for name in names
        if name.endswith(_WEIGHT_SUFFIXES) and not _NO_WEIGHTS.fullmatch(name)
    ]
    shards = [name for name in files if re.search(r"-\d{5}-of-\d{5}\.", name)]
    if shards:
        raise Refusal(
            "input",
            f'Cannot load "{folder}": it has the shards {listing(shards)} and no index that says '
            "what they hold. Add the file that ends in .index.json.",
        )
    if len(files) == 1:
        return _single(folder / files[0])
    if files:
        raise Refusal(
            "input",
            f'Cannot load "{folder}": it has several checkpoints ({listing(files)}). Give the '
            "path of one of them, with --model-type and --config.",
        )
    _refuse_foreign(folder, names)
    return None


def _refuse_foreign(folder: Path, names: list[str]) -> None:
    if any(name.startswith("adapter_") for name in names):
        raise Refusal(
            "input",
            f'Cannot load "{folder}": it holds an adapter (LoRA), not a model. Merge it into its '
            "base model with peft's merge_and_unload and give the folder of the result.",
        )
    for name in names:
        for suffix, what in _FOREIGN.items():
            if name.endswith(suffix):
                raise Refusal(
                    "input",
                    f'Cannot load "{folder}": its only weights are {what} ("{clip(name)}"). Give '
                    "PyTorch weights: model.safetensors or pytorch_model.bin.",
                )


def _single(path: Path) -> Checkpoint:
    return Checkpoint((path,))


def _indexed(path: Path) -> Checkpoint:
    """The shards that an index names, all of which must be there."""
    weight_map = read_json(path, "weight index").get("weight_map")
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(shard, str) for shard in weight_map.values())
    ):
        raise refuse_file(
            path, 'it has no "weight_map" from tensors to files', "Download or save it again."
        )
    keys: dict[str, set[str]] = {}
    for key, shard in weight_map.items():
        keys.setdefault(shard, set()).add(key)
    for shard in keys:
        if shard in (".", "..", "") or any(mark in shard for mark in ("/", "\\", "\0", ":")):
            raise refuse_file(
                path,
                f'it names the shard "{clip(shard)}", which is not a plain file name beside it',
                "Only files of the model's own folder are read.",
            )
    missing = sorted(shard for shard in keys if not (path.parent / shard).is_file())
    if missing:
        raise refuse_file(
            path,
            f"{len(missing)} of its {len(keys)} shards are missing: {listing(missing, 8)}",
            "Download them into the same folder.",
        )
    files = {path.parent / shard: frozenset(names) for shard, names in sorted(keys.items())}
    return Checkpoint(tuple(files), files)


def read_state_dict(checkpoint: Checkpoint, trust_pickle: bool, dialog: Dialog) -> StateDict:
    """The tensors of all files, under the names that they have there.

    Raises `Refusal` where a file is damaged, hostile or not a state dict.
    """
    tensors: dict[str, torch.Tensor] = {}
    for number, path in enumerate(checkpoint.files):
        dialog.progress("load weights", number / len(checkpoint.files))
        loaded = _read_file(path, trust_pickle, dialog)
        if loaded.module is not None:
            return loaded
        wanted = checkpoint.keys.get(path)
        if wanted is not None:
            absent = sorted(wanted - loaded.tensors.keys())
            if absent:
                raise refuse_file(
                    path,
                    f"it lacks {count(len(absent), 'tensor')} that the index says it has: "
                    f"{listing(absent)}",
                    "Download it again.",
                )
            loaded.tensors = {key: loaded.tensors[key] for key in wanted}
        tensors.update(loaded.tensors)
    if not tensors:
        raise refuse_file(checkpoint.files[0], "it holds no tensors", "Give the weights' file.")
    return StateDict(tensors)


def _read_file(path: Path, trust_pickle: bool, dialog: Dialog) -> StateDict:
    format = identify(path)
    if format is FileFormat.SAFETENSORS:
        return StateDict(_read_safetensors(path))
    if format in (FileFormat.TORCHSCRIPT, FileFormat.EXPORTED_PROGRAM):
        raise refuse_file(
            path,
            f"it is {format.value}, which brings its own code and fits no configuration",
            "Give the file itself as the source, without --model-type and --config.",
        )
    return _unwrapped(path, _read_pickle(path, format, trust_pickle), dialog)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    stored = read_header(path)
    quantized = sorted(
        name for name, tensor in stored.items() if tensor.dtype.startswith(("F8", "F6", "F4"))
    )
    if quantized:
        raise _quantized(path, quantized[0], stored[quantized[0]].dtype)
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in stored}
    except Exception as error:
        if is_memory_error(error):
            raise
        raise refuse_file(
            path, f"safetensors can't read it ({clip(error)})", "Download or save it again."
        ) from error


def _read_pickle(path: Path, format: FileFormat, trust: bool) -> Any:
    """What torch.load gives."""
    if not trust:
        if format is FileFormat.TORCH_TAR:
            raise refuse_file(
                path,
                f"it is {format.value}, which can't be read without running what it holds",
                "Save its state dict again with torch.save, or load it with --trust-pickle if "
                "you trust where it comes from.",
            )
        if format is FileFormat.TORCH_ZIP:
            check_torch_zip(path)
        else:
            check_torch_legacy(path)
    import torch

    try:
        return torch.load(
            path,
            map_location="cpu",
            weights_only=not trust,
            mmap=format is FileFormat.TORCH_ZIP,
        )
    except pickle.UnpicklingError as error:
        wanted = re.search(r"Unsupported (?:global: GLOBAL|class) (\S+)", str(error))
        state = (
            f'its pickle wants "{clip(wanted[1])}"'
            if wanted
            else (f"PyTorch refuses its pickle ({clip(str(error).splitlines()[0])})")
        )
        raise refuse_file(
            path,
            state,
            "Save the state dict alone, or load this one with --trust-pickle if you trust where "
            "it comes from.",
        ) from error
    except (ModuleNotFoundError, AttributeError) as error:
        raise refuse_file(
            path,
            f"its pickle needs code that is not installed ({clip(error)})",
            "Save the state dict alone.",
        ) from error
    except Exception as error:
        if is_memory_error(error):
            raise
        raise refuse_file(
            path,
            f"PyTorch can't read it ({clip(str(error).splitlines()[0] if str(error) else error)})",
            "It is damaged or cut short: download or save it again.",
        ) from error


def _unwrapped(path: Path, loaded: Any, dialog: Dialog) -> StateDict:
    """The state dict within what a file holds."""
    import torch

    if isinstance(loaded, torch.nn.Module):
        return StateDict({}, loaded)
    if not isinstance(loaded, dict):
        raise refuse_file(
            path,
            f"it holds something of the type {type(loaded).__name__} where a state dict belongs",
            "Save model.state_dict().",
        )
    strip_first = "pytorch-lightning_version" in loaded
    tensors = _tensors(loaded)
    if not tensors:
        inner = {
            name: value
            for name, value in loaded.items()
            if isinstance(value, (dict, torch.nn.Module)) and _holds_weights(value)
        }
        known = [name for name in _WRAPPERS if name in inner]
        if not known and len(inner) == 1:
            known = list(inner)
        if not known:
            raise refuse_file(
                path,
                f"it holds no state dict, but {listing([str(name) for name in loaded], 5)}",
                "Save model.state_dict().",
            )
        if len(known) > 1:
            dialog.warn(
                f'"{path.name}" holds {listing(known, 5)}: the weights of "{known[0]}" are taken.'
            )
        chosen = inner[known[0]]
        if isinstance(chosen, torch.nn.Module):
            return StateDict({}, chosen)
        tensors = _tensors(chosen)
    for key, tensor in tensors.items():
        _check_tensor(path, key, tensor)
    return StateDict(_without_prefixes(tensors, strip_first))


def _holds_weights(value: Any) -> bool:
    return not isinstance(value, dict) or bool(_tensors(value))


def _tensors(mapping: dict[Any, Any]) -> dict[str, torch.Tensor]:
    """The entries that are tensors; none where they are the exception (an optimizer's state)."""
    import torch

    found = {
        key: value
        for key, value in mapping.items()
        if isinstance(key, str) and isinstance(value, torch.Tensor)
    }
    return found if 2 * len(found) >= len(mapping) else {}


def _check_tensor(path: Path, key: str, tensor: torch.Tensor) -> None:
    """Raises `Refusal` for a tensor that is no dense array of its own bytes."""
    import torch

    if tensor.is_quantized or str(tensor.dtype).startswith(_FLOAT8):
        raise _quantized(path, key, str(tensor.dtype).removeprefix("torch."))
    if tensor.layout is not torch.strided or tensor.device.type != "cpu":
        kind = "no data" if tensor.device.type == "meta" else f"the layout {tensor.layout}"
        raise refuse_file(
            path, f'tensor "{clip(key)}" has {kind}', "Save the weights as dense tensors."
        )


def _quantized(path: Path, key: str, dtype: str) -> Refusal:
    return refuse_file(
        path,
        f'the checkpoint is quantized: tensor "{clip(key)}" has the type {dtype}',
        "Give the checkpoint that it was made from, and quantize the result with --precision.",
    )


def _without_prefixes(
    tensors: dict[str, torch.Tensor], strip_first: bool
) -> dict[str, torch.Tensor]:
    """The same without what parallel training, compilation or a trainer put before all names."""
    stripped = True
    while stripped and tensors:
        stripped = False
        for prefix in _PARALLEL_PREFIXES:
            if all(key.startswith(prefix) for key in tensors):
                tensors = {key[len(prefix) :]: value for key, value in tensors.items()}
                stripped = True
    heads = {key.partition(".")[0] for key in tensors}
    if strip_first and len(heads) == 1 and all("." in key for key in tensors):
        tensors = {key.partition(".")[2]: value for key, value in tensors.items()}
    return tensors
