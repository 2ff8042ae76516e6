import type { ModelInspection, Probe, TensorInspection } from "../engine/index.js";
import { printable, SUSPICIOUS } from "./failure.js";
import { type FileFlags, fileOptions, type ModelFlags } from "./model.js";
import { Status, style, write, writeJson } from "./terminal.js";
import { readEnvironment } from "./values.js";

export interface InspectFlags extends FileFlags, Pick<ModelFlags, "threads" | "tier"> {
  readonly gate?: boolean;
  readonly probe?: boolean;
  readonly json?: boolean;
}

/** `bitnet inspect`: what each tensor contains. */
export async function inspect(flags: InspectFlags): Promise<void> {
  const { inspectModel } = await import("../engine/index.js");
  const inspection = await withStatus("reading the weights", (onProgress) =>
    inspectModel(flags.model, { ...fileOptions(flags), onProgress }),
  );
  const probe = flags.probe ? await probeFile(flags) : undefined;
  if (flags.json) await writeJson({ ...inspection, probe });
  else {
    const bold = (text: string): string => style("bold", text, process.stdout);
    await write(tensorTable(inspection, bold));
    if (flags.gate) await write(checkTable(inspection, bold));
    if (probe) await write(probeTable(probe, bold));
  }
  const sound = inspection.checks.every(({ passed }) => passed) && (!probe || probe.right === probe.readings[0]?.name);
  if (flags.gate && !sound) process.exitCode = SUSPICIOUS;
}

async function probeFile(flags: InspectFlags): Promise<Probe> {
  const { probeModel } = await import("../engine/index.js");
  const threads = flags.threads ?? readEnvironment(process.env).threads;
  return withStatus("scoring a text", (onProgress) =>
    probeModel(flags.model, {
      ...(threads !== undefined && { threads }),
      ...(flags.tier !== undefined && { tier: flags.tier }),
      ...fileOptions(flags),
      v8Flags: true,
      onProgress,
    }),
  );
}

async function withStatus<T>(
  text: string,
  work: (onProgress: (progress: { readonly done: number; readonly total: number }) => void) => Promise<T>,
): Promise<T> {
  const status = new Status(text);
  try {
    return await work(({ done, total }) => status.update(done / Math.max(total, 1)));
  } finally {
    status.end();
  }
}

/** The tensors, a line each, and how much of each type there is. */
export function tensorTable({ tensors, types }: ModelInspection, heading: (text: string) => string = (text) => text): string {
  const rows = tensors.map(row);
  const widths = HEADINGS.map((title, column) => Math.max(title.length, ...rows.map((cells) => cells[column]!.length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column < LEFT ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join("  ")
      .trimEnd();
  const sums = types.map(({ type, tensors: count, bytes }) => `  ${type.padEnd(8)}  ${count} tensors, ${(bytes / 1e6).toFixed(1)} MB`);
  const unused = tensors.filter(({ role }) => role === "frequencies");
  const passed = unused.length === 0 ? [] : ["", heading("ignored: RoPE frequencies follow from the configuration")];
  const names = unused.map(({ name }) => `  ${printable(name)}`);
  return `${[heading(line(HEADINGS)), ...rows.map(line), "", heading("types"), ...sums, ...passed, ...names].join("\n")}\n`;
}

const HEADINGS = ["tensor", "type", "shape", "at byte", "bytes", "scale", "RMS", "% −1", "% 0", "% 1"];
/** Columns of words; the others are numbers. */
const LEFT = 3;

function row(tensor: TensorInspection): string[] {
  const { name, type, shape, offset, byteLength, scale, rms, codes, fault } = tensor;
  const place = [printable(name), printable(type), shape.join("×"), String(offset), String(byteLength)];
  if (fault !== undefined) return [...place, "unreadable", "", "", "", ""];
  const all = codes ? codes[0] + codes[1] + codes[2] : 0;
  return [
    ...place,
    scale ? (scale.least === scale.most ? short(scale.most) : `${short(scale.least)}…${short(scale.most)}`) : "",
    rms === undefined ? "" : short(rms),
    ...(codes?.map((count) => ((100 * count) / all).toFixed(1)) ?? ["", "", ""]),
  ];
}

/** The checks, a line each. */
export function checkTable({ checks }: ModelInspection, heading: (text: string) => string = (text) => text): string {
  const lines = checks.map(({ rule, passed, finding }) => `  ${passed ? "PASS" : "FAIL"}  ${`${rule}:`.padEnd(19)}${printable(finding)}`);
  return `${["", heading("checks"), ...lines].join("\n")}\n`;
}

/** The text's likelihood under each reading, and what follows from it. */
export function probeTable({ text, readings, right }: Probe, heading: (text: string) => string = (text) => text): string {
  const lines = readings.map(
    ({ name, meanNll, fault }) =>
      `  ${name.padEnd(20)}${meanNll === undefined ? printable(fault ?? "") : `${meanNll.toFixed(2)} nats a token`}`,
  );
  return `${["", heading("probe"), `  "${text}"`, ...lines, `  ${verdict(readings, right)}`].join("\n")}\n`;
}

function verdict(readings: Probe["readings"], right: string | undefined): string {
  const now = readings[0]!.name;
  if (right === undefined) {
    const none = readings.length > 1 ? "does not clearly read as language in any of these ways" : "does not read as language";
    return `The text ${none}: the model is damaged, untrained, or not a model of English.`;
  }
  if (readings.length === 1) return "The text reads as language.";
  if (right === now) return `${right} is right: the file is read this way${now === "block128" ? " by default" : ""}.`;
  if (right === "scales inverted") {
    return "The scales are the inverse of what they should be: convert the original checkpoint again (bitnet convert), or use its I2_S file.";
  }
  return `${right} is right: pass --i2s-layout ${right}.`;
}

function short(value: number): string {
  return String(Number(value.toPrecision(4)));
}
