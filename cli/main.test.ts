import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { usefulThreads } from "../engine/compute/cpus.js";
import type { Conversion, ModelDescription, ModelInspection, Probe } from "../engine/index.js";
import { some } from "../engine/thorough.test.helper.js";
import type { BenchReport } from "./bench-table.js";
import { escapeControls } from "./failure.js";
import { bitnetHere } from "./here.test.helper.js";

// The command line as a user meets it: what is published, or in this process where only figures are asked for (bundle.test.ts compares both).

const MAIN = "dist/bundle/bitnet.cjs";
const GGUF = "models/bitnet-stories-4m/ggml-model-i2_s.gguf";
const PACKED = "models/bitnet-stories-4m/packed";

const folder = mkdtempSync(join(tmpdir(), "bitnet-cli-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function bitnet(args: readonly string[], input: string | Uint8Array = "", env: NodeJS.ProcessEnv = {}): Ended {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^BITNET_|^NO_COLOR$|^FORCE_COLOR$/.test(name)));
  const options = {
    input,
    env: { ...clean, BITNET_NUM_THREADS: "1", ...env },
    timeout: 600_000,
    maxBuffer: 2 ** 28,
    encoding: "utf8",
  } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], options);
  return { code: status, stdout, stderr };
}

/** What a command that should work prints as JSON: here, unless it reads standard input or the environment. */
async function json<T>(args: readonly string[], input?: string | Uint8Array, env?: NodeJS.ProcessEnv): Promise<T> {
  const asked = [...args, "--json"];
  const { code, stdout, stderr } = input === undefined ? await bitnetHere(...asked) : bitnet(asked, input, env);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout.split("\n")).toHaveLength(2); // one object on one line
  return JSON.parse(stdout) as T;
}

interface RunJson {
  readonly model: string;
  readonly promptIds: number[];
  readonly ids: number[];
  readonly text: string;
  readonly stopReason: string;
  readonly timings: Record<string, number>;
}

interface ScoreJson {
  readonly ids: number[];
  readonly nll: number[];
  readonly meanNll: number;
  readonly perplexity: number;
  readonly policy: Record<string, unknown>;
}

const PROMPT = "Once upon a time";
const PROMPT_IDS = [4080, 632, 546, 258, 446];

