import { Command, Option } from "commander";
import type { AddModelFlags } from "./add-model.js";
import type { BatchFlags, WorkerFlags } from "./batch.js";
import type { BenchFlags } from "./bench.js";
import type { ChatFlags } from "./chat.js";
import type { ConvertFlags } from "./convert.js";
import type { EmbedFlags } from "./embed.js";
import type { EvalFlags } from "./eval.js";
import {
  addEngineFlags,
  addFileFlags,
  addKernelFlags,
  addSamplingFlags,
  addThreadFlags,
  addTokenizerFlag,
  MAX_TOKENS,
  PARITY_OUT,
} from "./flags.js";
import type { InfoFlags } from "./info.js";
import type { InspectFlags } from "./inspect.js";
import type { ListFlags } from "./list.js";
import { modelPath, modelPaths, namedModels } from "./model-path.js";
import type { ParityFlags } from "./parity.js";
import type { PerfFlags } from "./perf.js";
import type { PerfCompareFlags } from "./perf-compare.js";
import type { PerfRenderFlags } from "./perf-render.js";
import type { PullFlags } from "./pull.js";
import type { ReleaseFlags } from "./release.js";
import type { ReleaseVerifyFlags } from "./release-verify.js";
import type { ReplayFlags } from "./replay.js";
import type { RunFlags } from "./run.js";
import type { ScoreFlags } from "./score.js";
import type { ServeFlags } from "./serve.js";
import { addTemplateFlag } from "./template-vars.js";
import type { TokenizeFlags } from "./tokenize.js";
import type { ValidateFlags } from "./validate.js";
import {
  decimal,
  integer,
  integers,
  MAX_THREADS,
  nonEmpty,
  parseIds,
  parseLanes,
  parseOrigin,
  parseQueue,
  plainName,
  repeatable,
} from "./values.js";
import type { VerifyFlags } from "./verify.js";
import { version } from "./version.js";

/** Pairs are compared one by one: a larger union takes long and tells no more. */
const MAX_TOP_K = 1000;

const ENVIRONMENT = `
Environment:
  BITNET_SEED           seed if --seed is not given
  BITNET_NUM_THREADS    number of threads if --threads is not given
  BITNET_API_KEY        key that serve asks for if --api-key is not given
  BITNET_DETERMINISTIC  1: seed 42 and one thread, unless set otherwise
  NO_COLOR              no colours
  BITNET_DEBUG          1: print stack traces of errors
  BITNET_CACHE          folder of pulled models (default: bitnet-ts in the user's cache folder)
  HF_TOKEN              token for Hugging Face, for private and gated models
  HF_ENDPOINT           address of another hub (default: https://huggingface.co)

Exit codes:
  0   success
  1   failure
  2   usage: a wrong flag, no prompt, a file that does not exist
  3   a tensor is missing or unknown
  4   the tokenizer or the chat template is missing or unusable
  5   likelihoods differ (parity, replay)
  6   ranks differ (parity, replay)
  7   greedy text differs (parity, replay)
  8   suspicious weights (inspect --gate, add-model)
  9   slower than the baseline (perf --baseline)
  10  not enough memory
  11  a damaged or truncated file
  12  a replay differs (replay, verify)
  13  a server can't be reached, refused or broke off (pull, batch, worker)
  14  some requests have errors; all results are there (batch)
  130 interrupted`;

