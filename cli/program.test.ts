import { describe, expect, it } from "vitest";
import type { ModelDescription } from "../engine/index.js";
import { PLAIN } from "../engine/model/plain.test.helper.js";
import { errorLine, exitCodeOf } from "./failure.js";
import { table } from "./info.js";
import { buildProgram } from "./program.js";
import { figures } from "./run.js";
import { parseMessages } from "./tokenize.js";

/** How the program ends before it runs anything: exit code and the line on stderr. */
async function refusal(...args: string[]): Promise<[number, string]> {
  try {
    await buildProgram().parseAsync(args, { from: "user" });
  } catch (error) {
    return [exitCodeOf(error), errorLine(error)];
  }
  throw new Error("was not refused");
}

describe("usage errors name the flag", () => {
  const mistakes: [args: string[], said: RegExp][] = [
    [["speak"], /unknown command 'speak': bitnet help lists the commands$/],
    [["Once upon a time"], /unknown command 'Once upon a time': to continue a text, put run before it: bitnet run "Once upon a time"$/],
    [["run", "-x"], /unknown option '-x': --help lists the flags$/],
    [["run", "x", "-n=5"], /'=5' is invalid.* A short flag takes no equals sign: -n 5, or --max-tokens=5\.$/],
    [["run", "--file", ""], /--file <path>' argument '' is invalid. It must not be empty/],
    [["score", "--file", ""], /--file <path>' argument '' is invalid. It must not be empty/],
    [["tokenize", "--file", ""], /--file <path>' argument '' is invalid. It must not be empty/],
    [["tokenize", "--chat", ""], /--chat <path>' argument '' is invalid. It must not be empty/],
    [["runn"], /unknown command 'runn' \(Did you mean run\?\)/],
    [["run", "--fast"], /unknown option '--fast'/],
    [["run", "--prompt"], /--prompt <text>' argument missing/],
    [["run", "once", "upon"], /too many arguments.* Put text with spaces in quotes/],
    [["run", "once", "--prompt", "x"], /give only one prompt, not a prompt and --prompt$/],
    [["run", "--prompt", "x", "--file", "y"], /give only one prompt, not --prompt and --file$/],
    [["run", "x", "--json", "--jsonl"], /one of --json and --jsonl/],
    [["run", "x", "--system", ""], /--system <text>' argument '' is invalid. It must not be empty/],
    [["run", "x", "--temprature", "1"], /unknown option '--temprature' \(Did you mean --temperature\?\)/],
    [["run", "x", "--repetition-penalty", "0.001"], /--repetition-penalty <r>' .* from 0\.01 to 100/],
    [["run", "x", "--repetition-penalty", "101"], /--repetition-penalty <r>' .* from 0\.01 to 100/],
    [["run", "x", "--presence-penalty", "2.1"], /--presence-penalty <p>' .* from -2 to 2/],
    [["chat", "--frequency-penalty", "-2.1"], /--frequency-penalty <p>' .* from -2 to 2/],
    [["serve", "--ctx", "64", "--cache-tokens", "32"], /--cache-tokens must be a whole number from 64, the context length .*, not 32$/],
    [["run", "x", "--json-schema", "no/such/file"], /no\/such\/file \(--json-schema\)/],
    [["run", "x", "--json-schema", "README.md"], /--json-schema: README.md is not JSON/],
    [["run", "x", "--json-schema", "a", "--grammar", "b"], /one of --json-schema and --grammar/],
    [["run", "x", "--grammar", "b", "--receipt", "c"], /--receipt can't be combined with --json-schema or --grammar/],
    [["chat", "--grammar", "no/such/file"], /no\/such\/file \(--grammar\)/],
    [["run", "x", "--receipt", "no/such/folder/receipt.json"], /--receipt: the folder no\/such\/folder does not exist/],
    [["score", "--text", "x", "--logits-out", "no/such/folder/x"], /--logits-out: the folder/],
    [["perf", "--out", "no/such/folder/x"], /--out: the folder/],
    [["parity", "--out", "no/such/folder/x"], /--out: the folder/],
    [["help", "nonsense"], /^error: unknown command: bitnet help lists the commands$/],
    [["release", "nonsense"], /unknown command 'nonsense': bitnet release has only/],
    [["run", "--prompt", "x", "--threads", "abc"], /--threads <n>' argument 'abc' is invalid/],
    [["run", "--prompt", "x", "--threads", "-1"], /--threads <n>' argument '-1' is invalid/],
    [["run", "--prompt", "x", "--threads", "1000"], /--threads .* from 1 to 256/],
    [["run", "--prompt", "x", "--max-tokens", "1e3"], /--max-tokens <n>' argument '1e3'/],
    [["run", "--prompt", "x", "--temperature", "hot"], /--temperature <t>' argument 'hot'/],
    [["run", "--prompt", "x", "--top-p", "1.5"], /--top-p <p>' argument '1.5'/],
    [["run", "--prompt", "x", "--seed", "-3"], /--seed <n>' argument '-3'/],
    [["run", "--prompt", "x", "--stop-id", "1,x"], /--stop-id <ids>' argument '1,x' is invalid. "x" is not a token id/],
    [["run", "--prompt", "x", "--stop", ""], /--stop <text>' argument '' is invalid. It must not be empty/],
    [["run", "--prompt", "x", "--model", ""], /--model <path>' argument '' is invalid. It must not be empty/],
    [["run", "--prompt", "x", "--tier", "fast"], /--tier <tier>' argument 'fast' is invalid. Allowed choices are auto, plain, relaxed/],
    [["batch", "requests.jsonl"], /required option '--out <file>'/],
    [["worker", "--queue", "localhost:6379"], /--queue <url>' .* such as redis:\/\/localhost:6379/],
    [["serve", "--port", "65536"], /--port <n>' argument '65536' is invalid/],
    [["serve", "--host", ""], /--host <address>' argument '' is invalid/],
    [["serve", "--cors", "http://localhost:3000/"], /--cors <origin>' .* such as http:\/\/localhost:3000, without a path/],
    [["score"], /exactly one of --text, --file and --ids: none was given/],
    [["score", "--text", "a", "--ids", "1"], /--text and --ids were given/],
    [["score", "--ids", "1,,2"], /--ids <ids>' argument '1,,2' is invalid/],
    [["score", "--text", "a", "--no-activation-quant"], /--no-activation-quant requires --reference/],
    [["tokenize"], /exactly one of --text, --file, --decode and --chat/],
    [["bench", "--pp", "128,"], /--pp <tokens>' argument '128,' is invalid. It must be a whole number/],
    [["bench", "--threads", "1,0"], /--threads <n>' argument '1,0' is invalid/],
    [["bench", "--pp", "0", "--tg", "0,0"], /nothing to measure/],
    [["bench", "--json", "--markdown"], /one of --json and --markdown/],
    [["perf", "--iterations", "1"], /--iterations <n>' argument '1' is invalid. It must be a whole number from 2/],
    [["perf", "--max-rss", "0"], /--max-rss <MiB>' argument '0' is invalid/],
    [["perf", "--tolerance", "-1"], /--tolerance <percent>' argument '-1' is invalid/],
    [["perf", "fly"], /too many arguments/],
    [["tokenize", "--decode", "x"], /--decode <ids>' argument 'x' is invalid/],
    [["tokenize", "--chat", "x.json", "--no-special"], /--no-special can't be used with --chat/],
    [["pull"], /missing required argument 'name'/],
    [["pull", "x"], /"x" is no name of a model: give owner\/name/],
    [["pull", "../x"], /is no name of a model/],
    [["rm"], /missing required argument 'names'/],
    [["list", "x"], /too many arguments/],
  ];
  it.each(mistakes)("%j", async (args, said) => {
    const [code, line] = await refusal(...args);
    expect(line).toMatch(said);
    expect(line).toMatch(/^error: [^\n]+$/);
    expect(code).toBe(2);
  });
});

it("has help with an example for every command", () => {
  const program = buildProgram();
  expect(program.commands.map((command) => command.name())).toEqual([
    ...["run", "chat", "serve", "batch", "worker", "score", "embed", "tokenize", "bench"],
    ...["pull", "list", "rm", "info", "inspect", "convert"],
    ...["eval", "parity", "replay", "verify", "perf", "add-model", "validate", "release"],
  ]);
  const [, ...groups] = program.helpInformation().split(/\n(Use a model|Model files|Validate|Help):\n/);
  expect(groups.map((text) => text.match(/^ {2}[a-z-]+/gm)?.length ?? text)).toEqual([
    ...["Use a model", 9, "Model files", 6, "Validate", 8, "Help", 1],
  ]);
  for (const command of program.commands) {
    let help = "";
    const writeOut = (text: string): void => {
      help += text;
    };
    command.configureOutput({ writeOut }).outputHelp();
    expect(help).toContain(`$ bitnet ${command.name()}`);
    const [first] = command.registeredArguments;
    const takes = (): string => {
      if (command.name() === "list") return "--known";
      return command.options.length > 0 ? "--model" : command.commands[0]!.name();
    };
    expect(help).toContain(first ? `${first.required ? "<" : "["}${first.name()}` : takes());
  }
});

it("prints help for help, for a group of commands, and for its help", async () => {
  for (const [args, usage] of [
    [["help"], "Usage: bitnet [options] [command]"],
    [["help", "run"], "Usage: bitnet run [options] [prompt]"],
    [["perf", "help"], "Usage: bitnet perf [options] [command]"],
    [["perf", "help", "render"], "Usage: bitnet perf render [options] [files...]"],
    [["release"], "Usage: bitnet release [options] [command]"],
    [["release", "help"], "Usage: bitnet release [options] [command]"],
  ] as const) {
    let printed = "";
    const program = buildProgram();
    for (const command of [program, ...program.commands, ...program.commands.flatMap(({ commands }) => commands)]) {
      command.configureOutput({
        writeOut: (text) => {
          printed += text;
        },
      });
    }
    const code = await program.parseAsync(args, { from: "user" }).then(() => 0, exitCodeOf);
    expect({ args, code, printed }).toEqual({ args, code: 0, printed: expect.stringContaining(usage) });
  }
});

it("reads a conversation, and says what is wrong with one", () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  expect(parseMessages(bytes('[{"role":"user","content":"Hi","more":1}]'))).toEqual([{ role: "user", content: "Hi", more: 1 }]);
  for (const bad of ["", "{}", "[]"]) {
    expect(() => parseMessages(bytes(bad)), bad).toThrow(
      expect.objectContaining({ code: "usage", message: expect.stringContaining("--chat") }),
    );
  }
  expect(() => parseMessages(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(/not valid JSON in UTF-8/);
});

it("shows figures to a person", () => {
  const timings = {
    ...{ prefillMs: 2, firstTokenMs: 2.6, decodeMs: 10, promptTokens: 5, cachedTokens: 0, decodedTokens: 1 },
    ...{ draftedTokens: 0, acceptedTokens: 0, sparseProducts: 0, skippedProducts: 0 },
    ...{ prefillTokensPerSecond: 2500, decodeTokensPerSecond: 0 },
  };
  expect(figures({ promptIds: [], ids: [], text: "", stopReason: "length", timings }, 80.4)).toBe(
    "load 80 ms | prompt 5 tokens at 2500/s | first token 3 ms | 1 token | stopped at 1 token (--max-tokens)",
  );
  expect(figures({ promptIds: [], ids: [], text: "", stopReason: "eos", timings }, 80.4)).toMatch(/ \| stop: eos$/);
  expect(figures({ promptIds: [], ids: [], text: "", stopReason: "context", timings }, 80.4)).toMatch(/the context is full \(--ctx\)$/);
});

const DESCRIPTION = {
  ...{ path: "a\u001b[2J.gguf", format: "gguf", name: undefined, architecture: "bitnet-b1.58", parameters: 2_412_820_480 },
  ...{ fileSize: 1_187_801_280, files: ["a"], sha256: "00ff", chatTemplate: null, threads: 2, notes: ["x is missing:\x1b[2J assumed"] },
  config: {
    ...{ architecture: "bitnet-b1.58", layers: 30, hiddenSize: 2560, heads: 20, kvHeads: 5, headDim: 128, ffnSize: 6912 },
    ...{ vocabSize: 128256, contextLength: 4096, ropeTheta: 5e5, rmsNormEps: Math.fround(1e-5), activation: "relu2" },
    ...{
      attentionSize: 256,
      ...PLAIN,
      ropeSize: 128,
      activations: "int8",
      activationsAssumed: false,
      masters: true,
    },
    ...{ subNorms: true, rope: "neox", tiedHead: true, packing: undefined },
  },
  quantisation: { linears: "I2_S", embedding: "F16", norms: "F32", activations: "int8 per token" },
  tokenizer: { source: "gguf", size: 128256, bos: { id: 1, text: "<b>\n" }, eos: [], stops: [{ id: 2, text: "<e>" }], addsBos: true },
  generationDefaults: { temperature: 0, topK: 0, topP: Math.fround(0.9), minP: 0, repetitionPenalty: 1, seed: 42 },
  kernels: { tier: "plain", why: "asked for" },
} as const satisfies ModelDescription;

it("describes a model in a table that its file can't tamper with", () => {
  const lines = table(DESCRIPTION).split("\n");
  for (const line of [
    "  path                a\\x1b[2J.gguf",
    "  file                a",
    "  parameters          2.41 billion",
    "  size                1187.8 MB",
    "  note                x is missing:\\x1b[2J assumed",
    "  heads               20 of dimension 128, 5 key-value heads",
    "  norms               RMSNorm, epsilon 0.00001, with sub-norms",
    "  rope                theta 500000, NEOX pairs",
    "  beginning of text   <b> (1), added",
    "  ends of a turn      <e> (2)",
    "  chat template       none",
    "  top-p               0.9",
    "  kernels             plain (asked for)",
  ]) {
    expect(lines).toContain(line);
  }
  expect(lines.find((line) => line.includes("end of text") || line.includes("undefined"))).toBeUndefined();

  const yarn = {
    type: "yarn",
    factor: 4,
    attention: Math.fround(1 + 0.1 * Math.log(4)),
    ramp: { originalContext: 16384, fast: 32, slow: 1, truncate: true },
  } as const;
  const rope = (ropeScaling: ModelDescription["config"]["ropeScaling"]) =>
    /^ {2}rope +(.*)$/m.exec(table({ ...DESCRIPTION, config: { ...DESCRIPTION.config, ropeScaling } }))![1];
  expect(rope(yarn)).toBe("theta 500000, NEOX pairs, yarn factor 4 of 16384");
  expect(rope({ ...yarn, attention: 1 })).toBe("theta 500000, NEOX pairs, yarn factor 4 of 16384, attention factor 1");
  expect(rope({ ...yarn, type: "linear", attention: 1, ramp: undefined })).toBe("theta 500000, NEOX pairs, linear factor 4");
  expect(rope({ type: "linear", factor: 1, attention: 1.5, ramp: undefined })).toBe("theta 500000, NEOX pairs, attention factor 1.5");
});

it("shows numbers as the file has them, and no file where it is the path", () => {
  const show = (change: Partial<ModelDescription["config"]>): string =>
    table({ ...DESCRIPTION, config: { ...DESCRIPTION.config, ...change } });
  for (const theta of [1000042, 5e6, 1000000, 16777217, 12345678.5]) expect(show({ ropeTheta: theta })).toContain(`theta ${theta},`);
  expect(show({ ropeTheta: Math.fround(10000.1) })).toContain("theta 10000.1,");
  for (const epsilon of [1e-6, 1.5e-5, 0.00012345678]) expect(show({ rmsNormEps: epsilon })).toContain(`epsilon ${epsilon},`);
  expect(show({ rmsNormEps: Math.fround(1e-6) })).toContain("epsilon 0.000001,");
  expect(table({ ...DESCRIPTION, files: [DESCRIPTION.path] })).not.toContain("  file ");
  expect(table({ ...DESCRIPTION, files: ["d/a", "d/b", "d/c"] })).toContain("  file                d/a and 2 more");
});
