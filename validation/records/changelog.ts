import { BitnetError } from "../../engine/errors.js";

/** The changelog, in the form of Keep a Changelog. */
export const CHANGELOG_FILE = "CHANGELOG.md";

/** A version's part of the changelog. */
export interface ChangelogSection {
  /** `Unreleased`, or a version. */
  readonly version: string;
  /** YYYY-MM-DD */
  readonly date: string | undefined;
  readonly text: string;
}

/** The sections in their order. */
export function readChangelog(markdown: string): ChangelogSection[] {
  return markdown
    .split(/^(?=## )/m)
    .slice(1)
    .map((part) => {
      const [heading = "", ...lines] = part.split("\n");
      const [, version = "", date] = heading.match(/^## \[([^\]]+)\](?: - (\d{4}-\d{2}-\d{2}))?\s*$/) ?? [];
      return { version, date, text: lines.join("\n").trim() };
    });
}

/** Versions in a changelog, the newest first. */
export function releasedVersions(markdown: string): string[] {
  return readChangelog(markdown)
    .map(({ version }) => version)
    .filter((version) => version !== "Unreleased");
}

/** What is wrong with the changelog of a version; undefined: nothing. */
export function changelogFault(markdown: string, version: string): string | undefined {
  if (!markdown.startsWith("# Changelog\n")) return `${CHANGELOG_FILE} does not begin with "# Changelog"`;
  const sections = readChangelog(markdown);
  const unnamed = sections.find((section) => section.version === "");
  if (unnamed) return `${CHANGELOG_FILE} has a heading that is neither "## [Unreleased]" nor "## [X.Y.Z] - YYYY-MM-DD"`;
  const own = sections.find((section) => section.version === version);
  if (!own) return `${CHANGELOG_FILE} has no section "## [${version}] - YYYY-MM-DD"`;
  if (own.date === undefined) return `${CHANGELOG_FILE}: the section of ${version} has no date`;
  if (!/^### (?:Added|Changed|Deprecated|Removed|Fixed|Security)$/m.test(own.text)) {
    return `${CHANGELOG_FILE}: the section of ${version} has no entry under "### Added", "### Changed" or the like`;
  }
  return undefined;
}

/**
 * The changelog of a release: what was unreleased becomes the version's. One that has the version already stays.
 * @throws BitnetError usage: there is nothing to release
 */
export function releaseChangelog(markdown: string, version: string, date: string): string {
  const sections = readChangelog(markdown);
  if (sections.some((section) => section.version === version)) return markdown;
  const unreleased = sections.find((section) => section.version === "Unreleased");
  if (!unreleased || unreleased.text === "") {
    throw new BitnetError("usage", `${CHANGELOG_FILE} has no entries for ${version}: describe the changes under "## [Unreleased]"`);
  }
  return markdown.replace(/^## \[Unreleased\].*$/m, `## [Unreleased]\n\n## [${version}] - ${date}`);
}
