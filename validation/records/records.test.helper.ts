import type { RecordKind } from "./records.js";

// One sound record of each kind, small and with every optional field.

const SHA = "3b6ffbad956fd373d680bdff09e83d5aa15c66ee1f1993139d8f8e07d9f17bac";

export const PROVENANCE = {
  schema_version: 1,
  git_commit: "8db1dd7e1b24",
  git_dirty: false,
  model_hash: SHA.slice(0, 16),
  model_sha256: SHA,
  tokenizer_sha256: SHA,
  kernel_sha256: SHA,
  modules_sha256: SHA,
  bundle_sha256: SHA,
  cli_args: ["perf", "--iterations", "3"],
  wsl2: false,
  platform: { os: "linux", release: "6.1.0", arch: "x64", cpu: "Some CPU", cores: 2, memory_bytes: 8 * 2 ** 30 },
  node: "v20.20.2",
  v8: "11.3",
  kernel_tier: "relaxed",
  threads: 2,
  seed: 42,
  deterministic: false,
  numerics_version: 1,
  package_version: "0.1.0",
  date: "2026-11-22T03:04:05.678Z",
};

// Hand-worked: of 1, 2, 3, 4 and 10 the median is 3, the mean 4, Σ(x − 4)² = 9 + 4 + 1 + 0 + 36 = 50, so that the deviation is √12.5;
// 95 % lie up to place 0.95 · 4 = 3.8 (from 0), between 4 and 10: 4 + 0.8 · 6 = 8.8.
const samples = [3, 1, 10, 2, 4];
const summary = (unit: string) => ({ unit, median: 3, p95: 8.8, min: 1, max: 10, stddev: Math.sqrt(12.5), samples });

const figures = {
  ...{ tau_median: 0.99, tau_p5: 0.97, tau_min: null, informative: 9, uninformative: 1 },
  ...{ nll_a: 2.5, nll_b: 2.5001, delta_nll: 0.0001, delta_nll_interval: [-0.0001, 0.0002] },
  kl: {
    ...{ positions: 10, mean: 0.001, mean_error: 0.0001, p999: 0.002, max: 0.002, same_top: 0.9, same_top_error: 0.1 },
    ...{ delta_p_rms: 0.01, delta_p_rms_error: null },
  },
};
const sides = {
  a: {
    path: "model.gguf",
    format: "gguf",
    sha256: SHA,
    kernels: "reference",
    options: { activation: "relu2", activations: "int8", i2s_layout: "rows4" },
  },
  b: { path: null, format: "logits", sha256: SHA, kernels: "another implementation" },
};
const policy = {
  ...{ bos: true, eos: false, special_tokens: true, window: 128, stride: 128 },
  ...{ continuation: 32, top_k: 50, tie: 1e-6 },
};
const thresholds = { tau_median: 0.95, delta_nll: 0.01, delta_nll_mean: 0.005, kl_mean: 0.01, kl_max: 0.1 };
const margins = { tau_median: 0.04, delta_nll: 0.0099, delta_nll_mean: 0.0049, kl_mean: 0.009, kl_max: null };

const TENSOR = {
  ...{ part: "codes", a: "model.embed_tokens.weight", b: "token_embd.weight", types: ["BF16", "F16"], count: 4, changed: 2 },
  ...{ first: { row: 1, column: 0, a: 0.5, b: null }, largest: 0.25, moved: { rows: 2, from: 1, to: 3 } },
  ...{ finding: "codes must be equal", verdict: "FAIL" },
};

/** A row of the lane of weights, which has other fields than one of a prompt. */
export const WEIGHTS_ROW = {
  ...{ kind: "parity-failure", provenance: PROVENANCE, lane: "weights", sides, exact: true, tensor: TENSOR },
  ...{ failed: ["weights"], verdict: "FAIL" },
};

