import { mkdtempSync, readdirSync, realpathSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BitnetError } from "../engine/errors.js";
import { deterministicEnvironment } from "../validation/acceptance/environment.js";
import { removeStale } from "../validation/records/files.js";
import { prepareRelease } from "../validation/release/release.js";
import { signWithKey, signWithSigstore } from "../validation/release/signature.js";
import { isVersion } from "../validation/release/version.js";
import { interruptible, kernelOptions, recordOptions } from "./command.js";
import { printable } from "./failure.js";
import { write } from "./terminal.js";
import { showBanner, showCheck } from "./validate.js";

export interface ReleaseFlags {
  readonly version: string;
  readonly dryRun?: boolean;
  readonly out?: string;
  readonly results?: string;
  readonly perf?: boolean;
  /** Path of a private key; true: Sigstore. */
  readonly sign?: string | true;
}

/** `bitnet release prepare`: everything up to the tag. */
export async function releasePrepare(flags: ReleaseFlags): Promise<void> {
  const { version, dryRun = false } = flags;
  if (!isVersion(version)) throw new BitnetError("usage", `--version must have the form 1.2.3, not ${version}`);
  const folder = `release-v${version}`;
  const out = flags.out ?? join(dryRun ? await temporaryFolder(folder) : "artifacts", folder);
  const sign = flags.sign === undefined ? undefined : await (flags.sign === true ? signWithSigstore() : signWithKey(flags.sign));
  await interruptible("preparing the release", async (status, signal) => {
    const release = await prepareRelease({
      ...recordOptions(),
      environment: deterministicEnvironment(process.env),
      sign,
      ...{ version, dryRun, out, results: flags.results, perf: flags.perf },
      kernels: kernelOptions({}),
      signal,
      onMeasure: (done, total) => status.update(done / total),
      onBanner: showBanner,
      onCheck: showCheck(status),
    });
    status.end();
    const lines = [
      release.noGo === undefined
        ? "ALL ACCEPTANCE TESTS PASSED"
        : `NOT READY FOR RELEASE: ${printable(release.noGo)}; all other checks passed`,
      "",
      printable(release.out),
      ...release.files.map((file) => `  ${file}`),
      dryRun ? "files that would change (see its folder tree):" : "files that changed:",
      ...release.tree.map((file) => `  ${file}`),
      "review the checklist, then run:",
      ...release.commands.map((command) => `  ${command}`),
    ];
    await write(`\n${lines.join("\n")}\n`);
  });
}

/** Prefix of the folders of dry runs. */
const DRY_RUN = "bitnet-release-";

/** A new folder among the system's temporaries. What a dry run that was killed left there is removed; what one has finished stays. */
async function temporaryFolder(folder: string): Promise<string> {
  const temporary = realpathSync(tmpdir());
  for (const name of readdirSync(temporary).filter((one) => one.startsWith(DRY_RUN))) {
    await removeStale(join(temporary, name, folder)).catch(() => undefined); // belongs to another user
    try {
      rmdirSync(join(temporary, name));
    } catch {} // there is something in it
  }
  return mkdtempSync(join(temporary, DRY_RUN));
}
