import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BitnetError } from "../engine/errors.js";
import { type EvalRecord, evaluateChoices, evaluateText, RESULTS_FILE } from "../validation/evaluation/evaluate.js";
import type { ChoiceFigures, TextFigures } from "../validation/evaluation/figures.js";
import { readItems } from "../validation/evaluation/items.js";
import { PACKAGE_FILE } from "../validation/records/package.js";
import { interruptible, recordOptions } from "./command.js";
import { printable } from "./failure.js";
import { fileOptions, type ModelFlags, openModel } from "./model.js";
import { readFlagFile, write, writeJson } from "./terminal.js";
import { readEnvironment } from "./values.js";

export interface EvalFlags extends ModelFlags {
  readonly text?: string;
  readonly tasks?: string;
  readonly window?: number;
  readonly stride?: number;
  readonly maxTokens?: number;
  readonly out?: string;
  readonly receipts?: boolean;
  readonly json?: boolean;
}

/** The items in the package, of the embedded model's world. */
const OWN_ITEMS = "models/bitnet-stories-4m/tasks.jsonl";

/** `bitnet eval`: perplexity of a text, or accuracy on multiple-choice items. */
export async function evaluate(flags: EvalFlags): Promise<void> {
  const { text, tasks, out, window, stride, maxTokens } = flags;
  if (text !== undefined && tasks !== undefined) throw new BitnetError("usage", "give one of --text and --tasks, not both");
  const only = Object.entries({ window, stride, "max-tokens": maxTokens }).find(([, value]) => value !== undefined);
  if (text === undefined && only) throw new BitnetError("usage", `--${only[0]} requires --text`);
  if (flags.receipts && out === undefined) throw new BitnetError("usage", "--receipts requires --out");
  const path = text ?? tasks;
  const bytes =
    path === undefined
      ? readFileSync(join(PACKAGE_FILE, "..", OWN_ITEMS))
      : await readFlagFile(path, text === undefined ? "--tasks" : "--text");
  const items = text === undefined ? readItems(utf8(bytes, path), path ?? OWN_ITEMS) : [];
  const record = await interruptible("evaluating", async (status, signal) => {
    const model = await openModel(flags, readEnvironment(process.env), { signal });
    try {
      const { seed: _none, ...from } = recordOptions();
      const options = {
        ...{ ...from, model, modelPath: flags.model, kv: flags.kv, files: { ...fileOptions(flags) } },
        ...{ input: { path, bytes }, out, receipts: flags.receipts ?? false, signal },
        onProgress: (done: number, total: number) => status.update(done / total),
      };
      return text === undefined
        ? await evaluateChoices({ ...options, items })
        : await evaluateText({ ...options, window, stride, maxTokens });
    } finally {
      await model.close();
    }
  });
  if (!record) return;
  if (flags.json) await writeJson(record);
  else await write(`${table(record)}${out === undefined ? "" : `results: ${printable(join(out, RESULTS_FILE))}\n`}`);
}

function utf8(bytes: Uint8Array, path: string | undefined): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new BitnetError("usage", `${path}: the items are not UTF-8`);
  }
}

function table({ evaluation, figures, policy }: EvalRecord): string {
  const row = (label: string, value: string, error: number | null, rest = ""): string =>
    `${label.padEnd(14)}${value.padStart(10)}${error === null ? "" : ` ± ${error.toFixed(4)}`}${rest}\n`;
  if (evaluation === "text") {
    const { tokens, bytes, mean_nll, mean_nll_error, perplexity, perplexity_error, bits_per_byte } = figures as TextFigures;
    const { window, stride } = policy as { readonly window: number; readonly stride: number };
    return [
      row("perplexity", perplexity.toFixed(4), perplexity_error),
      row("mean NLL", mean_nll.toFixed(6), mean_nll_error, " nats a token"),
      row("bits per byte", bits_per_byte.toFixed(4), null),
      `${tokens} tokens, ${bytes} bytes; windows of ${window} tokens, ${stride} apart\n`,
    ].join("");
  }
  const { items, acc, acc_stderr, acc_norm, acc_norm_stderr } = figures as ChoiceFigures;
  const { truncated } = policy as { readonly truncated: number };
  const cut = truncated === 0 ? "" : `; ${truncated} sequences were longer than the context and lost their beginning`;
  return [row("acc", acc.toFixed(4), acc_stderr), row("acc_norm", acc_norm.toFixed(4), acc_norm_stderr), `${items} items${cut}\n`].join("");
}
