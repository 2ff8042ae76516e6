import type { ModelStats } from "../engine/index.js";
import type { Models } from "./models.js";

/** Upper bounds of the buckets, seconds: from a cached answer to a long one. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300] as const;

/** Numbers of a model: their names, types and meanings. */
const MODEL_METRICS: Readonly<Record<keyof ModelStats, readonly [name: string, type: "counter" | "gauge", help: string]>> = {
  running: ["running", "gauge", "Answers, scores and embeddings that are being computed"],
  waiting: ["waiting", "gauge", "Answers, scores and embeddings that wait for their turn"],
  refused: ["refused_total", "counter", "Those that were refused because too many were waiting"],
  steps: ["steps_total", "counter", "Passes through the network"],
  computedTokens: ["computed_tokens_total", "counter", "Tokens that the passes computed"],
  promptTokens: ["prompt_tokens_total", "counter", "Tokens of prompts"],
  cachedTokens: ["cached_tokens_total", "counter", "Tokens of prompts that were in the cache"],
  generatedTokens: ["generated_tokens_total", "counter", "Tokens that were generated"],
  cacheSize: ["cache_size_tokens", "gauge", "Tokens that the cache has room for"],
  cacheUsed: ["cache_used_tokens", "gauge", "Tokens that the cache has"],
};

/** How often values were at most so large. */
class Histogram {
  readonly #counts: number[] = BUCKETS.map(() => 0);
  #sum = 0;
  #count = 0;

  observe(seconds: number): void {
    for (const [i, bound] of BUCKETS.entries()) if (seconds <= bound) this.#counts[i]!++;
    this.#sum += seconds;
    this.#count++;
  }

  lines(name: string): string[] {
    return [
      ...BUCKETS.map((bound, i) => `${name}_bucket{le="${bound}"} ${this.#counts[i]}`),
      `${name}_bucket{le="+Inf"} ${this.#count}`,
      `${name}_sum ${this.#sum}`,
      `${name}_count ${this.#count}`,
    ];
  }
}

/** What Prometheus is told, in its text format: https://prometheus.io/docs/instrumenting/exposition_formats/ */
export class Metrics {
  /** Responses by route and status; both have few values, whatever clients send. */
  readonly #responses = new Map<string, number>();
  readonly answerSeconds = new Histogram();
  readonly firstTokenSeconds = new Histogram();

  responded(route: string, status: number): void {
    const labels = `{route="${route}",status="${status}"}`;
    this.#responses.set(labels, (this.#responses.get(labels) ?? 0) + 1);
  }

  write(models: Models): string {
    const states = models.states().map(({ name, ...state }) => ({ labels: `{model="${escaped(name)}"}`, ...state }));
    const stats = states.flatMap(({ labels, model }) => (model ? [[labels, model.stats] as const] : []));
    const ofModels = Object.entries(MODEL_METRICS).flatMap(([key, [name, type, help]]) =>
      metric(
        name,
        type,
        help,
        stats.map(([labels, values]) => `bitnet_${name}${labels} ${values[key as keyof ModelStats]}`),
      ),
    );
    const loaded = states.map(({ labels, model }) => `bitnet_loaded${labels} ${model ? 1 : 0}`);
    const loads = states.map(({ labels, loads }) => `bitnet_loads_total${labels} ${loads}`);
    const responses = [...this.#responses].map(([labels, count]) => `bitnet_responses_total${labels} ${count}`);
    return `${[
      ...metric("loaded", "gauge", "Whether a model is loaded", loaded),
      ...metric("loads_total", "counter", "How often a model was loaded", loads),
      ...ofModels,
      ...metric("responses_total", "counter", "Responses by route and status", responses),
      ...metric(
        "answer_seconds",
        "histogram",
        "Time from a request for text to the end of its answer",
        this.answerSeconds.lines("bitnet_answer_seconds"),
      ),
      ...metric(
        "first_token_seconds",
        "histogram",
        "Time from the start of an answer to its first token",
        this.firstTokenSeconds.lines("bitnet_first_token_seconds"),
      ),
    ].join("\n")}\n`;
  }
}

function metric(name: string, type: string, help: string, lines: readonly string[]): string[] {
  return [`# HELP bitnet_${name} ${help}`, `# TYPE bitnet_${name} ${type}`, ...lines];
}

/** A label's value. */
const escaped = (text: string): string => text.replace(/[\\"]/g, "\\$&").replace(/\n/g, "\\n");
