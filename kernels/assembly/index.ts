export { attendSpan, finishSpans, mergeSpan, storeKeyValue } from "./attention";
export { add, quantize, reluSquaredMul, rmsNorm, rope } from "./rows";
export { barrier, nextChunk } from "./sync";
export { embed, head, packBf16 } from "./table";
export { packRow, ternary } from "./ternary";
export { unpackHf, unpackI2s, widen } from "./unpack";
