export { addressLimit, cpuQuota, memoryLeft } from "../web/limits.js";

/** The one thread that there is. */
export function processors(): number {
  return 1;
}

export function whyOneThread(): string | undefined {
  return "on one thread, since this runtime has no workers";
}
