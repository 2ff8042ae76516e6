import { type Verification, verifyReceipt } from "../validation/verify.js";
import { INTERRUPTED, printable } from "./failure.js";
import type { ModelFlags } from "./model.js";
import { Status, write, writeJson } from "./terminal.js";
import { readEnvironment } from "./values.js";

export interface VerifyFlags extends Pick<ModelFlags, "model" | "tokenizer" | "threads" | "tier"> {
  readonly reference?: boolean;
  readonly json?: boolean;
}

/** `bitnet verify`: replays a receipt. */
export async function verify(path: string, flags: VerifyFlags): Promise<void> {
  const threads = flags.threads ?? readEnvironment(process.env).threads;
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort());
  const status = new Status("replaying");
  let done: Verification;
  try {
    done = await verifyReceipt(path, {
      model: flags.model,
      tokenizer: flags.tokenizer,
      load: {
        ...(threads !== undefined && { threads }),
        ...(flags.tier !== undefined && { tier: flags.tier }),
        ...(flags.reference && { reference: true }),
        signal: interrupt.signal,
      },
    });
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    process.exitCode = INTERRUPTED;
    return;
  } finally {
    status.end();
  }
  const { receipt, tier, callsCompared } = done;
  const { kernel_tier, node } = receipt.provenance;
  if (flags.json) {
    await writeJson({ verdict: "match", steps: receipt.steps.length, tier, threads: done.threads, callsCompared }, 2);
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
