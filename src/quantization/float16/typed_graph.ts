/**
 * A model's graphs with every name resolved to its value and the element type of every value
 * inferred. ONNX files state few types: they follow from the operators' schemas (`schemas.ts`), from
 * attributes such as Cast's `to`, and from the bodies of If, Loop and Scan.
 *
 * Every place where a node touches a value is a {@link Slot} bound to a type variable of the node.
 * What a body takes from its node and gives back to it are slots of that node too, so that whoever
 * reads this need not know about control flow.
 */
import { InputError } from "../../error.ts";
import { type DType, dtypeOfOnnx, DTYPES } from "../../dtype.ts";
import {
  attribute,
  type Graph,
  intAttribute,
  makeTensor,
  type Model,
  type ModelFunction,
  type Node,
  type Tensor,
} from "../../ir.ts";
import { type Formal, formalAt, schemaOf } from "./type_constraints.ts";

/** A value of a graph. */
export interface Value {
  readonly name: string;
  readonly scope: Scope;
  /** Element type; null while or where it is unknown. */
  dtype: DType | null;
  /** True for a sequence, an optional or a map of such elements. */
  container: boolean;
  /** The node that computes it, or whose body it enters; null for a model's input or initializer. */
  readonly producer: Operation | null;
  /** Slots that read it. */
  readonly uses: Slot[];
  /** The tensor of an initializer or of a Constant node. */
  tensor: Tensor | null;
  /** Whether it is an input of the model's graph, which the person feeds. */
  readonly modelInput: boolean;
}

/** A type variable of one node. */
export interface NodeVariable {
  dtype: DType | null;
  container: boolean;
  /** True where the operator takes no other type. */
  readonly fixed: boolean;
  /** Floating-point types that the operator takes. */
  readonly floats: ReadonlySet<DType>;
  readonly slots: Slot[];
}

/** A place where a node, or the model's end, reads or makes a value. */
export interface Slot {
  readonly value: Value;
  /** `read`: takes the value. `make`: computes it, or hands it to a body. */
  readonly role: "read" | "make";
  /** The node; null at the outputs of the model. */
  readonly operation: Operation | null;
  variable: NodeVariable;
  /** Position among the node's inputs; -1 where the slot is none of them. */
  readonly input: number;
  /** Makes the slot read or make `name` instead. */
  rename(name: string): void;
}

/** A node, resolved. */
export interface Operation {
  readonly node: Node;
  readonly scope: Scope;
  readonly bodies: readonly Scope[];
  readonly slots: Slot[];
  readonly variables: Set<NodeVariable>;
  /** False for an operator that the table of schemas doesn't know. */
  readonly known: boolean;
}

/** A graph, resolved. */
export interface Scope {
  readonly graph: Graph;
  readonly parent: Scope | null;
  readonly values: Map<string, Value>;
  readonly operations: Operation[];
}

/** The key of an operator in tables: `domain:OpType`, or `OpType` in the default domain. */
export function operatorKey(node: Node): string {
  return node.domain === "" ? node.opType : `${node.domain}:${node.opType}`;
}

/** Resolves the names of `model` and infers the types of its values. The outermost scope. */
export function typedGraph(model: Model): Scope {
  return new Resolver(model).resolve();
}

/** `scope` and all below it, outer ones first. */
export function* allScopes(scope: Scope): Generator<Scope> {
  yield scope;
  for (const { bodies } of scope.operations) {
    for (const body of bodies) yield* allScopes(body);
  }
}

/** All operations, each before those of its bodies. */
export function* allOperations(scope: Scope): Generator<Operation> {
  for (const operation of scope.operations) {
    yield operation;
    for (const body of operation.bodies) yield* allOperations(body);
  }
}

/** The operation's input at `index` as a value; null where it is absent. */
export function inputOf(operation: Operation, index: number): Value | null {
  return operation.slots.find((slot) => slot.input === index)?.value ?? null;
}

/** The values that an operation makes in its own scope. */
export function outputsOf(operation: Operation): Value[] {
  return operation.slots.flatMap((slot) =>
    slot.role === "make" && slot.value.scope === operation.scope ? [slot.value] : []
  );
}

const FLOATS: ReadonlySet<DType> = new Set<DType>(["float16", "bfloat16", "float32", "float64"]);
const NONE: ReadonlySet<DType> = new Set<DType>();

/** Operators whose output has the element type of their first input, though in other wrapping. */
const SAME_ELEMENTS: ReadonlySet<string> = new Set([
  "ConcatFromSequence",
  "Optional",
  "OptionalGetElement",
  "SequenceAt",
  "SequenceConstruct",
  "SplitToSequence",
]);

