import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { describeModel } from "../../engine/index.js";
import { PACKAGE_FILE } from "../records/package.js";
import { kernelSha256 } from "../records/provenance.js";
import type { PerfRecord } from "./perf.js";

/**
 * Why a record is not of the present kernels or model, one sentence each; none: it is. A commit does not make it stale: a record can't name
 * the one it is in. A model that is not on this machine is not asked for.
 */
export async function staleReasons({ provenance: from, model }: PerfRecord): Promise<string[]> {
  const reasons: string[] = [];
  const kernels = kernelSha256();
  if (from.kernel_sha256 !== kernels)
    reasons.push(`it was measured with the kernels ${from.kernel_sha256.slice(0, 16)}, and these are ${kernels.slice(0, 16)}`);
  const path = [join(dirname(PACKAGE_FILE), model.path), model.path].find((one) => existsSync(one));
  if (path !== undefined) {
    const { sha256 } = await describeModel(path);
    if (from.model_sha256 !== sha256)
      reasons.push(`it was measured with the model ${from.model_hash}, and ${model.path} is ${sha256.slice(0, 16)}`);
  }
  return reasons;
}