/** The commands and their flags. What a command does is loaded only when it is called, so that `--help` costs nothing. */
export function buildProgram(): Command {
  const program = new Command("bitnet")
    .description("Run ternary (1.58-bit) language models. Without --model, commands use a small model included in the package.")
    .version(version(), "-V, --version", "print the version")
    // Flags after a command belong to that command: release prepare has its own --version.
    .enablePositionalOptions()
    .helpOption("-h, --help", "show help")
    // Errors are thrown, and printed once, in main.ts.
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .addHelpText("after", `${examples(['bitnet run "Once upon a time"', "bitnet help run"])}\n${ENVIRONMENT}`);

  program.commandsGroup("Use a model:");
  addRun(program);
  addChat(program);
  addServe(program);
  addBatch(program);
  addWorker(program);
  addScore(program);
  addEmbed(program);
  addTokenize(program);
  addBench(program);
  program.commandsGroup("Model files:");
  addPull(program);
  addList(program);
  addRm(program);
  addInfo(program);
  addInspect(program);
  addConvert(program);
  program.commandsGroup("Validate:");
  addEval(program);
  addParity(program);
  addReplay(program);
  addVerify(program);
  addPerf(program);
  addAddModel(program);
  addValidate(program);
  addRelease(program);
  return program.commandsGroup("Help:").helpCommand("help [command]", "show help for a command");
}

function addRun(program: Command): void {
  const run = command(program, "run", "continue a prompt, or answer it (with --system)", 'bitnet run "Once upon a time" --max-tokens 64')
    .argument("[prompt]", "text to continue; - reads standard input")
    .option("-p, --prompt <text>", "the prompt, for example one that begins with a hyphen")
    .option("--file <path>", "read the prompt from a file, byte for byte; - reads standard input", nonEmpty)
    .option("--system <text>", "answer the prompt as a chat message, using the chat template and this system message", nonEmpty)
    .option("--json", "print one JSON object instead of the text")
    .option("--jsonl", "print JSON lines: one for each piece of text, then the object that --json prints")
    .option("--receipt <file>", "write a receipt for bitnet verify", nonEmpty)
    .action(async (text: string | undefined, flags: RunFlags) => (await import("./run.js")).run(text, flags));
  addTemplateFlag(run);
  addSamplingFlags(run);
  addEngineFlags(run);
}

function addChat(program: Command): void {
  const chat = command(program, "chat", "chat with a model", 'bitnet chat --system "You tell short stories."')
    .option("--system <text>", "system message at the start of the conversation", nonEmpty)
    .action(async (flags: ChatFlags) => (await import("./chat.js")).chat(flags));
  addTemplateFlag(chat);
  addSamplingFlags(chat);
  addEngineFlags(chat);
}

function addServe(program: Command): void {
  const serve = subcommand(program, "serve", "answer OpenAI's API over HTTP, and a page to chat", [
    "bitnet serve --model model.gguf --port 8080",
    "bitnet serve --model a.gguf --model owner/name --memory 6",
  ])
    .option(
      "-m, --model <path>",
      "GGUF file, SafeTensors file, a directory with one, or the name of a pulled model; can be repeated (default: the embedded model)",
      namedModels,
    )
    .option(
      "--memory <GiB>",
      "with several models: memory that those that are loaded may take together (default: three quarters of the machine's)",
      decimal(0.01, 1e6),
    )
    .option("--idle <minutes>", "with several models: time after which one that nobody uses is unloaded", decimal(0.01, 1e6), 15)
    .option("--host <address>", "address to listen on; 0.0.0.0: all, for which --api-key is advised", nonEmpty, "127.0.0.1")
    .option("--port <n>", "port to listen on; 0: any that is free", integer(0, 65535), 8080)
    .option("--api-key <key>", "refuse requests without this key (default: no key)", nonEmpty)
    .option("--cors <origin>", "let pages of this origin read answers; *: of all (default: none)", parseOrigin)
    .option("--parallel <n>", "answers that are computed at once; the others wait (default: 32)", integer(1, 32))
    .option(
      "--cache-tokens <n>",
      "tokens that the KV cache has room for, of all answers together (default: those of one context)",
      integer(1, MAX_TOKENS),
    )
    .option("--max-waiting <n>", "requests that may wait; more are refused with status 429", integer(0, 1_000_000), 64)
    .option("--log", "write a line of JSON on each request to standard error: times, tokens, status, and nothing of what was said")
    .action(async (flags: ServeFlags) => (await import("./serve.js")).serve(flags));
  addEngineFlags(serve);
}

