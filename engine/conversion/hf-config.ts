import { BitnetError } from "../errors.js";
import type { ModelConfig } from "../model/config.js";
import { llama3Factors, ROPE_FACTORS } from "../model/rope.js";
import { YARN_FAST, YARN_SLOW, yarnAttention } from "../rope.js";
import { familyOf } from "./families.js";

/** `quantization_config` of packed weights, whose `weight_scale` multiplies. */
export const PACKED = { quant_method: "bitnet", linear_class: "autobitlinear", quantization_mode: "offline" } as const;

/** LLaMA-3's scaling of RoPE is four numbers; all published models have these, and one of these lengths. */
const LOW = 1;
const HIGH = 4;
const LENGTHS = [8192, 2048, 4096, 16384, 32768];

/** How far factors may be from those of another's arithmetic. */
const FACTOR_ERROR = 1e-5;

/**
 * LLaMA-3's numbers from the factors that follow from them, which are all that GGUF has.
 * @throws BitnetError unsupported: the factors are of another kind
 */
function llama3Scaling({ ropeFactors, ropeTheta, headDim }: ModelConfig, file: string): object | undefined {
  if (ropeFactors === undefined) return undefined;
  const factor = Math.max(...ropeFactors);
  for (const length of LENGTHS) {
    const same = llama3Factors(ropeTheta, headDim, factor, LOW, HIGH, length).every(
      (value, i) => Math.abs(value - ropeFactors[i]!) <= FACTOR_ERROR * value,
    );
    if (!same) continue;
    return { rope_type: "llama3", factor, low_freq_factor: LOW, high_freq_factor: HIGH, original_max_position_embeddings: length };
  }
  throw new BitnetError(
    "unsupported",
    `${file}: rope_freqs.weight has factors other than LLaMA-3's RoPE scaling, which config.json can't express`,
    { file },
  );
}

/** Linear scaling or YaRN in config.json's words. @throws BitnetError unsupported: it has none for them */
function stretching({ ropeScaling }: ModelConfig, file: string): object | undefined {
  if (ropeScaling === undefined) return undefined;
  const { type, factor, attention, ramp } = ropeScaling;
  if (ramp === undefined) {
    if (attention === 1) return { rope_type: type, factor: shortest(factor) };
    throw new BitnetError(
      "unsupported",
      `${file}: an attention factor of ${attention} without yarn (rope.scaling.attn_factor) can't be expressed in config.json; convert to a GGUF type`,
      { file },
    );
  }
  return {
    rope_type: type,
    factor: shortest(factor),
    original_max_position_embeddings: ramp.originalContext,
    ...(attention !== Math.fround(yarnAttention(factor)) && { attention_factor: attention }),
    ...(ramp.fast !== YARN_FAST && { beta_fast: ramp.fast }),
    ...(ramp.slow !== YARN_SLOW && { beta_slow: ramp.slow }),
    ...(!ramp.truncate && { truncate: false }),
  };
}

function ropeScaling(config: ModelConfig, file: string): object | undefined {
  const [llama3, stretched] = [llama3Scaling(config, file), stretching(config, file)];
  if (llama3 && stretched) {
    const what = `${ROPE_FACTORS} beside rope.scaling keys`;
    throw new BitnetError("unsupported", `${file}: ${what} can't be expressed in config.json; convert to a GGUF type`, { file });
  }
  return llama3 ?? stretched;
}

/** The number with the fewest digits that is the same in f32: GGUF holds 1e-5 as 0.000009999999747378752. */
function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return value;
}

/** config.json of a network that comes from GGUF, with packed weights. @throws BitnetError unsupported */
export function hfConfig(config: ModelConfig, bosId: number | undefined, eosIds: readonly number[], file: string): object {
  const { hf, modelType } = familyOf(config);
  const scaling = ropeScaling(config, file);
  return {
    architectures: [hf],
    ...(bosId !== undefined && { bos_token_id: bosId }),
    ...(eosIds.length > 0 && { eos_token_id: eosIds[0] }),
    ...(config.attentionSize !== config.hiddenSize && { head_dim: config.headDim }),
    hidden_act: config.activation,
    hidden_size: config.hiddenSize,
    intermediate_size: config.ffnSize,
    max_position_embeddings: config.contextLength,
    model_type: modelType,
    num_attention_heads: config.heads,
    num_hidden_layers: config.layers,
    num_key_value_heads: config.kvHeads,
    rms_norm_eps: shortest(config.rmsNormEps),
    ...(scaling !== undefined && { rope_scaling: scaling }),
    rope_theta: shortest(config.ropeTheta),
    tie_word_embeddings: config.tiedHead,
    torch_dtype: "bfloat16",
    use_cache: true,
    vocab_size: config.vocabSize,
    quantization_config: PACKED,
  };
}