describe("bitnet", () => {
  it("shows help and version on stdout", () => {
    for (const args of [[], ["run", "--help"]]) {
      const { code, stdout, stderr } = bitnet(args);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toMatch(/^Usage: bitnet/);
    }
    const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
    expect(bitnet(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });

  it("prints a mistake as one line, and its stack only when asked", () => {
    const args = ["run", "--prompt", "x", "--threads", "abc"];
    const line = "error: option '--threads <n>' argument 'abc' is invalid. It must be a whole number from 1 to 256.\n";
    expect(bitnet(args)).toEqual({ code: 2, stdout: "", stderr: line });
    const debug = bitnet(args, "", { BITNET_DEBUG: "1" });
    expect(debug.code).toBe(2);
    expect(debug.stderr.startsWith(line)).toBe(true);
    expect(debug.stderr).toMatch(/\n +at /);
  });

  it("ends with the exit code of what is wrong with a model, in one line that names the file", () => {
    const truncated = join(folder, "truncated.gguf");
    writeFileSync(truncated, readFileSync(GGUF).subarray(0, 2_000_000));
    const bare = join(folder, "bare");
    mkdirSync(bare);
    for (const name of ["config.json", "model.safetensors"]) writeFileSync(join(bare, name), readFileSync(join(PACKED, name)));
    const lacking = join(folder, "lacking");
    mkdirSync(lacking);
    for (const name of readdirSync(PACKED)) writeFileSync(join(lacking, name), readFileSync(join(PACKED, name)));
    // The same file with one tensor by another name.
    const tensors = readFileSync(join(PACKED, "model.safetensors"), "latin1").replace(
      "layers.3.mlp.ffn_sub_norm",
      "layers.3.mlp.xxx_sub_norm",
    );
    writeFileSync(join(lacking, "model.safetensors"), tensors, "latin1");

    for (const [path, wanted] of [
      [truncated, 11],
      [bare, 4],
      [lacking, 3],
      [join(folder, "none.gguf"), 2],
    ] as const) {
      const { code, stdout, stderr } = bitnet(["run", "--prompt", "x", "--model", path]);
      expect({ path, code, stdout }).toEqual({ path, code: wanted, stdout: "" });
      expect(stderr).toMatch(/^error: [^\n]+\n$/);
      expect(stderr).toContain(path);
    }
  });
});

describe("bitnet run", () => {
  const greedy = ["run", "--prompt", PROMPT, "--max-tokens", "12", "--temperature", "0"];
  let first: RunJson;
  beforeAll(async () => {
    first = await json<RunJson>(greedy);
  });

  it("gives one JSON object with the embedded model", () => {
    expect(Object.keys(first)).toEqual(["model", "promptIds", "ids", "text", "stopReason", "timings"]);
    expect(first).toMatchObject({ model: expect.stringContaining("bitnet-stories-4m"), promptIds: PROMPT_IDS, stopReason: "length" });
    expect(first.ids).toHaveLength(12);
    expect(first.text).toMatch(/\w+ \w+/);
    const names = [
      "loadMs",
      "prefillMs",
      "firstTokenMs",
      "decodeMs",
      "promptTokens",
      "decodedTokens",
      "draftedTokens",
      "acceptedTokens",
      "sparseProducts",
      "skippedProducts",
      "prefillTokensPerSecond",
      "decodeTokensPerSecond",
    ];
    expect(Object.keys(first.timings).sort()).toEqual(names.sort());
    expect(first.timings).toMatchObject({ promptTokens: 5, decodedTokens: 12 });
    expect(Object.values(first.timings).every((value) => Number.isFinite(value) && value >= 0)).toBe(true);
  });

  it("streams the same text to stdout, and figures to stderr", () => {
    const { code, stdout, stderr } = bitnet([...greedy, "--threads", "1", "--tier", "plain"]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${first.text}\n` });
    expect(stderr).toMatch(/^load \d+ ms \| prompt 5 tokens .* 12 tokens .* stopped at 12 tokens \(--max-tokens\)\n$/);
  });

  it("reads the prompt from standard input, byte for byte, for - and when there is no flag", async () => {
    const rest = greedy.filter((_, i) => i !== 1 && i !== 2);
    expect(await json<RunJson>([...rest, "--prompt", "-"], PROMPT)).toMatchObject({ promptIds: PROMPT_IDS, text: first.text });
    const bytes = Uint8Array.of(0x41, 0xff, 0x0a);
    const { promptIds } = await json<RunJson>(rest, bytes);
    expect(JSON.parse((await bitnetHere("tokenize", "--decode", promptIds.slice(1).join(","), "--json")).stdout)).toEqual({
      text: "A\ufffd\n",
    });
  });

  it("takes the prompt as an argument and from a file", async () => {
    const rest = greedy.filter((_, i) => i !== 1 && i !== 2);
    expect(await json<RunJson>([...rest, PROMPT])).toMatchObject({ promptIds: PROMPT_IDS, text: first.text });
    const file = join(folder, "prompt.txt");
    writeFileSync(file, PROMPT);
    expect(await json<RunJson>([...rest, "--file", file])).toMatchObject({ promptIds: PROMPT_IDS, text: first.text });
  });

  it("asks for a prompt where there is none, and says so where the model has nothing to add", () => {
    expect(bitnet(["run"], "")).toMatchObject({
      code: 2,
      stdout: "",
      stderr: expect.stringMatching(/^error: there is no prompt, [^\n]*\n$/),
    });
    const { code, stdout, stderr } = bitnet(["run", "Write a story about a red ball."]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "\n" });
    expect(stderr).toMatch(/^note: the model ended the text at once: [^\n]*bitnet chat[^\n]*\nload /);
  });

  it("answers a prompt through the chat template with --system", async () => {
    const { promptIds } = await json<RunJson>(["run", "--system", "You are kind.", "-n", "1"], "Hi\n");
    const { stdout } = await bitnetHere("tokenize", "--decode", promptIds.join(","), "--json");
    expect((JSON.parse(stdout) as { text: string }).text).toBe(
      "<|begin_of_text|>System: You are kind.<|eot_id|>User: Hi<|eot_id|>Assistant: ",
    );
  });

  it("streams JSON lines: the pieces, and at last what --json prints", () => {
    const { code, stdout } = bitnet([...greedy, "--jsonl"]);
    const lines = stdout.trimEnd().split("\n");
    const pieces = lines.slice(0, -1).map((line) => (JSON.parse(line) as { piece: string }).piece);
    expect({ code, text: pieces.join("") }).toEqual({ code: 0, text: first.text });
    expect(pieces.length).toBeGreaterThan(5);
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({
      ids: first.ids,
      text: first.text,
      stopReason: "length",
      timings: { promptTokens: 5 },
    });
  });

  it("samples the same text from the same seed, be it a flag, the environment or the default", async () => {
    const sampled = ["run", "--prompt", PROMPT, "--max-tokens", "24", "--temperature", "1"];
    const byDefault = (await json<RunJson>(sampled)).text;
    expect((await json<RunJson>([...sampled, "--seed", "42"], "", { BITNET_SEED: "7" })).text).toBe(byDefault);
    const other = (await json<RunJson>(sampled, "", { BITNET_SEED: "7", BITNET_DETERMINISTIC: "1" })).text;
    expect(other).not.toBe(byDefault);
    expect((await json<RunJson>([...sampled, "--seed", "7"])).text).toBe(other);
  });

  it("speculates when it is told to, and says the same", async () => {
    const long = ["run", "--prompt", "The dog", "--max-tokens", "60", "--temperature", "0"];
    const [off, on] = [await json<RunJson>([...long, "--no-speculate"]), await json<RunJson>([...long, "--speculate"])];
    expect(on.ids).toEqual(off.ids);
    expect(off.timings).toMatchObject({ draftedTokens: 0 });
    expect(on.timings.draftedTokens).toBeGreaterThan(0);
  });

  it("writes a model's control characters out on a terminal, and leaves them alone in a pipe", () => {
    // So hot that every token is as likely as any, those of single bytes too.
    const wild = ["-n", "60", "--temperature", "1000000", "--top-k", "0", "--top-p", "1", "--repetition-penalty", "1"];
    const terminal = ["--import", "data:text/javascript,process.stdout.isTTY=true"];
    const options = { encoding: "utf8", input: "Once\n", env: { ...process.env, NO_COLOR: "1" } } as const;
    const commands = [
      ["run", "--seed", "2"],
      ["chat", "--system", "x", "--seed", "3"],
    ];
    for (const command of some(commands, 0)) {
      const written = spawnSync(process.execPath, [MAIN, ...command, ...wild], options).stdout;
      const shown = spawnSync(process.execPath, [...terminal, MAIN, ...command, ...wild], options).stdout;
      expect(written).toMatch(/[^\P{Cc}\n\t]/u);
      expect(shown).toBe(escapeControls(written));
    }
    const [prompt] = spawnSync(process.execPath, [...terminal, MAIN, "run", "\x1b[2J", "-n", "1"], options).stdout;
    expect(prompt).toBe("\\"); // a prompt that is shown is escaped too
  });

  it("stops at a text and at an id", async () => {
    const word = first.text.trim().split(" ")[2] ?? "";
    const stopped = await json<RunJson>([...greedy, "--stop", "never said", "--stop", word]);
    expect(stopped).toMatchObject({ stopReason: "stop", text: first.text.slice(0, first.text.indexOf(word)) });
    expect(await json<RunJson>([...greedy, "--stop-id", `4,${first.ids[3]}`])).toMatchObject({ stopReason: "stop" });
  });

  it("ends quietly when its reader has gone", async () => {
    const child = spawn(process.execPath, [MAIN, "run", "--prompt", PROMPT, "--max-tokens", "400"], { stdio: ["ignore", "pipe", "pipe"] });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    await once(child.stdout, "data");
    child.stdout.destroy();
    const [code] = (await once(child, "close")) as [number];
    expect({ code, errors: stderr.match(/error.*/)?.[0] }).toEqual({ code: 0, errors: undefined });
  });

  it("prints what is there when it is interrupted", async () => {
    // So hot that every token is as likely as any: it will not find an end by itself.
    const args = [MAIN, "run", "--prompt", PROMPT, "--max-tokens", "1900", "--temperature", "1000000"];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (stdout === "") child.kill("SIGINT");
      stdout += text;
    });
    const [code] = (await once(child, "close")) as [number];
    expect(code).toBe(130);
    expect(stdout).toMatch(/[^\n]\n$/);
  });
});

describe("bitnet chat", () => {
  it("answers a line at a time from a pipe, remembers, and ends with its input", () => {
    const args = ["chat", "--temperature", "0", "--max-tokens", "8", "--threads", "1"];
    const story = "Tell me a story about a cat.";
    const { code, stdout, stderr } = bitnet(args, `${story}\n\n/clear\n${story}\n/what\n/exit\nnever read\n`);
    const cut = "stopped at 8 tokens (--max-tokens)\n";
    expect({ code, stderr }).toEqual({ code: 0, stderr: `${cut}${cut}unknown command /what: type /help for a list\n` });
    const [once, again, ...rest] = stdout.split("\n");
    expect(once).toMatch(/\w+ \w+/);
    expect(again).toBe(once);
    expect(rest).toEqual([""]);
  });

  it("says when the context is full, and forgets the oldest turn instead of stopping", () => {
    const { code, stdout, stderr } = bitnet(["chat", "--ctx", "24", "--temperature", "0"], "Tell me a story about a cat.\n");
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/^stopped after \d+ tokens: the context is full.*\n$/) });
    expect(stdout).toMatch(/\S\n$/);
    const long = bitnet(["chat", "--ctx", "96", "--max-tokens", "30", "--seed", "1"], "Tell me a story.\n".repeat(3));
    expect(long).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/^the oldest 2 turns were forgotten, because the context has only 96 tokens/m),
    });
    expect(long.stdout.match(/\S\n/g)?.length).toBeGreaterThanOrEqual(3);
    const tooLong = bitnet(["chat", "--ctx", "16"], "Tell me a very long story about a cat, a dog, a horse and a cow.\n");
    expect({ code: tooLong.code, stderr: tooLong.stderr }).toEqual({
      code: 2,
      stderr: expect.stringMatching(/^error: [^\n]*context[^\n]*\n$/),
    });
  });
});

describe("bitnet score", () => {
  it("scores ids as they are; the logits it writes give the same figures", async () => {
    const out = join(folder, "logits.f32");
    const scored = await json<ScoreJson>(["score", "--ids", PROMPT_IDS.join(","), "--logits-out", out]);
    expect(Object.keys(scored)).toEqual(["ids", "nll", "meanNll", "perplexity", "policy"]);
    expect(scored.ids).toEqual(PROMPT_IDS);
    expect(scored.policy).toMatchObject({ path: "kernels", activationQuant: true, bosAdded: false });

    const bytes = readFileSync(out);
    const vocab = 4096;
    expect(bytes.length).toBe(PROMPT_IDS.length * vocab * 4);
    expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
    const logits = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    const nll = PROMPT_IDS.slice(1).map((id, t) => {
      const row = Float64Array.from(logits.subarray(t * vocab, (t + 1) * vocab));
      const top = row.reduce((a, b) => Math.max(a, b));
      return Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - top), 0)) + top - (row[id] ?? Number.NaN);
    });
    for (const [t, value] of nll.entries()) expect(scored.nll[t]).toBeCloseTo(value, 4);
    expect(scored.meanNll).toBeCloseTo(nll.reduce((a, b) => a + b) / nll.length, 4);
    expect(scored.perplexity).toBeCloseTo(Math.exp(scored.meanNll), 3);
  });

  it("takes a text, a file and standard input alike, and the reference path", async () => {
    const file = join(folder, "story.txt");
    writeFileSync(file, PROMPT);
    const byText = await json<ScoreJson>(["score", "--text", PROMPT]);
    expect(byText.ids).toEqual(PROMPT_IDS);
    expect(byText.policy).toMatchObject({ bosAdded: true });
    expect(await json<ScoreJson>(["score", "--file", file])).toEqual(byText);
    expect(await json<ScoreJson>(["score", "--text", "-"], PROMPT)).toEqual(byText);
    const reference = await json<ScoreJson>(["score", "--text", PROMPT, "--reference", "--no-activation-quant"]);
    expect(reference.policy).toMatchObject({ path: "reference", activationQuant: false });
    expect(reference.meanNll).toBeCloseTo(byText.meanNll, 1);
    expect(bitnet(["score", "--file", join(folder, "none.txt")])).toMatchObject({ code: 2, stderr: expect.stringContaining("none.txt") });
    expect(bitnet(["score", "--ids", "4080,4096"])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^error: [^\n]*4096[^\n]*\n$/),
    });
  });
});

describe("bitnet embed", () => {
  it("prints a vector a text, in a list, in an object, and as raw numbers: the same ones", async () => {
    const texts = ["The dog ran.", "A cat sat."];
    const whole = await json<{ model: string; pooling: string; embeddings: number[][] }>([
      "embed",
      ...texts.flatMap((text) => ["--text", text]),
    ]);
    expect(whole).toMatchObject({ model: expect.stringContaining("ggml-model-i2_s.gguf"), pooling: "mean" });
    expect(whole.embeddings.map(({ length }) => length)).toEqual([256, 256]);
    const out = join(folder, "vectors.f32");
    const raw = bitnet(["embed", "--file", "-", "--model", PACKED, "--f32-out", out], `${texts.join("\r\n")}\n`);
    expect(raw).toEqual({ code: 0, stderr: "", stdout: "2 vectors of 256 numbers, mean pooling\n" });
    const bytes = readFileSync(out);
    const numbers = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    expect([...numbers]).toEqual(whole.embeddings.flat().map(Math.fround));
    const lines = bitnet(["embed", "--text", "dog ran.", "--instruction", "The ", "--pooling", "last", "--no-normalize"]).stdout;
    expect(JSON.parse(lines)).toHaveLength(256);
    expect(lines).not.toContain(String(whole.embeddings[0]![0]));
  });

  it("refuses an empty line, and what is no text", () => {
    const cases = [
      [["--file", "-"], "a\n\nb\n", "--file: line 2 is empty"],
      [["--file", "-"], "", "--file: line 1 is empty"],
      [["--file", "-"], Buffer.from([0xff]), "--file: the texts are not UTF-8"],
      [[], "", "give exactly one of --text and --file"],
      [["--text", "a", "--json", "--f32-out", join(folder, "x.f32")], "", "give one of --json and --f32-out"],
    ] as const;
    for (const [args, input, said] of cases)
      expect(bitnet(["embed", ...args], input)).toEqual({ code: 2, stdout: "", stderr: expect.stringContaining(said) });
  });
});

describe("bitnet tokenize", () => {
  it("goes to ids and back", async () => {
    expect(await json(["tokenize", "--text", PROMPT])).toEqual({
      ids: PROMPT_IDS,
      tokens: ["<|begin_of_text|>", "Once", " upon", " a", " time"],
    });
    expect(await json(["tokenize", "--decode", PROMPT_IDS.join(",")])).toEqual({ text: `<|begin_of_text|>${PROMPT}` });
    expect(await json(["tokenize", "--decode", PROMPT_IDS.join(","), "--no-special"])).toEqual({ text: PROMPT });
  });

  it("takes a file byte for byte, with special tokens or without", async () => {
    const file = join(folder, "bytes.txt");
    const bytes = Buffer.from([0xef, 0xbb, 0xbf, 0x0d, 0x0a, 0xff, ...Buffer.from("<|eot_id|>")]);
    writeFileSync(file, bytes);
    const { ids } = await json<{ ids: number[] }>(["tokenize", "--file", file]);
    expect([ids[0], ids.at(-1)]).toEqual([4080, 4089]);
    const plain = (await json<{ ids: number[] }>(["tokenize", "--file", file, "--no-special", "--model", PACKED])).ids;
    expect(plain.some((id) => id >= 4080)).toBe(false);
    // The bytes themselves come back, U+FEFF and what is no UTF-8 too.
    const options = { encoding: "buffer" } as const;
    expect(spawnSync(process.execPath, [MAIN, "tokenize", "--decode", plain.join(",")], options).stdout).toEqual(bytes);
  });

  it("renders a conversation with the model's own template", async () => {
    interface Case {
      readonly messages: unknown[];
      readonly text: string;
      readonly ids: number[];
    }
    const { cases } = JSON.parse(readFileSync("validation/golden/tokenizer/chat.json", "utf8")) as { cases: Case[] };
    // One that ends with a question, and one that ends with the answer.
    for (const { messages, text, ids } of [cases[2], cases[3]] as Case[]) {
      expect(await json(["tokenize", "--chat", "-"], JSON.stringify(messages))).toEqual({ prompt: text, ids });
    }
  });
});

describe("bitnet bench", () => {
  it("measures what it is asked to, and leaves out with a sentence what the context is too short for", () => {
    const asked = ["--pp", "8,100", "--tg", "3", "--depth", "0,20", "--threads", "1,2", "-r", "2", "--ctx", "24"];
    const { code, stdout, stderr } = bitnet(["bench", ...asked, "--json"]);
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: "pp100 was skipped: it needs 101 tokens, but the context has 24 (--ctx)\n",
    });
    const report = JSON.parse(stdout) as BenchReport;
    expect(report).toMatchObject({
      ...{ node: process.version, settings: { ctx: 24 }, contextLength: 24, repetitions: 2 },
      model: { architecture: "bitnet-b1.58", parameters: 4200704 },
      leftOut: [{ test: "pp100" }],
    });
    expect(report.runs.map(({ threads, tests }) => [threads, tests.map(({ name }) => name)])).toEqual([
      [1, ["pp8", "tg3", "tg3@d20"]],
      [usefulThreads(2), ["pp8", "tg3", "tg3@d20"]],
    ]);
    for (const { tokensPerSecond } of report.runs.flatMap(({ tests }) => tests)) {
      expect(tokensPerSecond.samples).toHaveLength(2);
      expect(tokensPerSecond.min).toBeGreaterThan(0);
      expect(tokensPerSecond.median).toBe((tokensPerSecond.min + tokensPerSecond.max) / 2);
    }
  });
});

describe("bitnet info", () => {
  it("describes both formats of a model", async () => {
    const gguf = await json<ModelDescription>(["info"]);
    expect(gguf).toMatchObject({ format: "gguf", architecture: "bitnet-b1.58", config: { layers: 4, hiddenSize: 256, vocabSize: 4096 } });
    expect(gguf.sha256).toBe("3b6ffbad956fd373d680bdff09e83d5aa15c66ee1f1993139d8f8e07d9f17bac");
    expect(gguf.kernels.tier).toBe("relaxed");
    expect(gguf.tokenizer).toEqual({
      source: "gguf",
      size: 4096,
      bos: { id: 4080, text: "<|begin_of_text|>" },
      eos: [{ id: 4081, text: "<|end_of_text|>" }],
      stops: [
        { id: 4081, text: "<|end_of_text|>" },
        { id: 4089, text: "<|eot_id|>" },
      ],
      addsBos: true,
    });
    const packed = await json<ModelDescription>(["info", "--model", PACKED], "", { BITNET_NUM_THREADS: "1" });
    expect(packed).toMatchObject({ format: "safetensors", architecture: "BitNetForCausalLM", threads: 1 });
    expect(packed.chatTemplate).toBe(gguf.chatTemplate);
    expect(packed.parameters).toBe(gguf.parameters);
  });

  it("is a table for a person", () => {
    const { code, stdout, stderr } = bitnet(["info"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^ {2}format +GGUF$/m);
    expect(stdout).toMatch(/^ {2}hidden size +256$/m);
    expect(stdout).toMatch(/^ {2}kernels +relaxed/m); // what `run` would choose
  });
});

describe("bitnet inspect", () => {
  it("gives tensors, checks and a probe as JSON", async () => {
    const inspection = await json<ModelInspection & { probe: Probe }>(["inspect", "--gate", "--probe", "--threads", "1"]);
    expect(Object.keys(inspection)).toEqual(["path", "format", "architecture", "tensors", "types", "checks", "probe"]);
    expect(inspection.tensors).toHaveLength(46);
    expect(inspection.checks.every(({ passed }) => passed)).toBe(true);
    expect(inspection.probe.right).toBe("block128");
  });

  it("fails the gate of a damaged file, shows the tensor, and names the layout that is right", async () => {
    const damaged = join(folder, "damaged.gguf");
    const bytes = readFileSync(GGUF);
    bytes.fill(0, 2228960, 2228960 + 1024); // blk.0.attn_norm.weight
    writeFileSync(damaged, bytes);
    const { code, stdout, stderr } = bitnet(["inspect", "--model", damaged, "--gate"]);
    expect({ code, stderr }).toEqual({ code: 8, stderr: "" });
    expect(stdout).toMatch(/^blk\.0\.attn_norm\.weight +F32 +256 +2228960 +1024 +0$/m);
    expect(stdout).toMatch(/^blk\.0\.ffn_down\.weight +I2_S +256×768 +2229984 +49184 +0\.\d+ +0\.\d+ +29\.2 +41\.7 +29\.1$/m);
    expect(stdout).toMatch(/^ {2}FAIL {2}norms: .*blk\.0\.attn_norm\.weight has 0; allowed: 0\.001 to 100$/m);
    expect(stdout.match(/^ {2}PASS /gm)).toHaveLength(6);
    const ungated = await bitnetHere("inspect", "--model", damaged);
    expect({ code: ungated.code, checks: ungated.stdout.includes("FAIL") }).toEqual({ code: 0, checks: false });
    // Read in a layout that isn't its own, the file is fine and the flag wrong.
    const other = await bitnetHere("inspect", "--gate", "--probe", "--threads", "1", "--i2s-layout", "rows4");
    expect(other.code).toBe(8);
    expect(other.stdout).toMatch(/^ {2}block128 +1\.\d\d nats a token$/m);
    expect(other.stdout).toContain("block128 is right: pass --i2s-layout block128.");
  });
});

describe("bitnet convert", () => {
  it("writes a GGUF that scores as its model does, and says what it rounded", async () => {
    const output = join(folder, "converted.gguf");
    const done = await json<Conversion>(["convert", PACKED, output, "--type", "tq2_0"]);
    expect(done).toEqual({
      ...{ path: output, format: "gguf", bytes: statSync(output).size },
      ...{ architecture: "bitnet-b1.58", layers: "TQ2_0", embedding: "F16", rounded: [] },
    });
    const score = (model: string) => json<ScoreJson>(["score", "--model", model, "--text", "The dog ran home.", "--threads", "1"]);
    expect((await score(output)).nll).toEqual((await score(PACKED)).nll);

    const refused = bitnet(["convert", GGUF, output]);
    expect(refused).toMatchObject({ code: 2, stdout: "" });
    expect(refused.stderr).toMatch(/^error: .*converted\.gguf already exists; choose another output, or replace it \(force, --force\)\n$/);
    const { code, stdout, stderr } = bitnet(["convert", GGUF, output, "--type", "f16", "--embedding", "q6_k", "--force"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(
      /^.*converted\.gguf: GGUF, layers F16, embedding Q6_K, bitnet-b1\.58, \d\.\d MB\ntoken_embd\.weight: \d+ of 1048576 rounded to Q6_K, relative error 1\.7e-2\n$/,
    );
  });
});

describe("bitnet batch", () => {
  it("answers a file of requests, and tells by its exit code that some have an error", () => {
    const [requests, out] = [join(folder, "requests.jsonl"), join(folder, "results.jsonl")];
    const body = { input: "The dog", max_output_tokens: 4 };
    writeFileSync(requests, `${JSON.stringify({ custom_id: "a", method: "POST", url: "/v1/responses", body })}\nno JSON\n`);
    const { code, stderr } = bitnet(["batch", requests, "--out", out]);
    expect({ code, stderr }).toEqual({ code: 14, stderr: `1 answered, 1 with an error: ${out}\n` });
    const [right, wrong] = readFileSync(out, "utf8")
      .split("\n")
      .map((line) => line && JSON.parse(line));
    expect([right.response.status_code, right.response.body.object, wrong.error.code]).toEqual([200, "response", "invalid_line"]);
  });
});
