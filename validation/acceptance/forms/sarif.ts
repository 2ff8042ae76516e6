import { isAbsolute } from "node:path";
import { pathToFileURL } from "node:url";
import type { Place } from "../check.js";
import type { AcceptanceSummary } from "../seal.js";
import { shorten } from "./escape.js";
import type { Row } from "./rows.js";

const PROJECT = "https://github.com/bitnet-ts/bitnet-ts";

/** Where a fault without a place of its own is: code scanning demands a file in the repository. */
const NOWHERE = "package.json";

/** Characters of a message: code scanning shows the first 1,000 or so. */
const MAX_MESSAGE = 4000;

/**
 * A run as SARIF 2.1.0: a rule for each check, a result for each place of a no-go, and a notification for any other skipped check. Nothing is
 * a result on success.
 */
export function sarif(rows: readonly Row[], { provenance: from, verdict }: AcceptanceSummary): string {
  const log = {
    $schema: "https://json.schemastore.org/sarif-2.1.0.json",
    version: "2.1.0",
    runs: [
      {
        tool: {
          driver: {
            name: "bitnet validate",
            version: from.package_version,
            semanticVersion: from.package_version,
            informationUri: PROJECT,
            rules: rows.map(({ id, title }) => ({
              id,
              shortDescription: { text: title },
              helpUri: `${PROJECT}/blob/main/docs/release.md#what-validate-checks`,
              defaultConfiguration: { level: "error" },
            })),
          },
        },
        invocations: [
          {
            arguments: from.cli_args.map(wellFormed),
            startTimeUtc: from.date,
            exitCode: verdict === "PASS" ? 0 : 1,
            executionSuccessful: true, // it ran to its end, whatever it found
            toolExecutionNotifications: rows.flatMap(notification),
          },
        ],
        results: rows.flatMap(results),
        columnKind: "utf16CodeUnits",
      },
    ],
  };
  return `${JSON.stringify(log, undefined, 2)}\n`;
}

function results({ id, title, failed, reason, places }: Row, ruleIndex: number): object[] {
  if (!failed) return [];
  const all: readonly Place[] = places.length > 0 ? places : [{ path: NOWHERE, what: reason ?? "failed" }];
  return all.map((place) => ({
    ruleId: id,
    ruleIndex,
    level: "error",
    message: { text: wellFormed(shorten(`${title}: ${place.what}`, MAX_MESSAGE)) },
    locations: [location(place)],
  }));
}

function location({ path = NOWHERE, line, name }: Place): object {
  return {
    physicalLocation: {
      artifactLocation: isAbsolute(path)
        ? { uri: pathToFileURL(wellFormed(path)).href }
        : { uri: wellFormed(path).split(/[/\\]/).map(encodeURIComponent).join("/"), uriBaseId: "%SRCROOT%" },
      ...(line !== undefined && { region: { startLine: line } }),
    },
    ...(name !== undefined && { logicalLocations: [{ fullyQualifiedName: wellFormed(name) }] }),
  };
}

function notification({ id, title, status, failed, reason }: Row, index: number): object[] {
  if (status !== "SKIP" || failed) return [];
  const text = wellFormed(shorten(`skipped: ${title}: ${reason ?? ""}`, MAX_MESSAGE));
  return [{ associatedRule: { id, index }, level: "note", message: { text } }];
}

/** UTF-8 can't hold half of a surrogate pair, and JSON would escape it. */
function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\ufffd");
}
