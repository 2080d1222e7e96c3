"""Reads a checkpoint of any supported kind and gives the PyTorch module that it holds.

`load` is the only entry. It looks at the content of the source, never at its name alone, and
returns a module in evaluation mode with float32 parameters that need no gradient. Whatever is
wrong with the source ends in a `Refusal` of kind "input" which names the file and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from checkpoint import checkpoints
from checkpoint import configurations
from checkpoint import exported_programs
from checkpoint import hugging_face
from checkpoint import model_classes
from checkpoint import programs
from checkpoint import timm_models
from child.dialog import Dialog, Refusal
from checkpoint.file_formats import FileFormat, clip, identify, refuse_file

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

Kind = Literal["transformers", "timm", "torchscript", "exported-program"]


@dataclass
class LoadedModel:
    """A module that is ready to be exported, and what is known about it."""

    module: torch.nn.Module
    """In evaluation mode, float32, no parameter needs a gradient. For "torchscript" a
    `torch.jit.ScriptModule`, for "exported-program" the program's own module."""
    kind: Kind
    config: PretrainedConfig | None
    """The transformers configuration; None for every other kind."""
    model_type: str | None
    """`config.model_type` of transformers, the architecture's name of timm, None for others."""
    architecture: str
    """Name of the module's class; for timm the architecture with which `create_model` made it."""
    task: str
    """The resolved task, never "auto"; see the module `tasks`."""
    source: str
    """One phrase that describes the source, for messages and reports."""
    exported_program: Any = None
    """The `torch.export.ExportedProgram`, where `kind` is "exported-program"."""
    timm_config: dict[str, Any] | None = None
    """`module.pretrained_cfg` of timm as a dict (`input_size`, `num_classes`, ...)."""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Request:
    """The fields of export.py's request that matter here."""

    source: Path
    model_type: str | None
    config: Path | None
    task: str
    seed: int
    trust_pickle: bool
    random_weights: bool
    attention: str


def load(request: dict[str, Any], dialog: Dialog, attention: str = "eager") -> LoadedModel:
    """Loads what `request["source"]` names (see `export.py` for the request's fields).

    `attention` is the `attn_implementation` with which transformers builds the module.

    Raises `Refusal` where the source can't be used.
    """
    config = request.get("config")
    asked = _Request(
        source=Path(request["source"]),
        model_type=request.get("modelType") or None,
        config=Path(config) if config else None,
        task=request.get("task") or "auto",
        seed=int(request.get("seed") or 0),
        trust_pickle=bool(request.get("trustPickle")),
        random_weights=bool(request.get("randomWeights")),
        attention=attention,
    )
    if not asked.source.exists():
        raise Refusal(
            "input",
            f'Cannot load "{asked.source}": there is no such file or folder. Give the path of a '
            "checkpoint or of a Hugging Face folder.",
        )
    dialog.progress("read checkpoint")
    return _load_folder(asked, dialog) if asked.source.is_dir() else _load_file(asked, dialog)


def _load_folder(asked: _Request, dialog: Dialog) -> LoadedModel:
    """A folder with config.json and weights, as transformers and timm save it."""
    checkpoint = None if asked.random_weights else checkpoints.find_checkpoint(asked.source)
    path = asked.config or asked.source / "config.json"
    if not path.is_file():
        if (asked.source / "model_index.json").is_file():
            raise Refusal(
                "input",
                f'Cannot load "{asked.source}": it is a diffusers pipeline of several models. '
                "Export each part with torch.export.save and give the .pt2 file.",
            )
        named = timm_models.name_of(asked.model_type or "")
        if named is None or (checkpoint is None and not asked.random_weights):
            raise Refusal(
                "input",
                f'Cannot load "{asked.source}": it has no config.json. Give a Hugging Face '
                "folder, or the weights' file with --model-type and --config.",
            )
    if checkpoint is None and not asked.random_weights:
        raise Refusal(
            "input",
            f'Cannot load "{asked.source}": it has no weights (model.safetensors or '
            "pytorch_model.bin, in one file or in shards with an index). Add them, or give "
            "--random-weights for a test.",
        )
    return _load_state_dict(asked, path if path.is_file() else None, checkpoint, dialog)


