import type { LoadOptions } from "../engine/index.js";
import type { ProvenanceOptions } from "../validation/records/provenance.js";
import { INTERRUPTED } from "./failure.js";
import type { ModelFlags } from "./model.js";
import { Status } from "./terminal.js";
import { readEnvironment } from "./values.js";

/**
 * Does what may take long: a line on stderr says so, and Ctrl-C ends it with exit code 130. A second Ctrl-C ends the process at once, as it
 * does by default.
 * @returns undefined where it was interrupted
 */
export async function interruptible<T>(text: string, work: (status: Status, signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort());
  const status = new Status(text);
  try {
    return await work(status, interrupt.signal);
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    process.exitCode = INTERRUPTED;
    return undefined;
  } finally {
    status.end();
  }
}

/** Threads and tier: what a flag says comes before the environment. */
export function kernelOptions(flags: Pick<ModelFlags, "threads" | "tier">): Pick<LoadOptions, "threads" | "tier"> {
  const threads = flags.threads ?? readEnvironment(process.env).threads;
  return { ...(threads !== undefined && { threads }), ...(flags.tier !== undefined && { tier: flags.tier }) };
}

/** What every record says of the command that made it. */
export function recordOptions(): Omit<ProvenanceOptions, "model"> & { readonly seed: number } {
  return {
    cliArgs: process.argv.slice(2),
    seed: readEnvironment(process.env).seed,
    deterministic: process.env.BITNET_DETERMINISTIC === "1",
    date: new Date(),
  };
}
