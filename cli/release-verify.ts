import { readKey } from "../validation/release/signature.js";
import { type Verified, verifyRelease } from "../validation/release/verify.js";
import { printable } from "./failure.js";
import { style, write, writeJson } from "./terminal.js";

export interface ReleaseVerifyFlags {
  readonly package?: string;
  readonly key?: string;
  readonly json?: boolean;
}

const KINDS: Readonly<Record<Verified["kind"], string>> = {
  folder: "a whole release",
  archive: "its artifacts archive",
  package: "its npm package",
};

/** `bitnet release verify`: for whoever receives a release. */
export async function releaseVerify(path: string, { package: npm, key, json }: ReleaseVerifyFlags): Promise<void> {
  const verified = await verifyRelease(path, { npm, key: key === undefined ? undefined : await readKey(key, "public") });
  if (json) {
    await writeJson(verified);
    return;
  }
  const { kind, version, proved, claimed } = verified;
  const list = (title: string, lines: readonly string[]): string[] => [
    style("bold", title, process.stdout),
    ...lines.map((line) => `  - ${printable(line)}`),
  ];
  const lines = [
    `bitnet-ts ${version}, ${KINDS[kind]}: its parts fit together`,
    ...list("proved (computed here from the bytes):", proved),
    ...list("only claimed (not checked here):", claimed),
  ];
  await write(`${lines.join("\n")}\n`);
}
