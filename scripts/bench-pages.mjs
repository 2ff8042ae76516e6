// Measures the package in Chromium beside Node, turn by turn, on 128-bit code and as many threads: `npm run bench:pages -- --model model.gguf`. Every turn is a
// process of its own, which loads the model and warms up first. In the page the model is a download, in the storage of its origin.
import { spawnSync } from "node:child_process";
import { createReadStream, existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { CHROMIUM, Pages } from "../dist/engine/web.test.helper.js";
import { median } from "../dist/validation/statistics/summary.js";

const usage = "usage: npm run bench:pages -- --model model.gguf [--rounds 5] [--threads 2] [--node PATH]…";

/** Tokens per second of a prompt of 512 tokens, and of 64 tokens behind it. */
const measure = (threads) => `
  const model = await loadModel(path, { tier: "relaxed", threads: ${threads}, contextLength: 1024 });
  let timings;
  for (const first of [5, 6]) {
    const prompt = Array.from({ length: 512 }, (_, i) => first + ((i * 7919) % 20000));
    const how = { maxTokens: 64, temperature: 0, ignoreEos: true, repetitionPenalty: 1, speculate: false };
    ({ timings } = await model.generate(prompt, how).result());
  }
  await model.close();
  const result = [timings.prefillTokensPerSecond, timings.decodeTokensPerSecond];
`;

function onNode(node, model, threads) {
  const index = JSON.stringify(new URL("../dist/bundle/index.js", import.meta.url).href);
  const program = `const { loadModel } = await import(${index}); const path = ${JSON.stringify(model)}; ${measure(threads)} console.log(JSON.stringify(result));`;
  const { status, stdout, stderr } = spawnSync(node, ["--input-type=module", "-e", program], { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

async function main({ model, rounds, threads, node: nodes }) {
  const profile = mkdtempSync(join(tmpdir(), "bitnet-pages-"));
  const pages = await Pages.open({
    isolated: true,
    answer: ({ url }, response) => {
      if (url !== "/the-model.gguf") return false;
      const { size, mtimeMs } = statSync(model);
      response.writeHead(200, { "content-length": size, etag: `"${size}-${mtimeMs}"` });
      createReadStream(model).pipe(response);
      return true;
    },
  });
  const program = `const { loadModel } = await import("/dist/bundle/web.js"); const path = "/the-model.gguf"; ${measure(threads)} return result;`;
  const turns = new Map([["Chromium", () => pages.run(CHROMIUM, program, profile)]]);
  for (const node of nodes) {
    const name = spawnSync(node, ["--version"], { encoding: "utf8" }).stdout.trim();
    turns.set(`Node ${name}`, () => onNode(node, model, threads));
  }
  const rates = new Map([...turns.keys()].map((name) => [name, []]));
  try {
    for (let round = 0; round < rounds; round++) {
      for (const [name, turn] of turns) {
        console.error(`round ${round + 1} of ${rounds}: ${name}`);
        rates.get(name).push(await turn());
      }
    }
  } finally {
    pages.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
  const [first, ...others] = rates;
  console.log(`${cpus()[0]?.model.trim()}, ${threads} threads, relaxed; tokens per second, medians of ${rounds} alternating rounds.\n`);
  console.log("| | prefill 512 | Chromium ÷ it | decode 64 | Chromium ÷ it |\n|---|---:|---:|---:|---:|");
  for (const [name, of] of [first, ...others]) {
    const cells = [0, 1].flatMap((i) => [
      median(of.map((one) => one[i])).toFixed(1),
      name === "Chromium" ? "" : median(of.map((one, round) => first[1][round][i] / one[i])).toFixed(2),
    ]);
    console.log(`| ${[name, ...cells].join(" | ")} |`);
  }
}

function settings() {
  const options = {
    model: { type: "string" },
    rounds: { type: "string", default: "5" },
    threads: { type: "string", default: String(Math.min(2, availableParallelism())) },
    node: { type: "string", multiple: true, default: [process.execPath] },
    help: { type: "boolean", default: false },
  };
  try {
    const { values } = parseArgs({ options });
    const [rounds, threads] = [Number(values.rounds), Number(values.threads)];
    if (values.help || !values.model || !(rounds >= 1 && threads >= 1)) return { help: values.help };
    return { ...values, rounds, threads, model: resolve(values.model) };
  } catch (error) {
    console.error(`error: ${error.message}`);
    return { help: false };
  }
}

const asked = settings();
if (asked.help === true) console.log(usage);
else if (!asked.model || !existsSync(asked.model) || !CHROMIUM) {
  const missing = CHROMIUM ? `there is no file ${asked.model}` : "there is no Chromium here: install it first";
  console.error(asked.model ? `error: ${missing}` : usage);
  process.exitCode = 2;
} else await main(asked);
