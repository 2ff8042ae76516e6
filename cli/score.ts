import { BitnetError } from "../engine/errors.js";
import { F32File } from "./f32-file.js";
import { INTERRUPTED } from "./failure.js";
import { type ModelFlags, openModel } from "./model.js";
import { readBytes, readText, requireOutput, Status, write, writeJson } from "./terminal.js";
import { onlyOne, readEnvironment } from "./values.js";

export interface ScoreFlags extends ModelFlags {
  readonly text?: string;
  readonly file?: string;
  readonly ids?: readonly number[];
  readonly reference?: boolean;
  /** false with `--no-activation-quant`. */
  readonly activationQuant: boolean;
  readonly logitsOut?: string;
  readonly json?: boolean;
}

/** `bitnet score`: how likely the model finds a text. */
export async function score(flags: ScoreFlags): Promise<void> {
  const source = onlyOne(flags, ["text", "file", "ids"]);
  if (!flags.activationQuant && !flags.reference) {
    throw new BitnetError(
      "usage",
      "--no-activation-quant requires --reference: the kernels always quantise activations, as the model defines",
    );
  }
  if (flags.logitsOut !== undefined) await requireOutput("--logits-out", flags.logitsOut);
  const environment = readEnvironment(process.env);
  const input =
    source === "ids"
      ? (flags.ids ?? [])
      : source === "file"
        ? await readBytes(flags.file ?? "-", "--file")
        : await readText(flags.text ?? "-");
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort());
  const { signal } = interrupt;
  const logits = flags.logitsOut === undefined ? undefined : F32File.create(flags.logitsOut, "--logits-out");
  try {
    const model = await openModel(flags, environment, {
      signal,
      ...(flags.reference && { reference: true, activationQuant: flags.activationQuant }),
    });
    const status = new Status("scoring");
    try {
      const onLogits = logits && ((_: number, row: Float32Array) => logits.append(row));
      const { ids, nll, meanNll, perplexity, policy } = await model.score(input, { signal, ...(onLogits && { onLogits }) });
      logits?.commit();
      status.end();
      if (flags.json) await writeJson({ ids, nll, meanNll, perplexity, policy });
      else await write(`${ids.length} tokens, mean NLL ${meanNll.toFixed(6)}, perplexity ${perplexity.toFixed(4)}\n`);
    } finally {
      status.end();
      await model.close();
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    process.exitCode = INTERRUPTED;
  } finally {
    logits?.discard();
  }
}
