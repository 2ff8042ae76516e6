import { BitnetError } from "../engine/errors.js";
import type { GenerationResult, Model } from "../engine/index.js";
import { INTERRUPTED } from "./failure.js";
import { fileOptions, generateOptions, type ModelFlags, openModel, type SamplingFlags } from "./model.js";
import { readText, style, write, writeJson } from "./terminal.js";
import { readEnvironment } from "./values.js";

export interface RunFlags extends ModelFlags, SamplingFlags {
  readonly prompt?: string;
  readonly json?: boolean;
  readonly receipt?: string;
}

/** `bitnet run`: continues a prompt. */
export async function run(flags: RunFlags): Promise<void> {
  if (flags.prompt === undefined && process.stdin.isTTY)
    throw new BitnetError("usage", "--prompt is missing: give a text, or - for standard input");
  const environment = readEnvironment(process.env);
  const prompt = await readText(flags.prompt ?? "-");
  const interrupt = new AbortController();
  // Once: a second Ctrl-C ends the process at once, as it does by default.
  process.once("SIGINT", () => interrupt.abort());

  let model: Model | undefined;
  try {
    model = await openModel(flags, environment, { signal: interrupt.signal });
    // Bytes from a pipe need not be text: they reach the tokenizer as they are.
    const input = typeof prompt === "string" ? prompt : model.tokenizer.encodeBytes(prompt);
    const options = generateOptions(flags, environment, interrupt.signal);
    const generation = model.generate(input, flags.receipt === undefined ? options : { ...options, trace: true });
    if (flags.json) {
      const { promptIds, ids, text, stopReason, timings } = await generation.result();
      const { cachedTokens: _none, ...times } = timings;
      const rounded = Object.entries({ loadMs: model.loadMs, ...times }).map(([name, value]) => [name, Number(value.toFixed(3))]);
      await writeJson({ model: model.path, promptIds, ids, text, stopReason, timings: Object.fromEntries(rounded) });
    } else {
      // A reader at a terminal wants the whole story; a program wants what was written and nothing else.
      if (process.stdout.isTTY && typeof prompt === "string") await write(style("dim", prompt, process.stdout));
      for await (const piece of generation) await write(piece);
      await write("\n");
      await write(`${style("dim", figures(await generation.result(), model.loadMs), process.stderr)}\n`, process.stderr);
    }
    if (flags.receipt !== undefined) await writeReceipt(flags.receipt, flags, model, await generation.result());
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
  } finally {
    await model?.close();
  }
  if (interrupt.signal.aborted) process.exitCode = INTERRUPTED;
}

/** Writes how the text came about, unless it was given up. */
async function writeReceipt(path: string, flags: RunFlags, model: Model, result: GenerationResult): Promise<void> {
  if (result.stopReason === "aborted") return;
  const [{ makeReceipt }, { writeRecord }] = await Promise.all([
    import("../validation/receipts/receipt.js"),
    import("../validation/records/records.js"),
  ]);
  const { head, kv } = flags;
  const receipt = await makeReceipt(model, result as GenerationResult & Required<Pick<GenerationResult, "trace">>, {
    path: flags.model,
    load: { ...fileOptions(flags), ...(head !== undefined && { head }), ...(kv !== undefined && { kv }) },
    cliArgs: process.argv.slice(2),
    deterministic: process.env.BITNET_DETERMINISTIC === "1",
    date: new Date(),
  });
  await writeRecord(path, "receipt", receipt);
}

/** One line of figures for a person. */
export function figures({ timings, stopReason }: GenerationResult, loadMs: number): string {
  const { promptTokens, decodedTokens, prefillTokensPerSecond, decodeTokensPerSecond, firstTokenMs } = timings;
  const rate = (perSecond: number): string => (perSecond > 0 ? ` at ${perSecond.toFixed(perSecond < 100 ? 1 : 0)}/s` : "");
  const tokens = (count: number): string => `${count} token${count === 1 ? "" : "s"}`;
  return [
    `load ${loadMs.toFixed(0)} ms`,
    `prompt ${tokens(promptTokens)}${rate(prefillTokensPerSecond)}`,
    `first token ${firstTokenMs.toFixed(0)} ms`,
    `${tokens(decodedTokens)}${rate(decodeTokensPerSecond)}`,
    `stop: ${stopReason}`,
  ].join(" | ");
}
