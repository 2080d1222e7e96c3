"""Small models with random weights of any architecture of transformers and timm, for tests.

No architecture is known here by name. A default configuration is shrunk by what its fields are
called: widths by one common factor, so that they keep fitting each other; depths, vocabularies and
picture sizes to what is enough. Where the result can't be built or run, gentler ways follow.
"""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch

Shrink = Literal["depths", "heads", "widths"]

WIDTH = 32
VOCABULARY = 160

_WIDTHS = re.compile(
    r"(hidden_size|hidden_dim|d_model|(^|_)dim$|embed_dim|n_embd|embedding_size|intermediate|ffn_dim"
    r"|d_ff|d_inner|mlp_dim|projection_dim|_width|channels|_features|feature_size|d_kv|head_dim"
    r"|_rank$|dim_|_dim$|_dims$|hidden_sizes|sizes$|conv_dim|latents?$|state_size|_size$)"
)
_KEPT = re.compile(
    r"(patch|kernel|window|stride|num_channels|in_channels|image_channels|vocab|type_vocab|max_"
    r"|image_size|img_size|mel|sampling|rate|factor|ratio|chunk|block|group|pad|dilation"
    r"|num_labels|crop|resolution|input_size|prediction|context|audio_channels|pool|scale|bin)"
)
_DEPTHS = re.compile(
    r"(num_(\w+_)?(hidden_)?layers$|n_layers?$|encoder_layers$|decoder_layers$|_depth$|^depth$"
    r"|num_hidden_groups|num_blocks$|_layers$|num_stages_)"
)
_HEADS = re.compile(r"(num_(\w+_)?heads$|n_heads?$|_attention_heads$|num_attention_heads|_heads$)")
_OF_A_HEAD = re.compile(r"(head_dim|head_size|headdim|d_kv|state|rank|conv_dim$)")
_POSITIONS = re.compile(r"^(max_position_embeddings|n_positions|n_ctx|max_target_positions)$")


def architectures() -> list[str]:
    """The model types of transformers that have a model class of their own."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    return sorted(MODEL_MAPPING_NAMES)


def timm_modules() -> list[str]:
    """The modules of timm that hold architectures."""
    import timm

    return sorted(module for module in timm.list_modules() if timm.list_models(module=module))


def draw(seed: int) -> Iterator[tuple[str, str]]:
    """Architectures as ("transformers" or "timm", name), two of three of transformers; all once."""
    chosen = random.Random(seed)
    transformers = chosen.sample(architectures(), len(architectures()))
    timm = chosen.sample(timm_modules(), len(timm_modules()))
    for index, name in enumerate(timm):
        yield from (("transformers", other) for other in transformers[2 * index : 2 * index + 2])
        yield "timm", name


def tiny_transformers(model_type: str, seed: int = 0) -> Iterator[torch.nn.Module]:
    """Small models of a type in evaluation mode, one for every way to shrink it, while asked for.

    Raises what the constructor raises where no way gives a model.
    """
    from transformers import AutoModel
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    failure: Exception | None = None
    made = 0
    for shrink, most in _ways():
        try:
            with torch.device("meta"):
                skeleton = AutoModel.from_config(shrink(CONFIG_MAPPING[model_type]()))
            weights = sum(weight.numel() for weight in skeleton.parameters())
            if weights > most:
                raise ValueError(f"{model_type} has {weights} weights, too many for a test")
            torch.manual_seed(seed)
            model = AutoModel.from_config(shrink(CONFIG_MAPPING[model_type]())).eval()
        except Exception as error:
            failure = failure or error
            continue
        made += 1
        yield model
    if made == 0:
        assert failure is not None
        raise failure


def tiny_timm(module: str, seed: int = 0) -> torch.nn.Module:
    """The smallest of some models of a timm module, in evaluation mode."""
    import timm

    names = timm.list_models(module=module)
    names = random.Random(seed).sample(names, min(5, len(names)))
    sizes: dict[str, int] = {}
    for name in names:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                skeleton = timm.create_model(name, pretrained=False)
            except Exception:
                continue
        sizes[name] = sum(weight.numel() for weight in skeleton.parameters())
    smallest = min(sizes, key=lambda name: sizes[name])
    torch.manual_seed(seed)
    return timm.create_model(smallest, pretrained=False, num_classes=10).eval()


def _ways() -> Iterator[tuple[Callable[[Any], Any], int]]:
    """Ways to shrink a configuration, and up to how many weights each is taken."""
    yield lambda config: _shrunk(config, "depths"), 8_000_000
    yield lambda config: _shrunk(config, "heads"), 30_000_000
    yield lambda config: _shrunk(config, "widths"), 30_000_000
    yield lambda config: _shrunk(config, "widths", pictures=False), 30_000_000
    yield lambda config: _shrunk(config, "depths", pictures=False), 60_000_000


def _shrunk(config: Any, what: Shrink, pictures: bool = True) -> Any:
    _shrink(config, what, pictures)
    return config


def _base_width(config: Any) -> int:
    for name in ("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "hidden_dim"):
        value = getattr(config, name, None)
        if isinstance(value, int):
            return value
    nested = [value for value in vars(config).values() if hasattr(value, "model_type")]
    return max((_base_width(value) for value in nested), default=WIDTH * 8)


def _shrink(config: Any, what: Shrink, pictures: bool) -> None:
    base = _base_width(config)
    factor = 1 if what == "depths" else max(1, base // WIDTH)
    heads = [
        value
        for name, value in vars(config).items()
        if _HEADS.search(name) and isinstance(value, int) and not isinstance(value, bool)
    ]
    if what == "heads":
        # As many times fewer heads of the same size: whatever is a product of both keeps fitting.
        while factor > 1 and (max(heads, default=factor) < factor or base % factor):
            factor //= 2
    head = _multimodal_head(config) if what == "widths" else None
    for name, value in list(vars(config).items()):
        if head is not None and name == "head_dim":
            continue
        if hasattr(value, "model_type") and hasattr(value, "to_dict"):
            _shrink(value, what, pictures)
            continue
        new = _new_value(name, value, factor, heads[0] if heads else None, what, pictures)
        if new is not value:
            try:
                setattr(config, name, new)
            except (AttributeError, ValueError, TypeError):
                continue
    if head is not None:
        config.head_dim = head
    layers = getattr(config, "num_hidden_layers", None)
    types = getattr(config, "layer_types", None)
    if isinstance(layers, int) and isinstance(types, list) and len(types) > layers:
        config.layer_types = types[:layers]


def _multimodal_head(config: Any) -> int | None:
    """The head size that rotary positions in sections need, which a width can't change."""
    ropes = [getattr(config, name, None) for name in ("rope_parameters", "rope_scaling")]
    if not any(isinstance(rope, dict) and "mrope_section" in rope for rope in ropes):
        return None
    head = getattr(config, "head_dim", None)
    if isinstance(head, int):
        return head
    width, heads = (getattr(config, name, 0) for name in ("hidden_size", "num_attention_heads"))
    return width // heads if width and heads else None


