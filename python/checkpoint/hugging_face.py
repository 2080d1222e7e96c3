"""Makes a transformers model from a configuration and a state dict, or with random weights.

transformers fills what a checkpoint lacks with random numbers and leaves out what it does not
know. Here both are errors that count and name the tensors, but for what is known to be harmless.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpoint.configurations import nearest
from checkpoint.file_formats import clip, count, listing
from checkpoint.memory_budget import weight_budget
from checkpoint.model_classes import Choice, described, fitting_classes
from checkpoint.tasks import OWN_TASKS, classes_of
from child.dialog import Dialog, Refusal, is_memory_error

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

# Buffers that older versions saved and that are computed now.
_COMPUTED = re.compile(
    r"(^|\.)(position_ids|masked_bias|inv_freq|num_batches_tracked|relative_position_index|"
    r"attn_mask|causal_mask|_extra_state|_float_tensor|n_averaged)$"
)


def make_configuration(fields: dict[str, Any], source: Path, model_type: str) -> PretrainedConfig:
    """The configuration object for `fields`, which `configurations.read_configuration` gave.

    Raises `Refusal` for an unknown model type, with the nearest names, or values that don't fit.
    """
    from transformers import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        raise Refusal(
            "input",
            f'Cannot load "{source}": transformers knows no model type "{clip(model_type)}".'
            f"{nearest(model_type, model_types())} Give one of its types with --model-type, or "
            "timm/NAME for a model of timm.",
        )
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    with _as_refusals(f'Cannot load "{source}": its configuration does not describe a model'):
        return CONFIG_MAPPING[model_type].from_dict(dict(fields))


def model_types() -> list[str]:
    """The model types that transformers knows."""
    from transformers import CONFIG_MAPPING

    return sorted(CONFIG_MAPPING.keys())


def with_random_weights(
    choice: Choice, config: PretrainedConfig, seed: int, attention: str, source: Path
) -> torch.nn.Module:
    """A model whose weights are drawn as transformers initializes them, the same for a seed."""
    import torch

    with _as_refusals(f'Cannot make a model from "{source}": its configuration does not fit'):
        with weight_budget(source), torch.device("meta"):
            choice.architecture(config)
        torch.manual_seed(seed)
        model = _with_attention(
            config,
            attention,
            lambda **options: choice.architecture._from_config(
                config, dtype=torch.float32, **options
            ),
        )
    return model.eval().requires_grad_(False)


def with_weights(
    choice: Choice,
    config: PretrainedConfig,
    tensors: dict[str, torch.Tensor],
    attention: str,
    source: Path,
    dialog: Dialog,
) -> torch.nn.Module:
    """A model with the checkpoint's weights, which must be exactly those that it takes.

    Raises `Refusal` where weights are missing, left over or of other shapes.
    """
    model, report = _load(choice, config, tensors, attention, source, {})
    missing = sorted(report["missing_keys"])
    if missing and all("pooler" in key.split(".") for key in missing) and _has_pooling(choice):
        dialog.warn(
            "The checkpoint has no weights for the pooling layer: it is left out, and with it "
            'the output "pooler_output".'
        )
        options = {"add_pooling_layer": False}
        model, report = _load(choice, config, tensors, attention, source, options)
        missing = sorted(report["missing_keys"])
    _refuse_mismatches(choice, list(report["mismatched_keys"]), source)
    if missing:
        raise _missing(choice, config, missing, set(tensors), len(model.state_dict()), source)
    _sort_unexpected(choice, model, sorted(report["unexpected_keys"]), source, dialog)
    return model.eval().requires_grad_(False)


def _load(
    choice: Choice,
    config: PretrainedConfig,
    tensors: dict[str, torch.Tensor],
    attention: str,
    source: Path,
    options: dict[str, Any],
) -> tuple[PreTrainedModel, dict[str, Any]]:
    import torch

    def make(**attention_option: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
        return choice.architecture.from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=True,
            **attention_option,
            **options,
        )

    try:
        with weight_budget(source, len(tensors)):
            return _with_attention(config, attention, make)
    except Refusal:
        raise
    except Exception as error:
        if is_memory_error(error):
            raise
        # It stumbles over some tensors of other shapes before it reports them.
        _refuse_mismatches(choice, _mismatched(choice, config, tensors), source)
        raise _unfit(
            f'Cannot load "{source}": its configuration or weights do not fit', error
        ) from error


def _mismatched(
    choice: Choice, config: PretrainedConfig, tensors: dict[str, torch.Tensor]
) -> list[tuple[str, Any, Any]]:
    """The tensors whose shape is not the one by the configuration, both shapes with each."""
    model = described(choice.architecture, config, len(tensors))
    if model is None:
        return []
    prefix = f"{model.base_model_prefix}."
    own = model.state_dict()
    found = []
    for key, tensor in tensors.items():
        names = (key, f"{prefix}{key}", key.removeprefix(prefix))
        name = next((name for name in names if name in own), None)
        if name is not None and own[name].shape != tensor.shape:
            found.append((name, tensor.shape, own[name].shape))
    return found


def _with_attention(config: PretrainedConfig, attention: str, make: Any) -> Any:
    """What `make` gives with that attention, or with the model's own where it has no other."""
    try:
        return make(attn_implementation=attention)
    except ValueError as error:
        if "attention" not in str(error):
            raise
        config._attn_implementation = None
        return make()


