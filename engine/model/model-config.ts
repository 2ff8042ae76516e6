import type { RopeScaling } from "../rope.js";
import type { Activation, Activations } from "./architectures.js";
import type { HfPacking } from "./quantization.js";
import type { RecurrentConfig } from "./recurrent.js";

/**
 * Which ternary layers, and which tables, are stored for rotated inputs (PrismML's `prism.hadamard.*`): W·H(s ⊙ x) in the place of W·x, with signs s
 * and Walsh–Hadamard transforms H of each run of `blockSize` inputs, which is its own inverse.
 */
export interface Rotation {
  /** A power of 2 that divides every rotated width. */
  readonly blockSize: number;
  /** By width: [width] 1 or −1. */
  readonly signs: ReadonlyMap<number, Int8Array>;
  /** [layers] the roles of the ternary layers that are. */
  readonly linears: readonly ReadonlySet<string>[];
  /** Rows of the embedding are rotated, too: they are turned back. */
  readonly embedding: boolean;
  readonly head: boolean;
  /** What goes into a recurrent layer's output projection has its value heads by key head: head i of r·keyHeads goes to (i mod keyHeads)·r + i div keyHeads. */
  readonly grouped: boolean;
}

/** A network's hyper-parameters, from either container, each stated by the file or fixed by the architecture table. */
export interface ModelConfig {
  /** As the file names it: `bitnet-b1.58`, `llama`, `BitNetForCausalLM`. */
  readonly architecture: string;
  readonly layers: number;
  readonly hiddenSize: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** heads · headDim: what attention gives to the output projection. */
  readonly attentionSize: number;
  readonly ffnSize: number;
  readonly vocabSize: number;
  /** Context length the model was trained for; where `window` is less, that. */
  readonly contextLength: number;
  /** Positions that some layers see. Up to so many a window changes nothing, so the context ends there; undefined: all layers see all. */
  readonly window: number | undefined;
  readonly ropeTheta: number;
  /** Dimensions of each head that RoPE rotates, the first ones. */
  readonly ropeSize: number;
  /** [ropeSize/2] f32: what the frequencies of RoPE are divided by; undefined: 1. */
  readonly ropeFactors: readonly number[] | undefined;
  /** How RoPE is scaled for a longer context; undefined: it isn't. */
  readonly ropeScaling: RopeScaling | undefined;
  readonly rmsNormEps: number;
  readonly activation: Activation;
  /** RMSNorm before the output and the down projection. */
  readonly subNorms: boolean;
  /** RMSNorm before q, k, v, gate and up, each with weights of its own. Such a model makes vectors (`Model.embed`) and no text. */
  readonly innerNorms: boolean;
  /** RMSNorm of what each block gives, before it is added to the residual stream. */
  readonly postNorms: boolean;
  /** Norms are stored as what they differ from 1 by, all but those before single ternary layers: Gemma's SafeTensors. */
  readonly normsFromOne: boolean;
  /** RMSNorm over each head of queries and keys, before they are rotated. */
  readonly qkNorms: boolean;
  /** Rows of the embedding are multiplied by it, f32. */
  readonly embeddingScale: number;
  /** What each block adds is multiplied by it, f32. */
  readonly residualScale: number;
  /** Logits are divided by it, f32. */
  readonly logitScale: number;
  /** What attention gives is multiplied by σ of a gate, whose rows follow those of each head in `q`. */
  readonly attentionGates: boolean;
  /** Layers with a recurrent state in the place of attention; undefined: none has one. */
  readonly recurrent: RecurrentConfig | undefined;
  /** Blocks behind those of the network, which are left out: they guess further tokens (`nextn_predict_layers`). */
  readonly extraLayers: number;
  /** Ternary layers whose inputs are rotated; undefined: none. */
  readonly rotation: Rotation | undefined;
  /**
   * How rows of q and k lie in the file: `neox` pairs row i of a head with row i + headDim/2, `norm` row 2i with 2i + 1. Loading brings all
   * to the first.
   */
  readonly rope: "neox" | "norm";
  /** Inputs of ternary layers: in 8 bits with one scale per token (BitNet), or unquantised. */
  readonly activations: Activations;
  /** Neither the file nor its architecture nor the user states which: it is what most models of the kind do. */
  readonly activationsAssumed: boolean;
  /** Float weights that are not ternary are masters, made ternary at load; else they are an error. */
  readonly masters: boolean;
  /** The output head is the embedding. */
  readonly tiedHead: boolean;
  /** How the ternary layers of a SafeTensors model are stored; undefined where each tensor's type says it (GGUF, plain floats). */
  readonly packing: HfPacking | undefined;
}
