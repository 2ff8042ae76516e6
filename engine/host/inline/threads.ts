import { BitnetError } from "../../errors.js";
import type { Place, Port, Team, TeamEvents } from "../threads.js";
import { openFiles } from "../web/files.js";
import { dropBytes, keepBytes } from "./files.js";

let program: ((place: Place) => void) | undefined;

/** Notes what a thread of a team does: it is started once for each. */
export function enterTeam(begin: (place: Place) => void): void {
  program = begin;
}

/** Files that teams read, and how many do: two may have the same model. */
const readers = new Map<string, number>();

/** A team of one thread, which is this one: it computes a step at a time, and lets others have a turn in between. */
export function startTeam(_entry: string, threads: number, { take, died }: TeamEvents): Team {
  let lead: ((value: unknown) => void) | undefined;
  let isEnded = false;
  const held = new Set<string>();
  const main: Port = {
    post: (value) => queueMicrotask(() => !isEnded && take(value)),
    receive: (receive) => {
      lead = receive;
    },
  };
  if (threads === 1 && program !== undefined) program({ thread: 0, threads: 1, main, others: [] });
  else queueMicrotask(() => died(new BitnetError("usage", "more than one thread can't run here: leave out threads, or set it to 1")));
  return {
    async post(value, files = []) {
      try {
        for (const [path, file] of openFiles(files)) {
          const blob = "getFile" in file ? await file.getFile() : file;
          const bytes = new Uint8Array(await blob.arrayBuffer());
          if (isEnded) return; // nobody would drop them any more
          keepBytes(path, bytes);
          if (!held.has(path)) readers.set(path, (readers.get(path) ?? 0) + 1);
          held.add(path);
        }
        await new Promise((resolve) => setTimeout(resolve));
        if (!isEnded) lead?.(value);
      } catch (cause) {
        died(new BitnetError("io", `the model's files can't be read: ${(cause as Error).message}`, {}, { cause }));
      }
    },
    async end() {
      isEnded = true;
      lead = undefined;
      for (const path of held) {
        const left = readers.get(path)! - 1;
        readers.set(path, left);
        if (left > 0) continue;
        readers.delete(path);
        dropBytes(path);
      }
      held.clear();
    },
  };
}
