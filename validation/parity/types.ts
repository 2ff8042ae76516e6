import type { FileOptions } from "../../engine/index.js";
import type { Provenance } from "../records/provenance.js";

/** The records of parity, field by field as in schemas/parity-report.v1.schema.json and parity-failure.v1.schema.json. */

export const LANES = ["weights", "fp32-fp32", "quant-fp32", "oracle"] as const;
export type LaneName = (typeof LANES)[number];
/** Lanes that compare the outputs of models. */
export type OutputLane = Exclude<LaneName, "weights">;

/** The gates, the most serious first: likelihoods, ranks, greedy text, divergence, and the weights, which are the cause of the others. */
export const GATES = ["nll", "tau", "greedy", "kl", "weights"] as const;
export type Gate = (typeof GATES)[number];

export type Verdict = "PASS" | "FAIL";

/** What a file doesn't say itself. */
export interface SideOptions {
  readonly activation?: NonNullable<FileOptions["activation"]>;
  readonly activations?: NonNullable<FileOptions["activations"]>;
  readonly i2s_layout?: NonNullable<FileOptions["i2sLayout"]>;
  readonly tokenizer?: string;
}

/** One side of a comparison. */
export interface SideRecord {
  /** null: stored outputs. */
  readonly path: string | null;
  readonly format: string;
  readonly sha256: string;
  /** `reference`, `kernels`, or the name of another implementation. */
  readonly kernels: string;
  readonly options?: SideOptions;
}

/** a: the reference; b: what is compared with it. */
export interface Sides {
  readonly a: SideRecord;
  readonly b: SideRecord;
}

/** The rules of a comparison. */
export interface Policy {
  readonly bos: boolean;
  readonly eos: boolean;
  readonly special_tokens: boolean;
  /** Tokens of a window, and from one window's begin to the next. */
  readonly window: number;
  readonly stride: number;
  readonly continuation: number;
  readonly top_k: number;
  readonly tie: number;
}

export interface Thresholds {
  /** Least median τ-b of a prompt. */
  readonly tau_median: number;
  /** Most |ΔNLL| of a prompt. */
  readonly delta_nll: number;
  /** Most mean |ΔNLL| over all prompts. */
  readonly delta_nll_mean?: number;
  /** Maximum mean KL divergence of a prompt, and maximum at any position, nats. */
  readonly kl_mean?: number;
  readonly kl_max?: number;
}

/** Of one prompt, or of all. */
export interface Figures {
  /** Over the informative positions; null: there are none. */
  readonly tau_median: number | null;
  readonly tau_p5: number | null;
  readonly tau_min: number | null;
  readonly informative: number;
  readonly uninformative: number;
  /** Nats a token; null: not finite. */
  readonly nll_a: number | null;
  readonly nll_b: number | null;
  /** b − a */
  readonly delta_nll: number | null;
  /** 95 % confidence interval of the mean of b − a, by resampling the tokens; null: not finite. Absent in old records. */
  readonly delta_nll_interval?: readonly [low: number, high: number] | null;
  /** Absent in old records. */
  readonly kl?: Kl;
}

/** How the probabilities differ, over the positions that predict a token: see `Divergence`. null: not finite, or too few. */
export interface Kl {
  readonly positions: number;
  /** Nats, with its standard error, as the others. */
  readonly mean: number | null;
  readonly mean_error: number | null;
  readonly p999: number | null;
  readonly max: number | null;
  /** Shares, 0 … 1. */
  readonly same_top: number | null;
  readonly same_top_error: number | null;
  /** Probabilities, 0 … 1. */
  readonly delta_p_rms: number | null;
  readonly delta_p_rms_error: number | null;
}

/** A stored greedy continuation against what the model finds likeliest on it. */
export interface Greedy {
  readonly expected: readonly number[];
  /** First token of it that is not the likeliest here; null: none. */
  readonly parts_at: number | null;
  readonly chosen: number | null;
  /** How much higher the chosen one's logit is there; null: not finite, or nothing parts. */
  readonly gap: number | null;
  /** A gap up to this is a tie. */
  readonly tie: number;
}

