import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { BitnetError, type ErrorCode } from "../../engine/errors.js";
import { bytesOf, hugeBytesOf, putFiles } from "./files.js";
import type { Case } from "./mutate.js";
import { Random } from "./random.js";
import type { Engine } from "./run-model.js";

/** What came of a case. */
export interface Outcome {
  /** "ok", or the code of the error. */
  readonly result: "ok" | ErrorCode | "finding";
  /** What is wrong with that; undefined: nothing. */
  readonly finding: string | undefined;
  /** The error's message, or the stack of what should not have been thrown. */
  readonly detail: string | undefined;
  /** Time of this process's threads, ms: others on the machine don't count. */
  readonly cpuMs: number;
  /** The most memory between any two parts of the way, above that before the case: heap, buffers, and the plan of the linear memory. */
  readonly bytes: number;
}

/** Errors that a file may end in. `internal` and `closed` are never a file's fault. */
const ALLOWED: readonly ErrorCode[] = ["usage", "tensor", "tokenizer", "memory", "file", "unsupported", "io"];

const MAX_CPU_MS = 1000;
const MAX_MESSAGE = 1200;
/** What any model may take, and what each byte of its files may. */
const MAX_BASE_BYTES = 64 * 2 ** 20;
const MAX_BYTES_PER_BYTE = 30;
/** A huge file of text is refused once it is read: its bytes, and a text of them, of which garbage may be left. */
const MAX_BYTES_PER_HUGE_BYTE = 4;

function memoryNow(): number {
  const { heapUsed, external, arrayBuffers } = process.memoryUsage();
  return heapUsed + external + arrayBuffers;
}

/** Runs one case in `directory`, which is made and removed. */
export async function runCase(engine: Pick<Engine, "run">, directory: string, one: Case, random: Random): Promise<Outcome> {
  mkdirSync(directory, { recursive: true });
  putFiles(directory, one);
  const before = memoryNow();
  const started = process.cpuUsage();
  let most = before;
  let pages = 0;
  let thrown: unknown;
  let result: Outcome["result"] = "ok";
  try {
    pages = await engine.run(join(directory, one.open), join(directory, "converted"), random, () => {
      most = Math.max(most, memoryNow());
    });
  } catch (error) {
    thrown = error;
    result = error instanceof BitnetError ? error.code : "finding";
  }
  most = Math.max(most, memoryNow());
  const { user, system } = process.cpuUsage(started);
  const cpuMs = (user + system) / 1000;
  const bytes = most - before + pages * 65536;
  rmSync(directory, { recursive: true, force: true });
  const detail = thrown instanceof BitnetError ? thrown.message : thrown instanceof Error ? thrown.stack : thrown && String(thrown);
  const mayTake = MAX_BASE_BYTES + MAX_BYTES_PER_BYTE * bytesOf(one) + MAX_BYTES_PER_HUGE_BYTE * hugeBytesOf(one);
  const findings = [
    faultOf(thrown, directory),
    cpuMs > MAX_CPU_MS ? `took ${Math.round(cpuMs)} ms` : undefined,
    bytes > mayTake ? `took ${Math.round(bytes / 2 ** 20)} MiB for ${bytesOf(one)} bytes` : undefined,
  ].filter((fault) => fault !== undefined);
  return { result, finding: findings.length > 0 ? findings.join("; ") : undefined, detail: detail as string | undefined, cpuMs, bytes };
}

/** What is wrong with an error. */
function faultOf(error: unknown, directory: string): string | undefined {
  if (error === undefined) return undefined;
  if (!(error instanceof BitnetError)) return `threw ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`;
  if (!ALLOWED.includes(error.code)) return `error of the kind ${error.code}`;
  const { message } = error;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
  if (/[\u0000-\u001f\u007f]/.test(message)) return "a message with control characters";
  if (message.endsWith(".")) return "a message with a full stop";
  if (message.length > MAX_MESSAGE) return `a message of ${message.length} characters`;
  // What is only seen in the network's numbers has no place in the file.
  if (error.file === undefined && message.startsWith("the network's logits are not finite")) return undefined;
  if (!message.includes(directory) && error.code !== "memory" && error.code !== "usage") return "a message without the file";
  return undefined;
}

/** The random numbers of a case's run; those of its making are others. */
export function runRandom(seed: number, index: number): Random {
  return new Random(~seed, index);
}
