// node-llama-cpp as bench/embed-peers.ts wants it: a process that loads a model, then embeds what it is told, one test at a time. Its embedding
// context takes one text at a time.
import { readFileSync } from "node:fs";
import { getLlama } from "node-llama-cpp";

const { path, threads, contextLength } = JSON.parse(process.argv[2]);
const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, maxThreads: threads });
const model = await llama.loadModel({ modelPath: path });
const context = await model.createEmbeddingContext({ contextSize: contextLength, batchSize: 512, threads });
const { version } = JSON.parse(readFileSync(new URL("./node_modules/node-llama-cpp/package.json", import.meta.url), "utf8"));

process.on("message", async ({ texts }) => {
  const start = performance.now();
  for (const text of texts) await context.getEmbeddingFor(text);
  process.send({ ms: performance.now() - start });
});
process.on("disconnect", () => process.exit());
process.send({ engine: `node-llama-cpp ${version}, Q8_0` });
