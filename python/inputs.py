"""Example inputs for any architecture, and the modules that are exported.

`example` reads the signature of a model's forward, looks its sizes up in the configuration, and
tries: it calls the model, and takes the first description of inputs that the model accepts. What
it does not know, such as the order of axes or which argument is needed too, it learns from the
model's refusals. So there is no list of families here, only a table of arguments by name.
"""

from __future__ import annotations

import inspect
import itertools
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from arguments import Fields, describe
from dialog import Refusal, is_memory_error
from sources import LoadedModel
from units import ExportUnit, InputSpec, Role, Sizes, names_in
from wrappers import Decoder, Flat, Positional, TimmFeatures, WithPast, cached_tensors

_TRIALS = 60
# How often a description is corrected by what a layer expects, and how PyTorch's layers say that.
_CORRECTIONS = 4
_EXPECTATIONS = tuple(
    re.compile(pattern)
    for pattern in (
        r"mat1 and mat2 shapes cannot be multiplied \(\d+x(?P<got>\d+) and (?P<wanted>\d+)x\d+\)",
        r"size of tensor a \((?P<got>\d+)\) must match the size of tensor b \((?P<wanted>\d+)\)",
        r"to have (?P<wanted>\d+) channels, but got (?P<got>\d+) channels",
        r"expected input with shape \[\*, (?P<wanted>\d+)\].*size ?\[(?:\d+, )*(?P<got>\d+)\]",
        r"[Ee]xpected .{0,60}?(?P<wanted>\d+).{0,40}?but got .{0,40}?(?P<got>\d+)",
    )
)
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


def example(
    loaded: LoadedModel, task: str, dynamic: bool = True, seed: int = 0
) -> Sequence[ExportUnit]:
    """The units to export for `task`: one, or an encoder and a decoder for "seq2seq".

    `dynamic` leaves batch, lengths and, where the model allows, image sizes open.

    Raises `Refusal` where no inputs are found that the model accepts.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = _Search(loaded, dynamic, seed)
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


class _Search:
    """Tries inputs on one loaded model."""

    def __init__(self, loaded: LoadedModel, dynamic: bool, seed: int) -> None:
        self.loaded = loaded
        self.dynamic = dynamic
        self.seed = seed
        self.fields = Fields(loaded.config)

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
        specs[0] = _renamed(specs[0], "input_ids", {"decoder_sequence_length": "sequence_length"})
        mask = InputSpec("encoder_attention_mask", ("batch_size", axis), "mask")
        arguments = _parameters(model)
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
        parameters = _parameters(model)
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
        names = _tensor_arguments(module)
        failure: Exception | None = None
        for candidate in itertools.islice(_guesses(module, names), _TRIALS):
            for sizes in self.size_candidates(candidate):
                flat = Positional(module, names)
                unit = self.attempt("model", flat, candidate, sizes)
                if isinstance(unit, ExportUnit):
                    return unit
                failure = unit
        raise self.refusal(failure)

    # The search itself --------------------------------------------------------------------------

    def constants(self, module: nn.Module) -> dict[str, object]:
        """Arguments that are no tensors."""
        parameters = _parameters(module)
        constants: dict[str, object] = {}
        if "use_cache" in parameters or _takes_any(module):
            if hasattr(self.loaded.config, "use_cache") or "use_cache" in parameters:
                constants["use_cache"] = False
        if "return_dict" in parameters or _takes_any(module):
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
        parameters = _parameters(module)
        required = [name for name, needed in parameters.items() if needed]
        main = main or getattr(module, "main_input_name", "input_ids")
        if main not in parameters:
            main = next((name for name in ("input_ids", "pixel_values") if name in parameters), "")
        wanted = _ordered({*required, *([main] if main else [])}, parameters)
        optional = [name for name in self.companions(main, parameters) if name not in wanted]
        failure: Exception | None = None
        for _ in range(6):
            # With all companions, then with none; in between they are taken one by one.
            for extra in [optional, []] if optional else [[]]:
                names = _ordered({*wanted, *extra}, parameters)
                found = self.search(role, module, constants, names)
                if isinstance(found, ExportUnit):
                    missing = [name for name in optional if name not in names]
                    return self.decoupled(self.completed(found, module, constants, missing))
                failure = found
            more = _missing_arguments(str(failure), parameters, wanted)
            if not more and "NoneType" in str(failure):
                # An argument is needed that the signature calls optional, and nobody names it.
                more = self.needed(role, module, constants, wanted)
            if not more:
                break
            wanted = _ordered({*wanted, *more}, parameters)
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
        parameters = _parameters(module)
        signature = inspect.signature(module.forward)
        optional = [
            name
            for name in parameters
            if name not in given and "Tensor" in str(signature.parameters[name].annotation)
        ]
        for name in optional[:_OPTIONAL_TRIALS]:
            found = self.search(role, module, constants, _ordered({*given, name}, parameters))
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
        if main == "input_ids" and "pixel_values" in parameters and self.fields.has("vision_config"):
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
            names = _ordered({*unit.input_names, name}, _parameters(module))
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
            _renamed(
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
        candidates = list(itertools.islice(itertools.product(*choices), _TRIALS))
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
                if _missing_arguments(str(found), _parameters(module), names):
                    return found
            # The likeliest description, refused at the sizes that the configuration states.
            first = first or failure
            corrected = _corrected(candidate, str(failure)) if corrections else None
            if corrected is not None:
                candidates.insert(0, corrected)
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
        return _with_others(unit, others, module.output_names)

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


def _with_others(
    unit: ExportUnit,
    others: Sequence[dict[str, int]],
    output_names: Sequence[str] | None = None,
) -> ExportUnit:
    return replace(
        unit,
        others=tuple(others),
        output_names=tuple(unit.module.output_names if output_names is None else output_names),
    )


def _prompt(spec: InputSpec) -> InputSpec:
    """Token ids without padding or end."""
    tokens = spec.tokens and replace(spec.tokens, padding=None, end=None)
    return replace(spec, tokens=tokens)


def _renamed(spec: InputSpec, name: str, names: Mapping[str, str]) -> InputSpec:
    """The same input under another name, with other names in its shape."""
    shape = tuple(
        names.get(dimension, dimension) if isinstance(dimension, str) else dimension
        for dimension in spec.shape
    )
    return replace(spec, name=name, shape=shape)


def _parameters(module: nn.Module) -> dict[str, bool]:
    """The named arguments of a module's forward, and whether each is required."""
    signature = inspect.signature(module.forward)
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name: parameter.default is inspect.Parameter.empty
        for name, parameter in signature.parameters.items()
        if parameter.kind in kinds
    }


