// node-llama-cpp as bench/check-peers.ts wants it: reads one GGUF file and writes the raw logits of every position of some token
// ids, [windows] of [tokens, vocabulary] f32. Its cache of keys and values is f32 too, so that nothing but the file's types rounds.
import { readFileSync, writeFileSync } from "node:fs";
import { getLlama } from "node-llama-cpp";

const { path, windows, vocab, out } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, maxThreads: 1 });
const model = await llama.loadModel({ modelPath: path });
const context = await model.createContext({
  contextSize: Math.max(...windows.map((ids) => ids.length)) + 8,
  batchSize: 512,
  threads: 1,
  flashAttention: false,
  experimentalKvCacheKeyType: "F32",
  experimentalKvCacheValueType: "F32",
});
const sequence = context.getSequence();
const logits = new Float32Array(windows.reduce((tokens, ids) => tokens + ids.length, 0) * vocab);
let row = 0;
for (const ids of windows) {
  await sequence.clearHistory();
  const results = await sequence.controlledEvaluate(ids.map((id) => [id, { generateNext: { logits: true } }]));
  for (const { next } of results) {
    if (next.logits.size !== vocab) throw new Error(`${next.logits.size} logits where there should be ${vocab}`);
    for (const [id, logit] of next.logits) logits[row * vocab + id] = logit;
    row++;
  }
}
writeFileSync(out, logits);
const read = (path) => JSON.parse(readFileSync(new URL(`./node_modules/node-llama-cpp/${path}`, import.meta.url), "utf8"));
process.stdout.write(`node-llama-cpp ${read("package.json").version} (llama.cpp ${read("llama/binariesGithubRelease.json").release})`);
process.exit();