/** Attributes that name an output's type, and ONNX's number of the type where they are absent. */
const TYPE_ATTRIBUTES: Readonly<Record<string, { name: string; absent: number | "input" }>> = {
  Bernoulli: { name: "dtype", absent: "input" },
  BitCast: { name: "to", absent: 1 },
  BlackmanWindow: { name: "output_datatype", absent: 1 },
  Cast: { name: "to", absent: 1 },
  EyeLike: { name: "dtype", absent: "input" },
  HammingWindow: { name: "output_datatype", absent: 1 },
  HannWindow: { name: "output_datatype", absent: 1 },
  LayerNormalization: { name: "stash_type", absent: 1 },
  MelWeightMatrix: { name: "output_datatype", absent: 1 },
  Multinomial: { name: "dtype", absent: 6 },
  RandomNormal: { name: "dtype", absent: 1 },
  RandomNormalLike: { name: "dtype", absent: "input" },
  RandomUniform: { name: "dtype", absent: 1 },
  RandomUniformLike: { name: "dtype", absent: "input" },
  SequenceEmpty: { name: "dtype", absent: 1 },
};

/** The attribute that sets the type of the output of `node`; null where none does. */
export function typeAttribute(node: Node): string | null {
  if (node.domain !== "") return null;
  if (node.opType === "DequantizeLinear") return "output_dtype";
  return Object.hasOwn(TYPE_ATTRIBUTES, node.opType) ? TYPE_ATTRIBUTES[node.opType]!.name : null;
}

/** Distinct calls of functions that are looked into. */
const MOST_CALLS = 1000;

class Resolver {
  readonly #model: Model;
  readonly #functions: ReadonlyMap<string, ModelFunction>;
  /** Types of the values in functions' bodies, by function and argument types. */
  readonly #calls = new Map<string, ReadonlyMap<string, DType | null>>();
  #insideFunction = false;

  constructor(model: Model) {
    this.#model = model;
    this.#functions = new Map(model.functions.map((one) => [`${one.domain}:${one.name}`, one]));
  }

  resolve(): Scope {
    const scope = this.#scope(this.#model.graph, null, null, this.#model.opsets);
    for (const info of this.#model.graph.outputs) {
      const value = scope.values.get(info.name);
      if (value === undefined) continue;
      const variable: NodeVariable = {
        dtype: info.dtype,
        container: false,
        fixed: true,
        floats: NONE,
        slots: [],
      };
      read(value, null, variable, -1, () => {});
    }
    infer(scope);
    return scope;
  }

