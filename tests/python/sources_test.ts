/**
 * python/export.py loads sources of every kind and refuses bad ones: each answer comes over the
 * protocol, as sources/run.py gets it. What is expected of bad sources is one list, which names the
 * beginning of every message.
 */
import assert from "node:assert/strict";
import { run } from "../../src/process.ts";
import { pythonPath, ROOT } from "../install.ts";

/** What sources/run.py prints for a case. */
interface Answer {
  readonly name: string;
  readonly answer:
    | { readonly type: "result"; readonly value: Value }
    | {
      readonly type: "error";
      readonly kind: string;
      readonly message: string;
      readonly traceback: string | null;
    }
    | null;
  readonly warnings: readonly string[];
  readonly seconds: number;
  readonly grown: number;
  readonly left: Readonly<Record<string, string>>;
  readonly executed: boolean;
}

interface Value {
  readonly files: readonly { readonly name: string; readonly role: string }[];
  readonly exporter: string;
  readonly architecture: string;
  readonly task: string;
  readonly verification: { readonly passed: boolean; readonly failures: readonly string[] };
}

/** Bytes that a bad source may cost beyond the libraries: small next to what they claim. */
const MEMORY_OF_REFUSAL = 600e6;

async function python(program: string, ...args: string[]): Promise<string> {
  const folder = Deno.makeTempDirSync();
  try {
    const { stdout, stderr, success } = await run({
      program: pythonPath("pytorch"),
      args: [`${ROOT}/tests/python/sources/${program}`, ...args.map((arg) => arg || folder)],
      env: { OMP_NUM_THREADS: "2", HF_HUB_OFFLINE: "1" },
      install: "Run deno task test, which installs it.",
    });
    assert.ok(success, stderr);
    return new TextDecoder().decode(stdout);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

async function answers(kind: "good" | "bad"): Promise<Map<string, Answer>> {
  const lines = (await python("run.py", kind, "")).trim().split("\n");
  return new Map(lines.map((line) => JSON.parse(line) as Answer).map((line) => [line.name, line]));
}

/** What a good source is exported as. */
const EXPORTED: Record<string, { architecture: string; task: string; exporter?: string }> = {
  "a folder with safetensors, single": { architecture: "BertForMaskedLM", task: "masked-lm" },
  "a folder with safetensors, shards": { architecture: "BertForMaskedLM", task: "masked-lm" },
  "a folder with pytorch_model.bin": { architecture: "BertForMaskedLM", task: "masked-lm" },
  "the base of a masked language model": { architecture: "BertModel", task: "base" },
  "bfloat16 weights": { architecture: "BertForSequenceClassification", task: "classification" },
  "a configuration without architectures": { architecture: "BertModel", task: "base" },
  "random weights": { architecture: "BertForSequenceClassification", task: "classification" },
  "the same random weights": {
    architecture: "BertForSequenceClassification",
    task: "classification",
  },
  "a wrapped state dict of parallel training": {
    architecture: "BertForMaskedLM",
    task: "masked-lm",
  },
  "a state dict of old names": { architecture: "BertForMaskedLM", task: "masked-lm" },
  "a state dict of before PyTorch 1.6": { architecture: "BertForMaskedLM", task: "masked-lm" },
  "a safetensors file": { architecture: "BertForMaskedLM", task: "masked-lm" },
  "a torch.export program": { architecture: "ExportedProgram", task: "base", exporter: "dynamo" },
  "a program whose guards are code": { architecture: "ExportedProgram", task: "base" },
  "TorchScript": { architecture: "Small", task: "base", exporter: "torchscript" },
  "a folder of timm": { architecture: "mobilenetv3_small_050", task: "classification" },
  "a timm name and a state dict": { architecture: "mobilenetv3_small_050", task: "classification" },
  "a trusted pickle of a whole module": {
    architecture: "mobilenetv3_small_050",
    task: "classification",
  },
};

/** Sources that hold the same model, and so must give the same bytes. */
const EQUAL = [
  [
    "a folder with safetensors, single",
    "a folder with safetensors, shards",
    "a folder with pytorch_model.bin",
  ],
  ["random weights", "the same random weights"],
  [
    "a wrapped state dict of parallel training",
    "a state dict of old names",
    "a state dict of before PyTorch 1.6",
    "a safetensors file",
  ],
  ["a torch.export program", "a program whose guards are code"],
  ["a folder of timm", "a timm name and a state dict", "a trusted pickle of a whole module"],
];

const WARNINGS: Record<string, RegExp> = {
  "the base of a masked language model": /5 tensors .* left out/,
  "a state dict of old names": /^2 tensors .* left out: "bert\.pooler\.dense\.weight", "cls\.seq/,
  "bfloat16 weights": /bfloat16 weights are exported as float32/,
};

Deno.test("sources of every kind are exported, and equal weights to equal bytes", async () => {
  const found = await answers("good");
  assert.deepEqual([...found.keys()].sort(), Object.keys(EXPORTED).sort());
  for (const [name, { answer, left, executed, warnings }] of found) {
    assert.equal(answer?.type, "result", `${name}: ${JSON.stringify(answer)}`);
    const { value } = answer;
    const { exporter, ...expected } = EXPORTED[name]!;
    assert.deepEqual({ architecture: value.architecture, task: value.task }, expected, name);
    if (exporter !== undefined) assert.equal(value.exporter, exporter, name);
    assert.deepEqual(value.verification.failures, [], name);
    assert.ok(value.verification.passed, name);
    assert.deepEqual(Object.keys(left), value.files.map((file) => file.name), name);
    assert.equal(executed, false, name);
    const warning = WARNINGS[name];
    if (warning !== undefined) assert.match(warnings.join("\n"), warning, name);
  }
  for (const group of EQUAL) {
    const hashes = new Set(group.map((name) => found.get(name)!.left["model.onnx"]));
    assert.equal(hashes.size, 1, group.join(", "));
  }
});

/** What is said of a bad source after its quoted path. */
const REFUSED: Record<string, string> = {
  "nothing there": "there is no such file or folder",
  "an empty file": "the file is empty",
  "noise": "it is neither safetensors nor anything that torch.save, torch.jit.save or",
  "GGUF": "it is a GGUF model, whose weights are quantized for llama.cpp",
  "HDF5": "it is an HDF5 file, as Keras and TensorFlow write them",
  "a Git LFS pointer": "it is a Git LFS pointer, not the file itself",
  "a web page": "it is a web page, probably of a download that failed",
  "gzip": "it is a gzip archive",
  "ONNX": "it is an ONNX model",
  "a plain pickle": "it is a Python pickle that torch.save did not write",
  "a folder with only model.gguf": 'its only weights are GGUF ("model.gguf")',
  "a folder with only tf_model.h5": 'its only weights are TensorFlow or Keras ("tf_model.h5")',
  "a folder with only flax_model.msgpack": 'its only weights are Flax ("flax_model.msgpack")',
  "a folder with only adapter_model.safetensors": "it holds an adapter (LoRA), not a model",
  "a diffusers pipeline": "it is a diffusers pipeline of several models",
  "an empty folder": "it has no config.json",
  "safetensors: a header that is longer than the file":
    "its header claims 1125899906842624 bytes and the file has 73",
  "safetensors: a header of nothing but length":
    "its header claims 18446744073709551615 bytes and the file has 10",
  "safetensors: a header that is no JSON": "its header is not valid JSON",
  "safetensors: a header that nests": "its header is not valid JSON",
  "safetensors: a header that is a list": "its header is not a JSON object",
  "safetensors: a name twice": "a name appears twice in its header",
  "safetensors: overlapping tensors": 'tensor "b" overlaps the one before it',
  "safetensors: a gap between tensors": 'tensor "b" follows a gap',
  "safetensors: offsets past the end":
    'tensor "a" ends at byte 1099511627776 of the data and there are 4',
  "safetensors: an unknown dtype": 'tensor "a" has the unknown dtype "F33"',
  "safetensors: sizes that disagree":
    'tensor "a" claims 18446744073709551616 elements of F32 and 4 bytes, which do not',
  "safetensors: a negative size": 'tensor "a" has a shape that is not a list of sizes',
  "safetensors: bytes after the last tensor": "5 bytes follow the last tensor",
  "safetensors: 8-bit floats": 'the checkpoint is quantized: tensor "a" has the type F8_E4M3',
  "safetensors: no tensors at all": "it holds no tensors",
  "two missing shards": '2 of its 2 shards are missing: "model-00001-of-00002.safetensors",',
  "a shard in a parent folder":
    'it names the shard "../good/model-00001-of-00002.safetensors", which is not a plain',
  "a shard in an absolute path": "it names the shard",
  "a shard in a device":
    'it names the shard "C:model.safetensors", which is not a plain file name beside it',
  "a shard that lacks a tensor": 'it lacks 1 tensor that the index says it has: "strange.weight"',
  "an index without a map": 'it has no "weight_map" from tensors to files',
  "shards without an index": 'it has the shards "model-00001-of-00002.safetensors",',
  "a shard that was cut short":
    'tensor "bert.encoder.layer.1.attention.self.query.weight" ends at byte 57856 of the',
  "missing weights": "it has no weights for 16 of the 44 tensors of BertForMaskedLM",
  "weights of a third layer": "16 tensors of the checkpoint fit nowhere in BertForMaskedLM",
  "weights of other shapes":
    "44 tensors of the checkpoint have another shape than the configuration of",
  "weights of another model": "it has no weights for 44 of the 44 tensors of BertForMaskedLM",
  "a head that is not there":
    "it has no weights for 4 of the 41 tensors of BertForSequenceClassification",
  "a task that the model has not": 'transformers has no class of "bert" for the task "ctc"',
  "no configuration":
    "37 tensors of the checkpoint have another shape than the configuration of BertModel",
  "no configuration and no type": "weights alone do not say which model they are of",
  "another type than the configuration's":
    '--model-type says "roberta" and its configuration "bert"',
  "several checkpoints": 'it has several checkpoints ("a.safetensors", "b.safetensors")',
  "a folder without weights":
    "it has no weights (model.safetensors or pytorch_model.bin, in one file or in shards",
  "a timm name that is none": 'timm knows no architecture "resnet19"',
  "a timm name on the hub": 'timm knows no architecture "hf-hub:a/b"',
  "a timm name of another model":
    'it has no weights for 102 of the 122 tensors of "resnet18" ("bn1.bias",',
  "pickle: cut in half": "the zip that it consists of is damaged or cut short",
  "pickle: without its end": "the zip that it consists of is damaged or cut short",
  "pickle: a shortened storage": 'its storage "0" claims 12800 bytes and has 12796',
  "pickle: a missing storage": 'its storage "0" is missing',
  "pickle: half of its program": "its pickle is damaged",
  "pickle: compressed": 'its entry "archive/data.pkl" is compressed',
  "pickle: a name twice": "its directory names a file twice",
  "pickle: a command": 'its pickle wants "posix.system", which is code and not weights',
  "pickle: a command by a newer protocol":
    'its pickle wants "posix.system", which is code and not weights',
  "pickle: a whole module": 'its pickle wants "good.Small", which is code and not weights',
  "pickle: a NumPy scalar":
    'its pickle wants "numpy._core.multiarray.scalar", which is code and not weights',
  "pickle: a number": "it holds something of the type int where a state dict belongs",
  "pickle: no tensors": 'it holds no state dict, but "epoch"',
  "pickle: a sparse tensor": 'tensor "weight" has the layout torch.sparse_coo',
  "pickle: a quantized tensor": 'the checkpoint is quantized: tensor "weight" has the type qint8',
  "pickle: a tensor past its storage":
    "a tensor of the sizes [1099511627776] reaches past its storage of 4 elements",
  "pickle: a tensor of one element repeated":
    "a tensor of the sizes [1048576, 1048576] claims 1099511627776 elements and its",
  "pickle: a storage that claims more": 'its storage "0" claims 140737488355328 bytes and has 16',
  "pickle: negative sizes": "its pickle is damaged",
  "pickle: an allocation": "its pickle allocates memory of its own",
  "pickle: lists in lists": "its pickle nests more deeply than any list of weights",
  "pickle: a key of exponential cost": "its pickle has keys that are not names",
  "pickle: keys of exponential cost": "its pickle has keys that are not names",
  "pickle: an empty program": "PyTorch can't read it (pop from empty list)",
  "pickle: a stack that is empty": "its pickle is damaged",
  "pickle: a call of a string": "its pickle is damaged",
  "pickle: an old file with a command":
    'its pickle wants "posix.system", which is code and not weights',
  "pickle: an old file cut short": "its storages claim 93024 bytes and it has 92024 for them",
  "pickle: an old file that claims more":
    "its storages claim 4295047520 bytes and it has 93024 for them",
  "pickle: a very old file":
    "it is a PyTorch checkpoint of before version 0.1.10, which can't be read without",
  "pickle: a trusted module of an unknown kind":
    "it holds a whole module of the class Small, which is neither of transformers nor of",
  "configuration: auto_map":
    'its "auto_map" asks for code that comes with the model (modeling_evil.EvilModel),',
  "configuration: auto_map within":
    'its "auto_map" asks for code that comes with the model (evil.EvilConfig), which is',
  "configuration: trust_remote_code":
    'its "trust_remote_code" asks for code that comes with the model (True), which is',
  "configuration: a quantized checkpoint": "the checkpoint is quantized (gptq)",
  "configuration: an unknown model type": 'transformers knows no model type "bertt"',
  "configuration: a model type that is a number": 'its "model_type" is not a name',
  "configuration: no model type": 'it names no "model_type"',
  "configuration: an unknown architecture": 'transformers knows no architecture "BertForMaskedLN"',
  "configuration: an architecture that is code": 'transformers knows no architecture "os.system"',
  "configuration: an architecture of another type":
    'it names the architecture "GPT2Model", which is not of the model type "bert"',
  "configuration: a hidden size of 10^9": "its configuration asks for weights",
  "configuration: a vocabulary of 2^39": "its configuration asks for weights",
  "configuration: a size of 10^30":
    '"hidden_size" is 1000000000000000000000000000000, more than any model has',
  "configuration: 10^9 layers":
    '"num_hidden_layers" is 1000000000, more than any model has (10000)',
  "configuration: 9,999 layers of nothing":
    "its configuration asks for more than 2312 weights and the checkpoint has 39 tensors",
  "configuration: a size that is a word":
    "its configuration does not describe a model (StrictDataclassFieldValidationError:",
  "configuration: a negative size":
    "its configuration or weights do not fit (RuntimeError: Trying to create tensor with",
  "configuration: heads that don't divide":
    "its configuration or weights do not fit (ValueError: The hidden size (32) is not a",
  "configuration: an unknown activation": "its configuration or weights do not fit (KeyError:",
  "configuration: deep nesting": '"text_config" nests too deeply',
  "random weights: a hidden size of 10^9": "its configuration asks for weights",
  "random weights: a vocabulary of 2^39": "its configuration asks for weights",
  "random weights: 10^9 layers":
    '"num_hidden_layers" is 1000000000, more than any model has (10000)',
  "configuration: broken JSON": "it is not valid JSON (line 2)",
  "configuration: a list": "it holds a list where a JSON object belongs",
  "configuration: deep JSON": "it is not valid JSON",
  "configuration: bytes": "it is not valid JSON (line 1)",
  "configuration: absent": "it has no config.json",
  "timm configuration: a fetched model":
    'its "model_args" set "pretrained", which would open other files',
  "timm configuration: a file as an argument":
    'its "model_args" set "checkpoint_path", which would open other files',
  "timm configuration: an unknown argument":
    "its arguments {'no_such_argument': 1} do not fit (TypeError: ResNet.__init__() got",
  "timm configuration: a name that is a list": 'its "architecture" is not a name',
  "timm configuration: a width of 10^9": "its configuration asks for weights",
  "program: code as a size": `its size expression "__import__('os').system(`,
  "program: an attribute as a size":
    `its size expression "Symbol('s0').__class__" holds more than arithmetic`,
  "program: a power as a size":
    'its size expression "Pow(Integer(10), Integer(10000000))" holds more than arithmetic',
  "program: powers of powers as a size": "holds more than arithmetic",
  "program: a lambda as a size": 'its size expression "(lambda: 1)()" holds more than arithmetic',
  "program: a system call": 'its program calls "torch.os.system", which is no operator of a model',
  "program: a download": 'its program calls "torch.hub.load", which is no operator of a model',
  "program: an operator that opens files":
    'its program calls "torch.ops.aten.from_file.default", which is no operator of a',
  "program: a foreign operator":
    'its program calls "torch.ops.evil.run.default", which is no operator of a model',
  "program: a registered class": 'its inputs or outputs are of the class "evil.Class"',
  "program: an enumeration that imports": "its inputs or outputs have keys that are objects",
  "program: a name that is code": 'its program uses "x);os" where a name belongs',
  "program: an object as an argument": "its program holds objects that are no tensors",
  "program: a pickled weight": 'its pickle wants "posix.system", which is code and not weights',
  "program: a pickled constant": 'its constant "object" is a pickled object, not a tensor',
  "program: a pickled example": 'its pickle wants "posix.system", which is code and not weights',
  "program: a weight that claims more":
    'its weight "convolution.weight" claims the sizes [1099511627776] and has 432 bytes',
  "program: compiled code": "it holds code that AOTInductor compiled for one machine",
  "program: no graph": "its program is not of the form that PyTorch writes",
  "program: broken JSON": "its program is not of the form that PyTorch writes",
  "program: cut in half": "the zip that it consists of is damaged or cut short",
  "program: with a task":
    `it is a torch.export program, whose code is fixed: the task "causal-lm" can't be`,
  "TorchScript: saves a tensor": 'its code calls "aten::save", which opens files',
  "TorchScript: reads a file": 'its code calls "aten::from_file", which opens files',
  "TorchScript: cut in half": "the zip that it consists of is damaged or cut short",
  "TorchScript: other code": "PyTorch can't read it (Unexpected token in code import: eof:)",
  "TorchScript: a bomb as code": "its compressed entries unpack to 314572800 bytes",
};

Deno.test("bad sources are refused: a sentence, no traceback, no file, no code run", async () => {
  const found = await answers("bad");
  assert.deepEqual([...found.keys()].sort(), Object.keys(REFUSED).sort());
  for (const [name, { answer, left, executed, grown }] of found) {
    assert.equal(answer?.type, "error", `${name}: ${JSON.stringify(answer)}`);
    assert.equal(answer.kind, "input", `${name}: ${answer.message} ${answer.traceback}`);
    assert.equal(answer.traceback, null, name);
    assert.match(answer.message, /^Cannot (load|read|make) "[^\n]*\.$/, name);
    assert.ok(answer.message.includes(REFUSED[name]!), `${name}: ${answer.message}`);
    assert.deepEqual(left, {}, name);
    assert.equal(executed, false, `${name}: code from the source ran`);
    assert.ok(grown < MEMORY_OF_REFUSAL, `${name}: ${grown} bytes`);
  }
});

Deno.test("changed bytes of good sources load or are refused", async () => {
  const outcome = JSON.parse(await python("fuzz.py", "", "240", "20261123")) as {
    loaded: number;
    refused: number;
    bugs: string[];
  };
  assert.deepEqual(outcome.bugs, []);
  assert.equal(outcome.loaded + outcome.refused, 240);
  assert.ok(outcome.refused > 120, JSON.stringify(outcome));
});
