"""Finds inputs that a model accepts, by trial.

A description of the inputs (`arguments`) and sizes for its names give tensors; the model is called
with them; what it refuses says which argument is missing or which size a layer expects. The first
description that it accepts becomes a unit.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from exporting.arguments import Fields, describe
from child.dialog import Refusal, is_memory_error
from exporting.signatures import corrected, missing_arguments, ordered, parameters_of, takes_any
from checkpoint.sources import LoadedModel
from exporting.units import ExportUnit, InputSpec, Role, Sizes, names_in
from exporting.wrappers import Flat

TRIALS = 60
_OPTIONAL_TRIALS = 8
_BATCH, _OTHER_BATCHES = 2, (1, 3)
_SEQUENCES = (11, 16, 64, 128)
_STATIC_SEQUENCES = (128, 64, 32, 16, 11, 7)
_PAST, _OTHER_PASTS = 5, (0, 9)
# Models that cut a picture into windows reshape it to this rank. With open sizes a symbolic shape
# says what every one of these reshapes needs, and tracing takes minutes.
_WINDOWED = 6
# Arguments that come along where the model takes them.
_COMPANIONS = ("attention_mask", "token_type_ids", "bbox", "decoder_input_ids")
# How often a description is corrected by what a layer says it expects.
_CORRECTIONS = 4


class _Ranks(TorchDispatchMode):
    """Notes the highest rank among the tensors that are computed within it."""

    def __init__(self) -> None:
        super().__init__()
        self.highest = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.highest = max(self.highest, result.dim())
        return result


class Search:
    """Tries inputs on one loaded model."""

    def __init__(self, loaded: LoadedModel, dynamic: bool, seed: int) -> None:
        self.loaded = loaded
        self.dynamic = dynamic
        self.seed = seed
        self.fields = Fields(loaded.config)

    def constants(self, module: nn.Module) -> dict[str, object]:
        """Arguments that are no tensors."""
        parameters = parameters_of(module)
        constants: dict[str, object] = {}
        if "use_cache" in parameters or takes_any(module):
            if hasattr(self.loaded.config, "use_cache") or "use_cache" in parameters:
                constants["use_cache"] = False
        if "return_dict" in parameters or takes_any(module):
            constants["return_dict"] = True
        return constants

    def unit(
        self,
        role: Role,
        module: nn.Module,
        constants: Mapping[str, object],
        main: str | None = None,
    ) -> ExportUnit:
        """The unit of a whole module, by trial."""
        parameters = parameters_of(module)
        required = [name for name, needed in parameters.items() if needed]
        main = main or getattr(module, "main_input_name", "input_ids")
        if main not in parameters:
            main = next((name for name in ("input_ids", "pixel_values") if name in parameters), "")
        wanted = ordered({*required, *([main] if main else [])}, parameters)
        optional = [name for name in self.companions(main, parameters) if name not in wanted]
        failure: Exception | None = None
        for _ in range(6):
            # With all companions, then with none; in between they are taken one by one.
            for extra in [optional, []] if optional else [[]]:
                names = ordered({*wanted, *extra}, parameters)
                found = self.search(role, module, constants, names)
                if isinstance(found, ExportUnit):
                    missing = [name for name in optional if name not in names]
                    return self.decoupled(self.completed(found, module, constants, missing))
                failure = found
            more = missing_arguments(str(failure), parameters, wanted)
            if not more and "NoneType" in str(failure):
                # An argument is needed that the signature calls optional, and nobody names it.
                more = self.needed(role, module, constants, wanted)
            if not more:
                break
            wanted = ordered({*wanted, *more}, parameters)
            optional = [name for name in optional if name not in wanted]
        raise self.refusal(failure)

    def needed(
        self,
        role: Role,
        module: nn.Module,
        constants: Mapping[str, object],
        given: Sequence[str],
    ) -> list[str]:
        """The first optional tensor with which the module runs, or fails for another reason."""
        parameters = parameters_of(module)
        signature = inspect.signature(module.forward)
        optional = [
            name
            for name in parameters
            if name not in given and "Tensor" in str(signature.parameters[name].annotation)
        ]
        for name in optional[:_OPTIONAL_TRIALS]:
            found = self.search(role, module, constants, ordered({*given, name}, parameters))
            if isinstance(found, ExportUnit) or "NoneType" not in str(found):
                return [name]
        return []

    def companions(self, main: str, parameters: Mapping[str, bool]) -> list[str]:
        """Optional arguments that belong to the model's usual call."""
        names: list[str] = []
        for name in _COMPANIONS:
            if name not in parameters:
                continue
            if name == "attention_mask" and main != "input_ids" and not self.fields.masks_audio():
                continue
            if name == "token_type_ids" and not self.fields.number("type_vocab_size"):
                continue
            if name == "decoder_input_ids" and not self.fields.is_encoder_decoder():
                continue
            names.append(name)
        with_pictures = "pixel_values" in parameters and self.fields.has("vision_config")
        if main == "input_ids" and with_pictures:
            names.append("pixel_values")
        return names

    def completed(
        self,
        unit: ExportUnit,
        module: nn.Module,
        constants: Mapping[str, object],
        missing: Sequence[str],
    ) -> ExportUnit:
        """Adds the optional arguments that the model takes, one by one."""
        for name in missing:
            names = ordered({*unit.input_names, name}, parameters_of(module))
            found = self.search(unit.role, module, constants, names)
            if isinstance(found, ExportUnit):
                unit = found
        return unit

    def decoupled(self, unit: ExportUnit) -> ExportUnit:
        """Gives texts and pictures batches of their own where the model takes them so."""
        text = {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
        if not self.dynamic or not ({"input_ids", "pixel_values"} <= set(unit.input_names)):
            return unit
        inputs = tuple(
            renamed(
                spec,
                spec.name,
                {"batch_size": "text_batch_size" if spec.name in text else "image_batch_size"},
            )
            for spec in unit.inputs
        )

        def split(sizes: Sizes, more: int) -> dict[str, int]:
            rest = {name: size for name, size in sizes.items() if name != "batch_size"}
            batch = sizes["batch_size"]
            return {**rest, "text_batch_size": batch + more, "image_batch_size": batch}

        others = tuple(split(other, index) for index, other in enumerate(unit.others))
        found = self.attempt(unit.role, unit.module, inputs, split(unit.sizes, 1), unit.fixed)
        if not isinstance(found, ExportUnit):
            return unit
        dynamic = (unit.dynamic - {"batch_size"}) | {"text_batch_size", "image_batch_size"}
        return replace(found, others=others, dynamic=dynamic, yielding=unit.yielding)

    def search(
        self,
        role: Role,
        module: nn.Module,
        constants: Mapping[str, object],
        names: Sequence[str],
    ) -> ExportUnit | Exception | None:
        """The first description of `names` that the module accepts, or why it accepts none."""
        first: Exception | None = None
        choices = [describe(name, self.fields) for name in names]
        candidates = list(itertools.islice(itertools.product(*choices), TRIALS))
        corrections = _CORRECTIONS
        while candidates:
            candidate = candidates.pop(0)
            fixed = self.fields.picture() if "height" in names_in(candidate) else {}
            failure: Exception | None = None
            for sizes in self.size_candidates(candidate, fixed):
                flat = Flat(module, names, constants)
                found = self.attempt(role, flat, candidate, sizes, fixed)
                if isinstance(found, ExportUnit):
                    return found
                failure = found
                if missing_arguments(str(found), parameters_of(module), names):
                    return found
            # The likeliest description, refused at the sizes that the configuration states.
            first = first or failure
            better = corrected(candidate, str(failure)) if corrections else None
            if better is not None:
                candidates.insert(0, better)
                corrections -= 1
        return first

    def attempt(
        self,
        role: Role,
        module: Flat,
        specs: Sequence[InputSpec],
        sizes: dict[str, int],
        fixed: Mapping[str, int] | None = None,
    ) -> ExportUnit | Exception:
        """Calls the module with inputs of these sizes: a unit, or what it raised."""
        names = names_in(specs)
        dynamic = frozenset(names) if self.dynamic else frozenset()
        yielding = frozenset(fixed or ()) & dynamic
        if all(sizes.get(name) == size for name, size in (fixed or {}).items()):
            # The size that the configuration states: other sizes were refused before.
            dynamic, yielding = dynamic - yielding, frozenset()
        unit = ExportUnit(
            role=role,
            module=module,
            inputs=tuple(specs),
            output_names=(),
            sizes={name: size for name, size in sizes.items() if name in names},
            dynamic=dynamic,
            yielding=yielding,
            fixed={name: size for name, size in (fixed or {}).items() if name in yielding},
            seed=self.seed,
        )
        try:
            with _Ranks() as ranks:
                answer = module(*unit.arguments.values())
        except Refusal:
            raise
        except Exception as error:
            if is_memory_error(error):
                raise
            return error
        if yielding and ranks.highest >= _WINDOWED:
            return ValueError("pictures cut into windows can't have open sizes")
        if not answer:
            return ValueError("its answer holds no tensors")
        others = self.other_sizes(unit) if self.dynamic else ()
        return with_others(unit, others, module.output_names)

    def size_candidates(
        self, specs: Sequence[InputSpec], fixed: Mapping[str, int] | None = None
    ) -> Iterator[dict[str, int]]:
        """Sizes to try for the names in `specs`, likeliest first."""
        names = names_in(specs)
        limit = self.fields.positions() or 1 << 30
        lengths = [
            length
            for length in (_SEQUENCES if self.dynamic else _STATIC_SEQUENCES)
            if length <= limit
        ] or [max(1, limit)]
        if not any(name.endswith("sequence_length") for name in names):
            lengths = lengths[:1]
        pictures: list[dict[str, int]] = [{}]
        if "height" in names:
            stated = dict(fixed or {"height": 224, "width": 224})
            pictures = [*self.free_pictures(stated), stated] if self.dynamic else [stated]
        audio = self.fields.audio_lengths(self.dynamic) if "audio_length" in names else [0]
        for length, picture, samples in itertools.product(lengths, pictures, audio):
            sizes = {
                "batch_size": _BATCH if self.dynamic else 1,
                "sequence_length": length,
                "decoder_sequence_length": max(1, length - 4) if self.dynamic else length,
                "encoder_sequence_length": length + 3 if self.dynamic else length,
                "past_sequence_length": _PAST if self.dynamic else length,
                "audio_length": samples,
                "frames": 8 * length + 8,
                **picture,
            }
            if "past_sequence_length" in names and length + sizes["past_sequence_length"] > limit:
                sizes["past_sequence_length"] = sizes["sequence_length"] = limit // 2
            yield {name: sizes[name] for name in sorted(names) if name in sizes}

    def free_pictures(self, stated: Mapping[str, int]) -> list[dict[str, int]]:
        """Sizes of pictures that tell whether a model takes any size."""
        height, width = stated["height"], stated["width"]
        sizes = [{"height": 96, "width": 160}]
        if height * width < 96 * 160:
            sizes.append({"height": height * 2, "width": width * 3})
        return sizes

    def other_sizes(self, unit: ExportUnit) -> tuple[dict[str, int], ...]:
        """Sizes beside the example's, for comparisons: smaller and larger, past 0 among them."""
        limit = self.fields.positions() or 1 << 30
        others: list[dict[str, int]] = []
        for index, batch in enumerate(_OTHER_BATCHES):
            other: dict[str, int] = {}
            for name, size in unit.sizes.items():
                if name not in unit.dynamic:
                    other[name] = size
                elif name.endswith("batch_size"):
                    other[name] = batch
                elif name == "past_sequence_length":
                    other[name] = _OTHER_PASTS[index]
                elif name in ("height", "width"):
                    other[name] = size * 2 if index else size - 32 if size > 64 else size * 3
                elif size in _SEQUENCES[1:]:
                    other[name] = size * (2 + index)
                elif name.endswith("sequence_length"):
                    other[name] = min(size + 6, limit) if index else max(1, size - 4)
                else:
                    other[name] = size + size // 2 + index if index else size - size // 4
            others.append(other)
        return tuple(others)

    def without_unused(self, unit: ExportUnit, name: str) -> ExportUnit:
        """Drops an input that changes nothing, such as the mask of a Whisper's encoder."""
        if name not in unit.input_names:
            return unit
        arguments = unit.arguments
        mask = torch.ones_like(arguments[name])
        mask[..., mask.shape[-1] // 2 :] = 0
        ones = unit.module(*{**arguments, name: torch.ones_like(mask)}.values())
        after = unit.module(*{**arguments, name: mask}.values())
        if any(not torch.equal(a, b) for a, b in zip(ones, after, strict=True)):
            return unit
        inputs = [spec for spec in unit.inputs if spec.name != name]
        names = [spec.name for spec in inputs]
        module = type(unit.module)(unit.module.model, names, unit.module.constants)
        found = self.attempt(unit.role, module, inputs, unit.sizes)
        return found if isinstance(found, ExportUnit) else unit

    def refusal(self, failure: object) -> Refusal:
        """Why there are no inputs, with the model's own last word."""
        said = " ".join(str(failure).split())[:300] if failure else "nothing fits"
        kind = type(failure).__name__ if isinstance(failure, Exception) else "no attempt"
        return Refusal(
            "input",
            f'Cannot find example inputs for "{self.loaded.architecture}": its forward answers '
            f'"{kind}: {said}". Choose another --task, or check the sizes in config.json.',
        )


def with_others(
    unit: ExportUnit,
    others: Sequence[dict[str, int]],
    output_names: Sequence[str] | None = None,
) -> ExportUnit:
    return replace(
        unit,
        others=tuple(others),
        output_names=tuple(unit.module.output_names if output_names is None else output_names),
    )


def renamed(spec: InputSpec, name: str, names: Mapping[str, str]) -> InputSpec:
    """The same input under another name, with other names in its shape."""
    shape = tuple(
        names.get(dimension, dimension) if isinstance(dimension, str) else dimension
        for dimension in spec.shape
    )
    return replace(spec, name=name, shape=shape)
