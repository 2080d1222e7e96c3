/**
 * The numbers that ONNX gives to versions, message fields and kinds of attributes
 * (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
 */

/** Highest IR version that modelcast knows. */
export const IR_VERSION = 14;
/** Highest version of the default operator set that modelcast knows. */
export const OPSET_VERSION = 28;

/** Field numbers of ONNX's messages. */
export const FIELD = {
  model: { irVersion: 1, graph: 7, opsetImport: 8, metadata: 14, training: 20, functions: 25 },
  training: { initialization: 1, algorithm: 2 },
  graph: {
    node: 1,
    name: 2,
    initializer: 5,
    input: 11,
    output: 12,
    valueInfo: 13,
    sparseInitializer: 15,
  },
  node: { input: 1, output: 2, name: 3, opType: 4, attribute: 5, domain: 7 },
  attribute: {
    name: 1,
    f: 2,
    i: 3,
    s: 4,
    t: 5,
    g: 6,
    floats: 7,
    ints: 8,
    strings: 9,
    tensors: 10,
    graphs: 11,
    typeProto: 14,
    typeProtos: 15,
    type: 20,
    refName: 21,
    sparseTensor: 22,
    sparseTensors: 23,
  },
  tensor: {
    dims: 1,
    dataType: 2,
    floatData: 4,
    int32Data: 5,
    stringData: 6,
    int64Data: 7,
    name: 8,
    rawData: 9,
    doubleData: 10,
    uint64Data: 11,
    externalData: 13,
    dataLocation: 14,
  },
  sparse: { values: 1, indices: 2, dims: 3 },
  function: {
    name: 1,
    input: 4,
    output: 5,
    node: 7,
    opsetImport: 9,
    domain: 10,
    overload: 13,
    attributeProto: 11,
    valueInfo: 12,
  },
  valueInfo: { name: 1, type: 2 },
  type: {
    tensor: 1,
    sequence: 4,
    map: 5,
    denotation: 6,
    opaque: 7,
    sparseTensor: 8,
    optional: 9,
  },
  tensorType: { elemType: 1, shape: 2 },
  shape: { dim: 1 },
  dim: { value: 1, param: 2, denotation: 3 },
  entry: { key: 1, value: 2 },
  opset: { domain: 1, version: 2 },
} as const;

/** Numbers of `AttributeProto.AttributeType` by modelcast's names. */
export const ATTRIBUTE_TYPES = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  tensors: 9,
  graphs: 10,
  sparse_tensor: 11,
  sparse_tensors: 12,
} as const;
