"""Models that between them hold every feature of ONNX's file format, for the tests of the reader
and the writer.

  onnx_models.py FOLDER  writes the models and prints their paths
"""

import os
import sys

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message
from onnx import TensorProto, helper
from onnx_compare import differences, messages
from onnx_wire import record, serialize, varint


def every_tensor(raw: bool) -> list[TensorProto]:
    made = []
    for name, number in TensorProto.DataType.items():
        if number in (TensorProto.UNDEFINED, TensorProto.STRING):
            continue
        for dims in ([3, 5], [], [0, 4], [7]):
            made.append(every_value(name, number, dims, raw))
    return made


def every_value(name: str, number: int, dims: list[int], raw: bool) -> TensorProto:
    """A tensor of any element type whose bits are all kinds of things, drawn with a fixed seed."""
    count = int(np.prod(dims))
    bits = {
        "FLOAT": 32, "UINT8": 8, "INT8": 8, "UINT16": 16, "INT16": 16, "INT32": 32, "INT64": 64,
        "BOOL": 8, "FLOAT16": 16, "DOUBLE": 64, "UINT32": 32, "UINT64": 64, "COMPLEX64": 64,
        "COMPLEX128": 128, "BFLOAT16": 16, "UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2,
        "INT2": 2, "FLOAT6E2M3": 6, "FLOAT6E3M2": 6,
    }.get(name, 8)
    random = np.random.default_rng(number * 100 + count)
    tensor = TensorProto(name=f"{name}{dims}", data_type=number, dims=dims)
    if bits == 6:
        codes = random.integers(0, 64, count)
        stream = sum(int(code) << (6 * index) for index, code in enumerate(codes))
        data, values = stream.to_bytes((6 * count + 7) // 8, "little"), codes
        field = tensor.int32_data
    else:
        data = random.bytes((bits * count + 7) // 8)
        if name == "BOOL":
            data = bytes(byte & 1 for byte in data)
        unit, field = {
            "FLOAT": ("<f4", tensor.float_data), "COMPLEX64": ("<f4", tensor.float_data),
            "DOUBLE": ("<f8", tensor.double_data), "COMPLEX128": ("<f8", tensor.double_data),
            "INT64": ("<i8", tensor.int64_data), "UINT64": ("<u8", tensor.uint64_data),
            "UINT32": ("<u4", tensor.uint64_data), "INT32": ("<i4", tensor.int32_data),
            "INT16": ("<i2", tensor.int32_data), "INT8": ("<i1", tensor.int32_data),
        }.get(name, ("<u2" if bits == 16 else "<u1", tensor.int32_data))
        values = np.frombuffer(data, unit)
        if unit in ("<f4", "<f8"):  # A NaN's payload would not survive Python.
            values = np.nan_to_num(values)
            data = values.tobytes()
    if raw:
        tensor.raw_data = data
    else:
        field.extend(values.tolist())
    return tensor


def strings(name: str) -> TensorProto:
    return TensorProto(
        name=name,
        data_type=TensorProto.STRING,
        dims=[4],
        string_data=[b"plain", "\u00fcber".encode(), b"", b"\xff\xfe not UTF-8"],
    )


def model_of(
    graph: onnx.GraphProto, opset: int = 28, ir_version: int = 14, **more
) -> onnx.ModelProto:
    opsets = more.pop("opset_imports", [helper.make_opsetid("", opset)])
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, **more)


def identity_graph(initializers: list[TensorProto], name: str = "graph") -> onnx.GraphProto:
    names = [tensor.name for tensor in initializers]
    nodes = [helper.make_node("Identity", [one], [f"{one}.out"]) for one in names]
    return helper.make_graph(nodes, name, [], [], initializers)


def small(name: str, count: int = 3) -> TensorProto:
    return helper.make_tensor(name, TensorProto.FLOAT, [count], [0.5] * count)


def nested(depth: int) -> onnx.GraphProto:
    if depth == 0:
        return identity_graph([small("leaf")])
    branch = {"then_branch": nested(depth - 1), "else_branch": identity_graph([small("other")])}
    node = helper.make_node("If", ["condition"], [f"result{depth}"], **branch)
    return helper.make_graph([node], f"depth{depth}", [], [], [small(f"weight{depth}")])


def every_attribute() -> list[onnx.AttributeProto]:
    places = helper.make_tensor("at", 7, [2], [1, 4])
    sparse = helper.make_sparse_tensor(small("values", 2), places, [6])
    kind = helper.make_tensor_type_proto(1, [1, "batch", None])
    make = helper.make_attribute
    return [
        make("float", 1.25), make("int", -7), make("string", "text"), make("bytes", b"\xff\x00"),
        make("tensor", small("inside")), make("graph", nested(1)),
        make("floats", [1.0, -0.0, float("inf"), 3e-40]),
        make("ints", [0, -1, 2**63 - 1, -(2**63)]),
        make("strings", ["a", "", "b"]), make("tensors", [small("t0"), strings("t1")]),
        make("graphs", [nested(0), nested(1)]), make("sparse_tensor", sparse),
        make("sparse_tensors", [sparse, sparse]), make("type", kind), make("types", [kind, kind]),
        onnx.AttributeProto(name="zero", type=onnx.AttributeProto.INT, i=0),
        onnx.AttributeProto(name="none", type=onnx.AttributeProto.INTS),
        onnx.AttributeProto(name="absent", type=onnx.AttributeProto.INT),
        onnx.AttributeProto(name="absent_float", type=onnx.AttributeProto.FLOAT),
        onnx.AttributeProto(name="absent_string", type=onnx.AttributeProto.STRING),
        onnx.AttributeProto(
            name="documented", type=onnx.AttributeProto.FLOAT, f=2, doc_string="why"
        ),
        onnx.AttributeProto(name="stray", type=onnx.AttributeProto.INT, i=5, floats=[1, 2]),
        onnx.AttributeProto(name="stray_tensor", type=onnx.AttributeProto.INT, i=5, t=small("x")),
    ]


# Fields whose presence means something.
DATA = {"raw_data", "f", "i", "s", "op_type", "ir_version", "data_location"}


def fill(message: Message) -> None:
    """Sets every string and number that is absent, to the empty text and to zero."""
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated or field.type == Field.TYPE_MESSAGE or field.containing_oneof:
            continue
        if not message.HasField(field.name):
            is_data = field.name in DATA
            if not is_data and field.type != Field.TYPE_ENUM:
                setattr(message, field.name, field.default_value)


def add_unknown(message: Message) -> None:
    """Gives a message and all below it unknown fields of every wire type."""
    extra = varint(1000 * 8) + varint(77) + varint(1001 * 8 + 1) + b"12345678"
    extra += record(1002, b"bytes") + varint(1003 * 8 + 5) + b"1234" + record(1002, b"again")
    for part in list(messages(message)):
        part.MergeFromString(extra)


def everything() -> onnx.ModelProto:
    node = helper.make_node("Custom", ["in", "", "in"], ["out", ""], name="node", domain="a.b",
                            doc_string="what it does", overload="variant")
    node.attribute.extend(every_attribute())
    node.metadata_props.add(key="k", value="v")
    device = node.device_configurations.add(configuration_id="c", pipeline_stage=0)
    spec = device.sharding_spec.add(tensor_name="in", device=[0, 1])
    spec.index_to_device_group_map.add(key=0, value=[1, 2, 3])
    spec.sharded_dim.add(axis=-1).simple_sharding.add(dim_value=4, num_shards=2)
    default = helper.make_node("Relu", ["out"], ["last"], domain="ai.onnx")
    kinds = [
        helper.make_tensor_type_proto(1, [1, "batch", None, -1, 2**40]),
        helper.make_tensor_type_proto(1, None),
        helper.make_sequence_type_proto(helper.make_tensor_type_proto(7, ["n"])),
        helper.make_map_type_proto(7, helper.make_tensor_type_proto(8, [])),
        helper.make_optional_type_proto(helper.make_tensor_type_proto(1, [2])),
        helper.make_sparse_tensor_type_proto(1, [5, 5]),
        onnx.TypeProto(opaque_type=onnx.TypeProto.Opaque(domain="d", name="n"), denotation="IMAGE"),
        onnx.TypeProto(),
    ]
    kinds[0].tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    kinds[0].denotation = "IMAGE"
    values = [helper.make_value_info(f"v{index}", kind) for index, kind in enumerate(kinds)]
    values.append(onnx.ValueInfoProto(name="untyped"))
    values[0].doc_string = "documented"
    values[0].metadata_props.add(key="k", value="v")
    graph = helper.make_graph([node, default], "graph", values[:4], values[4:6], [small("weight")],
                              doc_string="a graph", value_info=values[6:])
    graph.sparse_initializer.append(
        helper.make_sparse_tensor(small("sparse", 2), helper.make_tensor("", 7, [2], [1, 4]), [6])
    )
    annotation = graph.quantization_annotation.add(tensor_name="in")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="weight")
    graph.metadata_props.add(key="k", value="v")
    graph.initializer[0].metadata_props.add(key="k", value="v")
    graph.initializer[0].doc_string = "a weight"

    function = helper.make_function(
        "a.b", "Custom", ["x", "y"], ["z"],
        [
            helper.make_node("Constant", [], ["c"], value=small("constant")),
            helper.make_node("Add", ["x", "c"], ["z"]),
        ],
        [helper.make_opsetid("", 20), helper.make_opsetid("a.b", 1)],
        ["alpha"],
        [helper.make_attribute("beta", 1.0), helper.make_attribute("gamma", small("given"))],
        overload="variant", value_info=[helper.make_value_info("c", kinds[0])],
        doc_string="a function",
    )
    reference = function.node[1].attribute.add(name="alpha", type=onnx.AttributeProto.FLOAT)
    reference.ref_attr_name = "alpha"
    function.metadata_props.add(key="k", value="v")
    model = model_of(
        graph, functions=[function], producer_name="maker", producer_version="1", domain="d",
        model_version=-3, doc_string="a model",
        opset_imports=[helper.make_opsetid("ai.onnx", 28), helper.make_opsetid("a.b", 1)],
    )
    model.metadata_props.add(key="first", value="1")
    model.metadata_props.add(key="first", value="again")
    model.metadata_props.add(key="", value="")
    model.configuration.add(name="c", num_devices=2, device=["0", "1"])
    training = model.training_info.add()
    training.initialization.CopyFrom(identity_graph([small("i")], "initialization"))
    training.algorithm.CopyFrom(nested(1))
    training.initialization_binding.add(key="a", value="b")
    training.update_binding.add(key="c", value="d")
    model.training_info.add()
    return model


