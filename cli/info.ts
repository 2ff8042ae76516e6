import type { ModelDescription } from "../engine/index.js";
import { printable } from "./failure.js";
import { style, write, writeJson } from "./terminal.js";
import { readEnvironment } from "./values.js";

export interface InfoFlags {
  readonly model?: string;
  readonly json?: boolean;
}

/** `bitnet info`: what a model is and how it would run; no weights are loaded. */
export async function info(flags: InfoFlags): Promise<void> {
  const { threads } = readEnvironment(process.env);
  const { describeModel } = await import("../engine/index.js");
  const description = await describeModel(flags.model, threads === undefined ? {} : { threads });
  if (flags.json) await writeJson(description, 2);
  else await write(table(description, (text) => style("bold", text, process.stdout)));
}

/** A description as rows for a person. Whatever the file says is shown with its control characters escaped. */
export function table(description: ModelDescription, heading: (text: string) => string = (text) => text): string {
  const lines: string[] = [];
  for (const [key, value] of Object.entries(description)) {
    if (value === undefined || value === null) continue;
    if (!isRecord(value)) {
      lines.push(row(heading, "", key, value));
      continue;
    }
    lines.push(heading(words(key)));
    for (const [inner, innerValue] of Object.entries(value)) {
      if (innerValue !== undefined && innerValue !== null) lines.push(row((text) => text, "  ", inner, innerValue));
    }
  }
  return `${lines.join("\n")}\n`;
}

/** Columns until the values begin. */
const LABEL_WIDTH = 22;

function row(heading: (text: string) => string, indent: string, key: string, value: unknown): string {
  const label = (indent + words(key)).padEnd(LABEL_WIDTH);
  return `${heading(label)} ${printable(show(value))}`;
}

function show(value: unknown): string {
  if (Array.isArray(value)) return value.map(show).join(", ");
  if (isRecord(value))
    return Object.entries(value)
      .map(([key, inner]) => `${words(key)} ${show(inner)}`)
      .join(", ");
  return String(value);
}

/** `rmsNormEps` → `rms norm eps`; keys that are a file's own names stay. */
function words(key: string): string {
  return /^[a-z]+([A-Z][a-z0-9]*)*$/.test(key) ? key.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`) : key;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
