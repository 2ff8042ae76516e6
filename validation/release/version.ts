import { BitnetError } from "../../engine/errors.js";
import { CHANGELOG_FILE, readChangelog } from "../records/changelog.js";
import { gitFile, gitTags } from "../records/git.js";

/** As long as registries take one. */
const MAX_LENGTH = 256;

/**
 * Whether a text is the version of a release: X.Y.Z as Semantic Versioning writes it, without `v` or leading zeros. Pre-releases are not prepared, because
 * `npm publish` would give them the tag `latest`; neither is build metadata, which npm drops.
 */
export function isVersion(text: string): boolean {
  const [, ...numbers] = text.match(/^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$/) ?? [];
  return numbers.length === 3 && text.length <= MAX_LENGTH && numbers.every((number) => Number.isSafeInteger(Number(number)));
}

/** The version of a tag or a changelog: X.Y.Z, and whether it is a pre-release (`-rc.1`). */
interface Version {
  readonly numbers: readonly number[];
  readonly before: boolean;
}

function parse(text: string): Version | undefined {
  const [, numbers, before] = text.match(/^v?(\d+\.\d+\.\d+)(-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$/i) ?? [];
  return numbers === undefined ? undefined : { numbers: numbers.split(".").map(Number), before: before !== undefined };
}

/** Whether a version is older than another, or the same. */
export function isAtMost(one: string, other: string): boolean {
  const [a, b] = [parse(one), parse(other)];
  return a !== undefined && b !== undefined && compare(a, b) <= 0;
}

/** Negative: a is older (Semantic Versioning 11, except for the order of pre-releases of one version). */
function compare(a: Version, b: Version): number {
  const at = a.numbers.findIndex((number, i) => number !== b.numbers[i]);
  return at < 0 ? Number(b.before) - Number(a.before) : a.numbers[at]! - b.numbers[at]!;
}

/**
 * A release must be newer than every tag, and than the package and changelog of HEAD. The working tree does not count: an earlier run for the same
 * version may have changed it.
 * @throws BitnetError usage: names the equal or newer version, and where it is
 */
export function checkVersion(root: string, version: string): void {
  const own = parse(version);
  if (!own || !isVersion(version))
    throw new BitnetError(
      "usage",
      `${version} is not a version like 1.2.3: give three numbers without v, leading zeros, pre-release or build`,
    );
  const { version: present = "" } = JSON.parse(committed(root, "package.json")) as { readonly version?: string };
  if (!parse(present)) throw new BitnetError("usage", `package.json of HEAD has the version "${present}", which is none: correct it first`);
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
    if (newer !== undefined)
      throw new BitnetError("usage", `${version} is not newer than ${newer}, which ${where}: choose a newer version`);
  }
}

/** A file of HEAD as text. @throws BitnetError io, usage: there is none */
export function committed(root: string, path: string): string {
  try {
    const data = gitFile(root, path);
    if (data) return data.toString("utf8");
  } catch (error) {
    throw new BitnetError(
      "io",
      `can't read ${path} of HEAD from the .git folder: ${(error as Error).message}`,
      { file: path },
      { cause: error },
    );
  }
  throw new BitnetError("usage", `HEAD has no ${path}: commit it first`, { file: path });
}
