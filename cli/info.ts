import type { ModelDescription, TokenDescription } from "../engine/index.js";
import { printable } from "./failure.js";
import { type FileFlags, fileOptions, type ModelFlags } from "./model.js";
import { style, write, writeJson } from "./terminal.js";
import { readEnvironment } from "./values.js";

export interface InfoFlags extends FileFlags, Pick<ModelFlags, "threads" | "tier"> {
  readonly json?: boolean;
}

/** `bitnet info`: describes a model and how it would run; no weights are loaded. */
export async function info(flags: InfoFlags): Promise<void> {
  const threads = flags.threads ?? readEnvironment(process.env).threads;
  const { describeModel } = await import("../engine/index.js");
  const description = await describeModel(flags.model, {
    ...(threads !== undefined && { threads }),
    ...(flags.tier !== undefined && { tier: flags.tier }),
    ...fileOptions(flags),
    v8Flags: true, // as the commands that load the weights do
  });
  if (flags.json) await writeJson(description);
  else await write(table(description, (text) => style("bold", text, process.stdout)));
}

type Rows = readonly (readonly [label: string, value: string | undefined])[];

/** A description as rows for a person. Whatever the file says is shown with its control characters escaped. */
export function table(description: ModelDescription, heading: (text: string) => string = (text) => text): string {
  const { config, quantisation, tokenizer, generationDefaults: defaults, kernels, files } = description;
  const sections: readonly (readonly [title: string, rows: Rows])[] = [
    [
      "model",
      [
        ["path", description.path],
        ["file", files[0] === description.path ? undefined : `${files[0]}${files.length > 1 ? ` and ${files.length - 1} more` : ""}`],
        ["format", description.format === "gguf" ? "GGUF" : "SafeTensors"],
        ["name", description.name],
        ["architecture", description.architecture],
        ["parameters", inWords(description.parameters)],
        ["size", megabytes(description.fileSize)],
        ["sha256", description.sha256],
      ],
    ],
    [
      "network",
      [
        ["layers", layersInWords(config)],
        ["hidden size", String(config.hiddenSize)],
        [
          "heads",
          `${config.heads} of dimension ${config.headDim}, ${config.kvHeads} key-value heads${config.attentionGates ? ", with gates" : ""}`,
        ],
        ["recurrent heads", recurrentInWords(config)],
        ["feed-forward size", String(config.ffnSize)],
        ["activation", ACTIVATIONS[config.activation]],
        [
          "norms",
          `RMSNorm, epsilon ${whole(config.rmsNormEps)}${config.subNorms ? ", with sub-norms" : ""}${config.postNorms ? ", behind blocks too" : ""}`,
        ],
        ["rope", `theta ${whole(config.ropeTheta)}, ${config.rope.toUpperCase()} pairs${partInWords(config)}${scalingInWords(config)}`],
        ["vocabulary", String(config.vocabSize)],
        ["factors", factorsInWords(config)],
        ["rotation", config.rotation && `Walsh–Hadamard in blocks of ${config.rotation.blockSize}`],
        ["output head", config.tiedHead ? "the embedding (tied)" : "separate"],
        ["context", `${config.contextLength} tokens`],
      ],
    ],
    [
      "weights",
      [
        ["linear layers", quantisation.linears.replace("(offline)", "(packed ternary)").replace("(online)", "(made ternary at load)")],
        ["embedding", quantisation.embedding],
        ["norms", quantisation.norms],
        ["activations", quantisation.activations],
        ["can't be loaded", quantisation.refusal],
      ],
    ],
    [
      "tokenizer",
      [
        ["source", tokenizer.source === "gguf" ? "the GGUF's metadata" : tokenizer.source],
        ["tokens", String(tokenizer.size)],
        ["beginning of text", tokenizer.bos && `${token(tokenizer.bos)}, ${tokenizer.addsBos ? "added" : "not added"}`],
        ["end of text", tokenizer.eos.map(token).join(", ") || undefined],
        ["ends of a turn", tokenizer.stops.map(token).join(", ") || "none"],
        ["chat template", description.chatTemplate ?? "none"],
        ...description.notes.map((note) => ["note", note] as const),
      ],
    ],
    [
      "generation defaults",
      [
        ["temperature", defaults.temperature === 0 ? "0 (greedy)" : whole(defaults.temperature)],
        ["top-k", defaults.topK === 0 ? undefined : String(defaults.topK)],
        ["top-p", defaults.topP === 1 ? undefined : whole(defaults.topP)],
        ["min-p", defaults.minP === 0 ? undefined : whole(defaults.minP)],
        ["repetition penalty", defaults.repetitionPenalty === 1 ? undefined : whole(defaults.repetitionPenalty)],
      ],
    ],
    [
      "runs here with",
      [
        ["kernels", `${kernels.tier} (${kernels.why})`],
        ["threads", String(description.threads)],
      ],
    ],
  ];
  const lines = sections.flatMap(([title, rows]) => [
    heading(title),
    ...rows.flatMap(([label, value]) => (value === undefined ? [] : [`  ${label.padEnd(LABEL_WIDTH)}${printable(value)}`])),
  ]);
  return `${lines.join("\n")}\n`;
}

