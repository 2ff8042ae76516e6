/**
 * What kind of mistake it was. The CLI's exit codes (docs/cli.md) hang on it:
 *
 * - `usage`: a flag, option, prompt or setting that can't be used (2)
 * - `tensor`: a tensor is missing, misshapen or of no known role (3)
 * - `tokenizer`: the tokenizer is missing or unusable (4)
 * - `nll`: likelihoods differ by more than parity allows (5)
 * - `tau`: tokens are ranked otherwise than parity allows (6)
 * - `greedy`: the greedy text is not the stored one (7)
 * - `weights`: weights whose numbers are not those of a sound model, or of the model's other form (8)
 * - `regression`: slower, or larger, than a stored record allows (9)
 * - `memory`: what was asked for doesn't fit the memory there can be, or may be used (10)
 * - `file`: a model file is bad or truncated, or was changed while it was in use (11)
 * - `receipt`: a replay does not give what was recorded (12)
 * - `unsupported`: a sound file that says something this engine doesn't do, such as an unknown architecture, or a processor without SIMD (1)
 * - `acceptance`: a check of validation failed, or one that a release needs was skipped (1)
 * - `stale`: a committed file is no longer what its sources give (1)
 * - `io`: the system refused to read or write (1)
 * - `closed`: the model was closed while work was still wanted of it (1)
 * - `internal`: a worker died or a kernel failed its self-test; never the user's fault (1)
 */
export type ErrorCode =
  | "usage"
  | "tensor"
  | "tokenizer"
  | "nll"
  | "tau"
  | "greedy"
  | "weights"
  | "regression"
  | "memory"
  | "file"
  | "receipt"
  | "unsupported"
  | "acceptance"
  | "stale"
  | "io"
  | "closed"
  | "internal";

/** Where a failure was seen. */
export interface ErrorPlace {
  /** Path of the file. */
  readonly file?: string | undefined;
  /** Name of the tensor, as the file spells it. */
  readonly tensor?: string | undefined;
  /** Byte offset in the file. */
  readonly offset?: number | undefined;
}

/** Every failure that a user can cause: one sentence that says what, where, and what to do. */
export class BitnetError extends Error {
  override readonly name = "BitnetError";
  readonly code: ErrorCode;
  readonly file: string | undefined;
  readonly tensor: string | undefined;
  readonly offset: number | undefined;

  /** `message`: one sentence without a full stop. It must stand alone: the CLI prints it and nothing else, so it repeats the place in words. */
  constructor(code: ErrorCode, message: string, place: ErrorPlace = {}, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.file = place.file;
    this.tensor = place.tensor;
    this.offset = place.offset;
  }
}
