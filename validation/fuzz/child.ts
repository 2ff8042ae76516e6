/**
 * A process that runs cases for bench/fuzz.ts, so that one that crashes or never ends takes no other with it. Its argument is JSON: which seed, which
 * cases, where it may write. It says which case it begins and what came of it.
 */
import { makeBases } from "./bases.js";
import { makeCase } from "./mutate.js";
import { type Outcome, runCase, runRandom } from "./run-case.js";
import { Engine } from "./run-model.js";

/** What a child is to do: the cases from, from + step, … below to. */
export interface Job {
  readonly seed: number;
  readonly from: number;
  readonly to: number;
  readonly step: number;
  readonly directory: string;
  /** Only of models whose names match it. */
  readonly of?: string | undefined;
}

/** What a child says: a case begins, or ended with this; at the end, the peak memory of the process. */
export type Said =
  | { readonly begins: number; readonly what: string; readonly kind: string }
  | { readonly ended: number; readonly outcome: Outcome }
  | { readonly maxRssBytes: number };

async function main(job: Job): Promise<void> {
  const say = (said: Said): void => void process.send?.(said);
  const all = await makeBases(job.directory);
  const bases = all.filter(({ name }) => job.of === undefined || new RegExp(job.of).test(name));
  if (bases.length === 0) throw new Error(`no model matches ${job.of}; there are ${all.map(({ name }) => name).join(", ")}`);
  const engine = new Engine();
  // A sound model is compiled for and allocated for; what a case takes is told from there.
  for (const base of bases) await runCase(engine, job.directory, { ...base, base: base.name, file: "", kind: "" }, runRandom(job.seed, 0));
  for (let index = job.from; index < job.to; index += job.step) {
    const one = makeCase(bases, job.seed, index);
    say({ begins: index, what: `${one.base}, ${one.file}, ${one.kind}`, kind: one.kind });
    say({ ended: index, outcome: await runCase(engine, job.directory, one, runRandom(job.seed, index)) });
  }
  say({ maxRssBytes: process.resourceUsage().maxRSS * 1024 });
  process.disconnect?.();
}

if (process.argv[2] !== undefined) await main(JSON.parse(process.argv[2]) as Job);
