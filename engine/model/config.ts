/** A network's hyper-parameters, from either container, every one of them said by the file or fixed by the architecture table. */
export interface ModelConfig {
  /** As the file names it: `bitnet-b1.58`, `bitnet-25`, `BitNetForCausalLM`. */
  readonly architecture: string;
  readonly layers: number;
  /** heads · headDim */
  readonly hiddenSize: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ffnSize: number;
  readonly vocabSize: number;
  /** Positions the model was made for. */
  readonly contextLength: number;
  readonly ropeTheta: number;
  readonly rmsNormEps: number;
  readonly activation: "relu2";
  /** RMSNorm before the output and the down projection. */
  readonly subNorms: boolean;
  /** Pairs of rotated dimensions: `neox` i and i + d/2. */
  readonly rope: "neox";
  /** The output head is the embedding. */
  readonly tiedHead: boolean;
}
