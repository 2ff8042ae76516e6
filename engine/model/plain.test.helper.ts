/** What most networks don't have, as `ModelConfig` says so. */
export const PLAIN = {
  ...{ ropeFactors: undefined, ropeScaling: undefined, window: undefined },
  ...{ innerNorms: false, postNorms: false, normsFromOne: false, qkNorms: false },
  ...{ embeddingScale: 1, residualScale: 1, logitScale: 1, attentionGates: false },
  ...{ recurrent: undefined, extraLayers: 0, rotation: undefined },
} as const;
