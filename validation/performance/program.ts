// Measures a model once, in a process of its own: see alternate.ts, which starts it.
import { readFileSync } from "node:fs";
import { loadModel } from "../../engine/index.js";
import type { PerfAnswer, PerfJob } from "./alternate.js";
import { RandomIds, timeOnce } from "./measure.js";

/** Most tokens of the prompt, and of those that are timed one by one. A shorter context is shared out among them. */
const PROMPT = 512;
const DECODE = 64;

async function measure({ path, options, seed, describe }: PerfJob): Promise<PerfAnswer> {
  const model = await loadModel(path, { ...options, v8Flags: true });
  try {
    const { contextLength, config } = model;
    const decode = Math.max(1, Math.min(DECODE, Math.floor(contextLength / 4)));
    const prompt = Math.max(1, Math.min(PROMPT, contextLength - decode - 1));
    const random = new RandomIds(seed);
    const read = () => timeOnce(model, random.take(prompt, config.vocabSize), decode + 1, undefined);
    await read(); // in this the engine compiles what it finds to be hot
    const timings = await read();
    return {
      sample: {
        prefill_tokens_per_second: round(timings.prefillTokensPerSecond),
        decode_tokens_per_second: round(timings.decodeTokensPerSecond),
        first_token_ms: round(timings.firstTokenMs),
        load_ms: round(model.loadMs),
        peak_rss_bytes: peakRss(),
      },
      ...(describe && {
        description: await model.describe(), // last: it reads the whole file once more
        settings: { context_length: contextLength, prompt_tokens: prompt, decode_tokens: decode },
      }),
    };
  } finally {
    await model.close();
  }
}

const round = (value: number): number => Number(value.toFixed(3));

/** Bytes. Linux also counts to `maxRSS` what the process had that started this one, but not to its own mark. */
function peakRss(): number {
  if (process.platform === "linux") {
    const [, kilobytes] = readFileSync("/proc/self/status", "latin1").match(/^VmHWM:\s+(\d+) kB$/m) ?? [];
    if (kilobytes !== undefined) return Number(kilobytes) * 1024;
  }
  return process.resourceUsage().maxRSS * 1024;
}

/** The asking process has gone: the answer will not be read. */
const stop = () => process.kill(process.pid, "SIGKILL");
process.once("disconnect", stop);

process.once("message", (job) => {
  measure(job as PerfJob)
    .catch((error: unknown): PerfAnswer => {
      const { code, message } = error as Error & { readonly code?: string };
      return { error: { code: code ?? "internal", message } };
    })
    .then((answer) => {
      process.send?.(answer, () => {
        process.off("disconnect", stop);
        process.disconnect();
      });
    });
});
