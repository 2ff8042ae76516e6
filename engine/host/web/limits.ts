/** Whether workers can share memory. Both are asked: WebKitGTK says that it is isolated, and has no SharedArrayBuffer. */
export function canShare(): boolean {
  return globalThis.crossOriginIsolated === true && typeof SharedArrayBuffer === "function";
}

/** Processors that this page may use: one, unless its workers can share memory. */
export function processors(): number {
  return canShare() ? (navigator.hardwareConcurrency ?? 1) : 1;
}

/** Why no more than one thread can run, if the host is why. */
export function whyOneThread(): string | undefined {
  return canShare() ? undefined : "on one thread, since the page is not cross-origin isolated";
}

/** No page is told of one. */
export function cpuQuota(): number {
  return Infinity;
}

export function memoryLeft(): number {
  return Infinity;
}

export function addressLimit(_limits?: string): number {
  return Infinity;
}
