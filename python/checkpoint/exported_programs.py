"""Opens programs of torch.export, after a check of everything that would be evaluated.

A .pt2 file is a zip with weights, a graph as JSON and pickled examples. PyTorch's reader trusts it:
it unpickles without restriction, evaluates the texts of size expressions and guards as Python, and
looks up operators by dotted names below the module `torch`. Here the pickles go through `pickles`,
an expression must be arithmetic, an operator one of PyTorch's own, and every name a name.

Format: `torch._export.serde.schema` and `torch.export.pt2_archive`.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

from checkpoint.archives import check_torch_zip, check_zip_sizes, read_entry
from child.dialog import is_memory_error
from checkpoint.file_formats import clip, refuse_file, zip_entries
from checkpoint.programs import FILE_OPERATORS

_DAMAGED = "It is damaged or made by another version of PyTorch: save it again."
_ADVICE = "Save it again with torch.export.save, or give --trust-pickle if you trust its origin."
_MAXIMUM_DEPTH = 100
_MAXIMUM_EXPRESSION_CHARACTERS = 20_000
_MAXIMUM_EXPONENT = 16

_OPERATOR = re.compile(r"torch\.ops\.(?:aten|prims|torchvision)\.(\w+)(?:\.\w+)?")
_CONTROL_FLOW = re.compile(
    r"torch\.ops\.higher_order\.(?:cond|while_loop|map_impl|scan|associative_scan|"
    r"wrap_with_set_grad_enabled|wrap_with_autocast)"
)
_SCALAR_OPERATOR = re.compile(
    r"_operator\.(?:add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|not_|"
    r"getitem|lshift|rshift|index)|math\.(?:trunc|ceil|floor|sqrt|pow)|"
    r"torch\.(?:sym_\w+|_sym_sqrt|_check\w*)"
)
# Attribute names of a graph, and the keys by which arguments find each other.
_NAME = re.compile(r"[\w.$]*")
# Lists of free text: they become comments or nothing.
_FREE_TEXT = frozenset({"metadata", "as_string", "as_strings", "torch_version", "verifiers"})
_FUNCTIONS = frozenset(
    [
        *("Symbol", "Integer", "Float", "Rational", "Mul", "Add", "Pow", "Max", "Min", "Abs"),
        *("FloorDiv", "ModularIndexing", "Where", "PythonMod", "Mod", "CleanDiv", "CeilToInt"),
        *("FloorToInt", "CeilDiv", "TruncToFloat", "TruncToInt", "RoundToInt", "RoundDecimal"),
        *("ToFloat", "FloatTrueDiv", "IntTrueDiv", "FloatPow", "PowByNatural", "Identity"),
        *("Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan"),
        *("GreaterThan", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "Piecewise"),
        *("ExprCondPair", "Tuple", "BooleanTrue", "BooleanFalse", "Half", "One", "Zero"),
        *("NegativeOne", "Infinity", "IsNonOverlappingAndDenseIndicator"),
    ]
)
_ARITHMETIC = (
    ast.Expression, ast.Call, ast.Name, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp,
    ast.Compare, ast.Load, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.USub,
    ast.UAdd, ast.Not, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Tuple,
)  # fmt: skip
_POWERS = frozenset({"Pow", "PowByNatural", "FloatPow"})
_SYMBOL = re.compile(r"z?[a-z]+\d+|true|false|oo|int_oo|zoo|nan")
_CONTAINERS = frozenset(
    {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
)


class _Unsafe(Exception):
    """What the program would do that it must not."""


def open_exported_program(path: Path, trust: bool) -> Any:
    """The `torch.export.ExportedProgram` in the file at `path`.

    `trust` leaves out the checks of what the file would run. Raises `Refusal` where it can't be
    read or is not safe to read.
    """
    entries = zip_entries(path)
    check_zip_sizes(path, entries, path.stat().st_size, compressed=True)
    names = {_inner(entry.filename): entry for entry in entries}
    if "archive_format" not in names:
        raise refuse_file(
            path,
            "it was saved by a version of PyTorch before 2.8",
            "Save it again with a newer one.",
        )
    if any(name.startswith("data/aotinductor") for name in names):
        raise refuse_file(
            path,
            "it holds code that AOTInductor compiled for one machine",
            "Give the program as torch.export.save writes it.",
        )
    if not any(name.startswith("models/") for name in names):
        raise refuse_file(path, "it holds no program", _DAMAGED)
    if not trust:
        _check(path, names)
    import torch

    try:
        program = torch.export.load(path)
        # Guards are Python code that the file brings.
        program._guards_code = []
        return program
    except Exception as error:
        if is_memory_error(error):
            raise
        said = next((line for line in str(error).splitlines() if line.strip()), "")
        raise refuse_file(
            path, f"PyTorch can't read it ({type(error).__name__}: {clip(said)})", _DAMAGED
        ) from error


def module_of(program: Any) -> Any:
    """The program as a module, as it was traced; asked for evaluation, it stays as it is."""
    module = program.module(check_guards=False)
    # PyTorch sets methods that raise on it, for whoever hopes to change its mode.
    for method in ("train", "eval"):
        vars(module).pop(method, None)
    return module.requires_grad_(False)


def _inner(name: str) -> str:
    """A name without the archive's own folder."""
    return name.partition("/")[2]


