/** The converters there are; a new one is a file and a line here. */
import "./onnx_to_onnx.ts";
import "./onnx_to_openvino.ts";
import "./onnx_to_webgpu.ts";
import "./pytorch_to_onnx.ts";

export { ModelConverterRegistry, registerConverter } from "./registry.ts";
