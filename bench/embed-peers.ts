/**
 * Texts per second of `model.embed` in the shape of bitnet-embedding 0.6B, beside node-llama-cpp's embedding context on a Q8_0 file of the same shape
 * without the norms that it doesn't know, turn by turn, each in a process of its own.
 *
 * `npm run bench:peers -- --embed [--node PATH]… [--rounds 5] [--threads 2]`
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { median } from "../validation/statistics/summary.js";
import { BONSAI_SHAPES, makeBonsai } from "./make-bonsai.js";

/** What an engine's process is told to measure. */
export interface EmbedTest {
  readonly texts: readonly string[];
}

/** Tokens of a text, and texts of a turn. */
const TESTS = [
  { tokens: 32, texts: 32 },
  { tokens: 512, texts: 4 },
] as const;

const SHAPE = "embedding-0.6b";
let asked = 0;
/** Each digit is a token. */
const texts = (count: number, tokens: number): string[] =>
  Array.from({ length: count }, () => Array.from({ length: tokens }, () => (Math.imul(++asked, 2654435761) >>> 28) % 10).join(""));

async function next<T>(child: ChildProcess): Promise<T> {
  const failed = once(child, "exit").then(([code]): never => {
    throw new Error(`an engine ended with ${String(code)}: see its message above`);
  });
  failed.catch(() => {}); // it ends when all is done, too
  const [message] = await Promise.race([once(child, "message"), failed]);
  return message as T;
}

/** @param nodes programs that run this engine */
export async function embedPeers(nodes: readonly string[], rounds: number, threads: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "bitnet-embed-"));
  const children: ChildProcess[] = [];
  try {
    const file = async (type: "i2_s" | "q8_0"): Promise<string> => {
      const path = join(folder, `${type}.gguf`);
      console.error(`writing a model of random weights: ${path}`);
      await makeBonsai(path, BONSAI_SHAPES[SHAPE]!, type);
      return path;
    };
    const start = async (script: string, node: string, path: string): Promise<string> => {
      const request = JSON.stringify({ path, threads, contextLength: 1024 });
      const child = fork(fileURLToPath(new URL(script, import.meta.url)), [request], { execPath: node, execArgv: [] });
      children.push(child);
      const { engine } = await next<{ engine: string }>(child);
      console.error(`ready: ${engine}`);
      return engine;
    };
    const names = [await start("../../bench/peers/embed.mjs", process.execPath, await file("q8_0"))];
    const ours = await file("i2_s");
    for (const node of nodes) names.push(await start("./embed-ours.js", node, ours));
    for (const { tokens, texts: count } of TESTS) {
      const rates: number[][] = children.map(() => []);
      for (let round = -1; round < rounds; round++) {
        for (const [i, child] of children.entries()) {
          child.send({ texts: texts(count, tokens) } satisfies EmbedTest);
          const { ms } = await next<{ ms: number }>(child);
          if (round >= 0) rates[i]!.push((1000 * count) / ms);
        }
      }
      console.log(`texts of ${tokens} tokens, texts per second, medians of ${rounds} alternating rounds`);
      for (const [i, name] of names.entries()) {
        const ratios = rates[i]!.map((rate, round) => rate / rates[0]![round]!);
        const spread = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`;
        const ratio = i === 0 ? "" : `  ${median(ratios).toFixed(2)} × (${spread})`;
        console.log(`  ${name.padEnd(48)}${median(rates[i]!).toFixed(2).padStart(8)}${ratio}`);
      }
    }
  } finally {
    for (const child of children) child.kill();
    rmSync(folder, { recursive: true });
  }
}
