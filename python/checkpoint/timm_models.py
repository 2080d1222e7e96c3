"""Makes a timm model from its name or its config.json, with a checkpoint or random weights."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpoint.configurations import nearest
from child.dialog import Dialog, Refusal, is_memory_error
from checkpoint.file_formats import clip, listing
from checkpoint.memory_budget import weight_budget

if TYPE_CHECKING:
    import torch

# What a configuration may say about the pictures, and no more: the rest names places to fetch from.
_PICTURE_FIELDS = (
    "input_size",
    "fixed_input_size",
    "min_input_size",
    "pool_size",
    "interpolation",
    "mean",
    "std",
    "crop_pct",
    "crop_mode",
)
# Arguments of a model that would make timm open files or the network.
_FETCHING = ("pretrained", "checkpoint", "cache_dir", "file", "url", "hf_hub", "path")
_COUNTER = "num_batches_tracked"
_PREFIXES = ("timm/", "timm:", "timm.")
_MAXIMUM_ARGUMENTS = 64


@dataclass(frozen=True)
class TimmChoice:
    """A model of timm, as a name or a configuration states it."""

    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    """For the model's constructor."""
    pictures: dict[str, Any] = field(default_factory=dict)
    """What replaces the architecture's own statements about its pictures."""


def name_of(model_type: str) -> str | None:
    """The timm name in a model type that begins with "timm/" or "timm:"; else None."""
    for prefix in _PREFIXES:
        if model_type.startswith(prefix):
            return model_type[len(prefix) :]
    return None


def by_name(name: str, source: Path) -> TimmChoice:
    """The choice for a name such as "resnet18" or "resnet18.a1_in1k".

    Raises `Refusal` for a name that timm does not know, with the nearest names.
    """
    import timm

    architecture, _, tag = name.partition(".")
    if ":" in name or "/" in name or not timm.is_model(architecture):
        raise Refusal(
            "input",
            f'Cannot load "{source}": timm knows no architecture "{clip(name)}".'
            f"{nearest(architecture, timm.list_models())} Give one of its names, as timm/NAME.",
        )
    known = timm.is_model_pretrained(name) if tag else True
    return TimmChoice(name if known else architecture)


def by_configuration(fields: dict[str, Any], source: Path) -> TimmChoice:
    """The choice that a timm config.json makes; `fields` are cleaned already."""
    architecture = fields.get("architecture")
    if not isinstance(architecture, str):
        raise Refusal(
            "input",
            f'Cannot load "{source}": its "architecture" is not a name. Correct config.json.',
        )
    choice = by_name(architecture, source)
    arguments = fields.get("model_args") or {}
    if not isinstance(arguments, dict) or len(arguments) > _MAXIMUM_ARGUMENTS:
        raise Refusal(
            "input", f'Cannot load "{source}": its "model_args" are not an object. Correct it.'
        )
    for name in arguments:
        if any(word in name for word in _FETCHING):
            raise Refusal(
                "input",
                f'Cannot load "{source}": its "model_args" set "{clip(name)}", which would open '
                "other files. Remove it from config.json.",
            )
    arguments = {name: value for name, value in arguments.items() if value is not None}
    for name in ("num_classes", "global_pool"):
        value = fields.get(name)
        if value is not None and name not in arguments:
            arguments[name] = value
    pretrained = fields.get("pretrained_cfg")
    stated = pretrained if isinstance(pretrained, dict) else fields
    pictures = {name: stated[name] for name in _PICTURE_FIELDS if stated.get(name) is not None}
    return TimmChoice(choice.architecture, arguments, pictures)


def make(
    choice: TimmChoice,
    task: str,
    tensors: dict[str, torch.Tensor] | None,
    seed: int,
    source: Path,
    dialog: Dialog,
) -> torch.nn.Module:
    """The model with the checkpoint's weights, or with random ones where `tensors` is None.

    Raises `Refusal` where the weights are not exactly those that the model takes.
    """
    import torch

    torch.manual_seed(seed)
    headless = task == "feature-extraction"
    if tensors is None:
        return _create(choice, {}, source).eval().requires_grad_(False)
    inferred = _inferred(choice, tensors, headless)
    model = _create(choice, inferred, source, len(tensors))
    tensors = _floats(tensors)
    problem = _problem(model, tensors)
    if problem.missing or problem.unexpected or problem.mismatched:
        renamed = _renamed(model, tensors)
        if renamed is not None:
            other = _problem(model, renamed)
            if other.count() < problem.count():
                tensors, problem = renamed, other
    _refuse(choice, model, problem, headless, source, dialog)
    own = model.state_dict()
    model.load_state_dict(
        {key: value for key, value in tensors.items() if key in own}, strict=False, assign=True
    )
    return model.eval().requires_grad_(False)


