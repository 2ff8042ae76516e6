/**
 * Why a template gives no text. `syntax`: it can't be parsed. `failed`: an operation that Python refuses, or one this engine does not have.
 * `raised`: the template's own `raise_exception`. `no date`: it wants the date, and none is given. `limit`: it would take more than it may (see meter.ts).
 */
export type FaultKind = "syntax" | "failed" | "raised" | "no date" | "limit";

/** A template's failure; the message has no file and no full stop. */
export class TemplateFault extends Error {
  constructor(
    readonly kind: FaultKind,
    message: string,
  ) {
    super(message);
  }
}

export function fail(message: string): never {
  throw new TemplateFault("failed", message);
}
