import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { changelogFault, readChangelog, releaseChangelog } from "./changelog.js";

const LOG = `# Changelog

Words.

## [Unreleased]

### Fixed

- A fault.

## [1.0.0] - 2026-01-02

### Added

- All.
`;

it("reads the sections", () => {
  expect(readChangelog(LOG)).toEqual([
    { version: "Unreleased", date: undefined, text: "### Fixed\n\n- A fault." },
    { version: "1.0.0", date: "2026-01-02", text: "### Added\n\n- All." },
  ]);
});

it("what was unreleased becomes the version's, once", () => {
  const released = releaseChangelog(LOG, "1.0.1", "2026-03-04");
  expect(readChangelog(released)).toEqual([
    { version: "Unreleased", date: undefined, text: "" },
    { version: "1.0.1", date: "2026-03-04", text: "### Fixed\n\n- A fault." },
    { version: "1.0.0", date: "2026-01-02", text: "### Added\n\n- All." },
  ]);
  expect(releaseChangelog(released, "1.0.1", "2027-01-01")).toBe(released);
  expect(() => releaseChangelog(released, "1.0.2", "2026-03-04")).toThrow(expect.objectContaining({ code: "usage" }));
});

it("says what a version lacks", () => {
  expect(changelogFault(LOG, "1.0.0")).toBeUndefined();
  expect(changelogFault(LOG, "1.0.1")).toMatch(/no section/);
  expect(changelogFault(LOG, "Unreleased")).toMatch(/no date/);
  expect(changelogFault(LOG.replace("### Added\n\n- All.", ""), "1.0.0")).toMatch(/has no entry/);
  expect(changelogFault(LOG.replace("## [1.0.0]", "## 1.0.0"), "1.0.0")).toMatch(/neither/);
  expect(changelogFault(LOG.slice(2), "1.0.0")).toMatch(/begin/);
});

it("ours has the present version", () => {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  expect(changelogFault(readFileSync("CHANGELOG.md", "utf8"), version)).toBeUndefined();
});
