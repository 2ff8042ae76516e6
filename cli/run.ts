import { BitnetError } from "../engine/errors.js";
import type { GenerationResult, Model } from "../engine/index.js";
import { INTERRUPTED } from "./failure.js";
import { generateOptions, type ModelFlags, openModel, type SamplingFlags } from "./model.js";
import { readText, style, write, writeJson } from "./terminal.js";
import { readEnvironment } from "./values.js";

export interface RunFlags extends ModelFlags, SamplingFlags {
  readonly prompt?: string;
  readonly json?: boolean;
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
    const generation = model.generate(input, generateOptions(flags, environment, interrupt.signal));
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
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
  } finally {
    await model?.close();
  }
  if (interrupt.signal.aborted) process.exitCode = INTERRUPTED;
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
