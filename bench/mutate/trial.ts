import { readFileSync } from "node:fs";
import { SourceMap, type SourceMapPayload } from "node:module";
import { join } from "node:path";
import { type Baseline, type TestFile, testsOf, walk } from "./baseline.js";
import { compileKernels, type Modules } from "./kernels.js";
import { type Candidate, mutantsOf, mutate } from "./mutants.js";
import type { Scratch } from "./scratch.js";

/** What came of a change: a test failed, or hung; none did; it changes nothing (the compiler emits the same); it can't be tried. */
export type Outcome = "killed" | "hung" | "survived" | "same" | "invalid";

export interface Trial {
  readonly outcome: Outcome;
  /** The test file that failed, and which test. */
  readonly by?: string;
  readonly test?: string;
  /** Test files that ran, and those that reach the change but were too slow to run. */
  readonly ran: number;
  readonly left: number;
}

/** Test files that have a process each, as in vitest.config.mjs: they look at what it holds. */
const ALONE = /^dist\/engine\/(?:generation|network)\/(?:close|load|model|stream)\.test\.js$/;
/** Beyond the longest test, seconds: a machine may have other work. */
const PATIENCE = 30;
/** Seconds of test files that a change is given, those of its own room apart; a thorough run gives it all. */
const BUDGET = 60;

export const isKernel = (file: string): boolean => file.startsWith("kernels/");

/** The module that is changed: AssemblyScript's source, or what tsc made of the engine's. */
export const moduleOf = (file: string): string => (isKernel(file) ? file : `dist/${file.replace(/\.ts$/, ".js")}`);

/** Rooms of the engine by the folder, its root files, and the kernels. */
export function roomOf(file: string): string {
  if (isKernel(file)) return "kernels";
  const [, room, inside] = file.split("/");
  return inside === undefined ? "ground" : room!;
}

/** Test files that always run for a room: the kernels' hold the ground's arithmetic to the bit. */
function ownTests(room: string): RegExp {
  if (room === "kernels") return /^dist\/kernels\//;
  return room === "ground" ? /^dist\/(?:engine|kernels)\/[^/]+$/ : new RegExp(`^dist/engine/${room}/`);
}

/** Sources that are changed. */
export function sourcesOf(root: string): string[] {
  const engine = walk(root, "engine").filter((path) => !/\.test\.|\/fixtures\/|^engine\/(?:index|errors)\.ts$/.test(path));
  const kernels = walk(root, "kernels/assembly").filter((path) => !path.endsWith("/index.ts"));
  return [...engine, ...kernels].filter((path) => path.endsWith(".ts"));
}

/** All small changes of the engine and its kernels. */
export function candidatesOf(root: string): Candidate[] {
  return sourcesOf(root).flatMap((file) =>
    mutantsOf(file, readFileSync(join(root, moduleOf(file)), "utf8")).map((mutant) => ({ room: roomOf(file), file, mutant })),
  );
}

/** The line of the source, from 1. */
export function lineOf(root: string, { file, mutant }: Candidate): number {
  const text = readFileSync(join(root, moduleOf(file)), "utf8").slice(0, mutant.start);
  const line = text.split("\n").length;
  if (isKernel(file)) return line;
  const map = JSON.parse(readFileSync(join(root, `${moduleOf(file)}.map`), "utf8")) as SourceMapPayload;
  const entry = new SourceMap(map).findEntry(line - 1, text.length - text.lastIndexOf("\n") - 1);
  return "originalLine" in entry ? entry.originalLine + 1 : line;
}

/** Tries changes in a scratch copy. */
export class Bench {
  /** Test files that fail for modules with other bytes that do the same: they compare hashes, and prove nothing of a kernel. */
  readonly #comparesHashes = new Map<string, Promise<boolean>>();

  constructor(
    readonly root: string,
    readonly known: Baseline,
    /** What the compiler makes of the unchanged kernels. */
    readonly kernels: Modules | undefined,
    readonly thorough: boolean,
  ) {}

