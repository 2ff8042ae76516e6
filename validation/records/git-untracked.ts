import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ignore, { type Ignore } from "ignore";

/** Rules of an ignore file, for paths relative to its folder (`a/b/`, relative to the root). */
interface Rules {
  readonly folder: string;
  readonly ignore: Ignore;
}

/** Limit of the search: with this many, the tree is clearly not clean. */
const MAX_UNTRACKED = 1000;

/**
 * Files that git neither tracks nor ignores, by path from the root; a nested repository is one entry, `path/`. The rules are those of every `.gitignore` and of
 * `info/exclude`; the user's global excludes file is not read.
 * @param exclude text of info/exclude
 */
export function untrackedFiles(root: string, tracked: ReadonlySet<string>, exclude: string): string[] {
  const found: string[] = [];
  const visit = (folder: string, above: readonly Rules[]): void => {
    const own = join(root, folder, ".gitignore");
    const rules = existsSync(own) ? [rulesOf(folder, readFileSync(own, "utf8")), ...above] : above;
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = `${folder}${entry.name}`;
      if (entry.name === ".git" || tracked.has(path) || found.length >= MAX_UNTRACKED) continue;
      const inside = entry.isDirectory() ? `${path}/` : path;
      if (isIgnored(inside, rules)) continue;
      if (!entry.isDirectory() || existsSync(join(root, path, ".git"))) found.push(inside);
      else visit(inside, rules);
    }
  };
  visit("", [rulesOf("", exclude)]);
  return found.sort();
}

function rulesOf(folder: string, text: string): Rules {
  return { folder, ignore: ignore({ ignorecase: process.platform === "win32" || process.platform === "darwin" }).add(text) };
}

/** The deepest file with a rule for a path decides. */
function isIgnored(path: string, rules: readonly Rules[]): boolean {
  for (const { folder, ignore: own } of rules) {
    const { ignored, unignored } = own.test(path.slice(folder.length));
    if (ignored || unignored) return ignored;
  }
  return false;
}
