/** What config.json says about how weights are stored. */
import { show } from "../container/quote.js";
import { isObject, type JsonObject } from "../container/sidecar.js";
import { refuse } from "./refusal.js";

/** `quantization_config` of a Hugging Face BitNet model. */
export interface HfPacking {
  /** online: master weights, ternarised at load; offline: 2-bit codes. */
  readonly mode: "online" | "offline";
  /** Whether `weight_scale` is the inverse of the scale (`linear_class: "bitlinear"`) or the scale (`"autobitlinear"`). */
  readonly inverseScale: boolean;
}

/** MLX has codes in U32 with scales and biases, and says so in a way of its own. @throws BitnetError unsupported */
export function requireNoMlx(json: JsonObject, path: string): void {
  for (const key of ["quantization", "quantization_config"]) {
    const given = json[key];
    if (!isObject(given) || given.quant_method != null || given.bits === undefined || given.group_size === undefined) continue;
    const form = `${show(given.bits)} bits, groups of ${show(given.group_size)}`;
    refuse(
      path,
      `config.json: ${key} is MLX quantisation (${form}), which is not supported; get the model's GGUF, or its "unpacked" SafeTensors`,
    );
  }
}

/** Other values of `quant_method`, by what they are called. */
const QUANT_METHODS: ReadonlyMap<string, string> = new Map([
  ["gptq", "GPTQ"],
  ["awq", "AWQ"],
  ["bitsandbytes", "bitsandbytes' 4 or 8 bits"],
  ["compressed-tensors", "compressed-tensors (LLM Compressor)"],
  ["fp8", "8-bit floats"],
  ["fbgemm_fp8", "8-bit floats"],
  ["hqq", "HQQ"],
  ["aqlm", "AQLM"],
  ["quanto", "Quanto"],
  ["torchao", "torchao"],
  ["eetq", "EETQ"],
  ["exl2", "ExLlamaV2"],
  ["exl3", "ExLlamaV3"],
  ["auto-round", "AutoRound"],
  ["modelopt", "ModelOpt"],
  ["quark", "Quark"],
  ["mxfp4", "4-bit floats"],
  ["vptq", "VPTQ"],
  ["higgs", "HIGGS"],
]);

/** The ternary layers of layer %, as Hugging Face's classes name their modules. */
const MODULES = [
  ...["q", "k", "v", "o"].map((role) => `model.layers.%.self_attn.${role}_proj`),
  ...["gate", "up", "down"].map((role) => `model.layers.%.mlp.${role}_proj`),
];

/**
 * The first entry of `modules_to_not_convert` that would leave a ternary layer in floats, which is not known here. Libraries look for it as a part
 * of the module's name, or as a pattern; what names other modules (the head, the embedding, norms: none is ever ternary) changes nothing.
 */
function exemption(modules: readonly string[], layers: number): string | undefined {
  return modules.find((module) => {
    const ofLayer = module.replace(/(?<![^.])\d+(?![^.])/, (digits) => (Number(digits) < layers ? "%" : digits));
    return /[^\w.%-]/.test(ofLayer) || MODULES.some((name) => name.includes(ofLayer));
  });
}

/** Missing keys mean what the Hugging Face class `BitNetQuantConfig` defaults to: bitlinear, offline. */
export function hfPacking(json: unknown, layers: number, path: string): HfPacking {
  const odd = (key: string, got: unknown): never =>
    refuse(path, `config.json: quantization_config.${key} is ${show(got)}, which is not supported`);
  if (!isObject(json)) return refuse(path, `config.json: quantization_config must be an object with a quant_method, not ${show(json)}`);
  // Versions of bitsandbytes' files before there was a quant_method.
  const old = json.quant_method == null ? ["load_in_4bit", "load_in_8bit"].find((key) => json[key] === true) : undefined;
  const [key, method] = old === undefined ? ["quant_method", json.quant_method] : [old, true];
  if (method !== "bitnet") {
    const other =
      old !== undefined ? QUANT_METHODS.get("bitsandbytes") : typeof method === "string" ? QUANT_METHODS.get(method) : undefined;
    if (other === undefined) odd(key, method);
    refuse(
      path,
      `config.json: quantization_config.${key} is ${show(method)}: the weights are in ${other} format, but only ternary weights ("bitnet") and plain floats are supported`,
    );
  }
  const linear = json.linear_class ?? "bitlinear";
  const mode = json.quantization_mode ?? "offline";
  if (linear !== "bitlinear" && linear !== "autobitlinear") return odd("linear_class", linear);
  if (mode !== "online" && mode !== "offline") return odd("quantization_mode", mode);
  if (json.use_rms_norm != null && json.use_rms_norm !== false) odd("use_rms_norm", json.use_rms_norm);
  const left: unknown = json.modules_to_not_convert ?? [];
  if (!Array.isArray(left) || !left.every((module) => typeof module === "string")) return odd("modules_to_not_convert", left);
  const exempt = exemption(left, layers);
  if (exempt !== undefined) {
    refuse(
      path,
      `config.json: quantization_config.modules_to_not_convert has ${show(exempt)}, but linear layers that are not ternary are not supported`,
    );
  }
  return { mode, inverseScale: linear === "bitlinear" };
}