  #scope(
    graph: Graph,
    parent: Scope | null,
    owner: Operation | null,
    opsets: ReadonlyMap<string, number>,
  ): Scope {
    const scope: Scope = { graph, parent, values: new Map(), operations: [] };
    const stated = new Map(
      [...graph.valueInfo, ...graph.outputs].map((info) => [info.name, info.dtype]),
    );
    for (const info of graph.inputs) {
      const value = define(scope, info.name, owner, info.dtype, parent === null);
      value.container = info.dtype === null && info.wire !== null && parent === null;
    }
    for (const tensor of graph.initializers) {
      scope.values.delete(tensor.name);
      define(scope, tensor.name, null, tensor.dtype).tensor = tensor;
    }
    for (const { values } of graph.sparseInitializers) {
      define(scope, values.name, null, values.dtype);
    }
    for (const node of graph.nodes) {
      scope.operations.push(this.#operation(node, scope, stated, opsets));
    }
    return scope;
  }

  #operation(
    node: Node,
    scope: Scope,
    stated: ReadonlyMap<string, DType | null>,
    opsets: ReadonlyMap<string, number>,
  ): Operation {
    const called = this.#functions.has(`${node.domain}:${node.opType}`);
    const schema = called
      ? null
      : schemaOf(node.domain, node.opType, opsets.get(node.domain) ?? (node.domain ? 1 : 0));
    const variables = new Set<NodeVariable>();
    const bodies: Scope[] = [];
    const slots: Slot[] = [];
    const operation: Operation = { node, scope, bodies, slots, variables, known: schema !== null };
    const letters = new Map<string, NodeVariable>();

    const free = (dtype: DType | null, floats: ReadonlySet<DType>, fixed = false) => {
      const variable: NodeVariable = { dtype, container: false, fixed, floats, slots: [] };
      variables.add(variable);
      return variable;
    };
    const lettered = (letter: string): NodeVariable => {
      const found = letters.get(letter);
      if (found !== undefined) return found;
      const variable = free(null, schema?.variables.get(letter)?.floats ?? NONE);
      letters.set(letter, variable);
      return variable;
    };
    const variableOf = (formal: Formal | undefined): NodeVariable => {
      if (formal === undefined) return free(null, NONE, true);
      const { type } = formal;
      if (formal.variadic === "mixed") {
        const mixed = type.kind === "variable" ? schema?.variables.get(type.letter) : undefined;
        return free(null, mixed?.floats ?? NONE);
      }
      if (type.kind === "variable") {
        const variable = lettered(type.letter);
        // A variable that only containers may be bound to.
        const allowed = schema?.variables.get(type.letter);
        if (allowed?.containers === true && allowed.floats.size === 0) variable.container = true;
        return variable;
      }
      const variable = free(type.dtype, NONE, true);
      variable.container = type.kind === "container";
      return variable;
    };

    node.inputs.forEach((name, index) => {
      if (name === "") return;
      const value = lookUp(scope, name);
      if (value === null) return this.#unknown(node, name);
      const formal = schema === null ? undefined : formalAt(schema.inputs, index);
      slots.push(
        read(value, operation, variableOf(formal), index, (renamed) => {
          node.inputs[index] = renamed;
        }),
      );
    });

    node.attributes.forEach((entry) => {
      const graphs = entry.value.type === "graph"
        ? [entry.value.value]
        : entry.value.type === "graphs"
        ? entry.value.value
        : [];
      for (const graph of graphs) bodies.push(this.#scope(graph, scope, operation, opsets));
    });

    node.outputs.forEach((name, index) => {
      if (name === "") return;
      const value = define(scope, name, operation, stated.get(name) ?? null);
      const formal = schema === null ? undefined : formalAt(schema.outputs, index);
      const variable = variableOf(formal);
      slots.push(
        make(value, operation, variable, (renamed) => {
          node.outputs[index] = renamed;
        }),
      );
      if (node.opType === "Constant" && node.domain === "") {
        value.tensor = constantTensor(node, name);
      }
    });

    connectBodies(operation);
    this.#typeOutputs(operation);
    for (const slot of slots) variables.add(slot.variable);
    // Calls of functions further on want to know the types of their arguments.
    while (inferAt(operation));
    return operation;
  }

  /** A name that nothing defines: an error in the model, of no matter inside of functions. */
  #unknown(node: Node, name: string): void {
    if (this.#insideFunction) return;
    throw new InputError(
      `Cannot infer the types in "${this.#model.path}": the ${node.opType} node "${node.name}" ` +
        `reads "${name}", which nothing before it makes. Sort the nodes, or export the model anew.`,
    );
  }

  /** Binds the variables whose types stand in attributes, or in the function that is called. */
  #typeOutputs(operation: Operation): void {
    const { node, slots } = operation;
    const outputs = slots.filter((slot) =>
      slot.role === "make" && slot.value.scope === operation.scope
    );
    const called = this.#functions.get(`${node.domain}:${node.opType}`);
    if (called !== undefined) {
      const types = this.#functionTypes(called, operation);
      for (const slot of outputs) {
        const name = called.outputs[node.outputs.indexOf(slot.value.name)];
        slot.variable.dtype ??= (name === undefined ? null : types.get(name)) ?? null;
      }
      return;
    }
    if (node.domain !== "") return;
    const first = slots.find((slot) => slot.input === 0);
    const bind = (dtype: DType | null) => {
      for (const { variable } of outputs) {
        if (!variable.slots.some((slot) => slot.role === "read")) variable.dtype ??= dtype;
      }
    };
    const byAttribute = Object.hasOwn(TYPE_ATTRIBUTES, node.opType)
      ? TYPE_ATTRIBUTES[node.opType]
      : undefined;
    if (byAttribute !== undefined) {
      const number = intAttribute(node, byAttribute.name, 0);
      if (number !== 0) bind(dtypeOfOnnx(number) ?? null);
      else if (byAttribute.absent !== "input") bind(dtypeOfOnnx(byAttribute.absent) ?? null);
    } else if (node.opType === "ConstantOfShape") {
      const value = attribute(node, "value");
      bind(value?.type === "tensor" ? value.value.dtype : "float32");
    } else if (node.opType === "Constant") {
      bind(constantType(node));
    } else if (node.opType === "DequantizeLinear") {
      const number = intAttribute(node, "output_dtype", 0);
      if (number !== 0) bind(dtypeOfOnnx(number) ?? null);
    }
    if (SAME_ELEMENTS.has(node.opType) && first !== undefined) {
      bind(first.value.dtype);
    }
  }

  /** Types of the values of a function's body, for the arguments of one call. */
  #functionTypes(called: ModelFunction, call: Operation): ReadonlyMap<string, DType | null> {
    const inputs = called.inputs.map((name, index) => ({
      name,
      dtype: inputOf(call, index)?.dtype ?? null,
      shape: null,
      wire: null,
    }));
    const key = JSON.stringify([called.domain, called.name, inputs.map((input) => input.dtype)]);
    const known = this.#calls.get(key);
    if (known !== undefined) return known;
    // While a call is being looked at, and past any sensible number of them, its types are unknown.
    this.#calls.set(key, new Map());
    if (this.#calls.size > MOST_CALLS) return new Map();
    const outside = this.#insideFunction;
    this.#insideFunction = true;
    const scope = this.#scope(
      {
        name: called.name,
        nodes: called.nodes,
        initializers: [],
        sparseInitializers: [],
        inputs,
        outputs: [],
        valueInfo: called.valueInfo,
        carried: called.carried,
      },
      null,
      null,
      called.opsets,
    );
    this.#insideFunction = outside;
    infer(scope);
    const types = new Map([...scope.values].map(([name, value]) => [name, value.dtype]));
    this.#calls.set(key, types);
    return types;
  }
}

