import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model } from "../engine/index.js";
import { THOROUGH } from "../engine/thorough.test.helper.js";
import { createHandler, type Handler } from "./handler.js";
import { type Listening, listen } from "./node.js";

// Many clients of all kinds at once, over connections: none may change, delay for ever, or end what another gets.

let model: Model;
/** The same model, which computes one answer at a time: what each request gets alone. */
let lone: Model;
beforeAll(async () => {
  model = await loadModel(undefined, { threads: 2 });
  lone = await loadModel(undefined, { threads: 1, maxRunning: 1 });
});
afterAll(() => Promise.all([model.close(), lone.close()]));

const handlerOf = (served: Model): Handler => createHandler(new Map([["stories", served]]), { loopbackOnly: true });

async function serving(handler: Handler, use: (server: Listening) => Promise<void>): Promise<void> {
  const server = await listen(handler, { host: "127.0.0.1", port: 0 });
  try {
    await use(server);
  } finally {
    await server.close(0);
  }
}

const CHAT = "/v1/chat/completions";
const COMPLETIONS = "/v1/completions";

interface Asked {
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
}

/** What a client does; times in milliseconds. */
type Client =
  | { readonly kind: "reads" }
  | { readonly kind: "reads slowly"; readonly pause: number }
  | { readonly kind: "leaves"; readonly after: number }
  | { readonly kind: "leaves while it reads"; readonly chunks: number };

/** What is the same however busy the server is. */
interface Said {
  readonly texts: readonly string[];
  readonly reasons: readonly (string | null)[];
  readonly tokens: number;
}

interface Choice {
  readonly index: number;
  readonly text?: string;
  readonly message?: { readonly content: string };
  readonly delta?: { readonly content?: string };
  readonly finish_reason: string | null;
}
interface Body {
  readonly choices: readonly Choice[];
  readonly usage?: { readonly completion_tokens: number } | null;
}

/** What a whole body or the events of a stream say. */
function saidBy(text: string): Said {
  const bodies = text.startsWith("data:")
    ? text
        .split("\n\n")
        .filter((event) => event.startsWith("data: {"))
        .map((event) => JSON.parse(event.slice("data: ".length)) as Body)
    : [JSON.parse(text) as Body];
  const texts: string[] = [];
  const reasons: (string | null)[] = [];
  for (const { index, text = "", message, delta, finish_reason } of bodies.flatMap(({ choices }) => choices)) {
    texts[index] = (texts[index] ?? "") + (message?.content ?? delta?.content ?? text);
    reasons[index] = finish_reason;
  }
  return { texts, reasons, tokens: bodies.at(-1)!.usage!.completion_tokens };
}

/** Sends a request; undefined: the client left before the end of its answer. */
function send(url: string, { path, body }: Asked, client: Client): Promise<{ status: number; text: string } | undefined> {
  return new Promise((resolve, reject) => {
    let left = false;
    const leave = (): void => {
      left = true;
      asked.destroy();
      resolve(undefined);
    };
    const failed = (error: Error): void => {
      if (!left) reject(error);
    };
    const asked = httpRequest(`${url}${path}`, { method: "POST", agent: false, headers: { "content-type": "application/json" } });
    asked.on("error", failed).on("response", (response) => {
      let text = "";
      let chunks = 0;
      response.on("error", failed).setEncoding("utf8");
      response.on("data", (part: string) => {
        text += part;
        if (client.kind === "leaves while it reads" && ++chunks >= client.chunks) leave();
        if (client.kind === "reads slowly") {
          response.pause();
          setTimeout(() => response.resume(), client.pause);
        }
      });
      response.on("end", () => {
        if (!left) resolve({ status: response.statusCode!, text });
      });
    });
    if (client.kind === "leaves") setTimeout(leave, client.after);
    asked.end(JSON.stringify(body));
  });
}

/** Many begin alike, so that they share what is computed. */
const prompts = fc
  .tuple(
    fc.constantFrom("", "Once upon a time, there was a little girl named Lily. ", "One day, a big dog and a small cat went to the park. "),
    fc.array(fc.constantFrom("The", " dog", " ran", " to", " her", " mom", " and", " said", " 12", "é", "\n"), {
      minLength: 1,
      maxLength: 12,
    }),
  )
  .map(([beginning, words]) => beginning + words.join(""));

const writing = fc.record({
  seed: fc.nat(1000),
  max_tokens: fc.integer({ min: 1, max: 24 }),
  temperature: fc.constantFrom(0, 0.7, 1, 2),
  n: fc.constantFrom(1, 1, 1, 3),
  stop: fc.constantFrom<string | null>(null, null, ".", " the"),
  repetition_penalty: fc.constantFrom(1, 1.1),
});

