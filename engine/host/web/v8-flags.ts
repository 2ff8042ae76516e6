/** A page can't set an engine's flags. */
export function relaxedSimdFlag(): undefined {
  return undefined;
}

/** Only the V8 of Node 20 adds products wrongly, and there is no browser with it that has relaxed SIMD. */
export function addsProducts(): boolean {
  return true;
}

export function canRevectorize(): boolean {
  return false;
}

export function revectorizeFlag(): undefined {
  return undefined;
}

export function setFlag(_flag: string): void {}