def _create(
    choice: TimmChoice, inferred: dict[str, Any], source: Path, tensors: int | None = None
) -> Any:
    import timm
    import torch

    arguments = {**inferred, **choice.arguments}
    options = {"pretrained": False, "pretrained_cfg_overlay": dict(choice.pictures)}
    try:
        with weight_budget(source, tensors), torch.device("meta"):
            timm.create_model(choice.architecture, **options, **arguments)
    except Refusal:
        raise
    except Exception as error:
        # Some architectures compute while they are made, which this device can't; whether the
        # arguments fit is then seen when it is made in earnest.
        if is_memory_error(error):
            raise
    try:
        return timm.create_model(choice.architecture, **options, **arguments)
    except Exception as error:
        if is_memory_error(error):
            raise
        said = next((line for line in str(error).splitlines() if line.strip()), "")
        raise Refusal(
            "input",
            f'Cannot make "{choice.architecture}" for "{source}": its arguments '
            f"{clip(arguments, 200)} do not fit ({type(error).__name__}: {clip(said, 200)}). "
            "Correct config.json.",
        ) from error


def _inferred(
    choice: TimmChoice, tensors: dict[str, torch.Tensor], headless: bool
) -> dict[str, Any]:
    """Arguments that the shapes of the first and the last layer tell."""
    from timm.models import get_pretrained_cfg

    stated = get_pretrained_cfg(choice.architecture)
    found: dict[str, Any] = {}
    classifier = getattr(stated, "classifier", None)
    if isinstance(classifier, str):
        weight = tensors.get(f"{classifier}.weight")
        if weight is not None and weight.ndim >= 2:
            found["num_classes"] = int(weight.shape[0])
        elif headless and weight is None:
            found["num_classes"] = 0
    first = getattr(stated, "first_conv", None)
    if isinstance(first, str):
        weight = tensors.get(f"{first}.weight")
        if weight is not None and weight.ndim == 4 and weight.shape[1] != 3:
            found["in_chans"] = int(weight.shape[1])
    return found


def _floats(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        key: value.float() if value.is_floating_point() else value for key, value in tensors.items()
    }


@dataclass
class _Problem:
    missing: list[str]
    unexpected: list[str]
    mismatched: list[tuple[str, list[int], list[int]]]

    def count(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.mismatched)


def _problem(model: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> _Problem:
    own = model.state_dict()
    return _Problem(
        sorted(key for key in own if key not in tensors and not key.endswith(_COUNTER)),
        sorted(key for key in tensors if key not in own),
        sorted(
            (key, list(tensors[key].shape), list(value.shape))
            for key, value in own.items()
            if key in tensors and tensors[key].shape != value.shape
        ),
    )


def _renamed(
    model: torch.nn.Module, tensors: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor] | None:
    """The tensors under timm's present names, by the architecture's own rule for older ones."""
    module = sys.modules[type(model).__module__]
    rule = getattr(module, "checkpoint_filter_fn", None)
    if rule is None:
        return None
    try:
        takes_model = len(inspect.signature(rule).parameters) > 1
        renamed = rule(dict(tensors), model) if takes_model else rule(dict(tensors))
    except Exception as error:
        if is_memory_error(error):
            raise
        return None
    return renamed if isinstance(renamed, dict) else None


def _refuse(
    choice: TimmChoice,
    model: Any,
    problem: _Problem,
    headless: bool,
    source: Path,
    dialog: Dialog,
) -> None:
    """Raises `Refusal` for every difference but a classifier that the task does not need."""
    name = choice.architecture
    if problem.mismatched:
        key, stored, wanted = problem.mismatched[0]
        raise Refusal(
            "input",
            f'Cannot load "{source}": {len(problem.mismatched)} tensors of the checkpoint have '
            f'other shapes than "{name}" has, first "{clip(key)}": {stored} in the checkpoint, '
            f"{wanted} in the model. Give the --model-type or the --config that belongs to it.",
        )
    classifier = getattr(model, "pretrained_cfg", {}).get("classifier")
    heads = classifier if isinstance(classifier, (tuple, list)) else (classifier,)

    def in_head(key: str) -> bool:
        return any(key.startswith(f"{head}.") for head in heads if head)

    if problem.missing:
        advice = "Give the --model-type or the --config that belongs to it."
        if all(in_head(key) for key in problem.missing):
            advice = "Give --task feature-extraction for the model without its classifier."
        raise Refusal(
            "input",
            f'Cannot load "{source}": it has no weights for {len(problem.missing)} of the '
            f'{len(model.state_dict())} tensors of "{name}" ({listing(problem.missing)}), which '
            f"would have to be random. {advice}",
        )
    if not problem.unexpected:
        return
    inner = [key for key in problem.unexpected if not (headless and in_head(key))]
    if inner:
        raise Refusal(
            "input",
            f'Cannot load "{source}": {len(inner)} tensors of the checkpoint have no place in '
            f'"{name}" ({listing(inner)}). Give the --model-type or the --config that belongs to '
            "it.",
        )
    dialog.warn(f"The classifier of the checkpoint is left out: {listing(problem.unexpected)}.")
