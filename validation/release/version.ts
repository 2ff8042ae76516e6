import { BitnetError } from "../../engine/errors.js";
import { CHANGELOG_FILE, readChangelog } from "../records/changelog.js";
import { gitFile, gitTags } from "../records/git.js";

/** A version X.Y.Z, and whether it is only one before that (`-rc.1`). */
interface Version {
  readonly numbers: readonly number[];
  readonly before: boolean;
}

function parse(text: string): Version | undefined {
  const [, numbers, before] = text.match(/^v?(\d+\.\d+\.\d+)(-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$/) ?? [];
  return numbers === undefined ? undefined : { numbers: numbers.split(".").map(Number), before: before !== undefined };
}

/** Negative: a is the older one (Semantic Versioning 11, but for the order of pre-releases of one version). */
function compare(a: Version, b: Version): number {
  const at = a.numbers.findIndex((number, i) => number !== b.numbers[i]);
  return at < 0 ? Number(b.before) - Number(a.before) : a.numbers[at]! - b.numbers[at]!;
}

/**
 * A release is newer than every tag, than the package and the changelog of HEAD. What is in the tree does not count: an earlier run for the same version
 * may have put it there.
 * @throws BitnetError usage: names the version that is as new, or newer, and where it is
 */
export function checkVersion(root: string, version: string): void {
  const own = parse(version);
  if (!own) throw new BitnetError("usage", `${version} is no version like 1.2.3`);
  const { version: present = "" } = JSON.parse(committed(root, "package.json")) as { readonly version?: string };
  const logged = readChangelog(committed(root, CHANGELOG_FILE)).map((section) => section.version);
  const taken: readonly (readonly [where: string, versions: readonly string[]])[] = [
    ["is tagged", gitTags(root)],
    ["is the version of package.json in HEAD", [present]],
    [`is in ${CHANGELOG_FILE} of HEAD`, logged],
  ];
  for (const [where, versions] of taken) {
    const newer = versions.find((one) => {
      const other = parse(one);
      return other !== undefined && compare(own, other) <= 0;
    });
    if (newer !== undefined) throw new BitnetError("usage", `${version} is not newer than ${newer}, which ${where}: name a newer version`);
  }
}

function committed(root: string, path: string): string {
  try {
    const data = gitFile(root, path);
    if (data) return data.toString("utf8");
  } catch (error) {
    throw new BitnetError(
      "io",
      `can't read ${path} of HEAD from git's folder: ${(error as Error).message}`,
      { file: path },
      { cause: error },
    );
  }
  throw new BitnetError("usage", `HEAD has no ${path}: commit one first`, { file: path });
}
