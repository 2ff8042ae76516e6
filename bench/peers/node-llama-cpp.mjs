// node-llama-cpp as bench/peers.ts wants it: a process that loads a model, then measures what it is told, one test at a time.
// The file is TQ2_0 with an f16 embedding: the ternary format that llama.cpp runs (it has no I2_S), with the embedding that published models have.
import { readFileSync } from "node:fs";
import { getLlama } from "node-llama-cpp";

const { path, threads, contextLength } = JSON.parse(process.argv[2]);
const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, maxThreads: threads });
const model = await llama.loadModel({ modelPath: path });
const context = await model.createContext({ contextSize: contextLength, batchSize: 512, threads });
const sequence = context.getSequence();
const { version } = JSON.parse(readFileSync(new URL("./node_modules/node-llama-cpp/package.json", import.meta.url), "utf8"));

/** Tokens per second. */
async function measure({ prefill, tokens, prompt }) {
  await sequence.clearHistory();
  if (prefill) {
    const start = performance.now();
    await sequence.evaluateWithoutGeneratingNewTokens(prompt);
    return (tokens * 1000) / (performance.now() - start);
  }
  let first = 0;
  let written = 0;
  for await (const _ of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    if (written === 0) first = performance.now();
    if (written++ === tokens) break;
  }
  return (tokens * 1000) / (performance.now() - first);
}

let idleFrom = process.cpuUsage();
process.on("message", async (test) => {
  const { user, system } = process.cpuUsage(idleFrom);
  const tokensPerSecond = await measure(test);
  idleFrom = process.cpuUsage();
  process.send({ tokensPerSecond, idleCpuMs: (user + system) / 1000 });
});
process.on("disconnect", () => process.exit());
process.send({ engine: `node-llama-cpp ${version}, TQ2_0` });
