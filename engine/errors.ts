/**
 * The kind of error. It determines the CLI's exit code (docs/cli.md):
 *
 * - `usage`: a flag, option, prompt or setting that can't be used (2)
 * - `tensor`: a tensor is missing, has the wrong shape or is unknown (3)
 * - `tokenizer`: the tokenizer is missing or unusable (4)
 * - `nll`: likelihoods differ by more than parity allows (5)
 * - `tau`: token ranks differ by more than parity allows (6)
 * - `greedy`: greedy text differs from the stored text (7)
 * - `weights`: weights that are not plausible for a trained model, or differ from the model's other form (8)
 * - `regression`: slower or larger than a stored record allows (9)
 * - `memory`: not enough memory, or more than the limit allows (10)
 * - `file`: a model file is damaged or truncated, or changed while it was in use (11)
 * - `receipt`: a replay differs from what was recorded (12)
 * - `unsupported`: a valid file that needs something this engine does not support, such as another architecture; or a processor without SIMD (1)
 * - `acceptance`: a check of validation failed, or one that a release requires was skipped (1)
 * - `stale`: a committed file no longer matches its sources (1)
 * - `io`: the system refused to read or write (1)
 * - `closed`: the model was closed while it was in use (1)
 * - `busy`: more is waiting for the model than it was allowed to keep (1)
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
  | "busy"
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

/** Causes of a failed system call, in words; others are shown by their code. */
const SYSTEM_REASONS: Readonly<Record<string, string>> = {
  ENOENT: "no such file or directory",
  ENOTDIR: "a part of its path is not a directory",
  EACCES: "permission denied",
  EPERM: "not permitted",
  EISDIR: "it is a directory",
  ENOSPC: "no space left on the device",
  EDQUOT: "the disk quota is used up",
  EFBIG: "it would be larger than a file may be",
  EROFS: "the file system is read-only",
  EADDRINUSE: "the port is in use",
  EADDRNOTAVAIL: "this machine does not have that address",
  EMFILE: "too many open files",
  ENFILE: "too many open files",
  ELOOP: "its symbolic links lead in a circle",
  ERR_ACCESS_DENIED:
    "Node's permission model does not allow it; start Node with --allow-fs-read=*, and --allow-fs-write for what is to be written",
  EIO: "the device reports an input/output error",
};

/** Why the system refused, in words: of whatever a call of it threw. */
export function systemReason(error: unknown): string {
  // Not asked whether it is an Error: in a test runner's realm, Node's errors are of another class.
  const { code, message } = Object(error) as { readonly code?: unknown; readonly message?: unknown };
  if (typeof code === "string" && code !== "") return SYSTEM_REASONS[code] ?? code;
  return String(message ?? error);
}
