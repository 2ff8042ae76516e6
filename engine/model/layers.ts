import type { ModelConfig } from "./model-config.js";
import { CONVOLUTION, convolved, deltaSize, type RecurrentConfig } from "./recurrent.js";

/**
 * What a kind of block is made of. It is said once, here: by it tensors are found in a file, memory is planned and filled, models are converted
 * and the scalar network is built.
 */
interface BlockParts {
  /** Ternary layers: [outputs, inputs]. */
  readonly linears: Readonly<Record<string, (config: ModelConfig) => readonly [rows: number, columns: number]>>;
  /** What is kept in f32, norms above all: its shape; undefined: the architecture has none. */
  readonly floats: Readonly<Record<string, (config: ModelConfig) => readonly number[] | undefined>>;
}

/** Of a layer's own input; those of `o` and `down` are the sub-norms. */
const innerNorm = ({ innerNorms, hiddenSize }: ModelConfig): [number] | undefined => (innerNorms ? [hiddenSize] : undefined);

/** Of what a block gives, before it is added. */
const postNorm = ({ postNorms, hiddenSize }: ModelConfig): [number] | undefined => (postNorms ? [hiddenSize] : undefined);

/** Sizes of a Gated DeltaNet block; asked of networks that have one. */
const recurrent = ({ recurrent }: ModelConfig): RecurrentConfig => recurrent!;

/** Every kind of block. Roles are unique over all kinds, since files name tensors by them. */
const BLOCKS = {
  attention: {
    linears: {
      q: ({ attentionSize, attentionGates, hiddenSize }) => [attentionGates ? 2 * attentionSize : attentionSize, hiddenSize],
      k: ({ kvHeads, headDim, hiddenSize }) => [kvHeads * headDim, hiddenSize],
      v: ({ kvHeads, headDim, hiddenSize }) => [kvHeads * headDim, hiddenSize],
      o: ({ attentionSize, hiddenSize }) => [hiddenSize, attentionSize],
    },
    floats: {
      attnNorm: ({ hiddenSize }) => [hiddenSize],
      qInputNorm: innerNorm,
      kInputNorm: innerNorm,
      vInputNorm: innerNorm,
      qNorm: ({ qkNorms, headDim }) => (qkNorms ? [headDim] : undefined),
      kNorm: ({ qkNorms, headDim }) => (qkNorms ? [headDim] : undefined),
      attnSubNorm: ({ subNorms, attentionSize }) => (subNorms ? [attentionSize] : undefined),
      attnPostNorm: postNorm,
    },
  },
  // Gated DeltaNet (Yang et al. 2024), as Qwen3.5 has it; see `engine/delta.ts`.
  delta: {
    linears: {
      deltaQkv: (config) => [convolved(recurrent(config)), config.hiddenSize], // rows q | k | v
      deltaGate: (config) => [deltaSize(recurrent(config)), config.hiddenSize],
      deltaOut: (config) => [config.hiddenSize, deltaSize(recurrent(config))],
    },
    floats: {
      deltaNorm: ({ hiddenSize }) => [hiddenSize],
      convolution: (config) => [convolved(recurrent(config)), CONVOLUTION],
      decayBias: (config) => [recurrent(config).valueHeads],
      decayRate: (config) => [recurrent(config).valueHeads],
      deltaBeta: (config) => [recurrent(config).valueHeads, config.hiddenSize],
      deltaAlpha: (config) => [recurrent(config).valueHeads, config.hiddenSize],
      deltaHeadNorm: (config) => [recurrent(config).headSize],
    },
  },
  feedForward: {
    linears: {
      gate: ({ ffnSize, hiddenSize }) => [ffnSize, hiddenSize],
      up: ({ ffnSize, hiddenSize }) => [ffnSize, hiddenSize],
      down: ({ ffnSize, hiddenSize }) => [hiddenSize, ffnSize],
    },
    floats: {
      ffnNorm: ({ hiddenSize }) => [hiddenSize],
      gateInputNorm: innerNorm,
      upInputNorm: innerNorm,
      ffnSubNorm: ({ subNorms, ffnSize }) => (subNorms ? [ffnSize] : undefined),
      ffnPostNorm: postNorm,
    },
  },
} as const satisfies Readonly<Record<string, BlockParts>>;

type Blocks = typeof BLOCKS;
export type BlockKind = keyof Blocks;
export type LinearRole = { [K in BlockKind]: keyof Blocks[K]["linears"] }[BlockKind];
export type FloatRole = { [K in BlockKind]: keyof Blocks[K]["floats"] }[BlockKind];

/** Kinds of block in which a position sees those before it. */
export type MixerKind = Exclude<BlockKind, "feedForward">;

/** Rows of these are those of heads that RoPE rotates. */
export const ROTATED: ReadonlySet<LinearRole> = new Set(["q", "k"]);

/**
 * Ternary layers that multiply the same input, which is prepared for them once: the first of each says how. Those that aren't here have an input of
 * their own.
 */
export const SHARED_INPUTS: readonly (readonly LinearRole[])[] = [
  ["q", "k", "v"],
  ["deltaQkv", "deltaGate"],
  ["gate", "up"],
];

