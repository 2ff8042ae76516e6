import { isUtf8 } from "node:buffer";
import { BitnetError } from "../engine/errors.js";
import type { AnswerFormat, FileOptions, GenerateOptions, LoadOptions, Model } from "../engine/index.js";
import { printable } from "./failure.js";
import { readFlagFile, Status, write } from "./terminal.js";
import type { Environment } from "./values.js";

/** Flags of every command that reads a network. */
export interface FileFlags {
  readonly model?: string;
  readonly tokenizer?: string;
  readonly activation?: LoadOptions["activation"];
  readonly activations?: LoadOptions["activations"];
  readonly i2sLayout?: LoadOptions["i2sLayout"];
}

/** Flags of every command that loads weights. */
export interface ModelFlags extends FileFlags {
  readonly ctx?: number;
  readonly threads?: number;
  readonly tier?: LoadOptions["tier"];
  readonly head?: LoadOptions["head"];
  readonly kv?: LoadOptions["kv"];
  readonly states?: number;
}

/** Flags of every command that writes text. */
export interface SamplingFlags {
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly presencePenalty?: number;
  readonly frequencyPenalty?: number;
  readonly seed?: number;
  readonly stop?: readonly string[];
  readonly stopId?: readonly number[];
  readonly speculate?: boolean;
  readonly jsonSchema?: string;
  readonly grammar?: string;
}

/** The library's options for what was said about the file. */
export function fileOptions({ tokenizer, activation, activations, i2sLayout }: FileFlags): FileOptions {
  return {
    ...(tokenizer !== undefined && { tokenizer }),
    ...(activation !== undefined && { activation }),
    ...(activations !== undefined && { activations }),
    ...(i2sLayout !== undefined && { i2sLayout }),
  };
}

/** Loads the model that the flags name, or the embedded one; says so if it takes long. Flags win over the environment. */
export async function openModel(flags: ModelFlags, environment: Environment, more: LoadOptions): Promise<Model> {
  const { loadModel } = await import("../engine/index.js");
  const threads = flags.threads ?? environment.threads;
  const status = new Status("loading the model");
  let model: Model | undefined;
  try {
    model = await loadModel(flags.model, {
      ...(threads !== undefined && { threads }),
      ...(flags.ctx !== undefined && { contextLength: flags.ctx }),
      ...(flags.tier !== undefined && { tier: flags.tier }),
      ...(flags.head !== undefined && { head: flags.head }),
      ...(flags.kv !== undefined && { kv: flags.kv }),
      ...(flags.states !== undefined && { states: flags.states }),
      ...fileOptions(flags),
      v8Flags: true,
      onProgress: ({ done, total }) => status.update(done / Math.max(total, 1)),
      ...more,
    });
  } finally {
    status.end();
  }
  await writeNotes(model.notes);
  return model;
}

/** Says on standard error what was assumed of a model, its texts with control characters escaped. */
export async function writeNotes(notes: readonly string[]): Promise<void> {
  for (const note of notes) await write(`note: ${printable(note)}\n`, process.stderr);
}

/** What answers are held to, read from the file that a flag names; undefined: nothing. @throws BitnetError usage, io */
export async function readFormat({ jsonSchema, grammar }: SamplingFlags): Promise<AnswerFormat | undefined> {
  if (jsonSchema !== undefined && grammar !== undefined)
    throw new BitnetError("usage", "give one of --json-schema and --grammar, not both");
  const read = async (path: string, flag: string): Promise<string> => {
    const bytes = await readFlagFile(path, flag);
    if (!isUtf8(bytes)) throw new BitnetError("usage", `${flag}: ${path} is not UTF-8`, { file: path });
    return new TextDecoder().decode(bytes);
  };
  if (grammar !== undefined) return { grammar: await read(grammar, "--grammar") };
  if (jsonSchema === undefined) return undefined;
  const text = await read(jsonSchema, "--json-schema");
  try {
    return { schema: JSON.parse(text) };
  } catch (cause) {
    const { message } = cause as Error;
    throw new BitnetError("usage", `--json-schema: ${jsonSchema} is not JSON: ${message}`, { file: jsonSchema }, { cause });
  }
}

/** The library's options for what was asked; the rest is left to the model's generation_config. */
export function generateOptions(
  flags: SamplingFlags,
  environment: Environment,
  format: AnswerFormat | undefined,
  signal: AbortSignal,
): GenerateOptions {
  const { maxTokens, temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty, stop, stopId, speculate } = flags;
  const penalties = { repetitionPenalty, presencePenalty, frequencyPenalty };
  const asked = { maxTokens, temperature, topK, topP, minP, ...penalties, stop, stopIds: stopId, speculate };
  const given = Object.entries(asked).filter(([, value]) => value !== undefined);
  return { ...Object.fromEntries(given), seed: flags.seed ?? environment.seed, ...(format && { format }), signal };
}