def _new_value(
    name: str, value: Any, factor: int, heads: int | None, what: Shrink, pictures: bool
) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if name.endswith(("token_id", "token_index")) and isinstance(value, int):
        return value if value < VOCABULARY else value % 90 + 50
    if name.endswith(("token_id", "token_index")) and isinstance(value, list):
        return [item if item < VOCABULARY else item % 90 + 50 for item in value]
    if isinstance(value, int):
        if name.endswith("vocab_size") and "type" not in name:
            return min(value, VOCABULARY)
        if _POSITIONS.search(name):
            return min(value, 128)
        if _DEPTHS.search(name) and "channels" not in name:
            return min(value, 2)
        if name in ("n_group", "topk_group", "num_expert_group", "n_groups_moe"):
            return 1
        if "expert" in name and re.search(r"(per_tok|top_?k)", name) or re.search(
            r"^(moe_)?top_?k", name
        ):
            return min(value, 2)
        if re.search(r"(num|n)_(\w+_)?experts$", name):
            return min(value, 4)
        if name in ("image_size", "img_size") and pictures:
            return min(value, 64)
        if what == "heads":
            if _HEADS.search(name):
                return max(1, value // factor)
            wide = _WIDTHS.search(name) and not _KEPT.search(name) and value >= 64
            return value // factor if wide and not _OF_A_HEAD.search(name) else value
        if factor > 1 and _HEADS.search(name):
            return min(value, 4) if heads is None or value == heads else min(value, 2)
        if factor > 1 and name in ("head_dim", "d_kv", "attention_head_dim"):
            return WIDTH // 4
        if factor > 1 and _WIDTHS.search(name) and not _KEPT.search(name) and value >= 64:
            return max(8, value // factor // 8 * 8)
        return value
    if isinstance(value, (list, tuple)) and all(type(item) is int for item in value):
        if name in ("depths", "layers", "num_blocks") or _DEPTHS.search(name):
            return type(value)(min(item, 1) for item in value)
        if what == "widths" and _WIDTHS.search(name) and not _KEPT.search(name):
            smaller = [max(8, item // 4 // 8 * 8) for item in value]
            return type(value)(smaller) if min(value, default=0) >= 32 else value
        if name in ("image_size", "img_size") and pictures:
            return type(value)(min(item, 64) for item in value)
    return value
