/**
 * Resolves the names in a model and infers the element type of every value. ONNX files state few
 * types: they follow from the operators' schemas (`schemas.ts`), from attributes, from the bodies of
 * control flow, and from the functions that the model defines.
 */
import type { DType } from "../../dtype.ts";
import { InputError } from "../../error.ts";
import { attribute, type Graph, type Model, type ModelFunction, type Node } from "../../ir.ts";
import { connectBodies } from "./control_flow.ts";
import { infer, inferAt } from "./inference.ts";
import { constantTensor, typeByAttribute } from "./output_types.ts";
import { type Formal, formalAt, schemaOf } from "./type_constraints.ts";
import {
  define,
  inputOf,
  lookUp,
  make,
  type NodeVariable,
  NONE,
  type Operation,
  read,
  type Scope,
  type Slot,
} from "./typed_graph.ts";

/** Resolves the names of `model` and infers the types of its values. The outermost scope. */
export function typedGraph(model: Model): Scope {
  return new Resolver(model).resolve();
}

/** Distinct calls of functions that are looked into. */
const MOST_CALLS = 1000;
/** Calls within calls that are looked into. */
const DEEPEST_CALL = 100;

class Resolver {
  readonly #model: Model;
  readonly #functions: ReadonlyMap<string, ModelFunction>;
  /** Types of the values in functions' bodies, by function and argument types. */
  readonly #calls = new Map<string, ReadonlyMap<string, DType | null>>();
  /** Calls around what is resolved. */
  #depth = 0;

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
      // A sparse tensor keeps its type.
      const sparse = node.opType === "Constant" && attribute(node, "sparse_value") !== undefined;
      const variable = sparse ? free(null, NONE, true) : variableOf(formal);
      slots.push(
        make(value, operation, variable, (renamed) => {
          node.outputs[index] = renamed;
        }),
      );
      if (index === 0 && node.opType === "Constant" && node.domain === "") {
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
    if (this.#depth > 0) return;
    throw new InputError(
      `Cannot infer the types in "${this.#model.path}": the ${node.opType} node ` +
        `"${node.name || node.outputs[0]}" ` +
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
    const stated = typeByAttribute(node);
    if (stated === null) return;
    for (const { variable } of outputs) {
      if (!variable.slots.some((slot) => slot.role === "read")) variable.dtype ??= stated;
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
    if (this.#calls.size > MOST_CALLS || this.#depth === DEEPEST_CALL) return new Map();
    this.#depth++;
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
    this.#depth--;
    infer(scope);
    const types = new Map([...scope.values].map(([name, value]) => [name, value.dtype]));
    this.#calls.set(key, types);
    return types;
  }
}
