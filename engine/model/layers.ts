import type { ModelConfig } from "./config.js";

/**
 * What a kind of block is made of. It is said once, here: by it tensors are found in a file, memory is planned and filled, models are converted
 * and the scalar network is built.
 */
interface BlockParts {
  /** Ternary layers: [outputs, inputs]. */
  readonly linears: Readonly<Record<string, (config: ModelConfig) => readonly [rows: number, columns: number]>>;
  /** Norms: how many weights; undefined: the architecture has none. */
  readonly norms: Readonly<Record<string, (config: ModelConfig) => number | undefined>>;
}

/** Of a layer's own input; those of `o` and `down` are the sub-norms. */
const innerNorm = ({ innerNorms, hiddenSize }: ModelConfig): number | undefined => (innerNorms ? hiddenSize : undefined);

/** Every kind of block. Roles are unique over all kinds, since files name tensors by them. */
const BLOCKS = {
  attention: {
    linears: {
      q: ({ attentionSize, hiddenSize }) => [attentionSize, hiddenSize],
      k: ({ kvHeads, headDim, hiddenSize }) => [kvHeads * headDim, hiddenSize],
      v: ({ kvHeads, headDim, hiddenSize }) => [kvHeads * headDim, hiddenSize],
      o: ({ attentionSize, hiddenSize }) => [hiddenSize, attentionSize],
    },
    norms: {
      attnNorm: ({ hiddenSize }) => hiddenSize,
      qInputNorm: innerNorm,
      kInputNorm: innerNorm,
      vInputNorm: innerNorm,
      qNorm: ({ qkNorms, headDim }) => (qkNorms ? headDim : undefined),
      kNorm: ({ qkNorms, headDim }) => (qkNorms ? headDim : undefined),
      attnSubNorm: ({ subNorms, attentionSize }) => (subNorms ? attentionSize : undefined),
    },
  },
  feedForward: {
    linears: {
      gate: ({ ffnSize, hiddenSize }) => [ffnSize, hiddenSize],
      up: ({ ffnSize, hiddenSize }) => [ffnSize, hiddenSize],
      down: ({ ffnSize, hiddenSize }) => [hiddenSize, ffnSize],
    },
    norms: {
      ffnNorm: ({ hiddenSize }) => hiddenSize,
      gateInputNorm: innerNorm,
      upInputNorm: innerNorm,
      ffnSubNorm: ({ subNorms, ffnSize }) => (subNorms ? ffnSize : undefined),
    },
  },
} as const satisfies Readonly<Record<string, BlockParts>>;

type Blocks = typeof BLOCKS;
export type BlockKind = keyof Blocks;
export type LinearRole = { [K in BlockKind]: keyof Blocks[K]["linears"] }[BlockKind];
export type NormRole = { [K in BlockKind]: keyof Blocks[K]["norms"] }[BlockKind];

/** Rows of these are those of heads that RoPE rotates. */
export const ROTATED: ReadonlySet<LinearRole> = new Set(["q", "k"]);

/** A block's parts by role, whatever stands for them: tensors of a file, addresses, arrays. Undefined: a norm that the architecture doesn't have. */
export type Block<K extends BlockKind, Linear, Norm> = { readonly kind: K } & {
  readonly [R in keyof Blocks[K]["linears"]]: Linear;
} & {
  readonly [R in keyof Blocks[K]["norms"]]: Blocks[K]["norms"][R] extends (config: ModelConfig) => number ? Norm : Norm | undefined;
};

/** A layer: first a mixer, in which a position sees those before it, then a feed-forward block. */
export interface Layer<Linear, Norm> {
  readonly mixer: Block<"attention", Linear, Norm>;
  readonly feedForward: Block<"feedForward", Linear, Norm>;
}

/** Makes the parts of a layer from their sizes. */
export function makeLayer<Linear, Norm>(
  config: ModelConfig,
  linear: (role: LinearRole, rows: number, columns: number) => Linear,
  norm: (role: NormRole, size: number) => Norm,
): Layer<Linear, Norm> {
  const make = <K extends BlockKind>(kind: K): Block<K, Linear, Norm> => {
    const { linears, norms }: BlockParts = BLOCKS[kind];
    const block: Record<string, unknown> = { kind };
    for (const [role, sizeOf] of Object.entries(norms)) {
      const size = sizeOf(config);
      block[role] = size === undefined ? undefined : norm(role as NormRole, size);
    }
    for (const [role, shapeOf] of Object.entries(linears)) block[role] = linear(role as LinearRole, ...shapeOf(config));
    return block as Block<K, Linear, Norm>;
  };
  return { mixer: make("attention"), feedForward: make("feedForward") };
}

/** The same layer with other things in the place of its parts. */
export function mapLayer<Linear, Norm, ToLinear, ToNorm>(
  { mixer, feedForward }: Layer<Linear, Norm>,
  linear: (from: Linear) => ToLinear,
  norm: (from: Norm) => ToNorm,
): Layer<ToLinear, ToNorm> {
  const map = <K extends BlockKind>(from: Block<K, Linear, Norm>): Block<K, ToLinear, ToNorm> => {
    const block: Record<string, unknown> = { kind: from.kind };
    for (const [role, part] of normsOf(from)) block[role] = part === undefined ? undefined : norm(part);
    for (const [role, part] of linearsOf(from)) block[role] = linear(part);
    return block as Block<K, ToLinear, ToNorm>;
  };
  return { mixer: map(mixer), feedForward: map(feedForward) };
}

function linearsOf<Linear>(block: Block<BlockKind, Linear, unknown>): (readonly [LinearRole, Linear])[] {
  const parts = block as unknown as Readonly<Record<LinearRole, Linear>>;
  return (Object.keys(BLOCKS[block.kind].linears) as LinearRole[]).map((role) => [role, parts[role]]);
}

function normsOf<Norm>(block: Block<BlockKind, unknown, Norm>): (readonly [NormRole, Norm | undefined])[] {
  const parts = block as unknown as Readonly<Record<NormRole, Norm | undefined>>;
  return (Object.keys(BLOCKS[block.kind].norms) as NormRole[]).map((role) => [role, parts[role]]);
}

/** A layer's ternary layers, in the order in which all lists have them. */
export function layerLinears<Linear>({ mixer, feedForward }: Layer<Linear, unknown>): (readonly [LinearRole, Linear])[] {
  return [...linearsOf(mixer), ...linearsOf(feedForward)];
}

/** A layer's norms, in the order in which all lists have them; those that the architecture doesn't have are left out. */
export function layerNorms<Norm>({ mixer, feedForward }: Layer<unknown, Norm>): (readonly [NormRole, Norm])[] {
  return [...normsOf(mixer), ...normsOf(feedForward)].filter((entry): entry is readonly [NormRole, Norm] => entry[1] !== undefined);
}

/** All ternary layers of a network, layer by layer. */
export function allLinears<Linear>(layers: readonly Layer<Linear, unknown>[]): Linear[] {
  return layers.flatMap((layer) => layerLinears(layer).map(([, linear]) => linear));
}
