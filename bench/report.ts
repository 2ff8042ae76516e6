/** Puts the recorded results (bench/results) into docs/performance.md and its pictures. `node dist/bench/report.js` */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { BitnetError } from "../engine/errors.js";
import { benchFaults } from "../validation/performance/bench.js";
import { parseRecord } from "../validation/records/records.js";
import { type GrowthReport, growthPicture, growthTable } from "./growth-report.js";
import { type KernelReport, kernelsTable } from "./kernels-report.js";
import { type PeersReport, peersPicture, peersTable } from "./peers-report.js";
import { type BenchRecord, reportOf } from "./record.js";
import { type StartReport, startTable } from "./startup-report.js";
import { type ZerosReport, zerosTable } from "./zeros-report.js";

export const PAGE = "docs/performance.md";
const GROWTH = "growth";
const PEERS = "peers";
const GROWTH_IMAGE = "![Tokens per second over the length of the context, for models of several sizes](growth.svg)";
const PEERS_IMAGE = "![Tokens per second of bitnet-ts and of node-llama-cpp, as bars](peers.svg)";

/** Reads a recorded result by the file's name, without `.json`. undefined: it has not been recorded. */
export type ReadResult = (name: string) => unknown;

/** A result as Markdown; the first word of its file's name says what it is. */
function render(name: string, result: unknown): string {
  if (name === PEERS) return `${PEERS_IMAGE}\n\n${peersTable(result as PeersReport)}`;
  if (name.startsWith(PEERS)) return peersTable(result as PeersReport);
  if (name.startsWith("startup")) return startTable(result as StartReport);
  if (name.startsWith("kernels")) return kernelsTable(result as KernelReport);
  if (name.startsWith(GROWTH)) return `${GROWTH_IMAGE}\n\n${growthTable(result as GrowthReport)}`;
  if (name.startsWith("zeros")) return zerosTable(result as ZerosReport);
  throw new Error(`${PAGE}: ${name} is not a known result; known are peers…, startup…, kernels…, growth… and zeros…`);
}

/** The page, with each result between its marks: `<!-- result NAME -->` and `<!-- end -->`. What was not recorded is left empty. */
export function fillPage(page: string, read: ReadResult): string {
  return page.replace(/(<!-- result (\S+) -->\n)[\s\S]*?(<!-- end -->)/g, (_, begin: string, name: string, end: string) => {
    const result = read(name);
    return `${begin}${result === undefined ? "" : `\n${render(name, result)}\n\n`}${end}`;
  });
}

/** From bench/results. @throws BitnetError file: it is not of its schema; stale: it is not valid, or of another benchmark */
export function readResult(name: string, root = "."): unknown {
  const path = `bench/results/${name}.json`;
  const at = join(root, path);
  if (!existsSync(at)) return undefined;
  const record = parseRecord<BenchRecord>(readFileSync(at), "bench-record", path);
  const [fault] = benchFaults(record, path);
  if (fault !== undefined) throw new BitnetError("stale", `${fault}: measure it again`, { file: path });
  return reportOf(record);
}

/** The page's pictures by path, as far as their results were recorded. */
export function pictures(read: ReadResult): ReadonlyMap<string, string> {
  const growth = read(GROWTH) as GrowthReport | undefined;
  const peers = read(PEERS) as PeersReport | undefined;
  return new Map([
    ...(growth ? [["docs/growth.svg", growthPicture(growth)] as const] : []),
    ...(peers ? [["docs/peers.svg", peersPicture(peers)] as const] : []),
  ]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    writeFileSync(PAGE, fillPage(readFileSync(PAGE, "utf8"), readResult));
    for (const [path, picture] of pictures(readResult)) writeFileSync(path, picture);
  } catch (error) {
    if (!(error instanceof BitnetError)) throw error;
    console.error(`error: ${error.message}`);
    process.exitCode = 1;
  }
}
