/** What a confined Python is started with: options of bubblewrap, and its whole environment. */
import { join } from "node:path";
import type { View } from "./view.ts";

const WINDOWS = Deno.build.os === "windows";

/** Options of bubblewrap that show `view` and nothing else. */
export function bubblewrapOptions(view: View, network: boolean): string[] {
  const options = ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"];
  if (network) options.push("--share-net");
  options.push("--proc", "/proc", "--dev", "/dev");
  for (const path of view.system) options.push("--ro-bind-try", path, path);
  for (const [outside, inside] of view.readable) options.push("--ro-bind", outside, inside);
  for (const [outside, inside] of view.writable) options.push("--bind", outside, inside);
  // Files there would be memory that no limit counts.
  options.push("--remount-ro", "/dev", "--remount-ro", "/");
  return options;
}

/** How the network is reached, where that is told by variables that may be read. */
function handedOn(): Record<string, string> {
  const names = "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy " +
    "no_proxy SSL_CERT_FILE SSL_CERT_DIR";
  const found: Record<string, string> = {};
  for (const variable of names.split(" ")) {
    if (Deno.permissions.querySync({ name: "env", variable }).state !== "granted") continue;
    const value = Deno.env.get(variable);
    if (value !== undefined) found[variable] = value;
  }
  return found;
}

/** The whole environment of the child. */
export function environmentOf(work: string, allowHub: boolean): Record<string, string> {
  const offline = {
    HF_HUB_OFFLINE: "1",
    HF_DATASETS_OFFLINE: "1",
    TRANSFORMERS_OFFLINE: "1",
  };
  return {
    ...(WINDOWS ? { TEMP: work, TMP: work } : { PATH: "/usr/bin:/bin", TMPDIR: work }),
    HOME: work,
    USER: "modelcast",
    LOGNAME: "modelcast",
    LANG: "C.UTF-8",
    XDG_CACHE_HOME: join(work, "cache"),
    PYTHONDONTWRITEBYTECODE: "1",
    PYTHONHASHSEED: "0",
    PYTHONUTF8: "1",
    ...(allowHub ? handedOn() : offline),
    HF_HOME: join(work, "huggingface"),
    HF_HUB_DISABLE_TELEMETRY: "1",
    HF_HUB_DISABLE_IMPLICIT_TOKEN: "1",
    HF_HUB_DISABLE_PROGRESS_BARS: "1",
    DO_NOT_TRACK: "1",
    ORT_DISABLE_TELEMETRY: "1",
    TOKENIZERS_PARALLELISM: "false",
    // SciPy's and NumPy's own, which takes memory for every thread when it is loaded.
    OPENBLAS_NUM_THREADS: "1",
    TORCHINDUCTOR_CACHE_DIR: join(work, "inductor"),
    TRITON_CACHE_DIR: join(work, "triton"),
    CUDA_VISIBLE_DEVICES: "",
    NO_COLOR: "1",
  };
}