def _load_file(asked: _Request, dialog: Dialog) -> LoadedModel:
    """A single file: a program, a state dict, or a config.json for random weights."""
    if asked.random_weights:
        config = asked.config or (asked.source if asked.source.suffix == ".json" else None)
        return _load_state_dict(asked, config, None, dialog)
    if asked.source.suffix == ".json":
        raise Refusal(
            "input",
            f'Cannot load "{asked.source}": a configuration has no weights. Give the folder that '
            "it lies in, or --random-weights for a test.",
        )
    format = identify(asked.source)
    if format in (FileFormat.TORCHSCRIPT, FileFormat.EXPORTED_PROGRAM):
        return _load_program(asked, format)
    checkpoint = checkpoints.Checkpoint((asked.source,))
    return _load_state_dict(asked, asked.config, checkpoint, dialog)


def _load_program(asked: _Request, format: FileFormat) -> LoadedModel:
    """TorchScript or a torch.export program."""
    if asked.task not in ("auto", "base"):
        raise refuse_file(
            asked.source,
            f'it is {format.value}, whose code is fixed: the task "{asked.task}" can\'t be chosen',
            "Leave out --task.",
        )
    program = None
    if format is FileFormat.TORCHSCRIPT:
        module = programs.open_torchscript(asked.source)
        architecture = getattr(module, "original_name", "ScriptModule")
        kind: Kind = "torchscript"
    else:
        program = exported_programs.open_exported_program(asked.source, asked.trust_pickle)
        module = exported_programs.module_of(program)
        architecture = "ExportedProgram"
        kind = "exported-program"
    return LoadedModel(
        module=module,
        kind=kind,
        config=None,
        model_type=None,
        architecture=architecture,
        task="base",
        source=f'{format.value} "{asked.source.name}"',
        exported_program=program,
    )


def _load_state_dict(
    asked: _Request,
    config_path: Path | None,
    checkpoint: checkpoints.Checkpoint | None,
    dialog: Dialog,
) -> LoadedModel:
    """A state dict (None: random weights) with what says which model it is of."""
    fields = configurations.read_configuration(config_path) if config_path else None
    model_type = _model_type(asked, fields, config_path)
    timm_name = timm_models.name_of(model_type or "")
    is_timm = timm_name is not None or (fields is not None and _is_timm(fields))
    state = None
    if checkpoint is not None:
        state = checkpoints.read_state_dict(checkpoint, asked.trust_pickle, dialog)
        if state.module is not None:
            return _whole_module(asked, state.module)
    dialog.progress("build model")
    tensors = state.tensors if state is not None else None
    if is_timm:
        if fields is not None and "architecture" in fields:
            choice = timm_models.by_configuration(fields, asked.source)
        else:
            choice = timm_models.by_name(timm_name or "", asked.source)
        return _load_timm(asked, choice, tensors, dialog)
    if model_type is None:
        raise Refusal(
            "input",
            f'Cannot load "{asked.source}": weights alone do not say which model they are of. '
            "Give --model-type and --config (the path of its config.json), or timm/NAME as the "
            "model type for a model of timm.",
        )
    return _load_transformers(asked, fields, model_type, tensors, dialog)


def _model_type(
    asked: _Request, fields: dict[str, Any] | None, config_path: Path | None
) -> str | None:
    """The model type that request and configuration agree on."""
    stated = fields.get("model_type") if fields is not None else None
    if stated is not None and not isinstance(stated, str):
        raise Refusal(
            "input", f'Cannot load "{config_path}": its "model_type" is not a name. Correct it.'
        )
    if asked.model_type is None:
        if stated is None and fields is not None and not _is_timm(fields):
            raise Refusal(
                "input",
                f'Cannot load "{config_path}": it names no "model_type". Give it with '
                "--model-type.",
            )
        return stated
    if stated is not None and asked.model_type != stated:
        if timm_models.name_of(asked.model_type) is not None:
            return asked.model_type
        raise Refusal(
            "input",
            f'Cannot load "{asked.source}": --model-type says "{clip(asked.model_type)}" and its '
            f'configuration "{clip(stated)}". Leave out --model-type.',
        )
    # A bare name may be timm's: "resnet18" is no model type of transformers.
    if (
        fields is None
        and timm_models.name_of(asked.model_type) is None
        and asked.model_type not in hugging_face.model_types()
        and _timm_knows(asked.model_type)
    ):
        return f"timm/{asked.model_type}"
    return asked.model_type


