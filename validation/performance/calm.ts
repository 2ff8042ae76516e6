import { existsSync, readFileSync } from "node:fs";
import { loadavg } from "node:os";

/** How much else the machine did while it measured. */
export interface Calm {
  /** Processes that wanted to run in the minute before it began; 0 on Windows, which does not say. */
  readonly load_average: number;
  /** The same in the minute before it ended: its own threads are among them. */
  readonly load_average_after: number;
  /** Share of the processors' time that a hypervisor gave to other machines; null where the system does not say. */
  readonly steal_share: number | null;
  /** Share of the time in which a container's quota stopped it; null where there is none. */
  readonly throttled_share: number | null;
}

/** Begins to watch; the function that it returns ends it. */
export function watchMachine(): () => Calm {
  const [load, ticks, throttled, began] = [loadAverage(), processorTicks(), throttledMs(), performance.now()];
  return () => {
    const [now, stopped] = [processorTicks(), throttledMs()];
    const share = (part: number, of: number): number => Number((of > 0 ? part / of : 0).toFixed(4));
    return {
      load_average: load,
      load_average_after: loadAverage(),
      steal_share: ticks && now ? share(now.stolen - ticks.stolen, now.all - ticks.all) : null,
      throttled_share: throttled !== undefined && stopped !== undefined ? share(stopped - throttled, performance.now() - began) : null,
    };
  };
}

function loadAverage(): number {
  return Number(loadavg()[0]!.toFixed(2));
}

/** Of all processors since the start of the machine, as Linux counts them (proc_stat(5)). */
function processorTicks(): { readonly all: number; readonly stolen: number } | undefined {
  const [, numbers] = read("/proc/stat").match(/^cpu +([\d ]+)$/m) ?? [];
  if (numbers === undefined) return undefined;
  const ticks = numbers.split(" ").slice(0, 8).map(Number); // guests' time behind them is in user's, too
  return { all: ticks.reduce((sum, one) => sum + one, 0), stolen: ticks[7] ?? 0 };
}

/** Of this container, as Linux counts it (cgroups, version 2). */
function throttledMs(): number | undefined {
  const [, microseconds] = read("/sys/fs/cgroup/cpu.stat").match(/^throttled_usec (\d+)$/m) ?? [];
  return microseconds === undefined ? undefined : Number(microseconds) / 1000;
}

function read(path: string): string {
  return existsSync(path) ? readFileSync(path, "latin1") : "";
}
