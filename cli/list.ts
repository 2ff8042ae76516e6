import type { KnownModel, Listing } from "../hub/index.js";
import { bytesInWords } from "../hub/paths.js";
import { printable } from "./failure.js";
import { style, write, writeJson } from "./terminal.js";

export interface ListFlags {
  readonly known?: boolean;
  readonly json?: boolean;
}

/** `bitnet list`: what is in the store, or which models are known. */
export async function listCommand(flags: ListFlags): Promise<void> {
  const { CATALOGUE, list } = await import("../hub/index.js");
  const bold = (text: string): string => style("bold", text, process.stdout);
  if (flags.known) {
    if (flags.json) await writeJson(CATALOGUE);
    else await write(knownTable(CATALOGUE, bold));
    return;
  }
  const listing = await list();
  if (flags.json) return writeJson(listing);
  if (listing.models.length > 0) await write(storedTable(listing, bold));
  for (const { name, file, done, size, active } of listing.unfinished) {
    const how = active ? "a process is at it" : `bitnet pull ${printable(name)} continues, bitnet rm ${printable(name)} removes it`;
    const share = `${bytesInWords(done)} of ${bytesInWords(size)}`;
    await write(`note: ${printable(name)}: ${printable(file)} is not finished, ${share}; ${how}\n`, process.stderr);
  }
  for (const path of listing.damaged)
    await write(`note: ${printable(path)} is damaged; pull its model again, or remove the folder\n`, process.stderr);
  if (listing.models.length === 0)
    await write(`note: no models in ${printable(listing.cache)}; bitnet list --known shows what there is to pull\n`, process.stderr);
}

/** Stored models as a table. */
export function storedTable({ models }: Listing, heading: (text: string) => string): string {
  const rows = models.map(({ name, size, revision, pulled }) => [
    printable(name),
    bytesInWords(size),
    revision.slice(0, 8),
    pulled.slice(0, 10),
  ]);
  return table(["name", "size", "revision", "pulled"], rows, heading);
}

/** The catalogue as a table. */
export function knownTable(models: readonly KnownModel[], heading: (text: string) => string): string {
  const bytes = (count: number | null): string => (count === null ? "unknown" : bytesInWords(count));
  const rows = models.map(({ name, size, memory, licence, note }) => [name, bytes(size), bytes(memory), licence ?? "unknown", note ?? ""]);
  return table(["name", "size", "memory", "licence", "note"], rows, heading);
}

/** Columns as wide as their longest text. */
function table(titles: readonly string[], rows: readonly (readonly string[])[], heading: (text: string) => string): string {
  const widths = titles.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  const line = (row: readonly string[]): string =>
    row
      .map((text, i) => text.padEnd(widths[i]!))
      .join("  ")
      .trimEnd();
  return `${[heading(line(titles)), ...rows.map(line)].join("\n")}\n`;
}
