import { availableParallelism } from "node:os";
import { dirname } from "node:path";
import { BitnetError } from "../../engine/errors.js";
import { type LoadOptions, loadModel } from "../../engine/index.js";
import { modulesSha256 } from "../records/build.js";
import { PACKAGE_FILE } from "../records/package.js";
import { kernelSha256 } from "../records/provenance.js";
import { readRecord } from "../records/records.js";
import { splitFields } from "./fields.js";
import type { Receipt } from "./receipt.js";
import { ranAlike, receiptFault, receiptLoad, replayReceipt } from "./replay.js";

/** How to replay a receipt. */
export interface VerifyOptions {
  /** Where the model is now; default: where the receipt says. */
  readonly model?: string | undefined;
  /** Where a tokenizer that was given instead of the model's own is now. */
  readonly tokenizer?: string | undefined;
  /** `tier` and `threads`: default: those of the receipt, but no more threads than can run at once here. */
  readonly load: Pick<LoadOptions, "threads" | "crowded" | "tier" | "reference" | "onProgress" | "signal">;
}

/** What a receipt that holds was replayed with. */
export interface Verification {
  readonly receipt: Receipt;
  readonly tier: string;
  readonly threads: number;
  /** Fields that were used in the replay, or came out of it again: paths such as `provenance/seed`. */
  readonly replayed: readonly string[];
  /** Fields that no replay can tell: only their digest holds them, and that they don't contradict each other. */
  readonly claimed: readonly string[];
}

/**
 * Replays a receipt, and compares everything that was recorded with what comes now.
 * @throws BitnetError receipt: it was altered, or something differs, which the message names; what `loadModel` throws
 */
export async function verifyReceipt(path: string, options: VerifyOptions): Promise<Verification> {
  const receipt = await readReceipt(path);
  const refuse = (what: string | undefined): void => {
    if (what !== undefined) throw new BitnetError("receipt", `${path}: ${what}`, { file: path });
  };
  refuse(receiptFault(receipt, { kernelSha256: kernelSha256(), modulesSha256: modulesSha256(dirname(PACKAGE_FILE)) }));
  const tokenizer = options.tokenizer ?? receipt.model.tokenizer ?? undefined;
  const model = await loadModel(options.model ?? receipt.model.path ?? undefined, {
    ...asWritten(receipt),
    ...options.load,
    ...(tokenizer !== undefined && { tokenizer }),
    ...receiptLoad(receipt),
    v8Flags: true,
  });
  try {
    const { difference, ...ran } = await replayReceipt(receipt, model, { tokenizer, signal: options.load.signal });
    refuse(difference);
    return { receipt, ...ran, ...splitFields(receipt, ranAlike(receipt, ran)) };
  } finally {
    await model.close();
  }
}

/** The tier and threads of a receipt, with which calls of kernels can be compared. What computed without kernels is replayed with them: they are faster. */
function asWritten({ provenance: { kernel_tier: tier, threads } }: Receipt): Pick<LoadOptions, "tier" | "threads"> {
  return {
    ...((tier === "plain" || tier === "relaxed" || tier === "wide" || tier === "vnni") && { tier }),
    ...(threads !== null && { threads: Math.min(threads, availableParallelism()) }),
  };
}

/** A receipt whose form is right. @throws BitnetError receipt; io */
async function readReceipt(path: string): Promise<Receipt> {
  try {
    return await readRecord<Receipt>(path, "receipt");
  } catch (error) {
    if (!(error instanceof BitnetError) || error.code !== "file") throw error;
    throw new BitnetError("receipt", error.message, { file: path }, { cause: error });
  }
}