/** Norms right before single ternary layers. They are stored as what they multiply by even where others are stored as the difference from 1. */
const OF_LAYERS: ReadonlySet<string> = new Set<FloatRole>([
  ...(["qInputNorm", "kInputNorm", "vInputNorm", "attnSubNorm", "gateInputNorm", "upInputNorm", "ffnSubNorm"] as const),
]);

/** Makes a norm's weights, as the file has them, what is multiplied by, in place. */
export function asMultipliers(weights: Float32Array, role: FloatRole | "outputNorm", { normsFromOne }: ModelConfig): void {
  if (normsFromOne && !OF_LAYERS.has(role)) for (let i = 0; i < weights.length; i++) weights[i] = 1 + weights[i]!;
}

/** A block's parts by role, whatever stands for them: tensors of a file, addresses, arrays. Undefined: floats that the architecture doesn't have. */
export type Block<K extends BlockKind, Linear, Floats> = { readonly kind: K } & {
  readonly [R in keyof Blocks[K]["linears"]]: Linear;
} & {
  readonly [R in keyof Blocks[K]["floats"]]: Blocks[K]["floats"][R] extends (config: ModelConfig) => readonly number[]
    ? Floats
    : Floats | undefined;
};

/** A layer: first a mixer, in which a position sees those before it, then a feed-forward block. */
export interface Layer<Linear, Floats> {
  readonly mixer: { [K in MixerKind]: Block<K, Linear, Floats> }[MixerKind];
  readonly feedForward: Block<"feedForward", Linear, Floats>;
}

/** What mixes positions in a layer. */
export function mixerOf({ recurrent }: ModelConfig, layer: number): MixerKind {
  return recurrent?.layers[layer] ? "delta" : "attention";
}

/** Makes the parts of a layer from their sizes. @param layer its number, from 0 */
export function makeLayer<Linear, Floats>(
  config: ModelConfig,
  layer: number,
  linear: (role: LinearRole, rows: number, columns: number) => Linear,
  floats: (role: FloatRole, shape: readonly number[]) => Floats,
): Layer<Linear, Floats> {
  const make = <K extends BlockKind>(kind: K): Block<K, Linear, Floats> => {
    const parts: BlockParts = BLOCKS[kind];
    const block: Record<string, unknown> = { kind };
    for (const [role, shapeOf] of Object.entries(parts.floats)) {
      const shape = shapeOf(config);
      block[role] = shape === undefined ? undefined : floats(role as FloatRole, shape);
    }
    for (const [role, shapeOf] of Object.entries(parts.linears)) block[role] = linear(role as LinearRole, ...shapeOf(config));
    return block as Block<K, Linear, Floats>;
  };
  return { mixer: make(mixerOf(config, layer)), feedForward: make("feedForward") } as Layer<Linear, Floats>;
}

/** The same layer with other things in the place of its parts. */
export function mapLayer<Linear, Floats, ToLinear, ToFloats>(
  { mixer, feedForward }: Layer<Linear, Floats>,
  linear: (from: Linear, role: LinearRole) => ToLinear,
  floats: (from: Floats, role: FloatRole) => ToFloats,
): Layer<ToLinear, ToFloats> {
  const map = <K extends BlockKind>(from: Block<K, Linear, Floats>): Block<K, ToLinear, ToFloats> => {
    const block: Record<string, unknown> = { kind: from.kind };
    for (const [role, part] of floatsOf(from)) block[role] = part === undefined ? undefined : floats(part, role);
    for (const [role, part] of linearsOf(from)) block[role] = linear(part, role);
    return block as Block<K, ToLinear, ToFloats>;
  };
  return { mixer: map(mixer), feedForward: map(feedForward) } as Layer<ToLinear, ToFloats>;
}

function linearsOf<Linear>(block: Block<BlockKind, Linear, unknown>): (readonly [LinearRole, Linear])[] {
  const parts = block as unknown as Readonly<Record<LinearRole, Linear>>;
  return (Object.keys(BLOCKS[block.kind].linears) as LinearRole[]).map((role) => [role, parts[role]]);
}

function floatsOf<Floats>(block: Block<BlockKind, unknown, Floats>): (readonly [FloatRole, Floats | undefined])[] {
  const parts = block as unknown as Readonly<Record<FloatRole, Floats | undefined>>;
  return (Object.keys(BLOCKS[block.kind].floats) as FloatRole[]).map((role) => [role, parts[role]]);
}

/** A layer's ternary layers, in the order in which all lists have them. */
export function layerLinears<Linear>({ mixer, feedForward }: Layer<Linear, unknown>): (readonly [LinearRole, Linear])[] {
  return [...linearsOf<Linear>(mixer), ...linearsOf(feedForward)];
}

/** A layer's norms and other floats, in the order in which all lists have them; those that the architecture doesn't have are left out. */
export function layerFloats<Floats>({ mixer, feedForward }: Layer<unknown, Floats>): (readonly [FloatRole, Floats])[] {
  return [...floatsOf<Floats>(mixer), ...floatsOf(feedForward)].filter(
    (entry): entry is readonly [FloatRole, Floats] => entry[1] !== undefined,
  );
}

/** All ternary layers of a network, layer by layer. */
export function allLinears<Linear>(layers: readonly Layer<Linear, unknown>[]): Linear[] {
  return layers.flatMap((layer) => layerLinears(layer).map(([, linear]) => linear));
}
