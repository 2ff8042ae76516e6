import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { buildProgram } from "./program.js";

// What users read is true: its example runs, its story is told, its links lead somewhere, its flags and limits are those of the code.

const README = readFileSync("README.md", "utf8");
const PAGES = [
  "README.md",
  ...readdirSync("docs")
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
];

/** Fenced blocks of a language, in order. */
function blocks(language: string): string[] {
  return [...README.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "gms"))].map(([, text]) => text!);
}

function node(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", timeout: 600_000 });
  expect(status, stderr).toBe(0);
  return stdout;
}

it("the library example runs against the package by its name, and prints what the page says", () => {
  const [example] = blocks("ts");
  expect(example!.trim().split("\n").length).toBeLessThanOrEqual(10);
  expect(example).toContain('from "bitnet-ts"');
  // Inside the package, its own name leads to what it exports.
  const folder = mkdtempSync("dist/readme-");
  try {
    writeFileSync(join(folder, "example.mjs"), example!);
    expect(node(join(folder, "example.mjs"))).toBe(blocks("text")[1]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it("`npm start` tells the story on the page", () => {
  const { scripts } = JSON.parse(readFileSync("package.json", "utf8")) as { scripts: { start: string } };
  const [, ...args] = scripts.start.match(/"[^"]*"|\S+/g)!.map((word) => word.replaceAll('"', ""));
  const story = blocks("text")[0]!.split("\n").slice(0, -2).join("\n"); // without the figures
  expect(`${args[args.indexOf("--prompt") + 1]}${node(...args)}`).toBe(`${story}\n`);
});

it("links lead to files", () => {
  for (const page of PAGES) {
    for (const [, link] of readFileSync(page, "utf8").matchAll(/\]\(([^)#]+)[^)]*\)/g)) {
      expect(existsSync(join(dirname(page), link!)), `${page} → ${link}`).toBe(true);
    }
  }
});

it("docs/cli.md names every command and flag, and no others", () => {
  const page = readFileSync("docs/cli.md", "utf8");
  const { commands } = buildProgram();
  for (const command of commands) expect(page).toContain(`\n## ${command.name()}\n`);
  const all = commands.flatMap((command) => [command, ...command.commands]);
  const flags = new Set(all.flatMap(({ options }) => options.map(({ long }) => long)));
  expect(new Set(page.match(/--[a-z][a-z0-9-]*/g))).toEqual(new Set([...flags, "--help"]));
});

it("docs/formats.md gives the limits that the code has", () => {
  const rows = [...readFileSync("docs/formats.md", "utf8").matchAll(/^\| `(\w+)` in `(.+?)` \| (\d+) \|/gm)];
  expect(rows.length).toBeGreaterThan(5);
  for (const [, name, file, value] of rows) {
    const constants = new Map<string, number>();
    for (const [, constant, terms] of readFileSync(file!, "utf8").matchAll(/^(?:export )?const (\w+) = ([\w *]+);/gm)) {
      // Products and powers of numbers and of constants before it.
      const factors = terms!.split(/ \* /).map((term) => {
        const [base = NaN, exponent = 1] = term.split(" ** ").map((word) => constants.get(word) ?? Number(word.replaceAll("_", "")));
        return base ** exponent;
      });
      constants.set(
        constant!,
        factors.reduce((product, factor) => product * factor, 1),
      );
    }
    expect(constants.get(name!), `${name} in ${file}`).toBe(Number(value));
  }
});