function addBatch(program: Command): void {
  const batch = command(
    program,
    "batch <requests>",
    "answer a file of requests, in OpenAI's batch format",
    "bitnet batch requests.jsonl --out results.jsonl",
  )
    .requiredOption("--out <file>", "file of results; if it is there, go on where it ends", nonEmpty)
    .option("--queue <url>", "let workers compute, over this Redis or Valkey server: redis://host:port", parseQueue)
    .action(async (requests: string, flags: BatchFlags) => (await import("./batch.js")).batch(requests, flags));
  addEngineFlags(batch);
}

function addWorker(program: Command): void {
  const worker = command(
    program,
    "worker",
    "answer requests of bitnet batch --queue, on any number of machines",
    "bitnet worker --queue redis://localhost:6379 --model model.gguf",
  )
    .requiredOption("--queue <url>", "the Redis or Valkey server of the batch: redis://host:port", parseQueue)
    .action(async (flags: WorkerFlags) => (await import("./batch.js")).worker(flags));
  addEngineFlags(worker);
}

function addScore(program: Command): void {
  const score = command(program, "score", "measure how likely a text is (perplexity)", "bitnet score --file story.txt --json")
    .option("--text <text>", "text to score; - reads standard input")
    .option("--file <path>", "file to score, byte for byte; - reads standard input", nonEmpty)
    .option("--ids <ids>", "token ids to score, without adding BOS: 1,2,3", parseIds)
    .option("--reference", "compute with the scalar reference instead of the kernels: slow, same bits")
    .option("--no-activation-quant", "with --reference: compute with unquantised activations")
    .option("--logits-out <path>", "write all logits to a file: raw little-endian f32 [positions, vocab]", nonEmpty)
    .option("--json", "print one JSON object with ids, nll, meanNll, perplexity and policy")
    .action(async (flags: ScoreFlags) => (await import("./score.js")).score(flags));
  addEngineFlags(score);
}

function addEmbed(program: Command): void {
  const embed = command(
    program,
    "embed",
    "turn texts into vectors, for search and similarity",
    'bitnet embed --text "The dog ran." --text "A cat sat." --json',
  )
    .option("--text <text>", "text to embed; can be repeated", repeatable(nonEmpty))
    .option("--file <path>", "embed each line of a file; - reads standard input", nonEmpty)
    .addOption(
      new Option(
        "--pooling <kind>",
        "one vector of a text's tokens: their mean, or the last one's (default: as the file states, otherwise mean)",
      ).choices(["mean", "last"]),
    )
    .option("--instruction <text>", 'put before each text as it is, for example "query: "', nonEmpty)
    .option("--no-normalize", "do not scale the vectors to length 1")
    .option("--f32-out <path>", "write the vectors to a file instead: raw little-endian f32 [texts, hidden]", nonEmpty)
    .option("--json", "print one JSON object with model, pooling and embeddings, instead of one JSON list a line")
    .action(async (flags: EmbedFlags) => (await import("./embed.js")).embed(flags));
  addEngineFlags(embed);
}

function addTokenize(program: Command): void {
  const tokenize = command(program, "tokenize", "convert text to token ids and back", 'bitnet tokenize --text "Once upon a time" --json')
    .option("--text <text>", "text to encode; - reads standard input")
    .option("--file <path>", "file to encode, byte for byte; - reads standard input", nonEmpty)
    .option("--decode <ids>", "token ids to convert to text: 1,2,3", parseIds)
    .option("--chat <path>", "JSON file with a conversation to render with the chat template and encode; - reads standard input", nonEmpty)
    .option("--no-special", "add no BOS and treat special tokens as plain text; with --decode, omit them")
    .option("--json", "print one JSON object with ids and tokens, or text, or prompt and ids")
    .action(async (flags: TokenizeFlags) => (await import("./tokenize.js")).tokenize(flags));
  addTemplateFlag(tokenize);
  addTokenizerFlag(tokenize);
}