def first_version() -> onnx.ModelProto:
    """IR version 1: no opset imports, attributes without a type."""
    node = helper.make_node("LRN", ["x"], ["y"])
    for attribute in every_attribute()[:13]:
        attribute.ClearField("type")
        node.attribute.append(attribute)
    node.attribute.append(onnx.AttributeProto(name="nothing"))
    node.attribute.append(onnx.AttributeProto(name="two", i=1, f=2))
    model = onnx.ModelProto(ir_version=1)
    model.graph.CopyFrom(helper.make_graph([node], "", [], []))
    return model


def external(folder: str) -> onnx.ModelProto:
    """Tensors in two files, one in a folder, with gaps, out of order, overlapping and empty ones."""
    os.makedirs(os.path.join(folder, "part"), exist_ok=True)
    data = np.arange(50_000, dtype=np.float32)
    data.tofile(os.path.join(folder, "weights.bin"))
    data[::-1].tofile(os.path.join(folder, "part", "more.bin"))

    def tensor(name, location, offset, count, *more, dtype=TensorProto.FLOAT):
        made = TensorProto(name=name, data_type=dtype, dims=[count])
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value=location)
        if offset is not None:
            made.external_data.add(key="offset", value=str(offset))
            made.external_data.add(key="length", value=str(count * (4 if dtype == 1 else 1)))
        for key, value in more:
            made.external_data.add(key=key, value=value)
        return made

    made = [
        tensor("late", "weights.bin", 4096, 4000),
        tensor("early", "weights.bin", 4, 5),
        tensor("other", "part/more.bin", 100, 7, ("checksum", "0123"), ("note", "kept")),
        tensor("shared", "weights.bin", 4096, 4000),
        tensor("overlapping", "weights.bin", 4100, 4000),
        tensor("whole", "weights.bin", None, 50_000),
        tensor("empty", "weights.bin", 0, 0),
        tensor("odd", "weights.bin", 3, 13, dtype=TensorProto.INT8),
        small("inline", 4),
    ]
    graph = identity_graph(made)
    inner = tensor("inner", "weights.bin", 8, 9)
    graph.node.append(helper.make_node("Constant", [], ["c"], value=inner))
    return model_of(graph)