const streaming = fc.constantFrom({}, { stream: true, stream_options: { include_usage: true } });

const format = fc.constantFrom<object>(...[{}, {}, { response_format: { type: "json_object" } }], {
  response_format: { type: "json_schema", json_schema: { name: "a", schema: { enum: ["yes", "no", "maybe not"] } } },
});

const requests: fc.Arbitrary<Asked> = fc.oneof(
  fc.tuple(prompts, writing, streaming).map(([prompt, how, stream]) => ({ path: COMPLETIONS, body: { prompt, ...how, ...stream } })),
  fc.tuple(prompts, writing, streaming, format).map(([content, how, stream, held]) => ({
    path: CHAT,
    body: { messages: [{ role: "user", content }], ...how, ...stream, ...held },
  })),
);

const clients: fc.Arbitrary<Client> = fc.oneof(
  { weight: 4, arbitrary: fc.constant({ kind: "reads" as const }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("reads slowly" as const), pause: fc.integer({ min: 1, max: 20 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("leaves" as const), after: fc.integer({ min: 0, max: 100 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("leaves while it reads" as const), chunks: fc.integer({ min: 1, max: 10 }) }) },
);

/** Until nothing is computed any more, and nothing waits. */
async function idle(): Promise<void> {
  while (model.stats.running + model.stats.waiting > 0) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe("64 clients at once", () => {
  it("each that stays gets what it gets alone, whatever the others do", async () => {
    const alone = handlerOf(lone);
    const expected = async ({ path, body }: Asked): Promise<Said> => {
      const init = { method: "POST", headers: { "content-type": "application/json" } };
      const { stream, stream_options, ...whole } = body;
      const response = await alone(new Request(`http://localhost${path}`, { ...init, body: JSON.stringify(whole) }));
      return saidBy(await response.text());
    };
    await serving(handlerOf(model), async ({ url }) => {
      const scenario = fc.array(fc.tuple(requests, clients), { minLength: 64, maxLength: 64 });
      await fc.assert(
        fc.asyncProperty(scenario, async (all) => {
          const answers = await Promise.all(all.map(([asked, client]) => send(url, asked, client)));
          for (const [i, answer] of answers.entries()) {
            const [asked, client] = all[i]!;
            if (answer === undefined) {
              expect(client.kind).toMatch(/^leaves/);
              continue;
            }
            expect(answer.status, JSON.stringify(asked)).toBe(200);
            expect(saidBy(answer.text), JSON.stringify(asked)).toEqual(await expected(asked));
          }
          await idle(); // what was left behind ends
        }),
        { numRuns: THOROUGH ? 10 : 1, endOnFailure: true },
      );
    });
  });
});

describe("more than the queue holds", () => {
  it("is refused, each with a time to come back; who comes back is answered", async () => {
    const small = await loadModel(undefined, { threads: 1, maxRunning: 2, maxWaiting: 3 });
    try {
      await serving(handlerOf(small), async ({ url }) => {
        const ask = async (seed: number): Promise<Response> =>
          fetch(`${url}${COMPLETIONS}`, {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({ prompt: "The dog", max_tokens: 4, temperature: 0, seed }),
          });
        // Five are held until the others were refused: nobody reads their streams to the end.
        const long = { prompt: "The", max_tokens: 2000, temperature: 2, top_k: 0, n: 5 };
        const leaving = new AbortController();
        const holding = fetch(`${url}${COMPLETIONS}`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(long),
          signal: leaving.signal,
        }).catch(() => {}); // it is aborted below
        while (small.stats.running + small.stats.waiting < 5) await new Promise((resolve) => setTimeout(resolve, 1));
        const refused = await Promise.all(Array.from({ length: 20 }, (_, i) => ask(i)));
        expect(refused.map(({ status }) => status)).toEqual(new Array(20).fill(429));
        for (const { headers } of refused) expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
        expect(small.stats.refused).toBe(20);
        const metrics = await (await fetch(`${url}/metrics`)).text();
        expect(metrics).toContain(`bitnet_responses_total{route="${COMPLETIONS}",status="429"} 20\n`);
        expect(metrics).toContain('bitnet_refused_total{model="stories"} 20\n');
        leaving.abort();
        await holding;
        const patient = async (seed: number): Promise<string> => {
          for (;;) {
            const response = await ask(seed);
            if (response.status === 200) return saidBy(await response.text()).texts[0]!;
            expect(response.status).toBe(429);
            await response.text();
            await new Promise((resolve) => setTimeout(resolve, 10));
          }
        };
        const texts = await Promise.all(Array.from({ length: 20 }, (_, i) => patient(i)));
        expect(new Set(texts).size).toBe(1); // greedy: all the same
      });
    } finally {
      await small.close();
    }
  });
});

/** Everything that the server writes to a connection on which these bytes were sent, until it ends. */
function raw(url: string, ...parts: readonly (string | Uint8Array)[]): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect(Number(new URL(url).port), "127.0.0.1", () => {
      for (const part of parts) socket.write(part);
    });
    socket.setEncoding("latin1").on("data", (part: string) => {
      answer += part;
    });
    socket.on("close", () => resolve(answer)).on("error", () => {}); // cut off while it sends
  });
}