function addBench(program: Command): void {
  const bench = command(
    program,
    "bench",
    "measure prompt and generation speed",
    "bitnet bench --pp 512 --tg 64 --depth 0,1024 --threads 1,2",
  )
    .addOption(
      new Option("--pp <tokens>", "prompt lengths to measure; 0: none").argParser(integers(0, MAX_TOKENS)).default([128, 512], "128,512"),
    )
    .addOption(new Option("--tg <tokens>", "numbers of tokens to generate; 0: none").argParser(integers(0, MAX_TOKENS)).default([64], "64"))
    .addOption(
      new Option("--depth <tokens>", "numbers of tokens already in the cache before generating")
        .argParser(integers(0, MAX_TOKENS))
        .default([0, 512, 2048], "0,512,2048"),
    )
    .option("-r, --repetitions <n>", "measurements of each test, after one warm-up run", integer(1, 1000), 5)
    .option("--json", "print one JSON object")
    .option("--markdown", "print a Markdown table")
    .action(async (flags: BenchFlags) => (await import("./bench.js")).bench(flags));
  const threads = new Option("--threads <n>", "worker threads, one or more numbers: 1,2 (default: as many as can run at once, at most 16)");
  addEngineFlags(bench, threads.argParser(integers(1, MAX_THREADS)));
}

function addPull(program: Command): void {
  subcommand(program, "pull <name>", "download a model from Hugging Face and keep it under its name", [
    "bitnet pull microsoft/bitnet-b1.58-2B-4T-gguf",
    "bitnet pull hf:owner/name@revision:model.gguf",
  ])
    .option("--json", "print one JSON object instead of the path")
    .action(async (name: string, flags: PullFlags) => (await import("./pull.js")).pullCommand(name, flags));
}

function addList(program: Command): void {
  subcommand(program, "list", "list the models that were pulled", ["bitnet list --known"])
    .option("--known", "list published models that can be pulled")
    .option("--json", "print one JSON value instead of the table")
    .action(async (flags: ListFlags) => (await import("./list.js")).listCommand(flags));
}

function addRm(program: Command): void {
  subcommand(program, "rm <names...>", "remove models that were pulled", ["bitnet rm microsoft/bitnet-b1.58-2B-4T-gguf"]).action(
    async (names: string[]) => (await import("./rm.js")).rmCommand(names),
  );
}

function addInfo(program: Command): void {
  const info = command(program, "info", "describe a model and how it would run here", "bitnet info --model model.gguf --json")
    .option("--json", "print one JSON object")
    .action(async (flags: InfoFlags) => (await import("./info.js")).info(flags));
  addKernelFlags(info);
}

function addInspect(program: Command): void {
  const inspect = command(program, "inspect", "list every tensor and check its values", "bitnet inspect --model model.gguf --gate")
    .option("--gate", "check the weights; exit with 8 if a check fails")
    .option("--probe", "score a short text under each way the file could be read: I2_S layouts, or inverted scales")
    .option("--json", "print one JSON object")
    .action(async (flags: InspectFlags) => (await import("./inspect.js")).inspect(flags));
  addKernelFlags(inspect);
}

function addConvert(program: Command): void {
  const convert = subcommand(program, "convert", "convert a model to GGUF or packed SafeTensors", [
    "bitnet convert model-directory model.gguf --type tq2_0 --embedding q6_k",
  ])
    .argument("<model>", "path, or name of a pulled model", modelPath)
    .argument("<output>", "a .gguf file, or a directory")
    .addOption(
      new Option("-t, --type <type>", "type of the ternary layers (default: i2_s for a .gguf output, otherwise packed)").choices([
        ...TYPES,
      ]),
    )
    .addOption(
      new Option(
        "--embedding <type>",
        "type of the embedding and output head in a GGUF (default: unchanged if quantised, f32 with --type f32, otherwise f16)",
      ).choices(["f16", "f32", "q8_0", "q6_k"]),
    )
    .option("--force", "replace an existing output")
    .option("--json", "print one JSON object with what was written and what was rounded")
    .action(async (model: string, output: string, flags: ConvertFlags) => (await import("./convert.js")).convert(model, output, flags));
  addFileFlags(convert);
}

