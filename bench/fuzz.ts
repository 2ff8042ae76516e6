/**
 * Mutated models by the ten thousand: each must end in a typed error, or run. Two child processes run the cases; one that crashes or hangs is killed
 * and its case reported. `npm run fuzz -- --cases 100000 --seed 1`; one case again: `npm run fuzz -- --case 1:4711`;
 * only some models: `--of "qwen35|minicpm"`.
 */
import { type ChildProcess, fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Job, Said } from "../validation/fuzz/child.js";
import { readFlags } from "./flags.js";
import { FuzzReport } from "./fuzz-report.js";

const CHILDREN = 2;
/** Wall time after which a case hangs. A slow one is recognised by its processor time; this is for machines with other work. */
const HANG_MS = 30_000;
/** A heap that no case comes near; one that does is a finding, and not the machine's end. */
const HEAP_MIB = 768;

const CHILD = fileURLToPath(new URL("../validation/fuzz/child.js", import.meta.url));

/** Runs a share of the cases in one child after another: a new one goes on behind the case that ended the last. */
async function runShare(job: Job, report: FuzzReport): Promise<void> {
  for (let from = job.from; from < job.to; ) {
    const stopped = await runChild({ ...job, from }, report);
    if (stopped === undefined) return;
    from = stopped + job.step;
  }
}

/** @returns the case in which the child ended; undefined: it is done */
function runChild(job: Job, report: FuzzReport): Promise<number | undefined> {
  return new Promise((resolve) => {
    const child: ChildProcess = fork(CHILD, [JSON.stringify(job)], {
      execArgv: [`--max-old-space-size=${HEAP_MIB}`],
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    let under: { index: number; what: string; kind: string } | undefined;
    let said = "";
    let hung = false;
    let timer: NodeJS.Timeout | undefined;
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-4000);
    });
    child.on("message", (message: Said) => {
      clearTimeout(timer);
      if ("maxRssBytes" in message) report.resident(message.maxRssBytes);
      else if ("begins" in message) {
        under = { index: message.begins, what: message.what, kind: message.kind };
        timer = setTimeout(() => {
          hung = true;
          child.kill("SIGKILL");
        }, HANG_MS);
      } else {
        report.ended(message.ended, under!.what, under!.kind, message.outcome);
        under = undefined;
      }
    });
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      if (under === undefined) {
        if (code !== 0) throw new Error(`a child ended with ${code ?? signal} between two cases: ${said}`);
        return resolve(undefined);
      }
      report.stopped(under.index, under.what, under.kind, hung ? "hang" : "crash", hung ? "" : `${code ?? signal} ${said}`);
      resolve(under.index);
    });
  });
}

async function main(): Promise<void> {
  const { values } = readFlags("npm run fuzz -- [--cases 10000] [--seed 1] | --case SEED:INDEX [--of PATTERN]", {
    cases: { type: "string", default: "10000" },
    seed: { type: "string", default: "1" },
    case: { type: "string" },
    of: { type: "string" },
  });
  const [only, index] = values.case?.split(":").map(Number) ?? [];
  const [seed, cases] = [only ?? Number(values.seed), Number(values.cases)];
  if (!Number.isInteger(seed) || !Number.isInteger(cases) || (values.case !== undefined && !Number.isInteger(index))) {
    console.error("usage: npm run fuzz -- --cases N --seed N | --case SEED:INDEX [--of PATTERN]");
    process.exitCode = 2;
    return;
  }
  const report = new FuzzReport(seed, index === undefined ? cases : 1, (line) => console.error(line));
  const directory = mkdtempSync(join(tmpdir(), "bitnet-fuzz-"));
  try {
    if (index !== undefined) {
      await runShare({ seed, from: index, to: index + 1, step: 1, directory: join(directory, "0"), of: values.of }, report);
    } else {
      const share = (child: number): Job => ({
        ...{ seed, from: child, to: cases, step: CHILDREN },
        ...{ directory: join(directory, String(child)), of: values.of },
      });
      await Promise.all(Array.from({ length: CHILDREN }, (_, child) => runShare(share(child), report)));
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  console.log(index === undefined ? report.summary() : report.last());
  if (report.findings > 0) process.exitCode = 1;
}

await main();