/** Columns until the values begin, after the indent. */
const LABEL_WIDTH = 20;

const ACTIVATIONS: Readonly<Record<ModelDescription["config"]["activation"], string>> = {
  ...{ relu2: "gated ReLU²", silu: "gated SiLU", gelu_tanh: "gated GELU (tanh)" },
};

type Config = ModelDescription["config"];

/** How many layers, and how many of them have a state in the place of attention. */
function layersInWords({ layers, recurrent }: Config): string {
  return recurrent ? `${layers}, of them ${recurrent.layers.filter(Boolean).length} recurrent (Gated DeltaNet)` : String(layers);
}

function recurrentInWords({ recurrent }: Config): string | undefined {
  return recurrent && `${recurrent.valueHeads} of dimension ${recurrent.headSize}, ${recurrent.keyHeads} key heads`;
}

/** What is scaled, if anything is. */
function factorsInWords({ embeddingScale, residualScale, logitScale }: Config): string | undefined {
  if (embeddingScale === 1 && residualScale === 1 && logitScale === 1) return undefined;
  return `embedding × ${whole(embeddingScale)}, blocks × ${whole(residualScale)}, logits ÷ ${whole(logitScale)}`;
}

/** Of RoPE: which dimensions it rotates, if not all. */
function partInWords({ ropeSize, headDim }: Config): string {
  return ropeSize === headDim ? "" : `, the first ${ropeSize} dimensions`;
}

/** Of RoPE: what follows its base; "" where it isn't scaled. YaRN's own attention factor is not mentioned. */
function scalingInWords({ ropeScaling }: ModelDescription["config"]): string {
  if (ropeScaling === undefined) return "";
  const { type, factor, attention, ramp } = ropeScaling;
  const own = ramp ? 1 + 0.1 * Math.log(factor) : 1;
  const stretched = factor > 1 ? `, ${type} factor ${whole(factor)}${ramp ? ` of ${ramp.originalContext}` : ""}` : "";
  return Math.abs(attention - own) < 1e-6 ? stretched : `${stretched}, attention factor ${whole(attention)}`;
}

function token({ id, text }: TokenDescription): string {
  return `${text} (${id})`;
}

/** A number as the file has it. An f32 read as f64 has extra digits: 0.000009999999747378752 is 0.00001. */
function whole(value: number): string {
  if (Number.isInteger(value) || Math.fround(value) !== value) return String(value);
  const shorter = [1, 2, 3, 4, 5, 6, 7, 8].map((digits) => Number(value.toPrecision(digits)));
  return String(shorter.find((short) => Math.fround(short) === value) ?? value);
}

/** 4200704 → "4.2 million" */
function inWords(count: number): string {
  return count < 1e9 ? `${(count / 1e6).toFixed(1)} million` : `${(count / 1e9).toFixed(2)} billion`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
