"""What a module's forward takes, by its signature and by what it says when it refuses."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from torch import nn

from exporting.units import InputSpec

# How PyTorch's layers say what size they expect.
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


def parameters_of(module: nn.Module) -> dict[str, bool]:
    """The named arguments of a module's forward, and whether each is required."""
    signature = inspect.signature(module.forward)
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name: parameter.default is inspect.Parameter.empty
        for name, parameter in signature.parameters.items()
        if parameter.kind in kinds
    }


def takes_any(module: nn.Module) -> bool:
    """Whether a module's forward takes keyword arguments that it does not name."""
    parameters = inspect.signature(module.forward).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)


def ordered(names: Iterable[str], parameters: Mapping[str, bool]) -> list[str]:
    """`names` in the order of the forward's arguments."""
    wanted = set(names)
    return [name for name in parameters if name in wanted]


def missing_arguments(
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


def corrected(specs: Sequence[InputSpec], message: str) -> tuple[InputSpec, ...] | None:
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


def tensor_arguments(module: nn.Module) -> list[str]:
    """Names of the tensors that a compiled module takes."""
    schema = getattr(getattr(module, "forward", None), "schema", None)
    if schema is not None:
        return [argument.name for argument in schema.arguments if str(argument.type) == "Tensor"]
    return list(parameters_of(module))
