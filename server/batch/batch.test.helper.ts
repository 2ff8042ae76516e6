import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

/** Requests of all kinds, right and wrong, as lines of a batch. */
export function requestLines(count: number): string[] {
  const asks: readonly ((i: number) => [url: string, body: object])[] = [
    (i) => ["/v1/chat/completions", { messages: [{ role: "user", content: `Tell me of ${i} dogs.` }], max_tokens: 4 + (i % 12) }],
    (i) => ["/v1/completions", { prompt: `The ${i} cats`, max_tokens: 8, n: 1 + (i % 2) }],
    (i) => ["/v1/completions", { prompt: "Once upon a time", max_tokens: 6, seed: i, temperature: 1 }],
    (i) => ["/v1/embeddings", { input: `number ${i}`, encoding_format: "base64" }],
    (i) => ["/v1/responses", { input: `A bird sang ${i} times.`, max_output_tokens: 5 + (i % 3) }],
    () => ["/v1/completions", { prompt: 5 }],
  ];
  return Array.from({ length: count }, (_, i) => {
    if (i % 17 === 16)
      return i % 2 === 0 ? "no JSON" : JSON.stringify({ custom_id: `request ${i - 3}`, method: "POST", url: "/v1/completions", body: {} });
    const [url, body] = asks[i % asks.length]!(i);
    return JSON.stringify({ custom_id: `request ${i}`, method: "POST", url, body });
  });
}

export const sha256 = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

export interface Started {
  readonly child: ChildProcess;
  readonly stderr: () => string;
  /** Its exit code; null: it was killed. */
  readonly ended: Promise<number | null>;
}

/** A program of this package in a process of its own. */
export function start(program: string, ...args: readonly string[]): Started {
  const child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "inherit", "pipe"] });
  let stderr = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  return { child, stderr: () => stderr, ended: new Promise((resolve) => child.once("close", resolve)) };
}

export const BITNET = "dist/bundle/bitnet.cjs";