export interface PromptReport {
  readonly id: string;
  readonly tokens: number;
  readonly figures: Figures;
  /** null: no stored text. */
  readonly greedy: "same" | "tie" | "differs" | null;
  readonly verdict: Verdict;
}

/** How far the worst is inside of the thresholds; negative: outside; null: not finite. */
export interface Margins {
  readonly tau_median: number | null;
  readonly delta_nll: number | null;
  readonly delta_nll_mean?: number | null;
  readonly kl_mean?: number | null;
  readonly kl_max?: number | null;
}

export interface LaneReport {
  readonly name: OutputLane;
  readonly sides: Sides;
  readonly policy: Policy;
  /** What the process promises. */
  readonly promise: Thresholds;
  /** What this run demands. */
  readonly thresholds: Thresholds;
  readonly prompts: readonly PromptReport[];
  readonly totals: { readonly tokens: number; readonly figures: Figures; readonly delta_nll_mean: number | null };
  readonly margins: Margins;
  readonly promise_margins: Margins;
  readonly failed: readonly Gate[];
  readonly verdict: Verdict;
}

/** A tensor in both forms. */
export interface TensorReport {
  readonly part: "embedding" | "norm" | "codes" | "scale" | "head" | "rope";
  /** Its name in either form. */
  readonly a: string;
  readonly b: string;
  readonly types: readonly [a: string, b: string];
  /** Numbers, and how many of them differ. */
  readonly count: number;
  readonly changed: number;
  /** The first number that is wrong, or the first that differs; codes as −1, 0, 1. Rows and columns count from 0; null: not finite. */
  readonly first: { readonly row: number; readonly column: number; readonly a: number | null; readonly b: number | null } | null;
  /** Largest |b − a|; null: none differs, or not finite. */
  readonly largest: number | null;
  /** Rows of a that are in another place in b, and where the first of them is; null: none was found. */
  readonly moved: { readonly rows: number; readonly from: number; readonly to: number } | null;
  /** What was allowed, or what is wrong. */
  readonly finding: string;
  readonly verdict: Verdict;
}

/** The lane of weights. */
export interface WeightsReport {
  readonly sides: Sides;
  /** Whether all numbers must be equal, so that rounding is not allowed. */
  readonly exact: boolean;
  /** Tensors, a layer's scales apart from its codes, and how many are equal to the bit. */
  readonly compared: number;
  readonly equal: number;
  /** In all tensors. */
  readonly numbers: number;
  /** Those that aren't equal. */
  readonly changed: readonly TensorReport[];
  readonly verdict: Verdict;
}

export interface ParityReport {
  readonly kind: "parity-report";
  readonly provenance: Provenance;
  /** Absent: not requested. */
  readonly weights?: WeightsReport;
  readonly lanes: readonly LaneReport[];
  readonly skipped: readonly { readonly name: LaneName; readonly reason: string }[];
  readonly verdict: Verdict;
}

/** What failed, with all that is needed to replay it. */
export type ParityFailure = PromptFailure | WeightsFailure;

/** A tensor that failed. */
export interface WeightsFailure {
  readonly kind: "parity-failure";
  readonly provenance: Provenance;
  readonly lane: "weights";
  readonly sides: Sides;
  readonly exact: boolean;
  readonly tensor: TensorReport;
  readonly failed: readonly ["weights"];
  readonly verdict: "FAIL";
}

/** A prompt that failed. */
export interface PromptFailure {
  readonly kind: "parity-failure";
  readonly provenance: Provenance;
  readonly lane: OutputLane;
  readonly sides: Sides;
  readonly policy: Policy;
  readonly thresholds: Thresholds;
  /** The whole token path that both sides were fed. */
  readonly prompt: { readonly id: string; readonly ids: readonly number[] };
  readonly figures: Figures;
  /** null: no continuation is stored. */
  readonly greedy: Greedy | null;
  readonly failed: readonly Gate[];
  readonly verdict: "FAIL";
}
