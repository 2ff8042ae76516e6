/** The way from a path to the next token, in the engine's own parts, on this one thread, in memory that is used again. */
import { ArenaPlan } from "../../engine/compute/arena.js";
import { instantiate, type Kernels } from "../../engine/compute/kernels.js";
import { type ChosenKernels, chooseKernels } from "../../engine/compute/tier.js";
import { openCheckpoint } from "../../engine/container/checkpoint.js";
import { convertModel } from "../../engine/conversion/convert.js";
import { CONVERSION_TYPES } from "../../engine/conversion/types.js";
import { BitnetError } from "../../engine/errors.js";
import { generationDefaults } from "../../engine/generation/defaults.js";
import { inspectModel } from "../../engine/generation/inspect.js";
import { describeModel } from "../../engine/generation/model.js";
import { type ModelConfig, readConfig } from "../../engine/model/config.js";
import { I2S_LAYOUTS, type NetworkSources, readWeights } from "../../engine/model/weights.js";
import { Forward } from "../../engine/network/forward.js";
import type { HeadKind } from "../../engine/network/layout.js";
import { load, loadNeeds } from "../../engine/network/load.js";
import { type NetworkPlan, planNetwork } from "../../engine/network/plan.js";
import { loadReference } from "../../engine/network/reference-load.js";
import { ReferenceRun } from "../../engine/network/reference-run.js";
import { StepMemory } from "../../engine/network/step-memory.js";
import { ModelFiles, TableFile } from "../../engine/network/table-file.js";
import { KV_TYPES, type KvType, SCALE_GROUP } from "../../engine/numerics.js";
import { logNll, sampleToken } from "../../engine/sampling/sampler.js";
import { loadChatTemplate } from "../../engine/text/find-template.js";
import { loadTokenizer } from "../../engine/text/load.js";
import type { Random } from "./random.js";

const PAGE = 65536;
const CONTEXT = 32;
const PROMPT = "The cat's 3 hats, é, 日本: <|eot_id|> in the sand.\n\n  and more";

/** A memory for all cases: a new one each time would take more time than all else. */
export class Engine {
  readonly #chosen: ChosenKernels = chooseKernels("relaxed", true, 0);
  #memory: WebAssembly.Memory | undefined;

