export { attendSpan, finishSpans, storeKeyValue } from "./attention";
export { attendSpanQ8, storeKeyValueQ8 } from "./attention-q8";
export { add, quantize, reluSquaredMul, rmsNorm, rope, siluMul } from "./rows";
export { barrier, nextChunk } from "./sync";
export { atLeast, bounds, packScan, prepareScan, scan, scanWide } from "./scan";
export { head, packBf16 } from "./table";
export { packRow, ternary } from "./ternary";
export { repackI2s, repackI2sWide, unpackHf, unpackI2s, widen } from "./unpack";
export { packRowWide, ternaryWide } from "./wide";