const statusesOf = (answer: string): number[] => [...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status));

it("a stream that is cancelled before it is read ends like any other", async () => {
  const handler = handlerOf(model);
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ prompt: "The", max_tokens: 2000, temperature: 2, top_k: 0, stream: true });
  for (let i = 0; i < 3; i++) {
    const response = await handler(new Request(`http://localhost${COMPLETIONS}`, { method: "POST", headers, body }));
    await response.body!.cancel();
  }
  await idle();
  const metrics = await (await handler(new Request("http://localhost/metrics"))).text();
  expect(metrics).toContain("bitnet_answer_seconds_count 3\n");
});

describe("a server that closes", () => {
  it.each([
    ["no end of its headers", "POST / HT"],
    ["no end of its body", `POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{`],
  ])("waits for no request that has %s", async (_, part) => {
    const server = await listen(handlerOf(model), { host: "127.0.0.1", port: 0 });
    const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
    await new Promise<void>((resolve) => socket.once("connect", () => socket.write(part, () => resolve())));
    await fetch(`${server.url}/health`); // by now, the part has arrived
    const cut = new Promise<void>((resolve) => socket.once("close", () => resolve()).on("error", () => {})); // cut off
    await server.close(100);
    await cut;
    await expect(fetch(`${server.url}/health`)).rejects.toThrow();
  });
});

