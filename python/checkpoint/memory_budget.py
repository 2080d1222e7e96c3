"""Stops a model that would not fit into memory while its layers are being described.

A few digits in a configuration can ask for more weights than any machine holds, or for millions of
layers. While a model is made on PyTorch's "meta" device, nothing is allocated; what its layers
register is counted, and making it ends when the sum passes what the machine has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from child.dialog import Refusal

if TYPE_CHECKING:
    import torch

_MAXIMUM_LAYERS = 100_000
_BYTES_PER_WEIGHT = 4
# A tensor of a checkpoint may become several weights (queries, keys and values); not more.
_WEIGHTS_PER_TENSOR = 8
_SPARE_WEIGHTS = 2_000


@contextlib.contextmanager
def weight_budget(source: Path | None, tensors: int | None = None) -> Iterator[None]:
    """Within it, making a model that needs more than the memory there is raises `Refusal`.

    So does one of many more weights than the checkpoint has `tensors`, where that is given.
    """
    from torch.nn.modules import module

    available = available_memory()
    layers = 0
    weights_made = 0
    most_weights = None if tensors is None else tensors * _WEIGHTS_PER_TENSOR + _SPARE_WEIGHTS
    needed = 0
    name = f'"{source}"' if source is not None else "the model"

    def count_layer(_: object, _name: str, _layer: object) -> None:
        nonlocal layers
        layers += 1
        if layers > _MAXIMUM_LAYERS:
            raise Refusal(
                "input",
                f"Cannot load {name}: its configuration asks for more than {_MAXIMUM_LAYERS} "
                "layers. Correct config.json.",
            )

    def count_weights(_: object, _name: str, weights: torch.Tensor | None) -> None:
        nonlocal needed, weights_made
        # Weights that are put into their place later are registered once more, with data.
        if weights is None or not weights.is_meta:
            return
        weights_made += 1
        if most_weights is not None and weights_made > most_weights:
            raise Refusal(
                "input",
                f"Cannot load {name}: its configuration asks for more than {most_weights} weights "
                f"and the checkpoint has {tensors} tensors. Give the config.json that belongs to "
                "the checkpoint.",
            )
        needed += weights.numel() * _BYTES_PER_WEIGHT
        if needed > available:
            raise Refusal(
                "input",
                f"Cannot load {name}: its configuration asks for weights of more than "
                f"{needed / 1e9:.1f} GB in float32, and {available / 1e9:.1f} GB of memory are "
                "there. Correct config.json, or convert on a machine with more memory.",
            )

    handles = [
        module.register_module_module_registration_hook(count_layer),
        module.register_module_parameter_registration_hook(count_weights),
        module.register_module_buffer_registration_hook(count_weights),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def available_memory() -> int:
    """Bytes that this process may still take."""
    limits: list[int] = []
    try:
        import resource

        for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            soft = resource.getrlimit(kind)[0]
            if soft != resource.RLIM_INFINITY:
                limits.append(soft)
    except ImportError:
        pass
    try:
        import psutil

        limits.append(psutil.virtual_memory().available)
    except ImportError:
        pass
    return min(limits, default=2**63 - 1)
