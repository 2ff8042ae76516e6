import { mkdtempSync, readdirSync, realpathSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BitnetError } from "../engine/errors.js";
import { bannerText } from "../validation/banner.js";
import { removeStale } from "../validation/files.js";
import { prepareRelease } from "../validation/release.js";
import { INTERRUPTED, printable } from "./failure.js";
import { Status, write } from "./terminal.js";
import { checkLine } from "./validate.js";
import { readEnvironment } from "./values.js";

export interface ReleaseFlags {
  readonly version: string;
  readonly dryRun?: boolean;
  readonly out?: string;
  readonly results?: string;
  readonly perf?: boolean;
}

/** `bitnet release prepare`: everything up to the tag. */
export async function releasePrepare(flags: ReleaseFlags): Promise<void> {
  const { version, dryRun = false } = flags;
  if (!/^(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)$/.test(version))
    throw new BitnetError("usage", `--version must be like 1.2.3, and is ${version}`);
  const environment = readEnvironment(process.env);
  const { threads } = environment;
  const folder = `release-v${version}`;
  const out = flags.out ?? join(dryRun ? await temporaryFolder(folder) : "artifacts", folder);
  const interrupt = new AbortController();
  process.once("SIGINT", () => interrupt.abort());
  const status = new Status("preparing the release");
  try {
    const release = await prepareRelease({
      ...{ version, dryRun, out, results: flags.results, perf: flags.perf },
      kernels: threads === undefined ? {} : { threads },
      cliArgs: process.argv.slice(2),
      seed: environment.seed,
      deterministic: process.env.BITNET_DETERMINISTIC === "1",
      date: new Date(),
      signal: interrupt.signal,
      onMeasure: (done, total) => status.update(done / total),
      onBanner: async (banner) => write(`${bannerText(banner)}\n`),
      onCheck: async (report, { done, total }) => {
        status.update(done / total);
        status.clear();
        await write(checkLine(report));
      },
    });
    status.end();
    const lines = [
      "ALL ACCEPTANCE TESTS PASSED",
      "",
      printable(release.out),
      ...release.files.map((file) => `  ${file}`),
      dryRun ? "would change in the tree (in its folder tree):" : "changed in the tree:",
      ...release.tree.map((file) => `  ${file}`),
      "by hand, after a look at the checklist:",
      ...release.commands.map((command) => `  ${command}`),
    ];
    await write(`\n${lines.join("\n")}\n`);
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
    process.exitCode = INTERRUPTED;
  } finally {
    status.end();
  }
}

/** How the folders of dry runs are called. */
const DRY_RUN = "bitnet-release-";

/** A new folder among the system's temporaries. What a dry run that was killed left there is removed; what one has finished stays. */
async function temporaryFolder(folder: string): Promise<string> {
  const temporary = realpathSync(tmpdir());
  for (const name of readdirSync(temporary).filter((one) => one.startsWith(DRY_RUN))) {
    await removeStale(join(temporary, name, folder)).catch(() => undefined); // somebody else's
    try {
      rmdirSync(join(temporary, name));
    } catch {} // there is something in it
  }
  return mkdtempSync(join(temporary, DRY_RUN));
}
