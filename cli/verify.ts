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
  // Threads asked for by name all start: only with the receipt's own number can calls of kernels be compared.
  const load = { ...kernelOptions(flags), ...(flags.threads !== undefined && { crowded: true }), ...(reference && { reference }) };
  const done = await interruptible("replaying", (_, signal) => verifyReceipt(path, { model, tokenizer, load: { ...load, signal } }));
  if (!done) return;
  const { receipt, tier, threads, replayed, claimed } = done;
  if (flags.json) {
    await writeJson({ verdict: "match", steps: receipt.steps.length, tier, threads, replayed, claimed });
    return;
  }
  const { provenance } = receipt;
  const where = "node" in provenance ? `on Node ${provenance.node}` : `in a page (${provenance.user_agent})`;
  const written = `written ${where}, ${on(provenance.kernel_tier ?? "none", provenance.threads ?? 0)}`;
  await write(`match: ${receipt.steps.length} steps, ${printable(written)}; replayed on Node ${process.version}, ${on(tier, threads)}\n`);
  await write(`replayed: ${replayed.join(", ")}\n`);
  await write(`only claimed: ${claimed.join(", ")}\n`);
}

function on(tier: string, threads: number): string {
  return `${tier === "none" ? "the scalar reference" : `${tier} kernels`}, ${threads} thread${threads === 1 ? "" : "s"}`;
}
