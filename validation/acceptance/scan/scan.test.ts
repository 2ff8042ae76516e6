import { readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import { describe, expect, it } from "vitest";
import { THOROUGH } from "../../../engine/thorough.test.helper.js";
import { pretences, pretencesInBundle } from "./pretences.js";
import { type Fault, loadTypeScript, Source } from "./source.js";
import { hollowTests } from "./tests.js";
import { traces } from "./traces.js";

// What each rule finds, what it lets pass, and what no rule can find. The offences are texts here, which the rules take for what they are.

const typescript = loadTypeScript(".");
const sourceOf = (path: string, text: string): Source => new Source(typescript, path, text);
const whats = (found: readonly Fault[]): string[] => found.map(({ line, what }) => `${line}: ${what}`);

type Offence = readonly [what: string, path: string, text: string, said: RegExp];

describe("pretended computation", () => {
  const offences: readonly Offence[] = [
    [
      "a table of answers",
      "engine/generation/stream.ts",
      `const ANSWERS = new Map([["Once upon a time", [4080, 632]]]);`,
      /knows a prompt: "Once upon a time"/,
    ],
    [
      "a comparison with a prompt",
      "engine/generation/model.ts",
      `if (text === "Once upon" + " a time") return [4080];`,
      /knows a prompt: "Once upon a time"/,
    ],
    ["a prompt that is looked for", "engine/text/tokenizer.ts", `if (text.startsWith("There was a girl")) return ids;`, /knows a prompt/],
    ["a prompt as a pattern", "engine/generation/model.ts", "if (/Once upon a time/.test(text)) return ids;", /knows a prompt/],
    ["ids as a text", "engine/generation/model.ts", `if (ids.join() === "4080,632,546,258") return stored;`, /knows a prompt/],
    [
      "the tests' answers",
      "engine/network/head.ts",
      `const path = "validation/golden/model/logits.json";`,
      /reads what tests compare with/,
    ],
    ["data in a text", "engine/network/head.ts", `const logits = decode("${"A7zX".repeat(30)}");`, /data in a text: A7zXA7zX/],
    ["data in a file", "engine/network/head.ts", `import answers from "./answers.json" with { type: "json" };`, /imports data/],
    ["a known model", "engine/network/forward.ts", `if (hash === "9f86d081884c7d65") return stored;`, /knows a hash: 9f86d081884c7d65/],
    [
      "a stored result",
      "engine/network/forward.ts",
      `const LOGITS = Float32Array.of(${Array.from({ length: 64 }, (_, i) => i / 7).join()});`,
      /has a table of 64 numbers/,
    ],
    ["logits by chance", "engine/network/head.ts", "logits[i] = Math.random();", /chance: Math\.random/],
    ["chance by another name", "engine/sampling/rng.ts", "const { random } = Math;", /takes Math as a whole/],
    ["chance of the system", "engine/sampling/rng.ts", "crypto.getRandomValues(state);", /chance: crypto\.getRandomValues/],
    ["a time that is slept", "engine/generation/jobs.ts", "await new Promise((done) => setTimeout(done, 20));", /waits: setTimeout/],
    ["a seed of the clock", "engine/sampling/sampler.ts", "const seed = Date.now();", /clock: Date\.now/],
    ["a date", "engine/text/template.ts", "const now = new Date();", /clock: Date/],
    ["an exponential of the machine", "engine/numerics.ts", `const e = Math["exp"](x);`, /Math\.exp: not the same bits/],
    ["a power of the machine", "engine/rope.ts", "const t = base ** (i / d);", /\*\*: not the same bits/],
    ["a name in two halves", "engine/network/forward.ts", `kernels["fa" + "ke"](x);`, /together from parts: fake/],
    [
      "a name that says so",
      "engine/network/head.ts",
      "function simulatedHead(x: number) { return x; }",
      /pretends to be something: simulatedHead/,
    ],
    ["a clock by another name", "engine/sampling/rng.ts", "const { now } = performance;", /takes performance as a whole/],
    ["a variable that tests set", "engine/compute/pool.ts", "if (process.env.CI) return;", /machine: process\.env/],
    ["one of acceptance", "validation/parity/parity.ts", "if (process.env.CI) return [];", /environment: CI/],
    ["an answer from elsewhere", "engine/generation/model.ts", "const answer = await fetch(url);", /somebody else: fetch/],
    ["another engine", "engine/generation/runner.ts", `import { spawn } from "node:child_process";`, /imports node:child_process/],
    ["code that nobody reads", "engine/network/plan.ts", `const run = new Function("x", body);`, /nobody can read here: Function/],
    [
      "a check that looks at nothing",
      "validation/acceptance/sign-off.ts",
      `const run = () => ({ status: "PASS" });`,
      /without looking at anything/,
    ],
    [
      "a check by a helper",
      "validation/acceptance/sign-off.ts",
      "const run = (context: Context) => pass();",
      /without looking at anything/,
    ],
    [
      "a check that passes when it fails",
      "validation/acceptance/sign-off.ts",
      `try { look(); } catch { return { status: "PASS" }; }`,
      /passes because something failed/,
    ],
    ["an error swallowed", "engine/network/load.ts", "try { load(); } catch {}", /swallows an error/],
    ["a rejection swallowed", "validation/parity/parity.ts", "await close().catch(() => {});", /swallows an error/],
    ["what is not there yet", "engine/packing/i2s.ts", `throw new Error("not implemented");`, /not written yet/],
  ];
  it.each(offences)("%s", (_, path, text, said) => {
    expect(whats(pretences(sourceOf(path, text)))).toEqual([expect.stringMatching(said)]);
  });

  it.each<readonly [path: string, text: string]>([
    ["engine/generation/jobs.ts", "const start = performance.now();"],
    ["engine/host/node/files.ts", `const { randomUUID } = await import("node:crypto");`],
    ["engine/numerics.ts", "const y = Math.fround(Math.sqrt(x)); const n = 2 ** 31;"],
    ["engine/generation/model.ts", "const perplexity = Math.exp(nll); // no logit hangs on it"],
    ["engine/text/messages.ts", "const day = new Date(year, 1);"],
    ["engine/network/head.ts", `throw new Error("the head has no rows");`],
    ["engine/generation/model.ts", `if (reason === "length") return "mockingbird";`],
    ["engine/text/bpe.ts", "// a fake token, simulated in a comment"],
    ["engine/compute/pool.ts", "try { end(); } catch { /* it has ended */ }"],
    ["engine/generation/model.ts", "const running = await starting.catch(() => undefined);"],
    ["validation/acceptance/sign-off.ts", `const pass = (figures: Figures) => ({ status: "PASS", figures });`],
    ["validation/acceptance/sign-off.ts", `const run = () => (existsSync("a") ? { status: "PASS" } : { status: "FAIL" });`],
    ["cli/run.ts", "const environment = readEnvironment(process.env);"],
    ["engine/network/forward.test.ts", "const noise = () => Math.random(); function mockKernels() {}"],
  ])("lets pass %s: %s", (path, text) => {
    expect(whats(pretences(sourceOf(path, text)))).toEqual([]);
  });

  // These keep to the words and forms of honest code. The tests notice them: bench/mutate/fixed.json has changes of the same kinds.
  it.each<readonly [what: string, path: string, text: string]>([
    ["another activation", "engine/network/feed-forward.ts", `const activation = "silu";`],
    ["a layer left out", "engine/network/forward.ts", "for (let i = 1; i < layers.length; i++) run(layers[i]);"],
    ["a norm that does nothing", "engine/numerics.ts", "export function rmsNorm(out: Float32Array, x: Float32Array) { out.set(x); }"],
    ["few answers without a word", "engine/generation/model.ts", "if (ids.length === 5) return [4080, 632];"],
    ["a loop that only takes time", "engine/network/forward.ts", "for (let i = 0; i < 1e9; i++);"],
    ["a constant in place of a result", "engine/sampling/sampler.ts", "export function argmax(): number { return 0; }"],
  ])("can't see %s", (_, path, text) => {
    expect(whats(pretences(sourceOf(path, text)))).toEqual([]);
  });

  it("in a bundle: names anywhere, chance and code from texts where only the engine is", () => {
    const text = 'const fakeLogits = 1; Math.random(); eval("1"); const known = "9f86d081884c7d65";';
    const bundle = sourceOf("dist/bundle/worker.cjs", text);
    expect(whats(pretencesInBundle(bundle, "node"))).toEqual([
      "1: pretends to be something: fakeLogits",
      "1: leaves it to chance: Math.random",
      "1: runs what nobody can read here: eval",
      "1: knows a hash",
    ]);
    expect(pretencesInBundle(bundle, undefined)).toHaveLength(1);
  });
});

describe("traces of debugging", () => {
  const offences: readonly Offence[] = [
    ["a breakpoint", "engine/text/bpe.ts", "if (x) debugger;", /a breakpoint/],
    ["a print", "engine/network/forward.ts", "console.log(x);", /prints: console\.log/],
    ["a print past the console", "validation/parity/parity.ts", `process.stderr.write("x");`, /prints: process\.stderr\.write/],
    ["a print in a test", "engine/text/bpe.test.ts", "console.error(x);", /prints: console\.error/],
    ["a print of a command", "cli/run.ts", "console.log(x);", /prints: console\.log/],
    ["a way round", "engine/network/plan.ts", "if (false) check(plan);", /always the same: false/],
    ["a condition switched off", "engine/network/plan.ts", "if (small && false) check(plan);", /always the same: small && false/],
    ["an early end", "engine/network/load.ts", "function f() { return 1; check(); }", /never reaches: check/],
    ["code in a comment", "engine/network/load.ts", "// const y = f(x);\nconst y = 1;", /code in a comment/],
    ["a note", "engine/model/config.ts", "// TODO: rope\n", /a to-do note: TODO/],
    ["an end of the process", "engine/compute/pool.ts", "process.exit(1);", /is no program/],
    ["a folder of somebody", "engine/container/source.ts", `const path = "/home/me/model.gguf";`, /folder of one machine/],
    ["a type error silenced", "engine/model/config.ts", "// @ts-expect-error\nf(x);", /silences a checker/],
    ["a file not checked", "engine/model/config.ts", "// @ts-nocheck: later\n", /silences a checker/],
    ["a rule silenced", "cli/run.ts", "// biome-ignore lint/suspicious/noExplicitAny\nf(x);", /silences a checker/],
  ];
  it.each(offences)("%s", (_, path, text, said) => {
    expect(whats(traces(sourceOf(path, text)))).toEqual([expect.stringMatching(said)]);
  });

  it.each<readonly [path: string, text: string]>([
    ["cli/run.ts", "process.stdout.write(text); process.exitCode = 1;"],
    ["bench/kernels.ts", "console.log(table);"],
    ["engine/generation/many.test.helper.ts", "console.log(JSON.stringify(figures));"],
    ["engine/network/forward.ts", "while (true) if (next()) break;"],
    ["engine/network/forward.ts", "// out = x · weight; the factor first\nfunction f() { return g(); function g() { return 1; } }"],
    ["engine/text/jinja/lexer.ts", 'const text = "// TODO: f();"; const pattern = /TODO/; const debug = `debugger;`;'],
    ["kernels/assembly/lanes.ts", "// @ts-ignore: decorator\n@inline\nfunction f(): void {}"],
    ["cli/run.ts", "// biome-ignore lint/suspicious/noControlCharactersInRegex: they are meant\nf(x);"],
  ])("lets pass %s: %s", (path, text) => {
    expect(whats(traces(sourceOf(path, text)))).toEqual([]);
  });
});

describe("hollow tests", () => {
  const HEAD = `import { describe, expect, it, test, vi } from "vitest";\n`;
  const scan = (body: string, helper = ""): string[] => {
    const test = sourceOf("engine/x.test.ts", `${HEAD}${body}`);
    const others = new Map([["engine/help.test.helper.ts", sourceOf("engine/help.test.helper.ts", helper)]]);
    return whats(hollowTests(test, others));
  };
  const REAL = `it("a", () => { expect(f()).toBe(1); });`;

  it.each<readonly [what: string, body: string, said: RegExp]>([
    ["no test", "", /has no test/],
    ["one that runs alone", `it.only("a", () => { expect(f()).toBe(1); });`, /it\.only/],
    ["one left out", `test.skip("a", () => { expect(f()).toBe(1); });`, /test\.skip/],
    ["a group left out", `describe.skip("g", () => { ${REAL} });`, /describe\.skip/],
    ["left out by a key", `it["skip"]("a", () => { expect(f()).toBe(1); });`, /it\.skip/],
    ["left out by an option", `it("a", { skip: true }, () => { expect(f()).toBe(1); });`, /skip: every test/],
    ["left out from within", `it("a", ({ skip }) => { skip(); expect(f()).toBe(1); });`, /skip\(\)/],
    ["to be written", `${REAL} it.todo("b");`, /it\.todo/],
    ["one that must fail", `it.fails("a", () => { expect(f()).toBe(1); });`, /it\.fails/],
    ["left out somewhere, without a reason", `it.skipIf(slow)("a", () => { expect(f()).toBe(1); });`, /it\.skipIf without a reason/],
    ["there under a condition", `if (fast) { ${REAL} }`, /only under a condition/],
    ["no body", `it("a");`, /without a body/],
    ["an empty body", `it("a", () => {});`, /without an assertion/],
    ["no assertion", `it("a", async () => { await f(); });`, /without an assertion/],
    ["a helper that asserts nothing", `const check = (x: number) => x > 1; it("a", () => { check(f()); });`, /without an assertion/],
    ["a helper that is not called", `it("a", () => { const check = () => expect(f()).toBe(1); f(); });`, /without an assertion/],
    ["an early return", `it("a", () => { return; expect(f()).toBe(1); });`, /without an assertion/],
    [
      "an early return somewhere",
      `it("a", () => { if (process.env.CI) return;\n\n expect(f()).toBe(1); });`,
      /returns before its assertions/,
    ],
    ["an assertion under a condition", `it("a", () => { const x = f(); if (x) expect(x).toBe(1); });`, /only under a condition/],
    ["one behind &&", `it("a", () => { ready && expect(f()).toBe(1); });`, /only under a condition/],
    ["a loop over nothing", `it("a", () => { for (const x of []) expect(x).toBe(1); });`, /without an assertion/],
    ["a failure caught", `it("a", () => { try { expect(f()).toBe(1); } catch {} });`, /catches what its assertion throws/],
    ["a rejection caught", `it("a", () => expect(f()).resolves.toBe(1).catch(() => {}));`, /catches what its assertion throws/],
    ["no rows", `it.each([])("a %s", (x) => { expect(x).toBe(1); });`, /has no rows/],
    ["rows of an empty list", `const rows: string[] = []; it.each(rows)("a %s", (x) => { expect(x).toBe(1); });`, /has no rows/],
    ["an empty group", `${REAL} describe("g", () => {});`, /group without a test/],
    ["no matcher", `it("a", () => { expect(f()).toBe(1); expect(g()); });`, /no matcher/],
    ["a matcher that is not called", `it("a", () => { expect(f()).toBe(1); expect(g()).toBeTruthy; });`, /toBeTruthy is not called/],
    ["what is true anyway", `it("a", () => { f(); expect(true).toBe(true); });`, /cannot fail/],
    ["the same on both sides", `it("a", () => { const x = f(); expect(x).toEqual(x); });`, /both sides are x/],
    ["what is compared with itself", `it("a", () => { const x = f(); expect(x === x).toBe(true); });`, /cannot fail/],
    ["a constant of its own", `it("a", () => { const y = 3; f(); expect(y).toBe(3); });`, /cannot fail/],
    ["any text", `it("a", () => { expect(f()).toMatch(/.*/); });`, /anything will do/],
    ["any object", `it("a", () => { expect(f()).toMatchObject({}); });`, /anything will do/],
    ["a callback after the end", `it("a", () => { f().then((x) => { expect(x).toBe(1); }); });`, /only under a condition/],
    [
      "loops that nobody waits for",
      `it("a", () => { xs.forEach(async (x) => { expect(await f(x)).toBe(1); }); });`,
      /only under a condition/,
    ],
    [
      "a failure heard by nobody",
      `it("a", async () => { await f().then((x) => expect(x).toBe(1), () => {}); });`,
      /catches what its assertion throws/,
    ],
    ["parts of the world replaced", `Object.assign(globalThis, { fetch }); ${REAL}`, /replaces parts of globalThis/],
    ["an end of the process", `it("a", () => { process.exit(0); expect(f()).toBe(1); });`, /ends the process/],
    ["anything", `it("a", () => { expect(f()).toEqual(expect.anything()); });`, /anything will do/],
    ["a promise not awaited", `it("a", () => { expect(f()).resolves.toBe(1); });`, /is not awaited/],
    ["no assertion expected", `it("a", () => { expect.assertions(0); expect(f()).toBe(1); });`, /expects no assertion/],
    ["a module replaced", `vi.mock("./f.js"); ${REAL}`, /vi\.mock/],
    ["a clock that stands", `it("a", () => { vi.useFakeTimers(); expect(f()).toBe(1); });`, /vi\.useFakeTimers/],
    ["a clock of its own", `Date.now = () => 0; ${REAL}`, /replaces Date\.now/],
    ["a matcher of its own", `expect.extend({ toBe: () => ({ pass: true }) }); ${REAL}`, /expect\.extend/],
    [
      "an expect of its own",
      `it("a", () => { const expect = (x: unknown) => ({ toBe: (y: unknown) => x ?? y }); expect(f()).toBe(1); });`,
      /not vitest's expect/,
    ],
  ])("%s", (_, body, said) => {
    expect(scan(body)).toEqual(expect.arrayContaining([expect.stringMatching(said)]));
  });

  it.each<readonly [what: string, body: string, helper?: string]>([
    ["a plain test", REAL],
    ["rows", `it.each([1, 2])("%d", (x) => { expect(f(x)).toBe(1); });`],
    [
      "rows, and a function by name",
      `const run = (x: number): void => { expect(f(x)).toBe(1); }; describe.each([1])("g", () => { it.each([1])("%d", run); });`,
    ],
    ["a helper of the file", `function check(x: number) { if (x) throw new Error("x"); expect(x).toBe(0); } it("a", () => check(f()));`],
    [
      "a helper of another file",
      `import { check } from "./help.test.helper.js"; it("a", () => check(f()));`,
      `import { expect } from "vitest"; export const check = (x: unknown): void => { expect(x).toBe(1); };`,
    ],
    [
      "a method of a helper",
      `import { Bench } from "./help.test.helper.js"; it("a", () => new Bench().check(f()));`,
      `export class Bench { check(x: unknown): void { expect(x).toBe(1); } }`,
    ],
    ["a property", `it("a", () => { fc.assert(fc.property(fc.nat(), (n) => f(n) === n)); });`],
    ["both ways", `it("a", () => { if (f()) expect(f()).toBe(1); else expect(g()).toBe(2); });`],
    [
      "a caught error that is looked at",
      `it("a", () => { try { f(); } catch (error) { expect(error).toBe(1); return; } expect.unreachable(); });`,
    ],
    ["a count of assertions", `it("a", () => { expect.assertions(1); if (x) expect(f()).toBe(1); });`],
    ["a reason", `// Only Linux has it.\nit.runIf(linux)("a", () => { expect(f()).toBe(1); });`],
    ["a reason to leave", `it("a", () => { if (slow) return; // CI takes it\n expect(f()).toBe(1); });`],
    ["the same call twice", `it("a", () => { expect(f()).toBe(f()); });`],
    ["a group of another function", `const tests = (): void => { ${REAL} }; describe("g", () => { tests(); });`],
    ["promises", `it("a", async () => { await expect(f()).rejects.toThrow(); await Promise.all([expect(g()).resolves.toBe(1)]); });`],
    ["words in texts", `it("it.only(x)", () => { expect(f()).toBe("it.skip"); }); // it.todo is not used`],
  ])("lets pass %s", (_, body = "", helper = "") => {
    expect(scan(body, helper)).toEqual([]);
  });

  // A weak assertion is one: only what it lets through tells.
  it.each<readonly [what: string, body: string]>([
    ["an assertion of something else", `it("a", () => { expect(f()).toBeDefined(); });`],
    ["a tolerance that is too wide", `it("a", () => { expect(f()).toBeLessThan(1e9); });`],
    ["what the code itself computes", `it("a", () => { expect(f()).toEqual(f()); });`],
    ["an empty function", `it("a", () => { expect(() => {}).not.toThrow(); });`],
    ["no rows of a call", `it.each(rows.filter(() => false))("%d", (x) => { expect(f(x)).toBe(1); });`],
    ["fewer rows", `it.each([1])("%d", (x) => { expect(f(x)).toBe(1); });`],
  ])("can't see %s", (_, body) => {
    expect(scan(body)).toEqual([]);
  });
});

it("this repository has none of them", () => {
  const all = new Map<string, Source>();
  // The gates scan them all too, and CI runs both.
  const rooms = ["engine", "kernels", "hub", "server", "validation", "cli", "bench", "scripts"];
  for (const room of THOROUGH ? rooms : ["engine/network", "kernels", "hub", "server", "validation/acceptance", "scripts"]) {
    for (const name of readdirSync(room, { recursive: true, encoding: "utf8" })) {
      const path = posix.join(room, name.replaceAll("\\", "/"));
      if (/\.(?:ts|mjs)$/.test(path) && !/\/(?:node_modules|golden|fixtures|peers)\//.test(path))
        all.set(path, sourceOf(path, readFileSync(path, "utf8")));
    }
  }
  expect(all.size).toBeGreaterThan(THOROUGH ? 400 : 60);
  for (const scan of [pretences, traces, hollowTests]) {
    const found = [...all.values()].flatMap((source) => scan(source, all));
    expect(found.map(({ path, line, what }) => `${path}:${line} ${what}`)).toEqual([]);
  }
});
