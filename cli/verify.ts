import { verifyReceipt } from "../validation/receipts/verify.js";
import { interruptible, kernelOptions } from "./command.js";
import { printable } from "./failure.js";
import type { ModelFlags } from "./model.js";
import { write, writeJson } from "./terminal.js";

export interface VerifyFlags extends Pick<ModelFlags, "model" | "tokenizer" | "threads" | "tier"> {
  readonly reference?: boolean;
  readonly json?: boolean;
}

/** `bitnet verify`: replays a receipt. */
export async function verify(path: string, flags: VerifyFlags): Promise<void> {
  const { model, tokenizer, reference } = flags;
  const done = await interruptible("replaying", (_, signal) =>
    verifyReceipt(path, { model, tokenizer, load: { ...kernelOptions(flags), ...(reference && { reference }), signal } }),
  );
  if (!done) return;
  const { receipt, tier, callsCompared } = done;
  const { kernel_tier, node } = receipt.provenance;
  if (flags.json) {
    await writeJson({ verdict: "match", steps: receipt.steps.length, tier, threads: done.threads, callsCompared });
    return;
  }
  const written = `written on Node ${node}, ${on(kernel_tier ?? "none", receipt.provenance.threads ?? 0)}`;
  await write(
    `match: ${receipt.steps.length} steps, ${printable(written)}; replayed on Node ${process.version}, ${on(tier, done.threads)}\n`,
  );
}

function on(tier: string, threads: number): string {
  return `${tier === "none" ? "the scalar reference" : `${tier} kernels`}, ${threads} thread${threads === 1 ? "" : "s"}`;
}
