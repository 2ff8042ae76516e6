import type { Conversion, ConversionType, EmbeddingType } from "../engine/index.js";
import { interruptible } from "./command.js";
import { printable } from "./failure.js";
import { type FileFlags, fileOptions } from "./model.js";
import { write, writeJson } from "./terminal.js";

export interface ConvertFlags extends FileFlags {
  readonly type?: ConversionType;
  readonly embedding?: EmbeddingType;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** `bitnet convert`: a model in another form. */
export async function convert(model: string, output: string, flags: ConvertFlags): Promise<void> {
  const { convertModel } = await import("../engine/index.js");
  const done = await interruptible("converting", (status, signal) =>
    convertModel(model, output, {
      ...fileOptions(flags),
      ...(flags.type !== undefined && { type: flags.type }),
      ...(flags.embedding !== undefined && { embedding: flags.embedding }),
      ...(flags.force !== undefined && { force: flags.force }),
      signal,
      onProgress: ({ done, total }) => status.update(done / Math.max(total, 1)),
    }),
  );
  if (!done) return;
  if (flags.json) await writeJson(done);
  else await write(summary(done));
}

/** What was written, for a person. */
export function summary({ path, format, bytes, architecture, layers, embedding, rounded }: Conversion): string {
  const kind = format === "gguf" ? `GGUF, layers ${layers}` : "SafeTensors, packed layers";
  const lines = [`${path}: ${kind}, embedding ${embedding}, ${architecture}, ${(bytes / 1e6).toFixed(1)} MB`];
  for (const { of, type, changed, count, relativeError } of rounded) {
    lines.push(`${of}: ${changed} of ${count} rounded to ${type}, relative error ${relativeError.toExponential(1)}`);
  }
  if (rounded.length === 0) lines.push("every weight is bit-identical");
  return `${lines.map(printable).join("\n")}\n`;
}
