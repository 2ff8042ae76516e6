/** This engine as bench/peers.ts wants it: a process that loads a model, then measures what it is told, one test at a time. */
import { type LoadOptions, loadModel } from "../engine/index.js";
import type { PeerReply, PeerTest } from "./peer-turns.js";

const { path, ...options } = JSON.parse(process.argv[2]!) as { path: string } & LoadOptions;
const model = await loadModel(path, { ...options, v8Flags: true });
const { kernels, quantisation } = await model.describe();
let idleFrom = process.cpuUsage();

process.on("message", async ({ prefill, tokens, prompts }: PeerTest) => {
  const { user, system } = process.cpuUsage(idleFrom);
  const maxTokens = prefill ? 1 : tokens + 1;
  // One token a pass, as the other engine does.
  const how = { temperature: 0, repetitionPenalty: 1, ignoreEos: true, speculate: false, maxTokens };
  const all = await Promise.all(prompts.map((prompt) => model.generate(prompt, how).result()));
  // All were called at once: their times have one zero.
  const times = all.map(({ timings: { firstTokenMs, decodeMs } }) => ({ first: firstTokenMs, last: firstTokenMs + decodeMs }));
  const decodeMs = Math.max(...times.map(({ last }) => last)) - Math.min(...times.map(({ first }) => first));
  const tokensPerSecond = prefill ? all[0]!.timings.prefillTokensPerSecond : (prompts.length * tokens * 1000) / decodeMs;
  idleFrom = process.cpuUsage();
  process.send!({ tokensPerSecond, idleCpuMs: (user + system) / 1000 } satisfies PeerReply);
});
process.on("disconnect", () => process.exit());
process.send!({
  engine: `bitnet-ts, ${quantisation.linears}, Node ${process.versions.node.split(".")[0]}, ${kernels.tier}`,
});
