/**
 * Whether a server that runs for long stays as small as it is: requests that are aborted at any point, then small ones of every kind, from many
 * connections at once. Fails where memory grows with the number of requests.
 *
 * `npm run soak -- [--aborted 10000] [--small 100000] [--seed 1]`
 *
 * BITNET_SOAK_LEAK=1024 has the server keep so many bytes of each request: the run must fail then.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { Agent, request } from "node:http";
import { fileURLToPath } from "node:url";
import { uniform } from "../engine/sampling/rng.js";
import { readFlags } from "./flags.js";
import type { Held } from "./soak-server.js";

/** Bytes that memory may grow by in a whole phase: what V8 compiles, and the cache of recent conversations. */
const ALWAYS = 2 * 2 ** 20;
/** Bytes for each request: less than the smallest thing that could be kept of one. */
const EACH = 200;
/** Bytes that the process may grow by in a phase, as the system counts it: the collector decides when it gives memory back. */
const RSS = 64 * 2 ** 20;
/** Connections at a time. */
const CLIENTS = 48;
/** Requests before the first look, so that caches are full and code is compiled. */
const WARM_UP = 0.1;

/** Numbers from 0 to 1, one after the other. */
class Rng {
  readonly #seed: number;
  #index = 0;

  constructor(seed: number) {
    this.#seed = seed;
  }

  next(): number {
    return uniform(this.#seed, this.#index++);
  }
}

interface Call {
  readonly path: string;
  readonly body?: string;
  readonly status: number;
}

const json = (path: string, body: object, status = 200): Call => ({ path, body: JSON.stringify(body), status });

const WORDS = ["The", " dog", " cat", " ran", " to", " a", " big", " red", " house", " and", " Tom", " said"] as const;

function words(rng: Rng, most: number): string {
  return Array.from({ length: 1 + Math.floor(rng.next() * most) }, () => WORDS[Math.floor(rng.next() * WORDS.length)]).join("");
}

/** A request that is answered at once, of any kind; a quarter are mistakes. */
function small(rng: Rng): Call {
  const seed = Math.floor(rng.next() * 1000);
  const max_tokens = 1 + Math.floor(rng.next() * 4);
  const stream = rng.next() < 0.3;
  const messages = [{ role: "user", content: words(rng, 8) }];
  const kinds: (() => Call)[] = [
    () => json("/v1/chat/completions", { messages, max_tokens, seed, stream }),
    () => json("/v1/completions", { prompt: words(rng, 8), max_tokens, seed, stream }),
    () => json("/v1/chat/completions", { messages, max_tokens, seed, response_format: { type: "json_object" } }),
    () => json("/v1/embeddings", { input: [words(rng, 4), words(rng, 4)] }),
    () => ({ path: "/v1/models", status: 200 }),
    () => ({ path: "/metrics", status: 200 }),
    () => json("/v1/chat/completions", { messages, temperature: "hot" }, 400),
    () => ({ path: `/v1/models/${seed}`, status: 404 }),
    () => ({ path: "/v1/completions", body: JSON.stringify({ prompt: "a".repeat(70_000) }), status: 413 }),
  ];
  return kinds[Math.floor(rng.next() * kinds.length)]!();
}

/** A request that would take long. */
function long(rng: Rng): Call {
  const more = {
    max_tokens: 200,
    seed: Math.floor(rng.next() * 1000),
    temperature: 1,
    stream: rng.next() < 0.6,
    n: rng.next() < 0.2 ? 2 : 1,
  };
  return rng.next() < 0.5
    ? json("/v1/completions", { prompt: words(rng, 200), ...more })
    : json("/v1/chat/completions", { messages: [{ role: "user", content: words(rng, 200) }], ...more });
}

class Client {
  readonly #url: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });

  constructor(url: string) {
    this.#url = url;
  }

