// node-llama-cpp as bench/peers.ts wants it: a process that loads a model, then measures what it is told, one test at a time.
// The file is TQ2_0, the ternary format that llama.cpp runs (it has no I2_S), with an embedding of the type that the name ends with.
import { readFileSync } from "node:fs";
import { GgmlType, getLlama } from "node-llama-cpp";

const { path, threads } = JSON.parse(process.argv[2]);
const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, maxThreads: threads });
const model = await llama.loadModel({ modelPath: path });
const { version } = JSON.parse(readFileSync(new URL("./node_modules/node-llama-cpp/package.json", import.meta.url), "utf8"));

/** Sequences of one context, by depth and how many they are: a deep one keeps its prompt from turn to turn. */
const kept = new Map();
async function sequencesOf(count, depth, tokens) {
  const key = `${count} ${depth}`;
  if (!kept.has(key)) {
    const contextSize = Math.ceil((tokens + 2) / 256) * 256; // of each
    const context = await model.createContext({ contextSize, batchSize: 512, threads, sequences: count });
    kept.set(
      key,
      Array.from({ length: count }, () => context.getSequence()),
    );
  }
  return kept.get(key);
}

/** When the first and the last of `tokens` more tokens came, ms. */
async function decode(sequence, prompt, tokens) {
  await sequence.adaptStateToTokens(prompt.slice(0, -1), false);
  let first = 0;
  let written = 0;
  for await (const _ of sequence.evaluate(prompt.slice(sequence.nextTokenIndex), { temperature: 0, yieldEogToken: true })) {
    if (written === 0) first = performance.now();
    if (written++ === tokens) break;
  }
  return { first, last: performance.now() };
}

/** Tokens per second, of all sequences together. */
async function measure({ prefill, tokens, depth, prompts }) {
  const sequences = await sequencesOf(prompts.length, depth, prompts[0].length + tokens);
  if (prefill) {
    await sequences[0].clearHistory();
    const start = performance.now();
    await sequences[0].evaluateWithoutGeneratingNewTokens(prompts[0]);
    return (tokens * 1000) / (performance.now() - start);
  }
  const times = await Promise.all(sequences.map((sequence, i) => decode(sequence, prompts[i], tokens)));
  const [first, last] = [Math.min(...times.map(({ first }) => first)), Math.max(...times.map(({ last }) => last))];
  return (prompts.length * tokens * 1000) / (last - first);
}

let idleFrom = process.cpuUsage();
process.on("message", async (test) => {
  const { user, system } = process.cpuUsage(idleFrom);
  const tokensPerSecond = await measure(test);
  idleFrom = process.cpuUsage();
  process.send({ tokensPerSecond, idleCpuMs: (user + system) / 1000 });
});
process.on("disconnect", () => process.exit());
const embedding = model.fileInfo.tensorInfo.find(({ name }) => name === "token_embd.weight");
process.send({ engine: `node-llama-cpp ${version}, TQ2_0, ${GgmlType[embedding.ggmlType]}` });
