"""What the arguments of a transformers model look like: shape, type and values by name.

`describe` gives for an argument's name the descriptions that occur, likeliest first; sizes come
from the model's configuration, in which names differ from family to family (`Fields`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from exporting.units import InputSpec, Tokens

_FLOAT = torch.float32


class Fields:
    """The sizes in a configuration and in the configurations within it."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self._configs = list(_nested(config)) if config is not None else []

    def has(self, name: str) -> bool:
        """Whether the outermost configuration has a field that is not None."""
        return getattr(self.config, name, None) is not None

    def values(self, *names: str) -> Iterator[Any]:
        """Values of the fields with these names, by name and then from the outside inwards."""
        for name in names:
            for config in self._configs:
                value = getattr(config, name, None)
                if value is not None:
                    yield value

    def number(self, *names: str) -> int | None:
        """The first whole number among the fields with these names."""
        for value in self.values(*names):
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        return None

    def is_encoder_decoder(self) -> bool:
        """Whether the model has a decoder beside its encoder."""
        return bool(getattr(self.config, "is_encoder_decoder", False))

    def masks_audio(self) -> bool:
        """Whether a model of raw sound was trained with a mask: those with group norm were not."""
        return next(self.values("feat_extract_norm"), None) == "layer"

    def positions(self) -> int | None:
        """The longest text that the model takes."""
        found = [
            value
            for value in self.values(
                "max_position_embeddings", "n_positions", "max_target_positions", "max_seq_len"
            )
            if isinstance(value, int) and value > 0
        ]
        return min(found) if found else None

    def tokens(self, vocabulary: str = "vocab_size") -> Tokens:
        """The vocabulary, and the ids in it that mean something."""
        size = self.number(vocabulary, "vocab_size", "n_vocab", "n_tokens") or 2
        special: set[int] = set()
        for config in self._configs:
            for name, value in vars(config).items():
                if name.endswith(("token_id", "token_index")):
                    special.update(_integers(value))
        padding = next(iter(_integers(next(self.values("pad_token_id"), None))), None)
        end = next(iter(_integers(next(self.values("eos_token_id"), None))), None)
        return Tokens(
            size,
            frozenset(special),
            padding if padding is not None and 0 <= padding < size else None,
            end if end is not None and 0 <= end < size else None,
        )

    def picture(self) -> dict[str, int]:
        """Height and width of a picture."""
        for value in self.values(
            "image_size", "img_size", "input_resolution", "crop_size", "input_size", "size"
        ):
            if isinstance(value, int) and not isinstance(value, bool):
                return {"height": value, "width": value}
            if isinstance(value, dict) and {"height", "width"} <= value.keys():
                return {"height": int(value["height"]), "width": int(value["width"])}
            numbers = _integers(value)
            if len(numbers) >= 2:
                return {"height": numbers[-2], "width": numbers[-1]}
        return {"height": 224, "width": 224}

    def audio_lengths(self, dynamic: bool) -> list[int]:
        """Lengths of sound in samples that give a stack of convolutions some frames."""
        strides = _integers(next(self.values("conv_stride"), None))
        step = math.prod(strides) if strides else 320
        if not dynamic:
            return [50 * step, 16_000]
        return [23 * step + step // 2 + 77, 16_000, 24_000]

    def channels(self) -> int:
        """Channels of a picture."""
        return self.number("num_channels", "in_channels", "in_chans", "n_channels") or 3


def describe(name: str, fields: Fields) -> list[InputSpec]:
    """The descriptions under which an argument of this name occurs, likeliest first."""
    batch, sequence = "batch_size", "sequence_length"
    hidden = fields.number("hidden_size", "d_model", "dim", "embed_dim", "n_embd") or 32
    if name.startswith("decoder_"):
        sequence = "decoder_sequence_length"
    if name.endswith("input_ids") or name in ("tokens", "ids"):
        return [InputSpec(name, (batch, sequence), "tokens", tokens=fields.tokens())]
    if name.endswith("attention_mask"):
        return _masks(name, sequence, fields)
    if name.endswith("token_type_ids"):
        limit = fields.number("type_vocab_size") or 2
        return [InputSpec(name, (batch, sequence), "integers", limit=limit)]
    if name.endswith("position_ids"):
        limit = fields.positions() or 1 << 30
        return [InputSpec(name, (batch, sequence), "positions", limit=limit)]
    if name == "bbox":
        return [InputSpec(name, (batch, sequence, 4), "ones")]
    if name.startswith("pixel_values") or name in ("images", "image"):
        return _pictures(name, fields)
    if name == "pixel_mask":
        return [InputSpec(name, (batch, "height", "width"), "ones")]
    if name in ("input_values", "input_features", "audio_values", "decoder_input_values"):
        return _sounds(name, fields)
    if name in ("past_values", "past_observed_mask", "past_time_features", "observed_mask"):
        return _series(name, fields)
    return [
        *[InputSpec(name, (batch, sequence, hidden), "floats", _FLOAT)],
        *[InputSpec(name, (batch, sequence), "integers", limit=fields.number("vocab_size") or 2)],
        *[InputSpec(name, (batch, sequence), "floats", _FLOAT)],
        *[InputSpec(name, (batch,), "integers")],
    ]


def _masks(name: str, sequence: str, fields: Fields) -> list[InputSpec]:
    batch = "batch_size"
    masks = [InputSpec(name, (batch, sequence), "mask")]
    if fields.masks_audio():
        masks.insert(0, InputSpec(name, (batch, "audio_length"), "mask"))
    return masks


def _pictures(name: str, fields: Fields) -> list[InputSpec]:
    channels = fields.channels()
    frames = fields.number("num_frames", "n_frames", "frames", "num_image_with_embedding") or 8
    shapes: list[tuple[int | str, ...]] = [
        ("batch_size", channels, "height", "width"),
        ("batch_size", frames, channels, "height", "width"),
        ("batch_size", channels, frames, "height", "width"),
    ]
    if fields.number("num_frames", "n_frames") or "video" in name:
        shapes = [*shapes[1:], shapes[0]]
    return [InputSpec(name, shape, "floats", _FLOAT) for shape in shapes]


def _sounds(name: str, fields: Fields) -> list[InputSpec]:
    bands = fields.number(
        "num_mel_bins",
        "input_feat_per_channel",
        "feature_projection_input_dim",
        "num_mel_channels",
        "feature_size",
        "model_in_dim",
        "input_size",
        "input_dim",
        "n_mels",
    )
    bands = bands or 80
    spectrum: list[tuple[int | str, ...]] = []
    positions = fields.number("max_source_positions")
    if positions:
        spectrum.append(("batch_size", bands, 2 * positions))
    length = fields.number("max_length", "nb_max_frames")
    spectrum += [
        ("batch_size", "frames", bands),
        *([("batch_size", length, bands), ("batch_size", 1, length, bands)] if length else []),
        ("batch_size", bands, "frames"),
        ("batch_size", 1, "frames", bands),
    ]
    channels = fields.number("audio_channels", "num_audio_channels") or 1
    samples: list[tuple[int | str, ...]] = [
        ("batch_size", "audio_length"),
        ("batch_size", channels, "audio_length"),
    ]
    shapes = [*samples, *spectrum]
    if name == "input_features" or next(fields.values("num_mel_bins"), None) is not None:
        shapes = [*spectrum, *samples]
    return [InputSpec(name, shape, "floats", _FLOAT) for shape in shapes]


def _series(name: str, fields: Fields) -> list[InputSpec]:
    """Time series: the context of a forecast."""
    context = fields.number("context_length", "seq_length") or 64
    lags = next(fields.values("lags_sequence"), None)
    length = context + max(_integers(lags), default=0)
    channels = fields.number("num_input_channels", "input_size") or 1
    shapes: list[tuple[int | str, ...]] = [("batch_size", length, channels), ("batch_size", length)]
    if name.endswith("time_features"):
        count = fields.number("num_time_features") or 0
        shapes.insert(0, ("batch_size", length, count))
    fill = "ones" if name.endswith("mask") else "floats"
    return [InputSpec(name, shape, fill, _FLOAT) for shape in shapes]


def _nested(config: Any, depth: int = 0) -> Iterator[Any]:
    """A configuration and those within it."""
    yield config
    if depth > 3:
        return
    for value in list(vars(config).values()):
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            yield from _nested(value, depth + 1)


def _integers(value: Any) -> Sequence[int]:
    """The whole numbers in a field that holds one or several."""
    if isinstance(value, bool):
        return []
    if isinstance(value, int):
        return [value]
    if isinstance(value, (list, tuple)):
        return [item for item in value if isinstance(item, int) and not isinstance(item, bool)]
    return []
