import type { AcceptanceSummary } from "../seal.js";
import { escapeMarkup } from "./escape.js";
import type { Row } from "./rows.js";

/**
 * A run as JUnit's XML, in the form that Jenkins, GitLab and the reporters for GitHub read: a suite with a case for each check. A no-go is a
 * failure, any other skipped check is skipped; figures and remarks are the case's output.
 */
export function junit(rows: readonly Row[], { provenance: from, models, quick }: AcceptanceSummary): string {
  const failures = rows.filter(({ failed }) => failed).length;
  const skipped = rows.filter(({ status, failed }) => status === "SKIP" && !failed).length;
  const time = seconds(rows.reduce((sum, row) => sum + (row.seconds ?? 0), 0));
  const counts = { tests: String(rows.length), failures: String(failures), errors: "0" };
  const properties: Readonly<Record<string, string>> = {
    package: `bitnet-ts ${from.package_version}`,
    numerics: String(from.numerics_version),
    commit: from.git_commit ?? "none",
    node: from.node,
    platform: `${from.platform.os} ${from.platform.arch}`,
    kernels: from.kernel_tier ?? "none",
    quick: String(quick),
    ...Object.fromEntries(models.map(({ path, sha256 }, i) => [`model_${"ab"[i]}`, `${path} ${sha256 ?? "unreadable"}`])),
  };
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites${attributes({ name: "bitnet validate", ...counts, time })}>`,
    `  <testsuite${attributes({ name: "bitnet validate", ...counts, skipped: String(skipped), time, timestamp: from.date.slice(0, 19) })}>`,
    "    <properties>",
    ...Object.entries(properties).map(([name, value]) => `      <property${attributes({ name, value })}/>`),
    "    </properties>",
    ...rows.flatMap(testCase),
    "  </testsuite>",
    "</testsuites>",
    "",
  ].join("\n");
}

function testCase({ id, title, status, failed, reason, figures, places, seconds: taken }: Row): string[] {
  const message = attributes({ message: reason ?? status });
  const where = places.map(({ path, line, what }) => `${[path, line].filter((part) => part !== undefined).join(":")} ${what}`.trim());
  const output = [...figures.map((pair) => pair.join(" ")), ...(status === "PASS" && reason !== undefined ? [reason] : [])];
  return [
    `    <testcase${attributes({ name: `${id} ${title}`, classname: `bitnet.validate.${id.split(".")[0]}`, time: seconds(taken ?? 0) })}>`,
    ...(failed
      ? [`      <failure${message}${attributes({ type: status })}>${escapeMarkup([reason ?? status, ...where].join("\n"))}</failure>`]
      : status === "SKIP"
        ? [`      <skipped${message}/>`]
        : []),
    ...(output.length > 0 ? [`      <system-out>${escapeMarkup(output.join("\n"))}</system-out>`] : []),
    "    </testcase>",
  ];
}

/** In seconds: readers expect a plain decimal. */
function seconds(value: number): string {
  return value.toFixed(3);
}

function attributes(all: Readonly<Record<string, string>>): string {
  return Object.entries(all)
    .map(([name, value]) => ` ${name}="${escapeMarkup(value).replace(/\n/g, "&#10;").replace(/\t/g, "&#9;")}"`)
    .join("");
}