def _check(path: Path, names: dict[str, zipfile.ZipInfo]) -> None:
    """Raises `Refusal` where reading the archive would run code or exhaust memory."""
    try:
        for name, entry in names.items():
            if name.startswith("models/"):
                _check_program(_json(path, entry))
            elif name.startswith(("data/weights/", "data/constants/")) and name.endswith(".json"):
                folder = name.rpartition("/")[0]
                _check_payloads(path, folder, _json(path, entry), names)
            elif name.endswith(".pt") and entry.file_size:
                data = read_entry(path, entry.filename, entry.file_size)
                check_torch_zip(path, io.BytesIO(data))
    except _Unsafe as error:
        raise refuse_file(path, str(error), _ADVICE) from error
    except RecursionError as error:
        raise refuse_file(path, "its program nests too deeply", _DAMAGED) from error
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise refuse_file(
            path, "its program is not of the form that PyTorch writes", _DAMAGED
        ) from error


def _json(path: Path, entry: zipfile.ZipInfo) -> Any:
    return json.loads(read_entry(path, entry.filename, entry.file_size))


def _check_payloads(
    path: Path, folder: str, config: Any, names: dict[str, zipfile.ZipInfo]
) -> None:
    """Every weight must lie within its own record; pickled ones must be harmless."""
    for name, payload in config["config"].items():
        _check_name(name)
        record = payload["path_name"]
        entry = names.get(f"{folder}/{record}")
        if entry is None:
            raise _Unsafe(f'its weight "{clip(name)}" is missing')
        if payload["use_pickle"]:
            if not record.startswith(("weight_", "tensor_")):
                raise _Unsafe(f'its constant "{clip(name)}" is a pickled object, not a tensor')
            data = read_entry(path, entry.filename, entry.file_size)
            check_torch_zip(path, io.BytesIO(data))
            continue
        meta = payload["tensor_meta"]
        sizes = [_integer(size) for size in meta["sizes"]]
        strides = [_integer(stride) for stride in meta["strides"]]
        offset = _integer(meta["storage_offset"])
        elements = 1
        for size in sizes:
            elements *= size
        last = offset + sum((size - 1) * step for size, step in zip(sizes, strides, strict=True))
        if elements and (last >= entry.file_size or elements > max(entry.file_size, 2**22)):
            raise _Unsafe(
                f'its weight "{clip(name)}" claims the sizes {sizes} and has '
                f"{entry.file_size} bytes"
            )


def _integer(value: Any) -> int:
    number = value["as_int"]
    if type(number) is not int or number < 0:
        raise ValueError
    return number


def _check_program(program: Any) -> None:
    """Every text of the program that PyTorch would evaluate or look up."""
    for symbol in program["range_constraints"]:
        _check_name(symbol)
    module = program["graph_module"]
    if module.get("treespec_namedtuple_fields"):
        raise _Unsafe("its inputs or outputs are classes of its own")
    for call in module["module_call_graph"]:
        signature = call.get("signature")
        if signature:
            _check_structure(signature["in_spec"])
            _check_structure(signature["out_spec"])
            for name in signature.get("forward_arg_names") or ():
                _check_name(name)
    _check_value({"graph": module["graph"], "signature": module["signature"]}, "", 0)


