/**
 * Published models that this engine is made for. What is not known for certain is null, and shown as unknown: sizes and hashes are those that
 * public records of downloads name, licences those of the model's page.
 */

/** A published model. */
export interface KnownModel {
  /** For `bitnet pull`. */
  readonly name: string;
  /** The file that is pulled, or how its name ends; null: all that the model needs, or the one that the repository has. */
  readonly file: string | null;
  /** Bytes of that file, or of the weights. */
  readonly size: number | null;
  /** SHA-256 of that file, or of the weights. */
  readonly sha256: string | null;
  /** As the model's page names it. */
  readonly licence: string | null;
  /** Peak memory in bytes with a context of 2048 tokens, measured on this model or one of its shape. */
  readonly memory: number | null;
  /** What else to know. */
  readonly note: string | null;
}

const model = (name: string, more: Partial<Omit<KnownModel, "name">> = {}): KnownModel => ({
  ...{ name, file: null, size: null, sha256: null, licence: null, memory: null, note: null },
  ...more,
});

const FALCON = "falcon-llm-license";

export const CATALOGUE: readonly KnownModel[] = [
  model("microsoft/bitnet-b1.58-2B-4T-gguf", {
    file: "ggml-model-i2_s.gguf",
    size: 1_187_801_280,
    sha256: "4221b252fdd5fd25e15847adfeb5ee88886506ba50b8a34548374492884c2162",
    licence: "mit",
    memory: 1_316_000_000, // docs/performance.md, "Start, load, memory"
  }),
  model("microsoft/bitnet-b1.58-2B-4T", {
    size: 1_178_623_988,
    sha256: "8143ae115ed6babe5e5ada8fb8c5b769d8f417802b2db042ad98b4f7ed73975b",
    licence: "mit",
  }),
  model("tiiuae/Falcon-E-1B-Instruct-GGUF", { file: "ggml-model-i2_s.gguf", licence: FALCON }),
  model("tiiuae/Falcon-E-3B-Instruct-GGUF", {
    file: "ggml-model-i2_s.gguf",
    size: 999_908_608,
    sha256: "acef6896311c5d0713d80e4c7f7bc2ffa1fa183d905e2ca9236545372f434255",
    licence: FALCON,
  }),
  model("tiiuae/Falcon3-1B-Instruct-1.58bit", { licence: FALCON }),
  model("tiiuae/Falcon3-3B-Instruct-1.58bit", { licence: FALCON }),
  model("tiiuae/Falcon3-7B-Instruct-1.58bit", { licence: FALCON }),
  model("tiiuae/Falcon3-10B-Instruct-1.58bit", { licence: FALCON }),
  model("prism-ml/Ternary-Bonsai-1.7B-gguf", { file: "Ternary-Bonsai-1.7B-Q2_0.gguf", licence: "apache-2.0" }),
  model("prism-ml/Ternary-Bonsai-4B-gguf", { file: "Ternary-Bonsai-4B-Q2_0.gguf", licence: "apache-2.0" }),
  model("prism-ml/Ternary-Bonsai-8B-gguf", { file: "Ternary-Bonsai-8B-Q2_0.gguf", licence: "apache-2.0" }),
  model("prism-ml/Ternary-Bonsai-2-2B-gguf", { file: "PTQ1_0.gguf" }),
  model("prism-ml/Ternary-Bonsai-2-4B-gguf", { file: "PTQ1_0.gguf" }),
  model("prism-ml/Ternary-Bonsai-2-9B-gguf", { file: "PTQ1_0.gguf" }),
  model("openbmb/BitCPM4-0.5B-GGUF", { file: "tq2_0.gguf" }),
  model("openbmb/BitCPM4-1B-GGUF", { file: "tq2_0.gguf" }),
  model("HF1BitLLM/Llama3-8B-1.58-100B-tokens"),
  model("1bitLLM/bitnet_b1_58-large"),
  model("1bitLLM/bitnet_b1_58-3B"),
  model("microsoft/bitnet-embedding-0.6b", { file: "i2_s.gguf", licence: "mit", note: "for bitnet embed" }),
  model("microsoft/bitnet-embedding-270m", { file: "i2_s.gguf", licence: "mit", note: "for bitnet embed" }),
  model("SpectraSuite/TriLM_3.9B_Unpacked", { note: "add --activations float" }),
];

/** The entry of a repository, whatever the case of its letters. */
export function knownModel(name: string): KnownModel | undefined {
  const wanted = name.toLowerCase();
  return CATALOGUE.find((one) => one.name.toLowerCase() === wanted);
}

/** The full name of what is known by its second half: `bitnet-b1.58-2B-4T-gguf`. */
export function nearestKnown(text: string): string | undefined {
  const wanted = text.toLowerCase();
  return CATALOGUE.find(({ name }) => name.toLowerCase().split("/")[1] === wanted)?.name;
}
