"""Modules with flat tensors in and out, around modules whose arguments and results are nested.

A graph has a list of tensors on either side. `Flat` calls a model with named tensors and returns
the tensors of its answer under the names that transformers gives them; its variants rebuild what
is no tensor: the cache of keys and values of a decoder, the answer of an encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import nn

from child.dialog import Refusal

# A model's answer may hold these beside its tensors; none of them is an output of a graph.
_NOT_OUTPUTS = frozenset({"loss", "past_key_values", "hidden_states", "attentions"})


def named_tensors(answer: object, default: str = "output") -> list[tuple[str, torch.Tensor]]:
    """The tensors in a model's answer with dotted names, in the order of the answer.

    An answer within the answer (the text part of a CLIP) is left out where the answer has tensors
    of its own: it holds intermediate results.
    """
    if isinstance(answer, torch.Tensor):
        return [(default, answer)]
    if isinstance(answer, Mapping) or is_dataclass(answer):
        pairs = answer.items() if isinstance(answer, Mapping) else _field_values(answer)
        entries = [(str(key), value) for key, value in pairs if key not in _NOT_OUTPUTS]
        own = [entry for entry in entries if _has_tensors(entry[1], nested=False)]
        return _named(own or entries)
    if isinstance(answer, (list, tuple)):
        return _named([(f"{default}.{index}", value) for index, value in enumerate(answer)])
    return []


def _field_values(answer: Any) -> list[tuple[str, object]]:
    return [(field.name, getattr(answer, field.name)) for field in fields(answer)]


def _has_tensors(value: object, nested: bool) -> bool:
    if isinstance(value, torch.Tensor):
        return True
    if isinstance(value, (list, tuple)):
        return any(_has_tensors(item, nested) for item in value)
    return nested and isinstance(value, Mapping)


def _named(entries: Sequence[tuple[str, object]]) -> list[tuple[str, torch.Tensor]]:
    named: list[tuple[str, torch.Tensor]] = []
    for name, value in entries:
        if isinstance(value, torch.Tensor):
            named.append((name, value))
        elif isinstance(value, (list, tuple)):
            named += _named([(f"{name}.{index}", item) for index, item in enumerate(value)])
        elif isinstance(value, Mapping):
            named += _named([(f"{name}.{key}", item) for key, item in value.items()])
    return named


class Flat(nn.Module):
    """Calls `model` with the tensors named `input_names`, and gives its tensors as a tuple.

    `output_names` holds their names after a call. `constants` are arguments that are no tensors.
    """

    def __init__(
        self,
        model: nn.Module,
        input_names: Sequence[str],
        constants: Mapping[str, object] | None = None,
        default: str = "output",
    ) -> None:
        super().__init__()
        self.model = model
        self.input_names = tuple(input_names)
        self.constants = dict(constants or {})
        self.default = default
        self.output_names: tuple[str, ...] = ()
        # Exporters restore a module's mode when they are done, and would train the model.
        self.eval()

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The answer's tensors, each under its own name, none of them twice."""
        answer = self.answer(dict(zip(self.input_names, tensors, strict=True)))
        self.output_names = tuple(name for name, _ in answer)
        seen: set[int] = set()
        outputs: list[torch.Tensor] = []
        for _, tensor in answer:
            # An exporter merges outputs that are one tensor, and then a name is lost.
            outputs.append(tensor.clone() if id(tensor) in seen else tensor)
            seen.add(id(tensor))
        return tuple(outputs)

    def answer(self, named: dict[str, torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
        """Calls the model. What subclasses change."""
        return named_tensors(self.model(**named, **self.constants), self.default)


class Positional(Flat):
    """Calls a module that takes its tensors in order, such as timm's and TorchScript's."""

    def answer(self, named: dict[str, torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
        return named_tensors(self.model(*named.values()), self.default)


class TimmFeatures(Flat):
    """The features of a timm model before its classifier, unpooled and pooled."""

    def answer(self, named: dict[str, torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
        features = self.model.forward_features(*named.values())
        pooled = self.model.forward_head(features, pre_logits=True)
        unpooled = named_tensors(features, "last_hidden_state")
        return [*unpooled, *named_tensors(pooled, "pooler_output")]


class Decoder(Flat):
    """The decoder of an encoder-decoder model with its head, the encoder's answer given.

    Takes `input_ids`, `encoder_hidden_states` and, where the family uses it,
    `encoder_attention_mask`: the names of the decoder's own arguments.
    """

    _ARGUMENTS = {"input_ids": "decoder_input_ids", "encoder_attention_mask": "attention_mask"}

    def answer(self, named: dict[str, torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
        from transformers.modeling_outputs import BaseModelOutput

        states = BaseModelOutput(last_hidden_state=named.pop("encoder_hidden_states"))
        arguments = {self._ARGUMENTS.get(name, name): value for name, value in named.items()}
        answer = self.model(encoder_outputs=states, **arguments, **self.constants)
        # What the encoder said is an input here.
        return [
            (name, tensor)
            for name, tensor in named_tensors(answer, self.default)
            if not name.startswith("encoder_")
        ]


class WithPast(Flat):
    """A decoder whose cache of keys and values comes in and goes out as tensors.

    Inputs `past_key_values.N.key` and `.value` of shape (batch, heads, past, size), where past may
    be 0; outputs `present.N.key` and `.value`, the same with the new tokens behind.
    """

    def answer(self, named: dict[str, torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
        past = {name: named.pop(name) for name in list(named) if name.startswith("past_key_values")}
        cache = make_cache(past)
        answer = self.model(**named, past_key_values=cache, **self.constants)
        return [*named_tensors(answer, self.default), *cached_tensors(cache, "present")]


def make_cache(past: Mapping[str, torch.Tensor]) -> Any:
    """A cache of transformers filled with `past_key_values.N.key` and `.value`.

    Its layers keep all keys: where a model attends to a window only, its mask says so.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer

    layers = 1 + max(int(name.split(".")[1]) for name in past)
    cache = DynamicCache()
    for index in range(layers):
        layer = DynamicLayer()
        key = past.get(f"past_key_values.{index}.key")
        value = past.get(f"past_key_values.{index}.value")
        if key is not None and value is not None:
            layer.lazy_initialization(key, value)
            layer.keys, layer.values = key, value
        cache.layers.append(layer)
    return cache


def cached_tensors(cache: Any, prefix: str) -> list[tuple[str, torch.Tensor]]:
    """The tensors of a cache as `PREFIX.N.key` and `.value`.

    Raises `Refusal` for a cache that holds anything else, such as the state of a recurrence.
    """
    named: list[tuple[str, torch.Tensor]] = []
    for index, layer in enumerate(_layers(cache)):
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        if type(layer).__name__ not in _PLAIN_LAYERS:
            raise Refusal(
                "input",
                f'Cannot export with a KV cache: layer {index} keeps its state in a '
                f'"{type(layer).__name__}", not in keys and values alone. Use --task causal-lm.',
            )
        if keys is not None and values is not None:
            named += [(f"{prefix}.{index}.key", keys), (f"{prefix}.{index}.value", values)]
    return named


_PLAIN_LAYERS = frozenset({"DynamicLayer", "DynamicSlidingWindowLayer", "DummyLayer"})


def _layers(cache: Any) -> Iterator[Any]:
    layers = getattr(cache, "layers", None)
    if layers is None:
        raise Refusal(
            "input",
            f'Cannot export with a KV cache: the model keeps its state in a '
            f'"{type(cache).__name__}". Use --task causal-lm.',
        )
    yield from layers
