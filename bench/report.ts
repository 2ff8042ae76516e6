/** Puts the recorded results (bench/results) into docs/performance.md and its picture. `node dist/bench/report.js` */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type GrowthReport, growthPicture, growthTable } from "./growth-report.js";
import { type KernelReport, kernelsTable } from "./kernels-report.js";
import { type PeersReport, peersTable } from "./peers-report.js";
import { type StartReport, startTable } from "./startup-report.js";

export const PAGE = "docs/performance.md";
export const PICTURE = "docs/growth.svg";
const GROWTH = "growth";
const IMAGE = "![Tokens per second over the length of the context, for models of several sizes](growth.svg)";

/** Reads a recorded result by the file's name, without `.json`. undefined: it has not been recorded. */
export type ReadResult = (name: string) => unknown;

/** A result as Markdown; the first word of its file's name says what it is. */
function render(name: string, result: unknown): string {
  if (name.startsWith("peers")) return peersTable(result as PeersReport);
  if (name.startsWith("startup")) return startTable(result as StartReport);
  if (name.startsWith("kernels")) return kernelsTable(result as KernelReport);
  if (name.startsWith(GROWTH)) return `${IMAGE}\n\n${growthTable(result as GrowthReport)}`;
  throw new Error(`${PAGE}: ${name} is no kind of result: peers…, startup…, kernels… and growth… are`);
}

/** The page, with each result between its marks: `<!-- result NAME -->` and `<!-- end -->`. What was not recorded is left empty. */
export function fillPage(page: string, read: ReadResult): string {
  return page.replace(/(<!-- result (\S+) -->\n)[\s\S]*?(<!-- end -->)/g, (_, begin: string, name: string, end: string) => {
    const result = read(name);
    return `${begin}${result === undefined ? "" : `\n${render(name, result)}\n\n`}${end}`;
  });
}

/** From bench/results of the folder that this is run in. */
export function readResult(name: string): unknown {
  const path = `bench/results/${name}.json`;
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined;
}

/** The picture, if there is anything to show. */
export function picture(read: ReadResult): string | undefined {
  const growth = read(GROWTH) as GrowthReport | undefined;
  return growth && growthPicture(growth);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(PAGE, fillPage(readFileSync(PAGE, "utf8"), readResult));
  const svg = picture(readResult);
  if (svg !== undefined) writeFileSync(PICTURE, svg);
}
