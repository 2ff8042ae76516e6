/** Receipts in the page: what wrote an answer, to be replayed by anyone, and replays of others. */
import { type GenerationResult, type GenerationTrace, type LoadOptions, type Model, NUMERICS_VERSION } from "../engine/web.js";
import { makeReceipt, type Ran, type Receipt } from "../validation/receipts/receipt.js";
import { type Replay, receiptFault, receiptLoad, replayReceipt } from "../validation/receipts/replay.js";
import { hashOfContents, KERNEL_FILES } from "../validation/records/hashes.js";
import type { PageProvenance } from "../validation/records/origin.js";

export type { Receipt };
export { receiptLoad };

/** The version in package.json, put here by the bundler. */
declare const PACKAGE_VERSION: string;

/** Longest receipt that is read, in bytes: one of 4096 tokens has 0.5 MB. */
const MAX_BYTES = 64 * 2 ** 20;

/** An answer that can be proved. */
export type Traced = GenerationResult & { readonly trace: GenerationTrace };

async function kernelSha256(): Promise<string> {
  const read = async (name: string): Promise<readonly [string, Uint8Array]> => {
    const response = await fetch(`dist/kernels/${name}`);
    if (!response.ok) throw new Error(`${response.url}: the server answered ${response.status}`);
    return [name, new Uint8Array(await response.arrayBuffer())];
  };
  return hashOfContents(await Promise.all(KERNEL_FILES.map(read)));
}

async function pageProvenance({ seed, model }: Ran): Promise<PageProvenance> {
  return {
    schema_version: 1,
    model_hash: model.sha256.slice(0, 16),
    model_sha256: model.sha256,
    tokenizer_sha256: model.tokenizerSha256,
    kernel_sha256: await kernelSha256(),
    user_agent: navigator.userAgent,
    cores: navigator.hardwareConcurrency,
    kernel_tier: model.tier,
    threads: model.threads,
    seed,
    numerics_version: NUMERICS_VERSION,
    package_version: PACKAGE_VERSION,
    date: new Date().toISOString(),
  };
}

/** The receipt of an answer. Reads the whole model once, for its hash. @param path where the model came from; undefined: the embedded one */
export function prove(model: Model, result: Traced, path: string | undefined): Promise<Receipt> {
  return makeReceipt(model, result, { path, load: {}, provenance: pageProvenance });
}

/** A receipt in a file. @throws Error it is none, was altered, or is of another version; the message names the file */
export async function readReceipt(file: File): Promise<Receipt> {
  const refuse = (what: string): Error => new Error(`${file.name}: ${what}`);
  if (file.size > MAX_BYTES) throw refuse(`${file.size} bytes are too many for a receipt (at most ${MAX_BYTES})`);
  let receipt: Receipt;
  let fault: string | undefined;
  try {
    receipt = JSON.parse(await file.text()) as Receipt;
    if (receipt.kind !== "receipt" || !Array.isArray(receipt.steps)) throw new TypeError();
    fault = receiptFault(receipt, { kernelSha256: await kernelSha256() });
  } catch (error) {
    // Not JSON; or parts that every receipt has are missing, or nested too deeply.
    if (error instanceof SyntaxError || error instanceof TypeError || error instanceof RangeError) throw refuse("this is not a receipt");
    throw error;
  }
  if (fault !== undefined) throw refuse(fault);
  if (receipt.model.tokenizer !== null) throw refuse("it was written with a tokenizer from another file: replay it with bitnet verify");
  return receipt;
}

/** Replays a receipt with a model that was loaded as `receiptLoad` says. */
export function replay(receipt: Receipt, model: Model, signal: NonNullable<LoadOptions["signal"]>): Promise<Replay> {
  return replayReceipt(receipt, model, { signal });
}

/** Where a receipt says that it was written. */
export function writtenOn({ provenance }: Receipt): string {
  const { kernel_tier: tier, threads } = provenance;
  const where = "node" in provenance ? `on Node ${provenance.node}` : "in a page";
  return `${where}, ${tier ?? "no"} kernels, ${threads === 1 ? "1 thread" : `${threads} threads`}`;
}
