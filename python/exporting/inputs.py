"""Example inputs for any architecture, and the modules that are exported.

`example` reads the signature of a model's forward, looks its sizes up in the configuration, and
tries: it calls the model, and takes the first description of inputs that the model accepts. What
it does not know, such as the order of axes or which argument is needed too, it learns from the
model's refusals. So there is no list of families here, only a table of arguments by name.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import nn

from exporting.arguments import describe
from child.dialog import Refusal
from exporting.search import TRIALS, Search, renamed
from exporting.signatures import parameters_of, tensor_arguments
from checkpoint.sources import LoadedModel
from exporting.units import ExportUnit, InputSpec
from exporting.wrappers import Decoder, Flat, Positional, TimmFeatures, WithPast, cached_tensors


def example(
    loaded: LoadedModel, task: str, dynamic: bool = True, seed: int = 0
) -> Sequence[ExportUnit]:
    """The units to export for `task`: one, or an encoder and a decoder for "seq2seq".

    `dynamic` leaves batch, lengths and, where the model allows, image sizes open.

    Raises `Refusal` where no inputs are found that the model accepts.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = _Units(loaded, dynamic, seed)
        if loaded.kind == "timm":
            flat = TimmFeatures if task == "feature-extraction" else Positional
            return [search.images(flat)]
        if loaded.kind in ("torchscript", "exported-program"):
            return [search.unknown()]
        if task == "seq2seq":
            return search.encoder_and_decoder()
        if task == "causal-lm-with-past":
            return [search.with_past()]
        return [search.whole()]


