/**
 * How much the tests see: the engine and its kernels are changed in small ways, one at a time, in a copy of the tree, and the tests that run the
 * changed line are run. What no test notices has survived. `npm run mutate -- --count 200 --seed 1`; `--thorough` also runs
 * the slow tests on what the fast ones let pass; `--fixed` runs the small set that CI does.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { readFlags } from "./flags.js";
import { baseline } from "./mutate/baseline.js";
import { runFixed } from "./mutate/fixed.js";
import { checkCompiler } from "./mutate/kernels.js";
import { readEquivalents } from "./mutate/lists.js";
import { type Candidate, choose } from "./mutate/mutants.js";
import { type Result, reportOf, tableOf } from "./mutate/report.js";
import { Scratch } from "./mutate/scratch.js";
import { Bench, candidatesOf, lineOf, type Trial } from "./mutate/trial.js";

const WORKERS = 2;
const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");
const OUTCOMES_FILE = "dist/mutate/outcomes.jsonl";

const { values } = readFlags("npm run mutate -- [--count 200] [--seed 1] [--room engine/text] [--json FILE] [--thorough] | --fixed", {
  seed: { type: "string", default: "1" },
  count: { type: "string", default: "200" },
  room: { type: "string" },
  json: { type: "string" },
  thorough: { type: "boolean", default: false },
  fixed: { type: "boolean", default: false },
});

const say = (text: string): boolean => process.stderr.write(`mutate: ${text}\n`);

/** What an earlier run has found, while the modules and the test that failed are the same. */
interface Stored extends Trial {
  readonly id: string;
  /** Of the modules; and of the test that failed, or of all tests where none did. */
  readonly modules: string;
  readonly tests: string;
}

const idOf = ({ file, mutant }: Candidate): string => JSON.stringify([file, mutant.before, mutant.after]);

async function main(): Promise<number> {
  const scratches: Scratch[] = [];
  const makeScratch = (): Scratch => {
    const made = new Scratch(ROOT);
    scratches.push(made);
    return made;
  };
  process.on("exit", () => {
    for (const scratch of scratches) scratch.remove();
  });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));
  if (values.fixed) return runFixed(ROOT, [makeScratch(), makeScratch()]);

  const count = Number(values.count);
  const seed = Number(values.seed);
  if (!(Number.isSafeInteger(count) && count > 0 && Number.isSafeInteger(seed)))
    throw new Error("--count and --seed must be whole numbers");
  const all = candidatesOf(ROOT);
  const rooms = choose(all, seed);
  if (values.room !== undefined && !rooms.has(values.room)) throw new Error(`--room must be one of ${[...rooms.keys()].join(", ")}`);
  const known = await baseline(ROOT, makeScratch, say);
  const equivalents = readEquivalents(ROOT);
  const names = values.room === undefined ? [...rooms.keys()] : [values.room];
  const bench = new Bench(ROOT, known, names.includes("kernels") ? await checkCompiler(ROOT) : undefined, values.thorough);
  const hashes = new Map(known.tests.map(({ path, sha256 }) => [path, sha256]));
  const everyTest = [...hashes.values()].join();
  const path = join(ROOT, OUTCOMES_FILE);
  mkdirSync(dirname(path), { recursive: true });
  const stored = new Map<string, Stored>();
  for (const line of existsSync(path) ? readFileSync(path, "utf8").split("\n").filter(Boolean) : []) {
    const one = JSON.parse(line) as Stored;
    const fresh = one.modules === known.modules && one.tests === (one.by === undefined ? everyTest : hashes.get(one.by));
    // A thorough run asks more of what has survived.
    if (fresh && !(values.thorough && one.outcome === "survived" && one.left > 0)) stored.set(one.id, one);
  }

  const perRoom = Math.ceil(count / names.length);
  const results: Result[] = [];
  /** Rooms with what is still to be tried: what does not compile, or to the same module, is replaced by the next. */
  const queue = names.map((room) => ({ candidates: [...rooms.get(room)!], left: Math.min(perRoom, rooms.get(room)!.length) }));
  const next = (): { readonly candidate: Candidate; readonly again: () => void } | undefined => {
    const room = queue.filter(({ left, candidates }) => left > 0 && candidates.length > 0).sort((a, b) => b.left - a.left)[0];
    if (!room) return undefined;
    room.left--;
    return {
      candidate: room.candidates.shift()!,
      again: () => {
        room.left++;
      },
    };
  };
  const work = async (scratch: Scratch): Promise<void> => {
    for (let taken = next(); taken; taken = next()) {
      const { candidate, again } = taken;
      const id = idOf(candidate);
      const reason = equivalents.get(id);
      const before = stored.get(id);
      const trial: Trial = reason !== undefined ? { outcome: "same", ran: 0, left: 0 } : (before ?? (await bench.try(scratch, candidate)));
      if (reason === undefined && !before) {
        const tests = trial.by === undefined ? everyTest : hashes.get(trial.by);
        appendFileSync(path, `${JSON.stringify({ ...trial, id, modules: known.modules, tests })}\n`);
      }
      if (trial.outcome === "invalid" || (trial.outcome === "same" && reason === undefined)) {
        again();
        continue;
      }
      const { file, mutant, room } = candidate;
      const outcome = reason !== undefined ? "equivalent" : (trial.outcome as Result["outcome"]);
      const line = lineOf(ROOT, candidate);
      const { kind, before: was, after: is } = mutant;
      results.push({
        room,
        file,
        line,
        kind,
        before: was,
        after: is,
        outcome,
        ran: trial.ran,
        left: trial.left,
        ...(trial.by && { by: trial.by }),
        ...(reason && { reason }),
      });
      say(`${results.length}/${perRoom * names.length} ${outcome}: ${file}:${line} ${kind}${trial.by ? ` (${trial.by})` : ""}`);
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, () => work(makeScratch())));

  const report = reportOf(results, { seed, candidates: all.length, tests: known.tests.length });
  if (values.json) writeFileSync(values.json, `${JSON.stringify(report, undefined, 1)}\n`);
  process.stdout.write(tableOf(report));
  return report.survived > 0 ? 1 : 0;
}

const code = await main().catch((error: unknown) => {
  say(error instanceof Error ? error.message : String(error));
  return 1;
});
process.exit(code);
