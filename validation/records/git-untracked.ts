import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ignore, { type Ignore } from "ignore";

/** Rules of an ignore file, for paths from its folder (`a/b/`, from the root). */
interface Rules {
  readonly folder: string;
  readonly ignore: Ignore;
}

/** Most that are looked for: whoever has as many knows that the tree is not clean. */
const MAX_UNTRACKED = 1000;

/**
 * Files that git neither tracks nor ignores, by path from the root; a repository inside is one, as `path/`. Rules are those of every `.gitignore` and of
 * `info/exclude` (gitignore); a user's own excludes file is not read.
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

/** The deepest file that says something of a path decides. */
function isIgnored(path: string, rules: readonly Rules[]): boolean {
  for (const { folder, ignore: own } of rules) {
    const { ignored, unignored } = own.test(path.slice(folder.length));
    if (ignored || unignored) return ignored;
  }
  return false;
}
