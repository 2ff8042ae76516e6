import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { beforeAll, describe, expect, it } from "vitest";
import { loadModel } from "./index.js";
import { THOROUGH } from "./thorough.test.helper.js";
import { CHROMIUM, FIREFOX, Pages, WEBKIT } from "./web.test.helper.js";

// The package as it is published in real browsers, with and without the headers that let workers share memory: the same bits as here.

const MODEL = "/models/bitnet-stories-4m/ggml-model-i2_s.gguf";
const PACKED = "models/bitnet-stories-4m/packed";
const IDS = Array.from({ length: 64 }, (_, i) => (i * 7919) % 4000);
const WRITING = { maxTokens: 40, temperature: 0.8, topK: 20, seed: 7, trace: true };
const TALK = [{ role: "user", content: "Tell me a story about a dog." }];

/** What a model says, as it can be compared. */
interface Outcome {
  readonly logits: string;
  readonly text: string;
  readonly chain: string;
  readonly chat: string;
}

interface Case {
  readonly source: "package" | "blob" | "opfs" | "files" | "directory";
  readonly options: { readonly threads?: number; readonly tier?: string; readonly kv?: string };
}

/** The embedded model, and the same weights as a SafeTensors directory, whose logits are the same. */
async function outcomeHere(kv: "f32" | "q8"): Promise<Outcome> {
  const model = await loadModel(undefined, { kv });
  try {
    const logits = await model.logits(IDS);
    const { text, trace } = await model.generate("Once upon a time", WRITING).result();
    const chat = await model.chat(TALK, { maxTokens: 30, temperature: 0 }).result();
    const bytes = new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength);
    return { logits: createHash("sha256").update(bytes).digest("hex"), text, chain: trace!.chain, chat: chat.text };
  } finally {
    await model.close();
  }
}

/** The same in a page. */
const program = (cases: readonly Case[]): string => `
  const { loadModel } = await import("/dist/bundle/web.js");
  const blob = await (await fetch("${MODEL}")).blob();
  const names = ${JSON.stringify(readdirSync(PACKED))};
  const files = await Promise.all(names.map(async (name) => new File([await (await fetch("/${PACKED}/" + name)).blob()], name)));
  const root = () => navigator.storage.getDirectory();
  const write = async (folder, file, name) => {
    const handle = await folder.getFileHandle(name, { create: true });
    const writable = await handle.createWritable();
    await writable.write(file);
    await writable.close();
    return handle;
  };
  const sources = {
    package: () => undefined,
    blob: () => blob,
    files: () => files,
    opfs: async () => write(await root(), blob, "model.gguf"),
    directory: async () => {
      const directory = await (await root()).getDirectoryHandle("packed", { create: true });
      for (const file of files) await write(directory, file, file.name);
      return directory;
    },
  };
  const outcomes = [];
  for (const { source, options } of ${JSON.stringify(cases)}) {
    const model = await loadModel(await sources[source](), options);
    const { kernels, threads } = await model.describe();
    const logits = await model.logits(${JSON.stringify(IDS)});
    const { text, trace } = await model.generate("Once upon a time", ${JSON.stringify(WRITING)}).result();
    const chat = await model.chat(${JSON.stringify(TALK)}, { maxTokens: 30, temperature: 0 }).result();
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", logits));
    const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    outcomes.push({ tier: kernels.tier, threads, outcome: { logits: hex, text, chain: trace.chain, chat: chat.text } });
    await model.close();
  }
  return outcomes;
`;

async function outcomesIn(browser: string, cases: readonly Case[], isolated: boolean) {
  const pages = await Pages.open({ isolated });
  try {
    return (await pages.run<{ tier: string; threads: number; outcome: Outcome }[]>(browser, program(cases)))!;
  } finally {
    pages.close();
  }
}

const expected = {} as Record<"f32" | "q8", Outcome>;
beforeAll(async () => {
  for (const kv of ["f32", "q8"] as const) expected[kv] = await outcomeHere(kv);
});

// WebKitGTK has no relaxed SIMD, and its workers share no memory, even where a page is isolated. Without it there is nothing to run it in; CI installs it.
it.runIf(WEBKIT !== undefined).each([true, false])(
  "in WebKitGTK: the same bits, plain kernels, one thread (isolated: %s)",
  async (isolated) => {
    const cases: Case[] = [
      { source: "package", options: {} },
      { source: "blob", options: { threads: 2, kv: "q8" } },
      { source: "files", options: {} },
    ];
    const outcomes = await outcomesIn(WEBKIT!, cases, isolated);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual([expected.f32, expected.q8, expected.f32]);
    expect(outcomes.map(({ tier, threads }) => [tier, threads])).toEqual(cases.map(() => ["plain", 1]));
  },
);