  /** Sends a call; after `leaveAt` milliseconds, if that is given, the connection is destroyed. @returns the status; undefined: it left */
  send({ path, body }: Call, leaveAt?: number): Promise<number | undefined> {
    const method = body === undefined ? "GET" : "POST";
    return new Promise((resolve, reject) => {
      let left = false;
      const asked = request(`${this.#url}${path}`, { method, agent: this.#agent, headers: { "content-type": "application/json" } });
      const leaving =
        leaveAt === undefined
          ? undefined
          : setTimeout(() => {
              left = true;
              asked.destroy();
              resolve(undefined);
            }, leaveAt);
      const failed = (error: Error): void => {
        clearTimeout(leaving);
        if (!left) reject(error);
      };
      asked.on("error", failed);
      asked.on("response", (response) => {
        response.on("error", failed).resume();
        response.on("end", () => {
          clearTimeout(leaving);
          resolve(response.statusCode);
        });
      });
      asked.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** Has `CLIENTS` loops do `count` pieces of work. */
async function many(count: number, work: () => Promise<void>): Promise<void> {
  let left = count;
  await Promise.all(
    Array.from({ length: CLIENTS }, async () => {
      while (left-- > 0) await work();
    }),
  );
}

async function held(server: ChildProcess): Promise<Held> {
  server.send("held");
  const [answer] = (await once(server, "message")) as [Held];
  return answer;
}

const megabytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** Looks at what the server holds before and after so many requests. @returns what is wrong */
async function phase(name: string, server: ChildProcess, count: number, work: () => Promise<void>): Promise<string[]> {
  if (count === 0) return [];
  await many(Math.ceil(count * WARM_UP), work);
  const before = await held(server);
  const start = performance.now();
  await many(count, work);
  const seconds = (performance.now() - start) / 1000;
  const after = await held(server);
  const grown = after.heap + after.external - before.heap - before.external;
  const [from, to] = [before, after].map(
    ({ heap, external, rss, handles }) =>
      `heap ${megabytes(heap)}, external ${megabytes(external)}, rss ${megabytes(rss)}, ${handles} handles`,
  );
  console.log(
    `${name}: ${count} requests in ${seconds.toFixed(0)} s\n  before: ${from}\n  after:  ${to}\n  ${(grown / count).toFixed(0)} bytes a request`,
  );
  return [
    ...(grown > ALWAYS + EACH * count
      ? [`${name}: the heap grew by ${megabytes(grown)}, ${(grown / count).toFixed(0)} bytes a request`]
      : []),
    ...(after.rss > before.rss + RSS ? [`${name}: the process grew by ${megabytes(after.rss - before.rss)}`] : []),
    ...(after.handles > before.handles + CLIENTS ? [`${name}: ${after.handles - before.handles} handles were left`] : []),
    ...(after.running + after.waiting > 0 ? [`${name}: ${after.running} answers run and ${after.waiting} wait`] : []),
  ];
}

async function main(): Promise<void> {
  const { values } = readFlags("npm run soak -- [--aborted 10000] [--small 100000] [--seed 1]", {
    aborted: { type: "string", default: "10000" },
    small: { type: "string", default: "100000" },
    seed: { type: "string", default: "1" },
  });
  const [aborted, smalls, seed] = [Number(values.aborted), Number(values.small), Number(values.seed)];
  if (![aborted, smalls, seed].every((number) => Number.isInteger(number) && number >= 0)) {
    console.error("--aborted, --small and --seed are whole numbers");
    process.exitCode = 2;
    return;
  }
  const rng = new Rng(seed);
  const server = fork(fileURLToPath(new URL("./soak-server.js", import.meta.url)), [], { execArgv: ["--expose-gc"] });
  try {
    const [url] = (await once(server, "message")) as [string];
    const client = new Client(url);
    const leave = async (): Promise<void> => {
      // Squared: many in the first milliseconds, some while the answer is written.
      await client.send(long(rng), rng.next() ** 2 * 150);
    };
    const ask = async (): Promise<void> => {
      const call = small(rng);
      const status = await client.send(call);
      if (status !== call.status)
        throw new Error(`${call.path} answered ${String(status)}, not ${call.status}: ${call.body?.slice(0, 200)}`);
    };
    const wrong = [...(await phase("aborted", server, aborted, leave)), ...(await phase("small", server, smalls, ask))];
    client.close();
    for (const message of wrong) console.error(message);
    if (wrong.length > 0) process.exitCode = 1;
  } finally {
    server.disconnect();
  }
}

await main();
