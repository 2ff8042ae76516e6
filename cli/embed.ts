import { isUtf8 } from "node:buffer";
import { BitnetError } from "../engine/errors.js";
import type { Model, Pooling } from "../engine/index.js";
import { interruptible } from "./command.js";
import { F32File } from "./f32-file.js";
import { type ModelFlags, openModel } from "./model.js";
import { readBytes, requireOutput, write, writeJson } from "./terminal.js";
import { onlyOne, readEnvironment } from "./values.js";

export interface EmbedFlags extends ModelFlags {
  readonly text?: readonly string[];
  readonly file?: string;
  readonly pooling?: Pooling;
  readonly instruction?: string;
  /** false with `--no-normalize`. */
  readonly normalize: boolean;
  readonly f32Out?: string;
  readonly json?: boolean;
}

/** Texts that are embedded, and written, at a time. */
const PART = 256;

/** `bitnet embed`: a vector of each text. */
export async function embed(flags: EmbedFlags): Promise<void> {
  const texts = onlyOne(flags, ["text", "file"]) === "text" ? (flags.text ?? []) : await readLines(flags.file ?? "-");
  if (flags.json && flags.f32Out !== undefined) throw new BitnetError("usage", "give one of --json and --f32-out, not both");
  if (flags.f32Out !== undefined) await requireOutput("--f32-out", flags.f32Out);
  const out = flags.f32Out === undefined ? undefined : F32File.create(flags.f32Out, "--f32-out");
  const environment = readEnvironment(process.env);
  try {
    await interruptible("embedding", async (status, signal) => {
      const model = await openModel(flags, environment, { signal });
      try {
        const { pooling = model.pooling, instruction, normalize } = flags;
        const options = { pooling, normalize, signal, ...(instruction !== undefined && { instruction }) };
        const all: number[][] = [];
        for (let first = 0; first < texts.length; first += PART) {
          for (const vector of await part(model, texts, first, options)) {
            if (out) out.append(vector);
            else if (flags.json) all.push(numbers(vector));
            else await writeJson(numbers(vector));
          }
          status.update(Math.min(1, (first + PART) / texts.length));
        }
        out?.commit();
        if (flags.json) await writeJson({ model: model.path, pooling, embeddings: all });
        if (out) await write(`${texts.length} vectors of ${model.config.hiddenSize} numbers, ${pooling} pooling\n`);
      } finally {
        await model.close();
      }
    });
  } finally {
    out?.discard();
  }
}

function part(model: Model, texts: readonly string[], first: number, options: Parameters<Model["embed"]>[1]): Promise<Float32Array[]> {
  return model.embed(texts.slice(first, first + PART), options);
}

/** Nine digits tell every f32 from its neighbours. */
const numbers = (vector: Float32Array): number[] => Array.from(vector, (value) => Number(value.toPrecision(9)));

/** One text a line. @throws BitnetError usage: not UTF-8, or a line without text */
async function readLines(path: string): Promise<string[]> {
  const bytes = await readBytes(path, "--file");
  if (!isUtf8(bytes)) throw new BitnetError("usage", "--file: the texts are not UTF-8");
  const lines = new TextDecoder().decode(bytes).split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  const empty = lines.length === 0 ? 0 : lines.indexOf("");
  if (empty >= 0) throw new BitnetError("usage", `--file: line ${empty + 1} is empty: each line must have a text`);
  return lines;
}
