import { isUtf8 } from "node:buffer";
import { BitnetError } from "../engine/errors.js";
import type { GenerateOptions, Generation, GenerationResult, Model } from "../engine/index.js";
import { escapeControls, INTERRUPTED } from "./failure.js";
import { fileOptions, generateOptions, type ModelFlags, openModel, readFormat, type SamplingFlags } from "./model.js";
import type { TemplateVars } from "./template-vars.js";
import { readBytes, readText, requireOutput, style, write, writeJson, writeText } from "./terminal.js";
import { readEnvironment } from "./values.js";

export interface RunFlags extends ModelFlags, SamplingFlags {
  readonly prompt?: string;
  readonly file?: string;
  readonly system?: string;
  readonly templateVar?: TemplateVars;
  readonly json?: boolean;
  readonly jsonl?: boolean;
  readonly receipt?: string;
}

/** A question, or a sentence that is complete, has no continuation. */
const NOTHING_MORE =
  "note: the model ended the text at once: run continues a text; to have it answered, use bitnet chat, or run with --system";

/** `bitnet run`: continues a prompt, or answers it. */
export async function run(text: string | undefined, flags: RunFlags): Promise<void> {
  if (flags.json && flags.jsonl) throw new BitnetError("usage", "give one of --json and --jsonl, not both");
  if (flags.templateVar && flags.system === undefined)
    throw new BitnetError("usage", "--template-var requires --system, which uses the chat template");
  if (flags.receipt !== undefined && (flags.jsonSchema ?? flags.grammar) !== undefined)
    throw new BitnetError("usage", "--receipt can't be combined with --json-schema or --grammar, which a receipt does not record");
  if (flags.receipt !== undefined) await requireOutput("--receipt", flags.receipt);
  const environment = readEnvironment(process.env);
  const format = await readFormat(flags);
  const prompt = await readPrompt(text, flags);
  const interrupt = new AbortController();
  // Once: a second Ctrl-C ends the process at once, as it does by default.
  process.once("SIGINT", () => interrupt.abort());

  let model: Model | undefined;
  try {
    model = await openModel(flags, environment, { signal: interrupt.signal });
    const options = generateOptions(flags, environment, format, interrupt.signal);
    const generation = begin(model, prompt, flags, flags.receipt === undefined ? options : { ...options, trace: true });
    if (flags.json) await writeJson(summary(await generation.result(), model));
    else if (flags.jsonl) {
      for await (const piece of generation) await writeJson({ piece });
      await writeJson(summary(await generation.result(), model));
    } else {
      // A person at a terminal wants to see the prompt too; a program wants only the generated text.
      if (process.stdout.isTTY && typeof prompt === "string" && flags.system === undefined) {
        await write(style("dim", escapeControls(prompt), process.stdout));
      }
      for await (const piece of generation) await writeText(piece);
      await write("\n");
      const { text } = await generation.result();
      if (text === "" && flags.system === undefined && flags.maxTokens !== 0 && !interrupt.signal.aborted)
        await write(`${NOTHING_MORE}\n`, process.stderr);
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

/** The prompt: what a person typed, or the bytes of a file or of standard input. Throws a usage error for none and for more than one. */
async function readPrompt(text: string | undefined, flags: RunFlags): Promise<string | Uint8Array> {
  const sources = { "a prompt": text, "--prompt": flags.prompt, "--file": flags.file };
  const given = Object.entries(sources).filter(([, value]) => value !== undefined);
  if (given.length > 1) throw new BitnetError("usage", `give only one prompt, not ${given.map(([name]) => name).join(" and ")}`);
  if (flags.file !== undefined) return readBytes(flags.file, "--file");
  const said = text ?? flags.prompt;
  if (said === undefined && process.stdin.isTTY) {
    throw new BitnetError("usage", 'no prompt: try bitnet run "Once upon a time", --file <path>, or pipe text to standard input');
  }
  const read = await readText(said ?? "-");
  // Nobody asked for standard input: under a scheduler, say, there is none.
  if (said === undefined && read.length === 0)
    throw new BitnetError("usage", 'there is no prompt, and standard input is empty: try bitnet run "Once upon a time", or --file <path>');
  return read;
}

/** The answer to a prompt: how its text goes on, or with a system message what the model says to a user. */
function begin(model: Model, prompt: string | Uint8Array, { system, templateVar }: RunFlags, options: GenerateOptions): Generation {
  // Bytes from a pipe need not be text: they reach the tokenizer as they are.
  if (system === undefined) return model.generate(typeof prompt === "string" ? prompt : model.tokenizer.encodeBytes(prompt), options);
  if (!model.chatTemplate) {
    throw new BitnetError(
      "tokenizer",
      "the model has no chat template, which --system requires: leave --system out, or choose another --model",
    );
  }
  if (typeof prompt !== "string" && !isUtf8(prompt))
    throw new BitnetError("usage", "the prompt is not UTF-8: with --system it must be text");
  const content = typeof prompt === "string" ? prompt : new TextDecoder().decode(prompt).replace(/\r?\n$/, "");
  return model.chat(
    [
      { role: "system", content: system },
      { role: "user", content },
    ],
    { ...options, ...(templateVar && { template: templateVar }) },
  );
}

/** What `--json` prints, and `--jsonl` at last. */
function summary({ promptIds, ids, text, stopReason, timings }: GenerationResult, model: Model): object {
  const { cachedTokens: _none, ...times } = timings;
  const rounded = Object.entries({ loadMs: model.loadMs, ...times }).map(([name, value]) => [name, Number(value.toFixed(3))]);
  return { model: model.path, promptIds, ids, text, stopReason, timings: Object.fromEntries(rounded) };
}

/** Writes how the text came about, unless it was given up. */
async function writeReceipt(path: string, flags: RunFlags, model: Model, result: GenerationResult): Promise<void> {
  if (result.stopReason === "aborted") return;
  const [{ makeReceipt }, { provenance }, { writeRecord }] = await Promise.all([
    import("../validation/receipts/receipt.js"),
    import("../validation/records/provenance.js"),
    import("../validation/records/records.js"),
  ]);
  const { head, kv } = flags;
  const receipt = await makeReceipt(model, result as GenerationResult & Required<Pick<GenerationResult, "trace">>, {
    path: flags.model,
    load: { ...fileOptions(flags), ...(head !== undefined && { head }), ...(kv !== undefined && { kv }) },
    provenance: (ran) =>
      provenance({
        ...ran,
        cliArgs: process.argv.slice(2),
        deterministic: process.env.BITNET_DETERMINISTIC === "1",
        date: new Date(),
      }),
  });
  await writeRecord(path, "receipt", receipt);
}

/** Why an answer was cut short, if it was, and the flag for more. */
export function cut({ stopReason, timings }: GenerationResult): string | undefined {
  if (stopReason === "length") return `stopped at ${tokens(timings.decodedTokens)} (--max-tokens)`;
  if (stopReason === "context") return `stopped after ${tokens(timings.decodedTokens)}: the context is full (--ctx)`;
  return undefined;
}

function tokens(count: number): string {
  return `${count} token${count === 1 ? "" : "s"}`;
}

/** One line of figures for a person. */
export function figures(result: GenerationResult, loadMs: number): string {
  const { timings, stopReason } = result;
  const { promptTokens, decodedTokens, prefillTokensPerSecond, decodeTokensPerSecond, firstTokenMs } = timings;
  const rate = (perSecond: number): string => (perSecond > 0 ? ` at ${perSecond.toFixed(perSecond < 100 ? 1 : 0)}/s` : "");
  return [
    `load ${loadMs.toFixed(0)} ms`,
    `prompt ${tokens(promptTokens)}${rate(prefillTokensPerSecond)}`,
    `first token ${firstTokenMs.toFixed(0)} ms`,
    `${tokens(decodedTokens)}${rate(decodeTokensPerSecond)}`,
    cut(result) ?? `stop: ${stopReason}`,
  ].join(" | ");
}