class _Units(Search):
    """The units of one loaded model, task by task."""

    # Whole models -------------------------------------------------------------------------------

    def whole(self) -> ExportUnit:
        """One unit: every argument that the model needs, and its usual companions."""
        return self.unit("model", self.loaded.module, self.constants(self.loaded.module))

    def encoder_and_decoder(self) -> list[ExportUnit]:
        """The encoder, and the decoder with its head."""
        model = self.loaded.module
        if not getattr(self.loaded.config, "is_encoder_decoder", False):
            raise Refusal(
                "input",
                f'Cannot export "{self.loaded.architecture}" as encoder and decoder: it is no '
                "encoder-decoder model. Choose another --task.",
            )
        encoder_module = model.get_encoder()
        main = getattr(model, "main_input_name", "input_ids")
        encoder = self.unit("encoder", encoder_module, self.constants(encoder_module), main)
        states = encoder.module(*encoder.arguments.values())[0]
        return [encoder, self.decoder(encoder, states)]

    def decoder(self, encoder: ExportUnit, states: torch.Tensor) -> ExportUnit:
        """The decoder's unit, after the encoder's, which answered with `states`."""
        model = self.loaded.module
        sequence = "encoder_sequence_length"
        text = any(spec.name == "input_ids" for spec in encoder.inputs)
        # The axis follows the encoder's input where that has a length, else it is what came out.
        lengths = encoder.dynamic - {"batch_size", "height", "width"}
        axis: int | str = sequence if text or lengths else states.shape[1]
        specs = [
            *describe("decoder_input_ids", self.fields)[:1],
            InputSpec(
                "encoder_hidden_states",
                ("batch_size", axis, states.shape[-1]),
                "floats",
                torch.float32,
            ),
        ]
        specs[0] = renamed(specs[0], "input_ids", {"decoder_sequence_length": "sequence_length"})
        mask = InputSpec("encoder_attention_mask", ("batch_size", axis), "mask")
        arguments = parameters_of(model)
        constants = self.constants(model)
        candidates = [[*specs, mask], specs] if "attention_mask" in arguments else [specs]
        failure: Exception | None = None
        for candidate in candidates:
            for sizes in self.size_candidates(candidate):
                names = [spec.name for spec in candidate]
                unit = self.attempt("decoder", Decoder(model, names, constants), candidate, sizes)
                if isinstance(unit, ExportUnit):
                    return self.without_unused(unit, "encoder_attention_mask")
                failure = unit
        raise self.refusal(failure)

    def with_past(self) -> ExportUnit:
        """A decoder with its cache: one file for the prompt and for every token after it."""
        model = self.loaded.module
        parameters = parameters_of(model)
        if "past_key_values" not in parameters or "input_ids" not in parameters:
            raise Refusal(
                "input",
                f'Cannot export "{self.loaded.architecture}" with a KV cache: its forward takes '
                'no "past_key_values". Use --task causal-lm or --task base.',
            )
        plain = self.unit("model", model, {**self.constants(model), "use_cache": True})
        # Empty constants: what the cache looks like after a call tells its shape.
        answer = model(**{name: value for name, value in plain.arguments.items()}, use_cache=True)
        cache = getattr(answer, "past_key_values", None)
        cached = cached_tensors(cache, "past_key_values")
        if not cached:
            raise Refusal(
                "input",
                f'Cannot export "{self.loaded.architecture}" with a KV cache: it answers with '
                "none. Use --task causal-lm.",
            )
        past, sequence = "past_sequence_length", "sequence_length"
        specs = [_prompt(spec) for spec in plain.inputs if spec.name == "input_ids"]
        specs.append(
            InputSpec("attention_mask", ("batch_size", f"{past} + {sequence}"), "left-mask")
        )
        if "position_ids" in parameters:
            limit = self.fields.positions() or 1 << 30
            specs.append(
                InputSpec(
                    "position_ids",
                    ("batch_size", sequence),
                    "positions",
                    limit=limit,
                    offset=past,
                )
            )
        specs += [
            InputSpec(
                name,
                ("batch_size", tensor.shape[1], past, tensor.shape[3]),
                "floats",
                tensor.dtype,
            )
            for name, tensor in cached
        ]
        constants = {**self.constants(model), "use_cache": True}
        failure: Exception | None = None
        # Some models number their positions themselves.
        without_positions = [spec for spec in specs if spec.name != "position_ids"]
        for candidate in (specs, without_positions):
            names = [spec.name for spec in candidate]
            for sizes in self.size_candidates(candidate):
                module = WithPast(model, names, constants)
                unit = self.attempt("model", module, candidate, sizes)
                if isinstance(unit, ExportUnit):
                    return unit
                failure = unit
        raise self.refusal(failure)

    # Models without a configuration -------------------------------------------------------------

    def images(self, flat: type[Flat]) -> ExportUnit:
        """A timm model: one picture of the size that its configuration names, or of any size."""
        timm = self.loaded.timm_config or {}
        channels, height, width = timm.get("input_size") or (3, 224, 224)
        specs = [
            InputSpec(
                "pixel_values", ("batch_size", channels, "height", "width"), "floats", torch.float32
            )
        ]
        fixed = {"height": int(height), "width": int(width)}
        failure: Exception | None = None
        for sizes in self.size_candidates(specs, fixed):
            module = flat(self.loaded.module, ["pixel_values"], default="logits")
            unit = self.attempt("model", module, specs, sizes, fixed)
            if isinstance(unit, ExportUnit):
                return unit
            failure = unit
        raise self.refusal(failure)

    def unknown(self) -> ExportUnit:
        """A module that names neither its inputs' types nor their sizes: its weights tell."""
        module = self.loaded.module
        names = tensor_arguments(module)
        failure: Exception | None = None
        for candidate in itertools.islice(_guesses(module, names), TRIALS):
            for sizes in self.size_candidates(candidate):
                flat = Positional(module, names)
                unit = self.attempt("model", flat, candidate, sizes)
                if isinstance(unit, ExportUnit):
                    return unit
                failure = unit
        raise self.refusal(failure)


def _prompt(spec: InputSpec) -> InputSpec:
    """Token ids without padding or end."""
    tokens = spec.tokens and replace(spec.tokens, padding=None, end=None)
    return replace(spec, tokens=tokens)


def _guesses(module: nn.Module, names: Sequence[str]) -> Iterator[list[InputSpec]]:
    """Descriptions of the inputs of an unknown module, by the shapes of its first weights."""
    choices: list[tuple[tuple[int | str, ...], bool, int]] = []
    for weight in itertools.islice((value for value in module.state_dict().values()), 12):
        shape = tuple(weight.shape)
        if len(shape) == 4:
            choices.append((("batch_size", shape[1], "height", "width"), False, 0))
        elif len(shape) == 3:
            choices.append((("batch_size", shape[1], "audio_length"), False, 0))
        elif len(shape) == 2:
            choices.append((("batch_size", shape[1]), False, 0))
            choices.append((("batch_size", "sequence_length", shape[1]), False, 0))
            choices.append((("batch_size", "sequence_length"), True, shape[0]))
    choices.append((("batch_size", 3, "height", "width"), False, 0))
    for shape, integers, limit in dict.fromkeys(choices):
        yield [
            InputSpec(name, shape, "integers", limit=2 if "mask" in name or index else limit)
            if integers
            else InputSpec(name, shape, "floats", torch.float32)
            for index, name in enumerate(names)
        ]
