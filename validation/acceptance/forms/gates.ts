import type { LaneReport, ParityReport, Thresholds } from "../../parity/types.js";
import { shown } from "./rows.js";

/** What a lane reaches of one of its gates, by its worst prompt. */
export interface GateRow {
  readonly lane: string;
  readonly figure: string;
  /** null: not finite. */
  readonly value: number | null;
  /** `≥` or `≤` and the limit. */
  readonly gate: string;
  /** How far inside; negative: outside. */
  readonly margin: number | null;
  /** Margin to what the process promises of any model; undefined: it promises nothing. */
  readonly promised: number | null | undefined;
  readonly failed: boolean;
}

const FIGURES: readonly (readonly [key: keyof Thresholds, name: string, least: boolean])[] = [
  ["tau_median", "τ-b, median of a prompt", true],
  ["delta_nll", "|ΔNLL| of a prompt", false],
  ["delta_nll_mean", "|ΔNLL|, mean of all", false],
  ["kl_mean", "KL divergence, mean of a prompt", false],
  ["kl_max", "KL divergence at a position", false],
];

/** Lane and, for stored outputs, whose they are. */
export function laneTitle({ name, sides }: LaneReport): string {
  return name === "oracle" ? `oracle ${sides.a.kernels}` : name;
}

/** All gates of all lanes that compare outputs. */
export function gateRows({ lanes }: ParityReport): GateRow[] {
  return lanes.flatMap((lane) =>
    FIGURES.flatMap(([key, figure, least]): GateRow[] => {
      const limit = lane.thresholds[key];
      const margin = lane.margins[key];
      if (limit === undefined || margin === undefined) return [];
      const value = margin === null ? null : least ? limit + margin : limit - margin;
      const promised = lane.promise_margins[key];
      return [
        {
          ...{ lane: laneTitle(lane), figure, value, margin, promised },
          gate: `${least ? "≥" : "≤"} ${shown(limit)}`,
          failed: margin === null || margin < 0,
        },
      ];
    }),
  );
}