def _is_timm(fields: dict[str, Any]) -> bool:
    return "architecture" in fields and fields.get("model_type") in (None, "timm_wrapper")


def _timm_knows(name: str) -> bool:
    import timm

    return timm.is_model(name.partition(".")[0])


def _load_timm(
    asked: _Request,
    choice: timm_models.TimmChoice,
    tensors: dict[str, torch.Tensor] | None,
    dialog: Dialog,
) -> LoadedModel:
    tasks = {
        "auto": "classification",
        "base": "feature-extraction",
        "classification": "classification",
        "feature-extraction": "feature-extraction",
    }
    task = tasks.get(asked.task)
    if task is None:
        raise Refusal(
            "input",
            f'Cannot load "{asked.source}": models of timm have no task "{asked.task}". Choose '
            "classification or feature-extraction.",
        )
    module = timm_models.make(choice, task, tensors, asked.seed, asked.source, dialog)
    return LoadedModel(
        module=module,
        kind="timm",
        config=None,
        model_type=choice.architecture,
        architecture=choice.architecture,
        task=task,
        source=f'timm model "{choice.architecture}"',
        timm_config=dict(getattr(module, "pretrained_cfg", None) or {}),
    )


def _load_transformers(
    asked: _Request,
    fields: dict[str, Any] | None,
    model_type: str,
    tensors: dict[str, torch.Tensor] | None,
    dialog: Dialog,
) -> LoadedModel:
    config = hugging_face.make_configuration(fields or {}, asked.source, model_type)
    if fields is None and tensors is not None:
        dialog.warn(
            f'No --config was given: the default configuration of "{model_type}" is assumed, and '
            "with it what weights don't show, such as the number of attention heads."
        )
    keys = set(tensors) if tensors is not None else None
    choice = model_classes.choose_class(config, asked.task, asked.source, keys)
    if tensors is None:
        module = hugging_face.with_random_weights(
            choice, config, asked.seed, asked.attention, asked.source
        )
    else:
        _warn_of_halves(tensors, dialog)
        module = hugging_face.with_weights(
            choice, config, tensors, asked.attention, asked.source, dialog
        )
    return LoadedModel(
        module=module,
        kind="transformers",
        config=module.config,
        model_type=model_type,
        architecture=type(module).__name__,
        task=choice.task,
        source=f'{type(module).__name__} in "{asked.source.name}"',
    )


def _warn_of_halves(tensors: dict[str, torch.Tensor], dialog: Dialog) -> None:
    import torch

    halves = {value.dtype for value in tensors.values()} & {torch.float16, torch.bfloat16}
    if halves:
        names = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in halves))
        dialog.warn(f"The checkpoint's {names} weights are exported as float32.")


def _whole_module(asked: _Request, module: Any) -> LoadedModel:
    """A module that a trusted pickle held whole."""
    from checkpoint.tasks import task_of

    module = module.float().eval().requires_grad_(False)
    name = type(module).__name__
    config = getattr(module, "config", None)
    described = f'{name} in "{asked.source.name}"'
    if "transformers" in (base.__module__.partition(".")[0] for base in type(module).__mro__):
        task = task_of(name) if asked.task == "auto" else asked.task
        return LoadedModel(module, "transformers", config, config.model_type, name, task, described)
    stated = getattr(module, "pretrained_cfg", None)
    if isinstance(stated, dict):
        architecture = str(stated.get("architecture") or name)
        task = "classification" if asked.task == "auto" else asked.task
        return LoadedModel(
            module,
            "timm",
            None,
            architecture,
            architecture,
            task,
            described,
            timm_config=dict(stated),
        )
    raise refuse_file(
        asked.source,
        f"it holds a whole module of the class {clip(name)}, which is neither of transformers nor "
        "of timm",
        "Export it where it comes from with torch.export.save and give the .pt2 file.",
    )
