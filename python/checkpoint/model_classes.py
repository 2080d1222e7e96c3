"""Which of transformers' classes a checkpoint is for.

The configuration names it, the task asks for it, or it follows from the names of the tensors: a
class fits where they are all that it takes.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from checkpoint.configurations import nearest
from checkpoint.file_formats import clip
from checkpoint.memory_budget import weight_budget
from checkpoint.tasks import OWN_TASKS, classes_for, classes_of, task_of
from child.dialog import Refusal, is_memory_error

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_MAXIMUM_CLASSES_TRIED = 24


@dataclass
class Choice:
    """The class to make, and why."""

    architecture: type[PreTrainedModel]
    task: str
    asked: str
    """What the person asked for; "auto" where nothing."""


def choose_class(
    config: PretrainedConfig, task: str, source: Path, keys: set[str] | None
) -> Choice:
    """The class that serves `task` ("auto" for what the configuration names).

    `keys` are the checkpoint's tensors, from which the class follows where nothing names it.
    Raises `Refusal` where the class is unknown or there is none for the task.
    """
    declared = _declared(config, source)
    if task == "auto":
        if declared is not None:
            return Choice(declared, task_of(declared.__name__), task)
        candidates = list(classes_of(config.model_type))
        if keys is not None:
            fitting = fitting_classes(config, keys, exactly=True)
            candidates = fitting or classes_for("base", config.model_type) or candidates
        else:
            candidates = classes_for("base", config.model_type) or candidates
        if not candidates:
            raise _no_class(config, "base", source)
        return Choice(_class(candidates[0], source), task_of(candidates[0]), task)
    wanted = {"causal-lm-with-past": "causal-lm", "feature-extraction": "base"}.get(task, task)
    if declared is not None and task_of(declared.__name__) == wanted:
        return Choice(declared, task, task)
    candidates = classes_for(task, config.model_type)
    if not candidates:
        raise _no_class(config, task, source)
    if keys is not None and len(candidates) > 1:
        fitting = fitting_classes(config, keys, exactly=False)
        candidates = [name for name in candidates if name in fitting] or candidates
    return Choice(_class(candidates[0], source), task, task)


def _declared(config: PretrainedConfig, source: Path) -> type[PreTrainedModel] | None:
    """The class that the configuration names; None where it names none."""
    names = getattr(config, "architectures", None)
    if not isinstance(names, (list, tuple)) or not names or not isinstance(names[0], str):
        return None
    found = _class(names[0], source)
    if found.config_class is not None and not isinstance(config, found.config_class):
        raise Refusal(
            "input",
            f'Cannot load "{source}": it names the architecture "{clip(names[0])}", which is not '
            f'of the model type "{config.model_type}". Correct config.json.',
        )
    return found


def _class(name: str, source: Path) -> type[PreTrainedModel]:
    import transformers

    found = getattr(transformers, name, None) if name.isidentifier() else None
    if not inspect.isclass(found) or not issubclass(found, transformers.PreTrainedModel):
        from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

        known = {
            architecture: None
            for model_type in MODEL_MAPPING_NAMES
            for architecture in classes_of(model_type)
        }
        lower = {architecture.lower(): architecture for architecture in known}
        suggestion = nearest(name, list(lower))
        for small, architecture in lower.items():
            suggestion = suggestion.replace(f'"{small}"', f'"{architecture}"')
        raise Refusal(
            "input",
            f'Cannot load "{source}": transformers knows no architecture "{clip(name)}".'
            f'{suggestion} Correct "architectures" in config.json, or choose by --task.',
        )
    return found


def _no_class(config: PretrainedConfig, task: str, source: Path) -> Refusal:
    have = sorted(set(classes_of(config.model_type).values()) & set(OWN_TASKS))
    offer = f" It has: {', '.join(have)}." if have else ""
    return Refusal(
        "input",
        f'Cannot load "{source}": transformers has no class of "{config.model_type}" for the task '
        f'"{task}".{offer} Choose another --task.',
    )


def fitting_classes(config: PretrainedConfig, keys: set[str], *, exactly: bool) -> list[str]:
    """Names of the model type's classes for which the checkpoint has every weight.

    With `exactly`, only those that leave none over either; those that leave least come first.
    """
    found: list[tuple[int, str]] = []
    for name in list(classes_of(config.model_type))[:_MAXIMUM_CLASSES_TRIED]:
        left = _left_over(name, config, keys)
        if left is not None and (left == 0 or not exactly):
            found.append((left, name))
    return [name for _, name in sorted(found, key=lambda item: item[0])]


def _left_over(name: str, config: PretrainedConfig, keys: set[str]) -> int | None:
    """How many of `keys` the class does not take; None where it lacks some of its own."""
    import transformers

    architecture = getattr(transformers, name, None)
    known = inspect.isclass(architecture)
    model = described(architecture, config, len(keys)) if known else None
    if model is None:
        return None
    wanted = set(model.state_dict())
    tied = {key for key in wanted if _is_tied(model, key)}
    prefix = f"{model.base_model_prefix}."
    forms = [
        keys,
        {f"{prefix}{key}" for key in keys},
        {key.removeprefix(prefix) for key in keys},
    ]
    left = [len(form - wanted) for form in forms if wanted - tied <= form]
    return min(left, default=None)


def described(
    architecture: type[PreTrainedModel], config: PretrainedConfig, tensors: int
) -> PreTrainedModel | None:
    """The model without memory for its weights; None where it can't be made."""
    import torch

    try:
        with weight_budget(None, tensors), torch.device("meta"):
            return architecture(config)
    except Exception as error:
        if is_memory_error(error):
            raise
        return None


def _is_tied(model: PreTrainedModel, key: str) -> bool:
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    return key in tied or any(
        re.search(pattern, key) for pattern in getattr(model, "_tied_weights_keys", None) or ()
    )