function define(
  scope: Scope,
  name: string,
  producer: Operation | null,
  dtype: DType | null,
  modelInput = false,
): Value {
  const value: Value = {
    name,
    scope,
    dtype,
    container: false,
    producer,
    uses: [],
    tensor: null,
    modelInput,
  };
  scope.values.set(name, value);
  return value;
}

function lookUp(scope: Scope, name: string): Value | null {
  for (let at: Scope | null = scope; at !== null; at = at.parent) {
    const value = at.values.get(name);
    if (value !== undefined) return value;
  }
  return null;
}

function read(
  value: Value,
  operation: Operation | null,
  variable: NodeVariable,
  input: number,
  rename: (name: string) => void,
): Slot {
  const slot: Slot = { value, role: "read", operation, variable, input, rename };
  value.uses.push(slot);
  variable.slots.push(slot);
  return slot;
}

function make(
  value: Value,
  operation: Operation,
  variable: NodeVariable,
  rename: (name: string) => void,
): Slot {
  const slot: Slot = { value, role: "make", operation, variable, input: -1, rename };
  variable.slots.push(slot);
  return slot;
}

/** The tensor of a Constant node, where it holds one or floating-point numbers. */
function constantTensor(node: Node, name: string): Tensor | null {
  for (const { name: key, value } of node.attributes) {
    if (key === "value" && value.type === "tensor") return value.value;
    const numbers = key === "value_float" && value.type === "float"
      ? { dims: [], values: [value.value] }
      : key === "value_floats" && value.type === "floats"
      ? { dims: [value.value.length], values: value.value }
      : null;
    if (numbers !== null) {
      const bytes = new Uint8Array(new Float32Array(numbers.values).buffer);
      return makeTensor(name, "float32", numbers.dims, { kind: "memory", bytes });
    }
  }
  return null;
}

/** The element type of a Constant node. */
function constantType(node: Node): DType | null {
  for (const { name, value } of node.attributes) {
    switch (name) {
      case "value":
        return value.type === "tensor" ? value.value.dtype : null;
      case "sparse_value":
        return value.type === "sparse_tensor" ? value.value.values.dtype : null;
      case "value_float":
      case "value_floats":
        return "float32";
      case "value_int":
      case "value_ints":
        return "int64";
      case "value_string":
      case "value_strings":
        return "string";
    }
  }
  return null;
}

/**
 * Adds to `operation` the slots at which its bodies take and give values. If: an output and the
 * branches' outputs share a variable. Loop and Scan: an input, the body's input, and, where it is
 * carried over, the body's output and the node's output share one. Bodies of other operators keep
 * the types at their borders.
 */
