import type { Block, Layer } from "./layers.js";

/** A layer's attention block. */
export function attentionOf<Linear, Floats>({ mixer }: Layer<Linear, Floats>): Block<"attention", Linear, Floats> {
  if (mixer.kind !== "attention") throw new Error("the layer has no attention");
  return mixer;
}
