import { readFileSync } from "node:fs";
import type { Worker } from "node:worker_threads";
import { WorkerPool } from "../compute/pool.js";
import type { StepBatch } from "../compute/step.js";

export const EMBEDDED = "models/bitnet-stories-4m/ggml-model-i2_s.gguf";
export const PACKED = "models/bitnet-stories-4m/packed";

/** What the model's own reference said, of the checkpoint that both embedded files hold. */
export interface GoldenRequest {
  readonly id: string;
  readonly text?: string;
  readonly ids: readonly number[];
}

interface GoldenFile {
  readonly requests: readonly GoldenRequest[];
  readonly results: { readonly "hf-packed": Readonly<Record<string, { readonly greedy: readonly number[] | null }>> };
}

const golden: GoldenFile = JSON.parse(readFileSync("validation/golden/model/open/golden.json", "utf8"));

/** Prompts of a few words. */
export const prompts: readonly (GoldenRequest & { readonly text: string })[] = golden.requests.filter(
  (request): request is GoldenRequest & { text: string } => request.text !== undefined,
);

/** 1,900 tokens. */
export const longIds: readonly number[] = golden.requests.find(({ ids }) => ids.length > 1000)!.ids;

/** The 64 tokens that the reference chose greedily. */
export function goldenGreedy(id: string): readonly number[] {
  return golden.results["hf-packed"][id]!.greedy!;
}

/** Steps that reached the workers while watching, of all models. */
export class StepWatch {
  readonly batches: StepBatch[] = [];
  /** Called when a step is on its way to the workers: `count` so far. */
  onStep: (count: number) => void = () => {};
  readonly #original = WorkerPool.prototype.request;

  constructor() {
    const { batches } = this;
    const seen = () => this.onStep(batches.length);
    const original = this.#original;
    WorkerPool.prototype.request = function <T>(this: WorkerPool, kind: string, payload: unknown): Promise<T> {
      const answer = original.call(this, kind, payload) as Promise<T>;
      if (kind === "step") {
        batches.push(payload as StepBatch);
        seen();
      }
      return answer;
    };
  }

  get rows(): number {
    return this.batches.reduce((sum, { tokens }) => sum + tokens.length, 0);
  }

  end(): void {
    WorkerPool.prototype.request = this.#original;
  }
}

const started: Worker[] = [];
const alive = new Set<Worker>();
process.on("worker", (worker) => {
  started.push(worker);
  alive.add(worker);
  worker.on("exit", () => alive.delete(worker));
});

/** Threads of this process that were started and have not ended. */
export function livingWorkers(): Worker[] {
  return started.filter((worker) => alive.has(worker));
}

/** An error's code, for answers that must fail. */
export async function failure(promise: Promise<unknown>): Promise<{ readonly code: unknown; readonly message: string }> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Error) return error as Error & { code: unknown };
    throw new Error(`${String(error)} is no Error`);
  }
  throw new Error("this should have failed");
}
