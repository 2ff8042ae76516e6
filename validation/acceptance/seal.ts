import { createHash } from "node:crypto";
import { canonicalJson } from "../receipts/receipt.js";
import type { Provenance } from "../records/provenance.js";
import type { Finding } from "./check.js";

export interface CheckReport extends Omit<Finding, "ship"> {
  readonly id: string;
  readonly title: string;
  readonly ship: boolean;
  /** How long it took; absent in old records. */
  readonly seconds?: number;
}

/** All checks and their outcomes. A record: `schemas/acceptance-summary.v1.schema.json`. */
export interface AcceptanceSummary {
  readonly kind: "acceptance-summary";
  readonly provenance: Provenance;
  readonly quick: boolean;
  /** The two forms of the model, reference first; null: it could not be read. */
  readonly models: readonly { readonly path: string; readonly sha256: string | null }[];
  /** Start of the chain: hash of kind, provenance, quick and models. */
  readonly head: string;
  /** `chain`: hash of the previous link and this check. */
  readonly checks: readonly (CheckReport & { readonly chain: string })[];
  /** SHA-256 of the files written next to this one. */
  readonly artifacts: Readonly<Record<string, string>>;
  /** A skipped ship criterion is a failure. */
  readonly verdict: "PASS" | "FAIL";
  /** Hash of the whole chain, the artifacts and the verdict. */
  readonly seal: string;
}

/** A summary before it is sealed. */
export type Unsealed = Omit<AcceptanceSummary, "head" | "checks" | "seal"> & { readonly checks: readonly CheckReport[] };

/**
 * Adds the hash chain to a summary: each link is the SHA-256 of the previous link and of its own content, in canonical JSON. It shows where a summary
 * was edited. It is not a signature: anyone can seal a new summary.
 */
export function sealSummary({ kind, provenance, quick, models, checks, artifacts, verdict }: Unsealed): AcceptanceSummary {
  const head = link("", { kind, provenance, quick, models });
  let last = head;
  const chained = checks.map((check) => {
    last = link(last, check);
    return { ...check, chain: last };
  });
  return { kind, provenance, quick, models, head, checks: chained, artifacts, verdict, seal: link(last, { artifacts, verdict }) };
}

/** The first place where a sealed summary was edited; undefined: none. */
export function brokenSeal(summary: AcceptanceSummary): string | undefined {
  const checks = summary.checks.map(({ chain: _, ...check }) => check);
  const own = sealSummary({ ...summary, checks });
  if (own.head !== summary.head) return "/provenance, /quick or /models was edited";
  const at = own.checks.findIndex(({ chain }, i) => chain !== summary.checks[i]!.chain);
  if (at >= 0) return `the chain breaks at check ${summary.checks[at]!.id}: this check or an earlier one was edited or removed`;
  return own.seal === summary.seal ? undefined : "/artifacts or /verdict was edited, or checks were removed from the end";
}

function link(before: string, value: object): string {
  return createHash("sha256")
    .update(`${before}\n${canonicalJson(value)}`)
    .digest("hex");
}

/** Whether a check stops a release. */
export function isFailure({ status, ship }: CheckReport): boolean {
  return status === "FAIL" || (status === "SKIP" && ship);
}
