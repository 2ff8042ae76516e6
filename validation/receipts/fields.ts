import type { Receipt } from "./receipt.js";

/**
 * What a replay says of each field of a receipt. `replayed`: it was used in the replay, or came out of it again. `same-kernels`: the same, but
 * only if the replay had the receipt's tier and threads. `claimed`: nothing can be said of it, but that it does not contradict the others.
 */
export const RECEIPT_FIELDS = {
  kind: "replayed",
  digest: "replayed",
  "provenance/schema_version": "replayed",
  "provenance/model_hash": "replayed",
  "provenance/model_sha256": "replayed",
  "provenance/tokenizer_sha256": "replayed",
  "provenance/kernel_sha256": "replayed",
  "provenance/modules_sha256": "replayed",
  "provenance/numerics_version": "replayed",
  "provenance/seed": "replayed",
  "model/activation": "replayed",
  "model/activations": "replayed",
  "model/i2s_layout": "replayed",
  "model/context_length": "replayed",
  "model/kv": "replayed",
  "model/head": "replayed",
  prompt_ids: "replayed",
  settings: "replayed",
  steps: "replayed",
  chain: "replayed",
  text: "replayed",
  stop_reason: "replayed",
  kernel_calls: "same-kernels",
  "provenance/kernel_tier": "same-kernels",
  "provenance/threads": "same-kernels",
  "provenance/date": "claimed",
  "provenance/platform": "claimed",
  "provenance/wsl2": "claimed",
  "provenance/node": "claimed",
  "provenance/v8": "claimed",
  "provenance/package_version": "claimed",
  "provenance/bundle_sha256": "claimed",
  "provenance/git_commit": "claimed",
  "provenance/git_dirty": "claimed",
  "provenance/cli_args": "claimed",
  "provenance/user_agent": "claimed",
  "provenance/cores": "claimed",
  "provenance/deterministic": "claimed",
  "model/path": "claimed",
  "model/tokenizer": "claimed",
} as const satisfies Record<string, "replayed" | "same-kernels" | "claimed">;

/** The fields that a receipt has, by what its replay says of them. */
export function splitFields(
  receipt: Receipt,
  sameKernels: boolean,
): { readonly replayed: readonly string[]; readonly claimed: readonly string[] } {
  const present = Object.entries(RECEIPT_FIELDS).filter(([path]) => {
    const [key, inside] = path.split("/") as [keyof Receipt, string?];
    return inside === undefined || inside in (receipt[key] as object);
  });
  const isReplayed = (how: string): boolean => how === "replayed" || (how === "same-kernels" && sameKernels);
  const names = (wanted: boolean): string[] => present.filter(([, how]) => isReplayed(how) === wanted).map(([path]) => path);
  return { replayed: names(true), claimed: names(false) };
}