describe("hostile clients over a connection", () => {
  const json = "Content-Type: application/json\r\n";
  const end = "Connection: close\r\n";
  const post = (body: string | Uint8Array, headers = "", path = CHAT): [string, string | Uint8Array] => [
    `POST ${path} HTTP/1.1\r\nHost: localhost\r\n${json}${end}${headers}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n`,
    body,
  ];
  const get = (path: string, headers = "Host: localhost\r\n", method = "GET"): [string] => [
    `${method} ${path} HTTP/1.1\r\n${headers}${end}\r\n`,
  ];
  const message = '{"messages":[{"role":"user","content":"Hi"}],"max_tokens":1';
  const cases: [what: string, parts: readonly (string | Uint8Array)[], status: number][] = [
    ["a body that is no UTF-8", post(Uint8Array.of(0x7b, 0xc3, 0x28, 0x7d)), 400],
    ["a body of halves of surrogates", post('{"messages":[{"role":"user","content":"\\ud800"}],"max_tokens":1}'), 200],
    ["JSON that is nested a million deep", post(`{"messages":${"[".repeat(1e6)}${"]".repeat(1e6)}}`), 400],
    ["objects that are nested a hundred thousand deep", post(`${'{"a":'.repeat(1e5)}1${"}".repeat(1e5)}`), 400],
    ["messages that are nested", post(`{"messages":[{"role":"user","content":${"[".repeat(5000)}${"]".repeat(5000)}}]}`), 400],
    [
      "a schema that is nested",
      post(
        `${message},"response_format":{"type":"json_schema","json_schema":{"name":"a","schema":${'{"items":'.repeat(5000)}{}${"}".repeat(5000)}}}}`,
      ),
      400,
    ],
    ["a field named __proto__", post(`${message},"__proto__":{"n":32}}`), 400],
    ["a message with __proto__", post('{"messages":[{"role":"user","content":"Hi","__proto__":{"a":1}}],"max_tokens":1}'), 200],
    ["a number without an end", post(`${message},"seed":1e400}`), 400],
    ["a number of a million digits", post(`${message},"seed":${"9".repeat(1e6)}}`), 400],
    ["a million stop texts", post(`${message},"stop":[${'"a",'.repeat(1e6)}"a"]}`), 400],
    ["a million messages", post(`{"messages":[${"{},".repeat(1e6)}{}]}`), 400],
    [
      "more messages than the context has tokens",
      post(`{"messages":[${'{"role":"user","content":"a"},'.repeat(5e4)}{"role":"user","content":"a"}]}`),
      400,
    ],
    ["a prompt of eight million letters", post(`{"prompt":"${"a".repeat(8e6)}"}`, "", COMPLETIONS), 400],
    ["a text of eight million letters", post(`{"input":"${"a".repeat(8e6)}"}`, "", "/v1/embeddings"), 400],
    [
      "a body of chunks without an end",
      [
        `POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\n${json}${end}Transfer-Encoding: chunked\r\n\r\n`,
        ...Array.from({ length: 40 }, () => `100000\r\n${"a".repeat(2 ** 20)}\r\n`),
      ],
      413,
    ],
    ["chunks that are none", [`POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\n${json}${end}Transfer-Encoding: chunked\r\n\r\nzz\r\n`], 400],
    ["a length that is none", [`POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\n${json}${end}Content-Length: -1\r\n\r\n`], 400],
    ["no body at all", [`POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\n${json}${end}\r\n`], 400],
    ["a header within a header", get("/health", "Host: localhost\r\nX-Request-Id: a\rSet-Cookie: b\r\n"), 400],
    ["OPTIONS", get("/v1/models", "Host: localhost\r\n", "OPTIONS"), 405],
    ["DELETE", get("/v1/models", "Host: localhost\r\n", "DELETE"), 405],
    ["a method that there is not", get("/v1/models", "Host: localhost\r\n", "BREW"), 400],
    ["CONNECT", get("localhost:80", "Host: localhost\r\n", "CONNECT"), 0],
    ["two slashes", get("//v1/models"), 404],
    ["an encoded zero", get("/v1/models/%00"), 404],
    ["an encoded slash", get("/v1/models/..%2f..%2fetc%2fpasswd"), 404],
    ["dots", get("/v1/../../etc/passwd"), 404],
    ["a path of 10,000 letters", get(`/v1/models/${"a".repeat(1e4)}`), 404],
    ["localhost in capitals", get("/v1/models", "Host: LOCALHOST\r\n"), 200],
    ["localhost with a port", get("/v1/models", "Host: localhost:1\r\n"), 200],
    ["127.1 as a number", get("/v1/models", "Host: 2130706433\r\n"), 200],
    ["IPv6", get("/v1/models", "Host: [::1]:8080\r\n"), 200],
    ["another IPv6", get("/v1/models", "Host: [::ffff:1.2.3.4]\r\n"), 403],
    ["another name", get("/v1/models", "Host: evil.example\r\n"), 403],
    ["a name within localhost", get("/v1/models", "Host: localhost.evil.example\r\n"), 403],
    ["a user before another name", get("/v1/models", "Host: localhost@evil.example\r\n"), 400],
    ["another name before a path", get("/v1/models", "Host: evil.example/localhost\r\n"), 403],
    ["another name before a question", get("/v1/models", "Host: evil.example?localhost\r\n"), 403],
    ["two hosts", get("/v1/models", "Host: localhost\r\nHost: evil.example\r\n"), 400],
    ["0.0.0.0", get("/v1/models", "Host: 0.0.0.0\r\n"), 403],
  ];
  it("get a clear answer, and the server goes on", async () => {
    await serving(handlerOf(model), async ({ url }) => {
      const wrong: string[] = [];
      for (const [what, parts, status] of cases) {
        const answer = await raw(url, ...parts);
        const [got = 0] = statusesOf(answer);
        if (got !== status) wrong.push(`${what}: ${got}, not ${status}: ${answer.slice(-300)}`);
        if (/^set-cookie/im.test(answer)) wrong.push(`${what}: a header was let through`);
        expect((await fetch(`${url}/health`)).status, what).toBe(200);
      }
      expect(wrong).toEqual([]);
      await idle();
    });
  });

  it("requests one behind the other on one connection are answered in their order", async () => {
    await serving(handlerOf(model), async ({ url }) => {
      const body = '{"prompt":"The","max_tokens":3,"seed":1}';
      const one = `POST ${COMPLETIONS} HTTP/1.1\r\nHost: localhost\r\n${json}Content-Length: ${body.length}\r\n\r\n${body}`;
      const wrong = `POST ${COMPLETIONS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
      const answer = await raw(url, one, "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", wrong, one, get("/health")[0]);
      expect(statusesOf(answer)).toEqual([200, 404, 415, 200, 200]);
    });
  });
});