def make(folder: str) -> list[str]:
    models: dict[str, onnx.ModelProto | bytes] = {
        "raw": model_of(identity_graph(every_tensor(True))),
        "typed": model_of(identity_graph([*every_tensor(False), strings("strings")])),
        "everything": everything(),
        "first_version": first_version(),
        "nested": model_of(nested(20)),
        "external": external(folder),
        "bare": model_of(onnx.GraphProto()),
    }
    unknown_fields = everything()
    add_unknown(unknown_fields)
    models["unknown_fields"] = unknown_fields
    filled = everything()
    for part in list(messages(filled)):
        fill(part)
    models["filled"] = filled
    whole = model_of(identity_graph(every_tensor(False)))
    whole.graph.node.extend(everything().graph.node)
    whole.functions.extend(everything().functions)
    for variant in ("unpacked", "packed", "split", "reversed", "overlong"):
        models[variant] = serialize(whole, variant)
        check = onnx.ModelProto()
        check.ParseFromString(models[variant])
        assert not differences(whole, check), variant
    paths = []
    for name, model in models.items():
        path = os.path.join(folder, f"{name}.onnx")
        with open(path, "wb") as file:
            file.write(model if isinstance(model, bytes) else model.SerializeToString())
        paths.append(path)
    return paths


if __name__ == "__main__":
    print("\n".join(make(sys.argv[1])))