function addEval(program: Command): void {
  const evaluate = command(
    program,
    "eval",
    "measure how well a model predicts a text, or answers multiple-choice items",
    "bitnet eval --text wiki.test.raw --out artifacts/wiki",
  )
    .option("--text <file>", "perplexity of a text, byte for byte", nonEmpty)
    .option("--tasks <file>", 'multiple choice: JSON lines { "query", "choices", "gold" } (default: items in the package)', nonEmpty)
    .option("--window <tokens>", "with --text: most tokens that are computed at once (default: 512)", integer(2, 1_000_000))
    .option("--stride <tokens>", "with --text: how much later the next window begins (default: half a window)", integer(1, 1_000_000))
    .option("-n, --max-tokens <n>", "with --text: take only so many tokens", integer(2, 2 ** 31 - 1))
    .option("--out <folder>", "write each result as it comes, and the record; a run that was stopped continues", nonEmpty)
    .option("--receipts", "with --out: each result has its tokens and their likelihoods")
    .option("--json", "print the record instead of the figures")
    .action(async (flags: EvalFlags) => (await import("./eval.js")).evaluate(flags));
  addEngineFlags(evaluate);
}

function addParity(program: Command): void {
  const parity = subcommand(program, "parity", "compare weights, ranks and likelihoods of two forms of a model", [
    "bitnet parity model-directory model.gguf",
  ])
    .argument("[a]", "the reference form: a path, or the name of a pulled model", modelPath)
    .argument("[b]", "the other form", modelPath)
    .option("--lane <names>", "lanes to run: weights, fp32-fp32, quant-fp32, oracle (default: all that can be measured)", parseLanes)
    .option("--prompts <path>", "file with one prompt a line (default: texts in the package)", nonEmpty)
    .option("--quick", "fewer texts and shorter continuations")
    .option("--top-k <k>", "compare ranks over the k most likely tokens of each side", integer(3, MAX_TOP_K), 50)
    .option("-n, --max-tokens <n>", "tokens of each prompt's greedy continuation (default: 32, with --quick 16)", integer(0, MAX_TOKENS))
    .option("--out <path>", "report file; failures go to parity_failures.jsonl beside it", nonEmpty, PARITY_OUT)
    .option("--json", "print the report as one JSON object")
    .action(async (a: string | undefined, b: string | undefined, flags: ParityFlags) => (await import("./parity.js")).parity(a, b, flags));
  addKernelFlags(parity);
}

function addReplay(program: Command): void {
  const replay = subcommand(program, "replay <file>", "repeat a prompt or tensor that failed parity, from its row", [
    "bitnet replay artifacts/parity_failures.jsonl --row 1",
  ])
    .requiredOption("--row <n>", "number of the row, from 1", integer(1, MAX_TOKENS))
    .option("--model-a <path>", "where the reference model is now (default: as in the row)", modelPath)
    .option("--model-b <path>", "where the other model is now (default: as in the row)", modelPath)
    .option("--json", "print one JSON object")
    .action(async (file: string, flags: ReplayFlags) => (await import("./replay.js")).replay(file, flags));
  addThreadFlags(replay);
}