export const EXAMPLES = {
  "eval-record": {
    ...{ kind: "eval-record", provenance: PROVENANCE, evaluation: "choices", model: { path: null, kv: "f32" } },
    input: { path: "tasks.jsonl", sha256: SHA },
    policy: { delimiter: " ", bos: true, truncated: 0 },
    figures: { items: 1, acc: 1, acc_stderr: null, acc_norm: 0, acc_norm_stderr: null },
  },
  "platform-banner": { kind: "platform-banner", provenance: PROVENANCE, kernels: { tier: "relaxed", why: "asked for" } },
  "perf-record": {
    kind: "perf-record",
    provenance: PROVENANCE,
    ...{ load_average: 0.5, load_average_after: 1.5, steal_share: 0.01, throttled_share: null },
    model: {
      ...{ path: "one.gguf", name: "one", format: "gguf", architecture: "bitnet-b1.58", parameters: 4_200_704, bytes: 3_041_888 },
      quantisation: { linears: "I2_S", embedding: "F16", norms: "F32", activations: "int8 per token" },
    },
    settings: {
      ...{ context_length: 2048, kv: "f32", head: "auto" },
      ...{ prompt_tokens: 512, decode_tokens: 64, warmup: 1, iterations: 5 },
    },
    policy: {
      ...{ prompts: "random ids", bos: false, temperature: 0, repetition_penalty: 1 },
      ...{ ignore_eos: true, speculate: false, fresh_process: true },
    },
    metrics: {
      prefill_tokens_per_second: summary("tokens/s"),
      decode_tokens_per_second: summary("tokens/s"),
      first_token_ms: summary("ms"),
      load_ms: summary("ms"),
      peak_rss_bytes: summary("bytes"),
    },
    pair: { other_sha256: SHA, first: true, sha256: SHA },
  },
  "perf-history": {
    ...{ kind: "perf-history", version: "0.2.0", provenance: PROVENANCE },
    model: { name: "one", format: "gguf", parameters: 4_200_704 },
    settings: {
      ...{ context_length: 2048, kv: "f32", head: "auto" },
      ...{ prompt_tokens: 512, decode_tokens: 64, warmup: 1, iterations: 5 },
    },
    medians: { prefill_tokens_per_second: 3, decode_tokens_per_second: 3, first_token_ms: 3, load_ms: 3, peak_rss_bytes: 3 },
    ...{ record_sha256: SHA, chain: SHA },
  },
  "bench-record": {
    ...{ kind: "bench-record", provenance: PROVENANCE },
    ...{ load_average: 0.5, load_average_after: 1.5, steal_share: 0.01, throttled_share: null },
    bench: "growth",
    result: {
      ...{ tier: "wide", threads: 2, flags: ["--kv"] },
      series: [
        {
          ...{ shape: "125m", parameters: 183_000_000 },
          prefill: [{ at: 256, rate: { median: 900, min: 800, max: 1000 } }],
          decode: [{ at: 0, rate: { median: 180, min: 170, max: 190 } }],
        },
      ],
    },
  },
  manifest: {
    kind: "manifest",
    provenance: PROVENANCE,
    version: "0.1.0",
    package: {
      ...{ path: "bitnet-ts-0.1.0.tgz", bytes: 12, integrity: `sha512-${"A".repeat(86)}==` },
      files: [{ path: "package.json", bytes: 12, sha256: SHA }],
    },
    files: [{ path: "docs/PERF_COMPARISON.md", bytes: 12, sha256: SHA }],
  },
  "acceptance-summary": {
    kind: "acceptance-summary",
    provenance: PROVENANCE,
    quick: true,
    models: [
      { path: "a", sha256: SHA },
      { path: "b", sha256: null },
    ],
    head: SHA,
    checks: [
      {
        id: "parity.fp32",
        title: "Both formats agree",
        ship: true,
        status: "SKIP",
        reason: "not requested",
        figures: { tau: 0.99, of: null },
        runs: [{ tier: "plain", threads: 1, logits: SHA }],
        places: [{ path: "engine/index.ts", line: 3, name: "one", what: "is wrong" }],
        seconds: 0.5,
        chain: SHA,
      },
    ],
    artifacts: { "parity_report.json": SHA },
    verdict: "FAIL",
    seal: SHA,
  },
  "parity-report": {
    kind: "parity-report",
    provenance: PROVENANCE,
    weights: { sides: structuredClone(sides), exact: false, compared: 2, equal: 1, numbers: 8, changed: [TENSOR], verdict: "FAIL" },
    lanes: [
      {
        ...{ name: "quant-fp32", sides, policy, promise: thresholds, thresholds },
        prompts: [{ id: "story", tokens: 10, figures, greedy: null, verdict: "PASS" }],
        totals: { tokens: 10, figures, delta_nll_mean: 0.0001 },
        ...{ margins, promise_margins: margins, failed: ["nll"], verdict: "PASS" },
      },
    ],
    skipped: [{ name: "oracle", reason: "no stored outputs" }],
    verdict: "PASS",
  },
  "parity-failure": {
    kind: "parity-failure",
    provenance: PROVENANCE,
    ...{ lane: "oracle", sides, policy, thresholds },
    prompt: { id: "story", ids: [1, 2, 3] },
    ...{ figures, greedy: { expected: [1, 2], parts_at: 1, chosen: 3, gap: 0.5, tie: 0.01 }, failed: ["greedy"], verdict: "FAIL" },
  },
  receipt: {
    kind: "receipt",
    provenance: PROVENANCE,
    model: {
      ...{ path: "model.gguf", tokenizer: null, activation: "relu2", activations: "float", i2s_layout: null },
      ...{ context_length: 2048, kv: "f32", head: "auto" },
    },
    prompt_ids: [1, 2],
    settings: {
      ...{ temperature: 0.5, top_k: 40, top_p: 0.9, min_p: 0, repetition_penalty: 1.1, seed: 42 },
      ...{ max_tokens: 1, stop: ["end"], stop_ids: [3], eos_ids: [4], speculate: false },
    },
    steps: [{ id: 5, hidden: SHA }],
    ...{ chain: SHA, text: "five", stop_reason: "length" },
    kernel_calls: { add: 2, ternaryRelaxed: 14 },
    digest: SHA,
  },
} satisfies Partial<Record<RecordKind, object>>;