def _has_pooling(choice: Choice) -> bool:
    return "add_pooling_layer" in inspect.signature(choice.architecture.__init__).parameters


def _refuse_mismatches(
    choice: Choice, mismatched: list[tuple[str, Any, Any]], source: Path
) -> None:
    if not mismatched:
        return
    key, stored, wanted = min(mismatched)
    raise Refusal(
        "input",
        f'Cannot load "{source}": {count(len(mismatched), "tensor")} of the checkpoint '
        f"{'has' if len(mismatched) == 1 else 'have'} another shape than the configuration of "
        f'{choice.architecture.__name__} gives, first "{clip(key)}": {list(stored)} in the '
        f"checkpoint, {list(wanted)} by the configuration. Give the config.json that belongs to "
        "the checkpoint.",
    )


def _missing(
    choice: Choice,
    config: PretrainedConfig,
    missing: list[str],
    keys: set[str],
    total: int,
    source: Path,
) -> Refusal:
    """The error for weights that are not there, which says what would fit."""
    fitting = fitting_classes(config, keys, exactly=False)
    served = classes_of(config.model_type)
    tasks = [task for task in dict.fromkeys(served[name] for name in fitting) if task in OWN_TASKS]
    if tasks:
        advice = f"The checkpoint fits --task {' or '.join(tasks)}."
    elif fitting:
        advice = f'The checkpoint fits {fitting[0]}: name that in "architectures" of config.json.'
    else:
        example = f" It has {listing(sorted(keys))} instead." if keys else ""
        advice = f"Give the config.json that belongs to the checkpoint.{example}"
    return Refusal(
        "input",
        f'Cannot load "{source}": it has no weights for {len(missing)} of the {total} tensors of '
        f"{choice.architecture.__name__} ({listing(missing)}), which would have to be random. "
        f"{advice}",
    )


def _sort_unexpected(
    choice: Choice,
    model: PreTrainedModel,
    unexpected: list[str],
    source: Path,
    dialog: Dialog,
) -> None:
    """Leaves out the heads of other tasks with a warning; refuses parts of the model itself."""
    unexpected = [key for key in unexpected if not _COMPUTED.search(key)]
    if not unexpected:
        return
    base = getattr(model, model.base_model_prefix, model)
    own = {name for name, child in base.named_children() if child is not None} - {"pooler"}

    def belongs(key: str) -> bool:
        parts = key.split(".")
        if parts[0] == model.base_model_prefix and len(parts) > 1:
            parts = parts[1:]
        return parts[0] in own

    inner = [key for key in unexpected if belongs(key)]
    if inner:
        raise Refusal(
            "input",
            f'Cannot load "{source}": {count(len(inner), "tensor")} of the checkpoint fit nowhere '
            f"in {choice.architecture.__name__} ({listing(inner)}). Give the config.json that "
            "belongs to the checkpoint.",
        )
    dialog.warn(
        f"{count(len(unexpected), 'tensor')} of the checkpoint "
        f"{'is' if len(unexpected) == 1 else 'are'} no part of {choice.architecture.__name__} "
        f"and left out: {listing(unexpected)}."
    )


@contextlib.contextmanager
def _as_refusals(beginning: str) -> Iterator[None]:
    """Tells what transformers says about a configuration or weights as bad input.

    What a configuration leads to within transformers has no bounds: any error there is about it.
    """
    try:
        yield
    except Refusal:
        raise
    except Exception as error:
        if is_memory_error(error):
            raise
        raise _unfit(beginning, error) from error


def _unfit(beginning: str, error: Exception) -> Refusal:
    said = " ".join(line.strip() for line in str(error).splitlines()[:3] if line.strip())
    return Refusal(
        "input",
        f"{beginning} ({type(error).__name__}: {clip(said, 300)}). Correct config.json or give "
        "the one that belongs to the checkpoint.",
    )