describe.each([
  ["Chromium", CHROMIUM],
  ["Firefox", FIREFOX],
] as const)("in %s", (_, browser) => {
  // Without a browser there is nothing to run it in; CI installs both.
  it.runIf(browser !== undefined)(
    "with shared memory: the same bits from every source, on 1 and 2 threads, on both tiers, with both caches",
    async () => {
      const cases: Case[] = [
        { source: "package", options: {} },
        { source: "blob", options: { threads: 1, tier: "plain" } },
        { source: "opfs", options: { threads: 2, tier: "plain", kv: "q8" } },
        { source: "files", options: { threads: 2, tier: "relaxed" } },
        { source: "directory", options: { threads: 1, tier: "relaxed", kv: "q8" } },
      ];
      const outcomes = await outcomesIn(browser!, cases, true);
      expect(outcomes.map(({ outcome }) => outcome)).toEqual(cases.map(({ options }) => expected[options.kv === "q8" ? "q8" : "f32"]));
      expect(outcomes.map(({ tier, threads }) => [tier, threads])).toEqual([
        ["relaxed", expect.any(Number)],
        ["plain", 1],
        ["plain", 2],
        ["relaxed", 2],
        ["relaxed", 1],
      ]);
    },
  );

  // Without a browser there is nothing to run it in; CI installs both.
  it.runIf(browser !== undefined)("without it: the same bits on one thread", async () => {
    const cases: Case[] = [
      { source: "package", options: {} },
      { source: "opfs", options: { threads: 2, tier: "plain", kv: "q8" } },
    ];
    const outcomes = await outcomesIn(browser!, cases, false);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual([expected.f32, expected.q8]);
    expect(outcomes.map(({ tier, threads }) => [tier, threads])).toEqual([
      ["relaxed", 1],
      ["plain", 1],
    ]);
  });

  // Without a browser there is nothing to run it in; CI installs both.
  it.runIf(browser !== undefined)("in a module worker, too", async () => {
    const pages = await Pages.open({ isolated: true });
    try {
      const chain = await pages.run<string>(
        browser!,
        `const code = \`
          import { loadModel } from "\${location.origin}/dist/bundle/web.js";
          const model = await loadModel(undefined, { threads: 2 });
          const { trace } = await model.generate("Once upon a time", ${JSON.stringify(WRITING)}).result();
          await model.close();
          postMessage(trace.chain);\`;
        const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });
        return new Promise((resolve, reject) => {
          worker.onmessage = ({ data }) => resolve(data);
          worker.onerror = (event) => reject(new Error(event.message));
        });`,
      );
      expect(chain).toBe(expected.f32.chain);
    } finally {
      pages.close();
    }
  });
});

/** What is hostile or goes wrong, in one page: it must live on. */
const hostile = `
  const { loadModel } = await import("/dist/bundle/web.js");
  const blob = await (await fetch("${MODEL}")).blob();
  const names = ${JSON.stringify(readdirSync(PACKED))};
  const files = await Promise.all(names.map(async (name) => new File([await (await fetch("/${PACKED}/" + name)).blob()], name)));
  const told = ({ code, message }) => ({ code, message });
  const bombs = [
    "{% for a in range(60000) %}{% for b in range(60000) %}{% for c in range(60000) %}{% endfor %}{% endfor %}{% endfor %}",
    "{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for a in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
    "{% set ns = namespace(l=[1, 2, 3, 4]) %}{% for a in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l | length }}",
  ];
  const templates = [];
  for (const bomb of bombs) {
    const model = await loadModel([...files, new File([bomb], "chat_template.jinja")], { threads: 1 });
    templates.push(await model.chat([{ role: "user", content: "Hi" }]).result().then(() => "answered", told));
    await model.close();
  }
  const none = await loadModel(new Blob([new Uint8Array(5000)])).catch(told);
  const withGigabytes = (first) => new Blob([...first, ...Array(32).fill(new Uint8Array(2 ** 26))]); // two
  const large = await loadModel(withGigabytes([])).catch(told);
  const padded = await loadModel(withGigabytes([blob]), { threads: 1 });
  const begun = (await padded.generate("The", { maxTokens: 2, temperature: 0 }).result()).ids;
  await padded.close();
  const writing = await loadModel(blob);
  const ended = writing.generate("Once upon a time", { maxTokens: 2000, ignoreEos: true }).result().then(() => "ended", told);
  await new Promise((resolve) => setTimeout(resolve, 200));
  await writing.close();
  for (let i = 1; i <= 50; i++) {
    const model = await loadModel(i % 2 ? blob : new Blob([blob]), { threads: 1 });
    await model.generate("The", { maxTokens: 2 }).result();
    await model.close();
  }
  const { bytes } = await performance.measureUserAgentSpecificMemory();
  return { templates, none, large, begun, ended: await ended, bytes };
`;

// A model takes 18 MB: of those that are closed nothing may stay. Only Chromium tells what a page takes, and takes a minute for it: CI alone asks.
it.runIf(THOROUGH && CHROMIUM !== undefined)(
  "a page survives bombs and closed models, and 50 models leave less than one behind",
  async () => {
    const pages = await Pages.open({ isolated: true });
    try {
      const result = await pages.run<{ bytes: number }>(CHROMIUM!, hostile);
      const limit = { code: "tokenizer", message: expect.stringMatching(/^[^:]*: the chat template fails: /) };
      expect(result).toMatchObject({
        templates: [limit, limit, limit],
        none: { code: "file", message: expect.stringContaining("model") },
        large: { code: "file", message: expect.stringContaining("model") },
        begun: [expect.any(Number), expect.any(Number)],
        ended: { code: "closed" },
      });
      expect(result!.bytes).toBeLessThan(15e6);
    } finally {
      pages.close();
    }
  },
);

it("takes at most 150 kB that a page downloads before a model", () => {
  // Chat templates come later, and the kernels for browsers without relaxed SIMD are smaller.
  const files = ["bundle/web.js", "bundle/web-worker.js", "bundle/web-store.js", "kernels/relaxed.wasm"];
  const sizes = files.map((name) => gzipSync(readFileSync(`dist/${name}`), { level: 9 }).length);
  expect(sizes.reduce((sum, size) => sum + size)).toBeLessThan(150_000);
});
