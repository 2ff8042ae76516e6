/** bitnet-ts: run ternary (1.58-bit) language models. The public API; everything else is internal. */

export type { KernelCalls, SkippedProducts } from "./compute/counters.js";
export { convertModel } from "./conversion/convert.js";
export type { Rounding } from "./conversion/tensors.js";
export type { Conversion, ConversionType, ConvertOptions, EmbeddingType } from "./conversion/types.js";
export { BitnetError, type ErrorCode } from "./errors.js";
export type { ModelDescription, TokenDescription } from "./generation/describe.js";
export type { EmbedOptions, Pooling } from "./generation/embed.js";
export {
  type InspectOptions,
  inspectModel,
  type ModelInspection,
  type TensorInspection,
  type TensorRole,
} from "./generation/inspect.js";
export type { InspectionCheck } from "./generation/inspect-checks.js";
export { describeModel, loadModel, type Model, type OpenTokenizer, openTokenizer, type ScoreOptions } from "./generation/model.js";
export { type Probe, type ProbeReading, probeModel } from "./generation/probe.js";
export type { FileOptions, LoadOptions } from "./generation/runner.js";
export { type OfferedTool, type ToolChoice, toolFormat } from "./generation/tool-choice.js";
export type { GenerationTrace, TraceSettings, TraceStep } from "./generation/trace-types.js";
export type {
  AnswerFormat,
  ChatOptions,
  GenerateOptions,
  Generation,
  GenerationPiece,
  GenerationResult,
  GenerationTimings,
  ModelStats,
  Score,
  ScoringPolicy,
  StopReason,
} from "./generation/types.js";
export type { CallsFormat, ToolDefinition } from "./grammar/calls.js";
export type { FilePath, WebFile, WebHandle } from "./host/files.js";
export type { ModelConfig } from "./model/config.js";
export { NUMERICS_VERSION } from "./numerics.js";
export type { FileUrl, Given, Signal } from "./options.js";
export type { LogProbability, TokenLogprob } from "./sampling/types.js";
export { encodeChat } from "./text/encode-chat.js";
export type { ToolCallParser, ToolEvent } from "./text/tool-calls/parser.js";
export type {
  ChatMessage,
  ChatRenderOptions,
  ChatTemplate,
  EncodeOptions,
  RenderedChat,
  TextPart,
  TokenDecoder,
  Tokenizer,
  ToolCall,
} from "./text/types.js";
