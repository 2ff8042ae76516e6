/**
 * What comes before speed: from process start to the first text of the embedded model; and of a model file the time to load it, and the most
 * memory that a context of 2048 tokens, full, makes resident.
 * `node dist/bench/startup.js [--model FILE] [--node PATH]… [--runs 15] [--json]`
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { median } from "../validation/statistics/summary.js";
import { readFlags } from "./flags.js";
import { beginRecord, reportOf } from "./record.js";
import { type LoadRate, startTable } from "./startup-report.js";

const CLI = fileURLToPath(new URL("../bundle/bitnet.cjs", import.meta.url));
const LIBRARY = new URL("../bundle/index.js", import.meta.url).href;
/** Loaded once for each, to see the file's pages in memory; then measured. */
const LOADS = 5;
const CONTEXT = 2048;

/** Loads the model and, if asked, fills its context. Prints what it took. */
const load = (path: string, kv: string, threads: number, fill: boolean): string => `
  import { loadModel } from ${JSON.stringify(LIBRARY)};
  const start = performance.now();
  const model = await loadModel(${JSON.stringify(path)}, { threads: ${threads}, contextLength: ${CONTEXT}, kv: "${kv}", v8Flags: true });
  const milliseconds = performance.now() - start;
  if (${fill}) await model.generate(Array.from({ length: ${CONTEXT - 8} }, (_, i) => 100 + i * 37), { maxTokens: 8, temperature: 0, ignoreEos: true }).result();
  console.log(JSON.stringify({ milliseconds, megabytes: process.resourceUsage().maxRSS * 1024 / 1e6 }));
  await model.close();
`;

function run(node: string, script: string): { milliseconds: number; megabytes: number } {
  const { stdout, status } = spawnSync(node, ["--input-type=module", "-e", script], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (status !== 0) throw new Error("a run failed: see its message above");
  return JSON.parse(stdout) as { milliseconds: number; megabytes: number };
}

/** Milliseconds from the start of a process to the first text it writes. */
async function firstText(node: string, threads: number): Promise<number> {
  const start = performance.now();
  const child = spawn(node, [CLI, "run", "--prompt", "Once upon a time", "--max-tokens", "8", "--threads", String(threads)], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  await once(child.stdout, "data");
  const milliseconds = performance.now() - start;
  child.stdout.resume();
  await once(child, "close");
  return milliseconds;
}

const { values } = readFlags("node dist/bench/startup.js [--model model.gguf] [--node PATH]… [--runs 15] [--threads 2] [--json]", {
  model: { type: "string" },
  node: { type: "string", multiple: true, default: [process.execPath] },
  runs: { type: "string", default: "15" },
  threads: { type: "string", default: "2" },
  json: { type: "boolean", default: false },
});
const [runs, threads] = [Number(values.runs), Number(values.threads)];
const versions = values.node.map((node) => spawnSync(node, ["--version"], { encoding: "utf8" }).stdout.trim());

const record = beginRecord("startup");
const first: number[][] = values.node.map(() => []);
for (let round = -1; round < runs; round++) {
  for (const [i, node] of values.node.entries()) {
    const milliseconds = await firstText(node, threads);
    if (round >= 0) first[i]!.push(milliseconds);
  }
}
const loads: LoadRate[][] = values.node.map(() => []);
if (values.model !== undefined) {
  for (const kv of ["q8", "f32"]) {
    const times: number[][] = values.node.map(() => []);
    for (let round = -1; round < LOADS; round++) {
      for (const [i, node] of values.node.entries()) {
        const { milliseconds } = run(node, load(values.model, kv, threads, false));
        if (round >= 0) times[i]!.push(milliseconds);
      }
    }
    for (const [i, node] of values.node.entries()) {
      const { megabytes } = run(node, load(values.model, kv, threads, true));
      loads[i]!.push({ kv, milliseconds: Math.round(median(times[i]!)), megabytes: Math.round(megabytes) });
    }
  }
}
const made = await record({
  threads,
  context: CONTEXT,
  nodes: versions.map((node, i) => ({
    node,
    first: { median: Math.round(median(first[i]!)), min: Math.round(Math.min(...first[i]!)), max: Math.round(Math.max(...first[i]!)) },
    loads: loads[i]!,
  })),
});
console.log(values.json ? JSON.stringify(made, undefined, 2) : startTable(reportOf(made)));