function addVerify(program: Command): void {
  const verify = subcommand(program, "verify <receipt>", "verify a receipt of bitnet run: replay it and compare every step", [
    "bitnet verify receipt.json",
  ])
    .option("-m, --model <path>", "where the model is now (default: as in the receipt)", modelPath)
    .option("--reference", "replay with the scalar reference instead of the kernels: slow")
    .option("--json", "print one JSON object")
    .action(async (path: string, flags: VerifyFlags) => (await import("./verify.js")).verify(path, flags));
  addTokenizerFlag(verify);
  addThreadFlags(verify);
}

function addPerf(program: Command): void {
  const perf = command(
    program,
    "perf",
    "measure a model's speed and memory, and store a record",
    "bitnet perf --model model.gguf --baseline bench/results/perf-model-gguf.json",
  )
    .option("--out <file>", "record file (default: bench/results/perf-<model>-<format>.json)", nonEmpty)
    .option("--iterations <n>", "number of samples, each measured in a separate process", integer(2, 1000), 20)
    .option(
      "--baseline <file>",
      "earlier record of the same model and machine; exit with 9 if a metric is worse by more than --tolerance, with 95 % confidence",
      nonEmpty,
    )
    .option("--tolerance <percent>", "how much worse than the baseline does not matter", decimal(0, 1000), 3)
    .option("--max-rss <MiB>", "exit with 10 if the peak memory of a process exceeds this", integer(1, MAX_TOKENS))
    .option("--json", "print the record as one JSON object")
    .action(async (flags: PerfFlags) => (await import("./perf.js")).perf(flags));
  addEngineFlags(perf);
  perf.helpCommand("help [command]", "show help for a command");
  const compare = subcommand(perf, "compare", "compare two models, or two builds with one model, in alternating rounds", [
    "bitnet perf compare model.gguf model-packed",
    "bitnet perf compare --record",
    "bitnet perf compare model.gguf --against other/node_modules/bitnet-ts",
  ])
    .argument("[models...]", "paths, or names of pulled models", modelPaths)
    .option("--iterations <n>", "number of rounds, with a separate process for each side", integer(2, 1000), 20)
    .option("--against <folder>", "another build of bitnet-ts (a clone or an installed package) to compare with this one", nonEmpty)
    .option("--record", "store both records in bench/results: for both formats of one model")
    .option("--json", "print one JSON object with the medians, ratios and intervals")
    .action(async (models: string[], flags: PerfCompareFlags) => (await import("./perf-compare.js")).perfCompare(models, flags));
  addEngineFlags(compare);
  subcommand(
    perf,
    "render [files...]",
    "render docs/PERF_COMPARISON.md and its pictures from records (default: bench/results/perf-*.json)",
    ["bitnet perf render --check"],
  )
    .option("--check", "write nothing; exit with 1 if the page does not match the records, or a record is stale")
    .action(async (files: string[], flags: PerfRenderFlags) => (await import("./perf-render.js")).perfRender(files, flags));
}

function addAddModel(program: Command): void {
  const addModel = subcommand(
    program,
    "add-model",
    "convert a model, check its weights, compare and measure both forms, and render the tables; all or nothing",
    ["bitnet add-model model-directory --out models/mine"],
  )
    .argument("<source>", "path, or name of a pulled model", modelPath)
    .option("--name <name>", "name in records and tables (default: from the source's path)", plainName)
    .addOption(
      new Option(
        "-t, --type <type>",
        "type of the ternary layers in the new form (default: packed for a GGUF, i2_s for SafeTensors)",
      ).choices([...TYPES]),
    )
    .option("--out <folder>", "folder to create (default: the name)", nonEmpty)
    .option("--quick", "compare on fewer texts")
    .action(async (source: string, flags: AddModelFlags) => (await import("./add-model.js")).addModelCommand(source, flags));
  addKernelFlags(addModel);
}