  /** Memory of zeros, as a new one would be. */
  #take({ pages, tier, counters }: NetworkPlan): { memory: WebAssembly.Memory; kernels: Kernels } {
    if (this.#memory === undefined || this.#memory.buffer.byteLength < pages * PAGE) {
      this.#memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    }
    new Uint8Array(this.#memory.buffer, 0, pages * PAGE).fill(0);
    return { memory: this.#memory, kernels: instantiate(this.#chosen.module, this.#memory, tier, counters) };
  }

  /**
   * Opens, loads, and computes a few tokens, or inspects, describes or converts the model; `random` chooses among the engine's paths.
   * @param out where a conversion may write
   * @param onStage called between the parts
   * @returns pages of the memory plan, 0 on the reference path
   */
  async run(path: string, out: string, random: Random, onStage: (stage: string) => void): Promise<number> {
    if (random.once(12)) {
      await (random.once(2) ? inspectModel(path) : describeModel(path));
      return 0;
    }
    if (random.once(12)) {
      const type = random.pick(CONVERSION_TYPES);
      const converted = await convertModel(path, type === "packed" ? out : `${out}.gguf`, { type });
      onStage("converted");
      path = converted.path;
    }
    const checkpoint = await openCheckpoint(path);
    try {
      onStage("opened");
      const config = await readConfig(checkpoint);
      const i2sLayout = random.once(6) ? random.pick(I2S_LAYOUTS) : undefined;
      const sources = readWeights(checkpoint, config, { i2sLayout });
      onStage("weights");
      const tokenizer = await loadTokenizer(checkpoint);
      if (tokenizer.size > config.vocabSize) throw new BitnetError("tokenizer", `${path}: more ids than rows`);
      const template = await loadChatTemplate(checkpoint, tokenizer);
      const defaults = await generationDefaults(checkpoint, tokenizer);
      onStage("tokenizer");
      const ids = tokenizer.encode(PROMPT);
      tokenizer.decode(ids);
      onStage("encoded");
      const prompt = await template?.render([
        { role: "user", content: "Hello" },
        { role: "assistant", content: "Yes?" },
        { role: "user", content: "Why" },
      ]);
      if (prompt !== undefined) tokenizer.encode(prompt.slice(0, 10_000));
      onStage("template");
      const contextLength = Math.min(CONTEXT, config.contextLength);
      const tokens = Int32Array.from(ids.slice(0, Math.min(4, contextLength)));
      if (tokens.length === 0) throw new BitnetError("usage", `${path}: no tokens`);
      const kv = random.pick(KV_TYPES);
      const [logits, pages] = random.once(8)
        ? [this.#reference(config, sources, contextLength, kv, tokens), 0]
        : this.#compute(config, sources, contextLength, kv, random.pick<HeadKind>(["bf16", "f32", "scan", "ternary"]), tokens);
      onStage("computed");
      for (const sampling of [
        defaults.sampling,
        { ...defaults.sampling, temperature: 0 },
        { ...defaults.sampling, temperature: 0.8, topP: 0.9 },
      ]) {
        const id = sampleToken(logits, sampling, 0, tokens);
        if (!(Number.isInteger(id) && id >= 0 && id < config.vocabSize)) throw new Error(`the sampler chose ${id}`);
      }
      logNll(logits, 0);
      return pages;
    } finally {
      await checkpoint.close();
    }
  }

  #reference(config: ModelConfig, sources: NetworkSources, contextLength: number, kv: KvType, tokens: Int32Array): Float32Array {
    const run = new ReferenceRun(config, loadReference(sources, config), true, contextLength, kv);
    run.compute(batchOf(tokens.subarray(0, 2), run.limits.blocks));
    return run.logits(0);
  }

  #compute(
    config: ModelConfig,
    sources: NetworkSources,
    contextLength: number,
    kv: KvType,
    wanted: HeadKind,
    tokens: Int32Array,
  ): [logits: Float32Array, pages: number] {
    const needs = loadNeeds(sources);
    const possible = { scan: config.hiddenSize % 16 === 0, ternary: needs.head !== undefined && config.activations === "float" };
    let head: HeadKind = (wanted === "scan" || wanted === "ternary") && !possible[wanted] ? "bf16" : wanted;
    let scaleBlock = config.activations === "float" ? SCALE_GROUP : undefined;
    for (;;) {
      const plan: NetworkPlan = planNetwork(new ArenaPlan(), config, {
        tier: this.#chosen.tier,
        threads: 1,
        contextLength,
        states: config.recurrent ? 1 : 0,
        kv,
        head,
        scaleBlock,
        stagingBytes: needs.stagingBytes,
        statPieces: needs.statPieces,
      });
      if (plan.pages > MAX_PAGES) throw new Error(`the plan has ${plan.pages} pages of memory`);
      const { memory, kernels } = this.#take(plan);
      const files = new ModelFiles(memory);
      try {
        const outcome = load(kernels, memory, plan, sources, needs, files.read, 0, () => {});
        if (outcome === "f32 head") head = "f32";
        else if (outcome === "scale groups") scaleBlock = SCALE_GROUP;
        else {
          const step = new StepMemory(memory, plan);
          const embedding = new TableFile(kernels, files.read, sources.embedding, plan.staging);
          const table = sources.head ? new TableFile(kernels, files.read, sources.head, plan.staging) : embedding;
          const forward = new Forward(kernels, memory, plan, step, { embedding, head: table }, 0);
          step.write(batchOf(tokens, plan.limits.blocks), true);
          forward.run();
          return [new Float32Array(memory.buffer, plan.head.logits, config.vocabSize).slice(), plan.pages];
        }
      } finally {
        files.close();
      }
    }
  }
}

/** More than any plan for files of these sizes. */
const MAX_PAGES = (256 * 2 ** 20) / PAGE;

function batchOf(tokens: Int32Array, blocks: number) {
  return {
    tokens,
    positions: tokens.map((_, i) => i),
    sequences: new Int32Array(tokens.length),
    states: new Int32Array(1),
    tables: [Int32Array.from({ length: blocks }, (_, i) => i)],
    outputs: [{ row: tokens.length - 1, want: "logits" as const }],
  };
}