def _check_value(value: Any, key: str, depth: int) -> None:
    """Walks a graph: targets are operators, expressions arithmetic, all other texts names."""
    if depth > _MAXIMUM_DEPTH:
        raise _Unsafe("its program nests too deeply")
    if key in _FREE_TEXT:
        return
    if key == "as_custom_obj" or (key == "custom_obj_values" and value):
        raise _Unsafe("its program holds objects that are no tensors")
    if isinstance(value, dict):
        for name, inner in value.items():
            # Keys are names of tensors or fields of the schema.
            _check_name(name)
            _check_value(inner, name, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_value(inner, key, depth + 1)
    elif isinstance(value, str):
        if key == "expr_str":
            _check_expression(value)
        elif key in ("target", "as_operator") and not _NAME_OF_TENSOR.fullmatch(value):
            _check_operator(value)
        else:
            _check_name(value)


# The signature has targets, too: the weights' names.
_NAME_OF_TENSOR = re.compile(r"(?!torch\.|_operator|math\.|#)[\w.$]*")


def _check_operator(target: str) -> None:
    match = _OPERATOR.fullmatch(target)
    if match and match[1] not in FILE_OPERATORS:
        return
    if match or not (_CONTROL_FLOW.fullmatch(target) or _SCALAR_OPERATOR.fullmatch(target)):
        raise _Unsafe(f'its program calls "{clip(target)}", which is no operator of a model')


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _Unsafe(f'its program uses "{clip(name, 60)}" where a name belongs')


def _check_expression(text: str) -> None:
    """A size expression may only hold symbols, numbers and arithmetic."""
    if len(text) > _MAXIMUM_EXPRESSION_CHARACTERS:
        raise _Unsafe("it has a size expression of absurd length")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError) as error:
        raise _Unsafe(f'its size expression "{clip(text, 60)}" is no expression') from error
    for node in ast.walk(tree):
        if not _is_arithmetic(node):
            raise _Unsafe(f'its size expression "{clip(text, 60)}" holds more than arithmetic')


def _is_arithmetic(node: ast.AST) -> bool:
    """Whether one node of an expression, without those below it, only computes."""
    if isinstance(node, ast.Call):
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        if called in _POWERS:
            return _small_exponent(node.args)
        return called in _FUNCTIONS
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS or _SYMBOL.fullmatch(node.id) is not None
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return re.fullmatch(r"[\w.+-]{1,64}", node.value) is not None
        return isinstance(node.value, (bool, float)) or (
            isinstance(node.value, int) and abs(node.value) < 2**63
        )
    return isinstance(node, _ARITHMETIC)


def _small_exponent(arguments: list[ast.expr]) -> bool:
    """Whether a power is one that can be computed: a small exponent, and no power of a power."""
    if len(arguments) < 2:
        return False
    names = {
        node.id
        for argument in arguments
        for node in ast.walk(argument)
        if isinstance(node, ast.Name)
    }
    numbers = [
        node.value
        for node in ast.walk(arguments[1])
        if isinstance(node, ast.Constant) and not isinstance(node.value, str)
    ]
    return not names & _POWERS and all(
        isinstance(number, (int, float)) and abs(number) <= _MAXIMUM_EXPONENT for number in numbers
    )


def _check_structure(text: str) -> None:
    """How inputs or outputs nest: plain containers only, whose description imports nothing."""
    protocol, tree = json.loads(text)
    if type(protocol) is not int:
        raise ValueError

    def walk(node: dict[str, Any], depth: int) -> None:
        if depth > _MAXIMUM_DEPTH:
            raise _Unsafe("its inputs nest too deeply")
        kind = node["type"]
        if kind not in _CONTAINERS and not re.fullmatch(
            r"transformers\.[\w.]+Output\w*", kind or ""
        ):
            raise _Unsafe(f'its inputs or outputs are of the class "{clip(kind)}"')
        context = node["context"]
        if context is not None and ("__enum__" in context or "fqn" in context):
            raise _Unsafe("its inputs or outputs have keys that are objects")
        for child in node["children_spec"]:
            walk(child, depth + 1)

    walk(tree, 0)
