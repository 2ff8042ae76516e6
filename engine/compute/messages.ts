import { BitnetError, type ErrorCode } from "../errors.js";
import { isOutOfMemory, refused } from "./arena.js";

/** What a worker is told when it starts. */
export interface WorkerRole {
  /** 0 is the leader. */
  readonly thread: number;
  readonly threads: number;
}

/** Main → leader. */
export interface Request {
  readonly id: number;
  readonly kind: string;
  readonly payload: unknown;
}

/** Leader → main; followers send only errors. */
export type Reply =
  | { readonly kind: "done"; readonly id: number; readonly value: unknown }
  | { readonly kind: "event"; readonly value: unknown }
  | { readonly kind: "error"; readonly id: number | undefined; readonly error: PlainError };

/** An error as it travels between threads, where classes don't. */
export interface PlainError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly file: string | undefined;
  readonly tensor: string | undefined;
  readonly offset: number | undefined;
  readonly stack: string | undefined;
}

export function toPlain(error: unknown): PlainError {
  if (isOutOfMemory(error)) return toPlain(refused("an array", error));
  if (error instanceof BitnetError) {
    const { code, message, file, tensor, offset, stack } = error;
    return { code, message, file, tensor, offset, stack };
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  return { code: "internal", message: `a worker failed: ${message}`, file: undefined, tensor: undefined, offset: undefined, stack };
}

export function fromPlain(plain: PlainError): BitnetError {
  const error = new BitnetError(plain.code, plain.message, plain);
  if (plain.stack !== undefined) error.stack = plain.stack;
  return error;
}
