import { describeModel } from "../../engine/index.js";
import { type Provenance, type ProvenanceOptions, provenance } from "./provenance.js";

/** What a run stands on. A record: `schemas/platform-banner.v1.schema.json`. */
export interface PlatformBanner {
  readonly kind: "platform-banner";
  readonly provenance: Provenance;
  /** What the embedded model would run on here. */
  readonly kernels: { readonly tier: string; readonly why: string };
}

/** Gathers the banner. What is not given is that of this process. */
export async function platformBanner(given: Partial<Omit<ProvenanceOptions, "model">> = {}): Promise<PlatformBanner> {
  const deterministic = process.env.BITNET_DETERMINISTIC === "1";
  const options = { cliArgs: process.argv.slice(2), seed: null, deterministic, date: new Date(), ...given };
  const { kernels } = await describeModel(undefined, { v8Flags: true });
  return { kind: "platform-banner", provenance: await provenance(options), kernels };
}

/** The banner for a person; each line ends with a line end. */
export function bannerText({ provenance: from, kernels }: PlatformBanner): string {
  const { platform } = from;
  const state = from.git_dirty === null ? "" : from.git_dirty ? ", changed since" : ", unchanged";
  const rows: readonly (readonly [label: string, value: string])[] = [
    ["package", `bitnet-ts ${from.package_version}, numerics ${from.numerics_version}`],
    ["commit", from.git_commit === null ? "not a clone" : `${from.git_commit}${state}`],
    ["system", `${platform.os} ${platform.release} ${platform.arch}${from.wsl2 ? ", WSL2" : ""}`],
    ["processor", `${platform.cpu}, ${platform.cores} cores`],
    ["memory", `${(platform.memory_bytes / 2 ** 30).toFixed(1)} GiB`],
    ["node", `${from.node}, V8 ${from.v8}`],
    ["kernels", `${kernels.tier} (${kernels.why}), ${from.kernel_sha256.slice(0, 16)}`],
    ["environment", `${from.deterministic ? "deterministic, " : ""}seed ${from.seed ?? "none"}`],
    ["date", from.date],
  ];
  return rows.map(([label, value]) => `${label.padEnd(13)}${value}\n`).join("");
}