function addValidate(program: Command): void {
  const validate = subcommand(program, "validate", "run every check; exit with 0 if all pass", ["bitnet validate --quick"])
    .option("--quick", "fewer texts and runs")
    .option("--model-a <path>", "reference form of a model (default: the embedded model's SafeTensors)", modelPath)
    .option("--model-b <path>", "its other form (default: the embedded model's GGUF)", modelPath)
    .option("--out <folder>", "folder for the artifacts", nonEmpty, "artifacts")
    .option("--html <file>", "report for a browser (default: report.html in the folder of the artifacts)", nonEmpty)
    .option("--junit <file>", "also write the checks as JUnit XML", nonEmpty)
    .option("--sarif <file>", "also write the failures as SARIF 2.1.0", nonEmpty)
    .option("--summary <file>", "also write the checks as Markdown; appended if it is GITHUB_STEP_SUMMARY", nonEmpty)
    .option("--json", "print the summary as one JSON object")
    .action(async (flags: ValidateFlags) => (await import("./validate.js")).validate(flags));
  addKernelFlags(validate);
}

function addRelease(program: Command): void {
  const release = subcommand(program, "release", "prepare or verify a release", ["bitnet release prepare --version 1.2.3"])
    .allowExcessArguments()
    .action(() => {
      const [unknown] = release.args;
      if (unknown !== undefined)
        release.error(`error: unknown command '${unknown}': bitnet release has only the commands prepare and verify`);
      release.outputHelp();
    });
  release.helpCommand("help [command]", "show help for a command");
  subcommand(release, "prepare", "validate, and make version, changelog, archive, bill of materials and checklist; pushes nothing", [
    "bitnet release prepare --version 1.2.3 --dry-run",
  ])
    .requiredOption("--version <X.Y.Z>", "version of the release", nonEmpty)
    .option("--dry-run", "change nothing: write everything to a temporary folder")
    .option("--out <folder>", "folder to create (default: artifacts/release-vX.Y.Z, or a temporary one)", nonEmpty)
    .option("--results <folder>", "pack the artifacts of an earlier bitnet validate instead of validating", nonEmpty)
    .option("--perf", "measure performance again, even if the records are fresh")
    .option("--sign [key]", "sign the statement with a private key (PEM file), or without one through Sigstore", nonEmpty)
    .action(async (flags: ReleaseFlags) => (await import("./release.js")).releasePrepare(flags));
  subcommand(release, "verify", "check a release that you received, offline: what is proved, and what is only claimed", [
    "bitnet release verify artifacts/release-v1.2.3",
    "bitnet release verify bitnet-ts-v1.2.3-artifacts.tar.gz --package bitnet-ts-1.2.3.tgz",
  ])
    .argument("<path>", "folder of a release, its artifacts archive (.tar.gz), or its npm package (.tgz)")
    .option("--package <tgz>", "the npm package that belongs to the archive", nonEmpty)
    .option("--key <file>", "public key (PEM) that must have signed it", nonEmpty)
    .option("--json", "print one JSON object with kind, version, proved and claimed")
    .action(async (path: string, flags: ReleaseVerifyFlags) => (await import("./release-verify.js")).releaseVerify(path, flags));
}

/** Types that ternary layers are converted to; all but packed are GGUF. */
const TYPES = ["i2_s", "tq1_0", "tq2_0", "ptq1_0", "pq2_0", "f16", "f32", "packed"] as const;

function examples(lines: readonly string[]): string {
  return `\n${lines.length === 1 ? "Example" : "Examples"}:\n${lines.map((line) => `  $ ${line}`).join("\n")}`;
}

/** A command with its examples. */
function subcommand(parent: Command, usage: string, summary: string, lines: readonly string[]): Command {
  return parent.command(usage).description(summary).allowExcessArguments(false).addHelpText("after", examples(lines));
}

/** A command that takes a model as a flag. */
function command(program: Command, name: string, summary: string, example: string): Command {
  return subcommand(program, name, summary, [example]).option(
    "-m, --model <path>",
    "GGUF file, SafeTensors file, a directory with one, or the name of a pulled model (default: the embedded model)",
    modelPath,
  );
}
