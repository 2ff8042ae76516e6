/** One of ggml's tensor types: how many bytes it takes for how many elements. */
export interface GgmlType {
  /** The number that stands in a GGUF file. */
  readonly id: number;
  readonly name: string;
  /** A row is a whole number of blocks of this many elements. */
  readonly blockElements: number;
  readonly blockBytes: number;
  /** Bytes after the last block of a tensor. */
  readonly tailBytes: number;
}

/**
 * ggml's types (ggml.h, ggml-common.h), and bitnet.cpp's I2_S. 42 is in use twice: with a scale for 64 elements in ggml, for 128 in a fork; the
 * bytes that a tensor has tell which. 142 (PQ2_0) is the fork's newer id of the same blocks, 143 its own too. Ids that are missing were withdrawn: 4, 5, 31-33, 37, 38.
 * 36 was withdrawn too (IQ4_NL_4_4) and is I2_S in every file that has it today: codes of 2 bits, then 32 bytes with the scale.
 */
const ROWS: readonly (readonly [id: number, name: string, blockElements: number, blockBytes: number, tailBytes?: number])[] = [
  [0, "F32", 1, 4],
  [1, "F16", 1, 2],
  [2, "Q4_0", 32, 18],
  [3, "Q4_1", 32, 20],
  [6, "Q5_0", 32, 22],
  [7, "Q5_1", 32, 24],
  [8, "Q8_0", 32, 34],
  [9, "Q8_1", 32, 36],
  [10, "Q2_K", 256, 84],
  [11, "Q3_K", 256, 110],
  [12, "Q4_K", 256, 144],
  [13, "Q5_K", 256, 176],
  [14, "Q6_K", 256, 210],
  [15, "Q8_K", 256, 292],
  [16, "IQ2_XXS", 256, 66],
  [17, "IQ2_XS", 256, 74],
  [18, "IQ3_XXS", 256, 98],
  [19, "IQ1_S", 256, 50],
  [20, "IQ4_NL", 32, 18],
  [21, "IQ3_S", 256, 110],
  [22, "IQ2_S", 256, 82],
  [23, "IQ4_XS", 256, 136],
  [24, "I8", 1, 1],
  [25, "I16", 1, 2],
  [26, "I32", 1, 4],
  [27, "I64", 1, 8],
  [28, "F64", 1, 8],
  [29, "IQ1_M", 256, 56],
  [30, "BF16", 1, 2],
  [34, "TQ1_0", 256, 54],
  [35, "TQ2_0", 256, 66],
  [36, "I2_S", 4, 1, 32],
  [39, "MXFP4", 32, 17],
  [40, "NVFP4", 64, 36],
  [41, "Q1_0", 128, 18],
  [42, "Q2_0", 64, 18],
  [42, "Q2_0_128", 128, 34],
  [142, "PQ2_0", 128, 34],
  [143, "PTQ1_0", 128, 28],
];

/** All types; where two have one number, ggml's own is first. */
export const GGML_TYPES: readonly GgmlType[] = ROWS.map(([id, name, blockElements, blockBytes, tailBytes = 0]) => ({
  id,
  name,
  blockElements,
  blockBytes,
  tailBytes,
}));

/** Ids of types that are not read, as forks and old versions number them: one or several in a row. */
const OTHER_TYPES: readonly (readonly [id: number, of: string, ...names: readonly string[]])[] = [
  [4, "old llama.cpp", "Q4_2", "Q4_3"],
  [31, "old llama.cpp", "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8"],
  [37, "bitnet.cpp", "I8_S", "TL1"],
  [97, "ik_llama.cpp", "Q8_0_X4", "Q8_1_X4", "Q8_2_X4"],
  [133, "ik_llama.cpp", "Q6_0", "IQ1_BN", "IQ2_BN", "Q8_K64", "IQ2_K", "IQ3_K", "IQ4_K", "IQ5_K", "IQ6_K"],
  [144, "ik_llama.cpp", "IQ4_KS", "IQ2_KS", "IQ4_KSS", "Q8_K16", "Q8_K32", "Q8_KR8", "Q8_K128", "Q8_KV", "IQ5_KS", "IQ2_KT", "IQ3_KT"],
  [155, "ik_llama.cpp", "IQ4_KT", "IQ3_KS", "IQ2_KL", "IQ1_KT", "Q1_0_G128_R8", "PQ2_0_R8", "PTQ1_0_R8"],
  [202, "ik_llama.cpp", "Q4_0_R8"],
  [335, "ik_llama.cpp", "IQ2_BN_R4"],
];

/** What ids of `GGML_TYPES` also stood for, where the bytes don't fit. */
export const OTHER_MEANINGS: ReadonlyMap<number, string> = new Map([
  [39, "bitnet.cpp's TL2"],
  [142, "ik_llama.cpp's IQ2_TN"],
]);

/** ik_llama.cpp's types with rows interleaved are in this range. */
const IK_ROWS = [202, 399] as const;

/** Why a type that is not in `GGML_TYPES` is refused, as the end of a sentence about a tensor. */
export function unknownType(id: number): string {
  const row = OTHER_TYPES.find(([first, , ...names]) => id >= first && id < first + names.length);
  const ik = id >= IK_ROWS[0] && id <= IK_ROWS[1] ? "an ik_llama.cpp type with interleaved rows" : undefined;
  const known = row ? `${row[1]}'s ${row[2 + id - row[0]]}` : ik;
  if (known === undefined) return `has the unknown type id ${id}`;
  return `has the type id ${id}, ${known}, which is not supported; get the model as I2_S, TQ1_0, TQ2_0 or Q2_0`;
}

/** By name, such as "F32" or "I2_S"; of a name with two ids, the type with the first. */
export const GGML_TYPES_BY_NAME: ReadonlyMap<string, GgmlType> = new Map(GGML_TYPES.toReversed().map((type) => [type.name, type]));

/** Why a shape is impossible for a type, or the bytes it takes. `shape` is slowest first, so its last axis is the row. */
export function ggmlSpan(shape: readonly number[], type: GgmlType): { readonly bytes: number } | { readonly fault: string } {
  let elements = 1;
  for (const extent of shape) {
    elements *= extent;
    if (!Number.isSafeInteger(extent) || extent < 1 || elements > Number.MAX_SAFE_INTEGER)
      return { fault: `has an impossible shape [${shape.join(", ")}]` };
  }
  const row = shape.at(-1) ?? 1;
  if (row % type.blockElements !== 0) {
    return { fault: `has rows of ${row} elements, but ${type.name} requires a multiple of ${type.blockElements}` };
  }
  const bytes = (elements / type.blockElements) * type.blockBytes + type.tailBytes;
  return bytes <= Number.MAX_SAFE_INTEGER ? { bytes } : { fault: `has an impossible shape [${shape.join(", ")}]` };
}