  async try(scratch: Scratch, candidate: Candidate): Promise<Trial> {
    const { file, mutant } = candidate;
    const changed = mutate(readFileSync(join(this.root, moduleOf(file)), "utf8"), mutant);
    if (!isKernel(file)) {
      const module = moduleOf(file);
      const tests = testsOf(this.known, module, mutant.start);
      scratch.put(module, changed);
      const trial = await this.#run(scratch, tests, candidate.room);
      scratch.restore(module);
      return trial;
    }
    const made = await compileKernels(this.root, { file, text: changed });
    if (!made) return { outcome: "invalid", ran: 0, left: 0 };
    const different = Object.keys(made).filter((path) => !Buffer.from(made[path]!).equals(this.kernels![path]!));
    if (different.length === 0) return { outcome: "same", ran: 0, left: 0 };
    for (const path of different) scratch.put(path, made[path]!);
    try {
      for (let tests = this.#kernelTests(different); ; ) {
        const trial = await this.#run(scratch, tests, "kernels");
        if (trial.outcome !== "killed" || !(await this.#hashes(scratch, trial.by!))) return trial;
        tests = tests.filter(({ path }) => path !== trial.by);
        for (const path of different) scratch.put(path, made[path]!);
      }
    } finally {
      for (const path of Object.keys(made)) scratch.restore(path);
    }
  }

  /** The kernels' own tests first. */
  #kernelTests(modules: readonly string[]): TestFile[] {
    const uses = (module: string, name: string): TestFile[] => {
      const at = readFileSync(join(this.root, module), "utf8").indexOf(name);
      if (at < 0) throw new Error(`${module} has no ${name}`);
      return testsOf(this.known, module, at + name.length);
    };
    const tests = new Set<TestFile>();
    if (modules.some((path) => !path.endsWith("products.wasm")))
      for (const test of uses("dist/engine/compute/kernels.js", "function instantiate(")) tests.add(test);
    if (modules.some((path) => path.endsWith("products.wasm")))
      for (const test of uses("dist/engine/network/float-products.js", "new WebAssembly.Instance(")) tests.add(test);
    return [...tests];
  }

  /** Runs those of the room, then the fastest, as far as the budget goes. */
  async #run(scratch: Scratch, tests: readonly TestFile[], room: string): Promise<Trial> {
    const own = ({ path }: TestFile): number => (ownTests(room).test(path) ? 0 : 1);
    let spent = 0;
    const chosen: TestFile[] = [];
    for (const test of tests.toSorted((a, b) => own(a) - own(b) || a.seconds - b.seconds)) {
      if (own(test) === 1) spent += test.seconds;
      if (this.thorough || spent <= BUDGET) chosen.push(test);
    }
    return { ...(await run(scratch, chosen)), left: tests.length - chosen.length };
  }

  /** Whether a test fails for the unchanged kernels with a section added that does nothing. */
  #hashes(scratch: Scratch, path: string): Promise<boolean> {
    const known = this.#comparesHashes.get(path) ?? this.#fails(scratch, path);
    this.#comparesHashes.set(path, known);
    return known;
  }

  async #fails(scratch: Scratch, path: string): Promise<boolean> {
    for (const [module, data] of Object.entries(this.kernels!)) scratch.put(module, Buffer.concat([data, Buffer.from([0, 2, 1, 0x78])]));
    const test = this.known.tests.find((one) => one.path === path)!;
    const { outcome } = await run(scratch, [test]);
    for (const module of Object.keys(this.kernels!)) scratch.restore(module);
    return outcome !== "survived";
  }
}

/** Runs test files, those that share a process first, until one fails. */
async function run(scratch: Scratch, tests: readonly TestFile[]): Promise<Omit<Trial, "left">> {
  let ran = 0;
  for (const isolate of [false, true]) {
    const files = tests.filter(({ path }) => ALONE.test(path) === isolate);
    if (files.length === 0) continue;
    ran += files.length;
    // What has begun may be the file at the place or one before it.
    const silentMs = (place: number): number =>
      1000 * (PATIENCE + 4 * Math.max(...files.slice(0, place + 1).map(({ longest }) => longest)));
    const done = await scratch.run(
      files.map(({ path }) => path),
      { isolate, bail: true, silentMs },
    );
    if (done.timedOut) return { outcome: "hung", ran };
    if (!done.passed) {
      const by = files.find(({ path }) => done.failed?.includes(path))?.path ?? files[0]!.path;
      return { outcome: "killed", by, ...(done.failed !== undefined && { test: done.failed }), ran };
    }
  }
  return { outcome: "survived", ran };
}
