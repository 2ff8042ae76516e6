/** This engine as bench/embed-peers.ts wants it: a process that loads a model, then embeds what it is told, one test at a time. */
import { type LoadOptions, loadModel } from "../engine/index.js";
import type { EmbedTest } from "./embed-peers.js";

const { path, ...options } = JSON.parse(process.argv[2]!) as { path: string } & LoadOptions;
const model = await loadModel(path, { ...options, v8Flags: true });
const { kernels } = await model.describe();

process.on("message", async ({ texts }: EmbedTest) => {
  const start = performance.now();
  await model.embed(texts);
  process.send!({ ms: performance.now() - start });
});
process.on("disconnect", () => process.exit());
process.send!({ engine: `bitnet-ts, I2_S, Node ${process.versions.node.split(".")[0]}, ${kernels.tier}` });