def _takes_any(module: nn.Module) -> bool:
    """Whether a module's forward takes keyword arguments that it does not name."""
    parameters = inspect.signature(module.forward).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)


def _ordered(names: Iterable[str], parameters: Mapping[str, bool]) -> list[str]:
    """`names` in the order of the forward's arguments."""
    wanted = set(names)
    return [name for name in parameters if name in wanted]


def _missing_arguments(
    message: str, parameters: Mapping[str, bool], given: Sequence[str]
) -> list[str]:
    """The arguments that an error asks for."""
    if not re.search(
        r"specif|required|missing|provide|must be|should be|has to|expected|None|need", message
    ):
        return []
    mentioned = set(re.findall(r"[A-Za-z_]+", message))
    return [
        name
        for name in parameters
        if name in mentioned and name not in given and not name.endswith("inputs_embeds")
    ][:1]


def _corrected(specs: Sequence[InputSpec], message: str) -> tuple[InputSpec, ...] | None:
    """The same inputs with the size that a layer says it expects, where it says so."""
    for pattern in _EXPECTATIONS:
        match = pattern.search(message)
        if match is None:
            continue
        got, wanted = int(match["got"]), int(match["wanted"])
        corrected = tuple(
            replace(spec, shape=tuple(wanted if size == got else size for size in spec.shape))
            for spec in specs
        )
        if got != wanted and corrected != tuple(specs):
            return corrected
    return None


def _tensor_arguments(module: nn.Module) -> list[str]:
    """Names of the tensors that a compiled module takes."""
    schema = getattr(getattr(module, "forward", None), "schema", None)
    if schema is not None:
        return [argument.name for argument in schema.arguments if str(argument.type) == "Tensor"]
    return list(_parameters(module))


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