function connectBodies(operation: Operation): void {
  const { node, bodies, slots } = operation;
  const inputVariable = (index: number) => slots.find((slot) => slot.input === index)?.variable;
  const outputVariable = (index: number) => {
    const name = node.outputs[index];
    if (name === undefined || name === "") return undefined;
    return slots.find((slot) =>
      slot.role === "make" && slot.value.name === name && slot.value.scope === operation.scope
    )?.variable;
  };
  const unbound = (): NodeVariable => ({
    dtype: null,
    container: false,
    fixed: false,
    floats: FLOATS,
    slots: [],
  });
  const standard = node.domain === "" ? node.opType : "";

  for (const body of bodies) {
    const { inputs, outputs } = body.graph;
    const shift = standard === "Loop" ? 1 : 0;
    const first = standard === "Scan" && scanHasLengths(operation) ? 1 : 0;
    const carried = standard === "Loop"
      ? Math.max(0, inputs.length - 2)
      : standard === "Scan"
      ? Math.max(0, inputs.length - intAttribute(node, "num_scan_inputs", 0))
      : 0;

    // A carried value is one variable: the node's input gives way to the node's output.
    const carriedVariables = Array.from({ length: carried }, (_, k) => {
      const argument = inputVariable(standard === "Loop" ? k + 2 : k + first);
      const result = outputVariable(k);
      return argument !== undefined && result !== undefined
        ? merge(operation, argument, result)
        : argument ?? result ?? unbound();
    });

    inputs.forEach((info, index) => {
      const value = body.values.get(info.name);
      if (value === undefined || value.tensor !== null) return;
      let variable: NodeVariable | undefined;
      if (standard === "Loop") {
        variable = index < 2 ? undefined : carriedVariables[index - 2];
      } else if (standard === "Scan") {
        variable = index < carried ? carriedVariables[index] : inputVariable(index + first);
      }
      variable ??= { ...unbound(), fixed: true, floats: NONE, dtype: value.dtype };
      slots.push(make(value, operation, variable, () => {}));
    });

    outputs.forEach((info, index) => {
      const value = lookUp(body, info.name);
      if (value === null) return;
      let variable: NodeVariable | undefined;
      if (standard === "If") variable = outputVariable(index) ?? unbound();
      else if (standard === "Loop" && index >= 1) {
        variable = carriedVariables[index - shift] ?? outputVariable(index - shift) ?? unbound();
      } else if (standard === "Scan") {
        variable = carriedVariables[index] ?? outputVariable(index) ?? unbound();
      }
      variable ??= { ...unbound(), fixed: true, floats: NONE, dtype: info.dtype };
      slots.push(
        read(value, operation, variable, -1, (name) => {
          info.name = name;
        }),
      );
    });
  }
}

/** Scan had an optional first input, the lengths of the sequences, only in its first version. */
function scanHasLengths({ node, bodies }: Operation): boolean {
  return node.inputs.length === (bodies[0]?.graph.inputs.length ?? 0) + 1;
}

/** Makes the slots of `other` slots of `variable`. */
function merge(operation: Operation, variable: NodeVariable, other: NodeVariable): NodeVariable {
  if (variable === other) return variable;
  for (const slot of other.slots) {
    variable.slots.push(slot);
    slot.variable = variable;
  }
  other.slots.length = 0;
  variable.dtype ??= other.dtype;
  operation.variables.delete(other);
  return variable;
}

/** Binds variables and values to each other until nothing changes. */
function infer(scope: Scope): void {
  for (let changed = true; changed;) {
    changed = false;
    for (const operation of allOperations(scope)) changed = inferAt(operation) || changed;
  }
}

/** Binds the variables and values of one operation to each other; whether anything changed. */
function inferAt(operation: Operation): boolean {
  let changed = false;
  for (const variable of operation.variables) {
    for (const { value } of variable.slots) {
      if (variable.dtype === null && value.dtype !== null) {
        variable.dtype = value.dtype;
        changed = true;
      }
      if (value.container && !variable.container && !variable.fixed) {
        variable.container = true;
        changed = true;
      }
    }
    for (const { value, role } of variable.slots) {
      if (value.dtype === null && variable.dtype !== null) {
        value.dtype = variable.dtype;
        changed = true;
      }
      if (role === "make" && variable.container && !value.container) {
        value.container = true;
        changed = true;
      }
    }
  }
  return sameElements(operation) || changed;
}

/** Rules that cross variables: wrapped elements, and types that default to the first input's. */
function sameElements(operation: Operation): boolean {
  const { node, slots } = operation;
  if (node.domain !== "") return false;
  const dequantize = node.opType === "DequantizeLinear";
  const likeInput = SAME_ELEMENTS.has(node.opType) || dequantize ||
    (Object.hasOwn(TYPE_ATTRIBUTES, node.opType) &&
      TYPE_ATTRIBUTES[node.opType]?.absent === "input");
  if (!likeInput) return false;
  const source = slots.find((slot) => slot.input === (dequantize ? 1 : 0))?.value.dtype ?? null;
  if (source === null) return false;
  let changed = false;
  for (const { role, variable, value } of slots) {
    if (role === "make" && variable.dtype === null && value.dtype === null) {
      variable.dtype = source;
      changed = true;
    }
  }
  return changed;
}

/** Whether a type holds whole numbers. */
export function isInteger(dtype: DType | null): boolean {
  return dtype !== null && (DTYPES[dtype].kind === "int" || DTYPES[dtype].kind === "uint");
}
