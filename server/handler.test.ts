import { createHash } from "node:crypto";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BitnetError } from "../engine/errors.js";
import { type Generation, loadModel, type Model } from "../engine/index.js";
import { createHandler, type Handler, type HandlerOptions } from "./handler.js";
import type { ServedModel } from "./models.js";
import { listen } from "./node.js";

let model: Model;
beforeAll(async () => {
  model = await loadModel(undefined, { threads: 2 });
});
afterAll(() => model.close());

const handlerOf = (options: HandlerOptions = {}, served: ServedModel = model): Handler =>
  createHandler(new Map([["stories", served]]), options);

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: unknown;
}

async function ask(handler: Handler, path: string, init: RequestInit = {}): Promise<Answer> {
  const response = await handler(new Request(`http://localhost:8080${path}`, init));
  const text = await response.text();
  const isJson = response.headers.get("content-type") === "application/json";
  return { status: response.status, headers: response.headers, body: isJson && text !== "" ? JSON.parse(text) : text };
}

function post(handler: Handler, path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return ask(handler, path, { method: "POST", body: text, headers: { "content-type": "application/json", ...headers } });
}

const CHAT = "/v1/chat/completions";
const said = [{ role: "user", content: "Hi" }];

describe("hostile and mistaken requests get one clear sentence", () => {
  const bad: [path: string, body: unknown, param: string | null, says: RegExp][] = [
    [CHAT, "", null, /not valid JSON/],
    [CHAT, "{", null, /not valid JSON/],
    [CHAT, "[]", null, /must be a JSON object/],
    [CHAT, "null", null, /must be a JSON object/],
    [CHAT, {}, "messages", /a list of messages/],
    [CHAT, { messages: "Hi" }, "messages", /a list of messages/],
    [CHAT, { messages: [] }, "messages", /no messages/],
    [CHAT, { messages: [{ role: "user" }] }, "messages", /message 0 has no content/],
    [CHAT, { messages: [{ role: "boss", content: "Hi" }] }, "messages", /unknown role "boss"/],
    [CHAT, { messages: [{ role: "user", content: [{ type: "image_url", image_url: {} }] }] }, "messages", /only text is supported/],
    [CHAT, { messages: said, model: 1 }, "model", /a string/],
    [CHAT, { messages: said, temperature: "hot" }, "temperature", /a number from 0 to 2/],
    [CHAT, { messages: said, temperature: -0.1 }, "temperature", /a number from 0 to 2/],
    [CHAT, { messages: said, top_p: 1.1 }, "top_p", /a number from 0 to 1/],
    [CHAT, { messages: said, top_k: 1.5 }, "top_k", /a whole number/],
    [CHAT, { messages: said, min_p: 2 }, "min_p", /a number from 0 to 1/],
    [CHAT, { messages: said, repetition_penalty: 0 }, "repetition_penalty", /from 0.01 to 100/],
    [CHAT, { messages: said, seed: 0.5 }, "seed", /a whole number/],
    [CHAT, { messages: said, n: 0 }, "n", /from 1 to 32/],
    [CHAT, { messages: said, n: 33 }, "n", /from 1 to 32/],
    [CHAT, { messages: said, max_tokens: -1 }, "max_tokens", /from 0 to/],
    [CHAT, { messages: said, max_completion_tokens: "9" }, "max_completion_tokens", /from 0 to/],
    [CHAT, { messages: said, stop: "" }, "stop", /not empty/],
    [CHAT, { messages: said, stop: ["a", 1] }, "stop", /not empty/],
    [CHAT, { messages: said, stop: new Array(17).fill("a") }, "stop", /up to 16/],
    [CHAT, { messages: said, stream: "yes" }, "stream", /true or false/],
    [CHAT, { messages: said, stream_options: { include_usage: true } }, "stream_options", /where stream is not true/],
    [CHAT, { messages: said, temprature: 1 }, "temprature", /unknown field "temprature"/],
    [CHAT, '{"messages":[{"role":"user","content":"Hi"}],"__proto__":{"n":2}}', "__proto__", /unknown field/],
    [CHAT, '{"messages":[{"role":"user","content":"Hi"}],"toString":1}', "toString", /unknown field/],
    [CHAT, { messages: said, logprobs: 3 }, "logprobs", /true or false/],
    [CHAT, { messages: said, top_logprobs: 3 }, "top_logprobs", /where logprobs is not true/],
    [CHAT, { messages: said, logprobs: true, top_logprobs: 21 }, "top_logprobs", /from 0 to 20/],
    ["/v1/completions", { prompt: "a", logprobs: 21 }, "logprobs", /from 0 to 20/],
    ["/v1/completions", { prompt: "a", logprobs: true }, "logprobs", /a whole number/],
    [CHAT, { messages: said, presence_penalty: 2.1 }, "presence_penalty", /from -2 to 2/],
    [CHAT, { messages: said, frequency_penalty: -3 }, "frequency_penalty", /from -2 to 2/],
    [CHAT, { messages: said, return_token_ids: 1 }, "return_token_ids", /true or false/],
    [CHAT, { messages: said, response_format: {} }, "response_format", /an object with a type/],
    [CHAT, { messages: said, response_format: { type: "json_schema" } }, "response_format", /json_schema/],
    ["/v1/completions", { prompt: "a", response_format: { type: "json_object" } }, "response_format", /unknown field/],
    ...[{ 4096: 1 }, { "-1": 1 }, { "1.5": 1 }, { "05": 1 }, { a: 1 }, { 5: 101 }, { 5: "1" }, { 5: null }, [1], 1].map(
      (bias): [string, unknown, string, RegExp] => [
        CHAT,
        { messages: said, logit_bias: bias },
        "logit_bias",
        /token ids, from 0 to 4095, each with a number/,
      ],
    ),
    [
      CHAT,
      { messages: said, logit_bias: Object.fromEntries(Array.from({ length: 1025 }, (_, id) => [id, 1])) },
      "logit_bias",
      /up to 1024/,
    ],
    [CHAT, { messages: said, tools: [{ type: "function", function: { name: "f" } }] }, "tools", /knows no tools/],
    [CHAT, { messages: said, tool_choice: "required" }, "tool_choice", /"auto" or "none" where there are no tools/],
    ["/v1/completions", {}, "prompt", /a string, a list of token ids/],
    ["/v1/completions", { prompt: [] }, "prompt", /a string, a list/],
    ["/v1/completions", { prompt: ["a", 1] }, "prompt", /a string, a list/],
    ["/v1/completions", { prompt: [1e9] }, "prompt", /token id 1000000000/],
    ["/v1/completions", { prompt: [0.5] }, "prompt", /not a whole number/],
    ["/v1/completions", { prompt: new Array(20).fill("a"), n: 2 }, "n", /at most 32 answers in all/],
    ["/v1/embeddings", {}, "input", /a string, or a list/],
    ["/v1/embeddings", { input: [[1, 2]] }, "input", /token ids are not supported yet/],
    ["/v1/embeddings", { input: ["a", ""] }, "input", /is empty/],
    ["/v1/embeddings", { input: "a", encoding_format: "hex" }, "encoding_format", /one of "float", "base64"/],
    ["/v1/embeddings", { input: "a", dimensions: 8 }, "dimensions", /not supported yet/],
  ];
  it.each(bad)("%s %j", async (path, body, param, says) => {
    const { status, body: answer } = await post(handlerOf(), path, body);
    expect({ status, answer }).toMatchObject({
      status: 400,
      answer: { error: { param, type: "invalid_request_error", message: expect.stringMatching(says) } },
    });
  });

  it("fields with the value that asks for nothing pass, and null is not given", async () => {
    const nothing = {
      ...{ logprobs: false, top_logprobs: 0, logit_bias: {}, presence_penalty: 0, frequency_penalty: 0 },
      ...{ response_format: { type: "text" }, tools: [], tool_choice: "none", temperature: null, stop: null, seed: null, n: null },
      ...{ user: "me", metadata: { a: "b" }, store: false, parallel_tool_calls: true, stream: false, modalities: ["text"] },
    };
    expect(await post(handlerOf(), CHAT, { messages: said, max_tokens: 1, ...nothing })).toMatchObject({ status: 200 });
  });

  it("a body that is no UTF-8, has another type, or is too large", async () => {
    const handler = handlerOf({ maxBodyBytes: 1000 });
    const bytes = { method: "POST", headers: { "content-type": "application/json" }, body: Uint8Array.of(0x22, 0xff, 0x22) };
    expect(await ask(handler, CHAT, bytes)).toMatchObject({ status: 400, body: { error: { code: "invalid_json" } } });
    expect(await post(handlerOf(), CHAT, "[".repeat(1_000_000))).toMatchObject({ status: 400, body: { error: { code: "invalid_json" } } });
    expect(await post(handler, CHAT, { messages: said }, { "content-type": "text/plain" })).toMatchObject({ status: 415 });
    for (const size of [1001, 100_000]) {
      const { status, body } = await post(handler, CHAT, `"${"a".repeat(size - 2)}"`);
      expect({ status, body }).toMatchObject({ status: 413, body: { error: { message: expect.stringContaining("1000 bytes") } } });
    }
    expect(await post(handler, CHAT, `{${" ".repeat(998)}}`)).toMatchObject({ status: 400, body: { error: { param: "messages" } } });
  });

  it("addresses and methods that there are not", async () => {
    const handler = handlerOf();
    expect(await ask(handler, "/v1/nothing")).toMatchObject({ status: 404, body: { error: { code: "not_found" } } });
    expect(await ask(handler, "/v1/models/%E0%A4%A")).toMatchObject({ status: 404, body: { error: { code: "model_not_found" } } });
    const wrong = await ask(handler, CHAT);
    expect([wrong.status, wrong.headers.get("allow")]).toEqual([405, "POST"]);
    expect((await ask(handler, "/health", { method: "HEAD" })).status).toBe(200);
  });
});

describe("who may ask", () => {
  it("with a key: only who has it, but for the page and the health", async () => {
    const handler = handlerOf({ apiKey: "secret" });
    const statusOf = async (path: string, authorization?: string): Promise<number> =>
      (await ask(handler, path, authorization === undefined ? {} : { headers: { authorization } })).status;
    for (const path of ["/v1/models", "/metrics"]) {
      expect(await statusOf(path)).toBe(401);
      for (const wrong of ["secret", "Bearer", "Bearer secre", "Bearer secrets", "Basic secret"])
        expect(await statusOf(path, wrong)).toBe(401);
      expect(await statusOf(path, "Bearer secret")).toBe(200);
    }
    expect(await statusOf("/health")).toBe(200);
    expect(await statusOf("/")).toBe(200);
  });

  it("without one, on loopback: no name but this machine's own, so that no page can make its name lead here", async () => {
    const asks = async (host: string, options: HandlerOptions): Promise<number> =>
      (await handlerOf(options)(new Request(`http://${host}/v1/models`, { headers: { authorization: "Bearer k" } }))).status;
    for (const host of ["localhost", "127.0.0.1:80", "[::1]:8080"]) expect(await asks(host, { loopbackOnly: true })).toBe(200);
    for (const host of ["example.com", "localhost.example.com", "127.0.0.1.example.com"]) {
      expect(await asks(host, { loopbackOnly: true })).toBe(403);
      expect(await asks(host, { loopbackOnly: true, apiKey: "k" })).toBe(200);
      expect(await asks(host, {})).toBe(200);
    }
  });

  it("pages of other origins read nothing unless they are allowed to", async () => {
    const origin = "http://localhost:3000";
    const asks = async (cors: string | undefined, init: RequestInit): Promise<Answer> =>
      ask(handlerOf(cors === undefined ? {} : { cors }), "/v1/models", init);
    const allowed = ({ headers }: Answer): string | null => headers.get("access-control-allow-origin");
    expect(allowed(await asks(undefined, { headers: { origin } }))).toBeNull();
    expect(allowed(await asks("http://localhost:3001", { headers: { origin } }))).toBeNull();
    expect(allowed(await asks(origin, { headers: { origin } }))).toBe(origin);
    expect(allowed(await asks("*", { headers: { origin } }))).toBe("*");
    const question = {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization,x-a" },
    };
    expect((await asks(undefined, question)).status).toBe(405);
    const preflight = await asks(origin, question);
    expect([preflight.status, preflight.headers.get("access-control-allow-headers")]).toEqual([204, "authorization,x-a"]);
  });

  it("a request's id comes back, unless it could do harm", async () => {
    const idOf = async (given: string): Promise<string | null> =>
      (await ask(handlerOf(), "/health", { headers: { "x-request-id": given } })).headers.get("x-request-id");
    expect(await idOf("trace-1:2.3")).toBe("trace-1:2.3");
    for (const given of ["a b", "<b>", "a".repeat(129), ""]) expect(await idOf(given)).toMatch(/^req_[0-9a-f]{32}$/);
  });
});

/** The model, but for one answer that is the test's own. */
function withChat(chat: () => Generation): ServedModel {
  const { tokenizer, chatTemplate, contextLength, stats } = model;
  const bound = { generate: model.generate.bind(model), embed: model.embed.bind(model), toolCallParser: () => undefined };
  return { tokenizer, chatTemplate, contextLength, stats, chat, ...bound };
}

/** An answer with this text, and no result. */
function withoutEnd(read: () => AsyncGenerator<string>): Generation {
  return {
    result: () => Promise.reject(new Error("has no end")),
    async *pieces() {
      for await (const text of read()) yield { text, ids: [] };
    },
    [Symbol.asyncIterator]: read,
  };
}

describe("failures", () => {
  it("the server's own are told to who runs it, and nothing of them to the client", async () => {
    const heard: unknown[] = [];
    const failure = new BitnetError("internal", "a worker died: /secret/model.gguf");
    const failing = withChat(() => {
      throw failure;
    });
    const handler = handlerOf({ onError: (error, id) => heard.push(error, id) }, failing);
    for (const stream of [false, true]) {
      const { status, body } = await post(handler, CHAT, { messages: said, stream }, { "x-request-id": "mine" });
      expect({ status, body }).toMatchObject({
        status: 500,
        body: { error: { type: "server_error", message: "the server failed to answer this request" } },
      });
    }
    expect(heard).toEqual([failure, "mine", failure, "mine"]);
    expect(await ask(handler, "/health")).toMatchObject({ status: 503, body: { status: "failed" } });
  });

  it("a model's path stays on this machine", async () => {
    const failing = withChat(() => {
      throw new BitnetError("tokenizer", "/secret/model.gguf: the chat template fails", { file: "/secret/model.gguf" });
    });
    const { body } = await post(handlerOf({}, failing), CHAT, { messages: said });
    expect(body).toMatchObject({ error: { message: "stories: the chat template fails" } });
  });

  it("one behind the first word is an event of its own, and the last", async () => {
    const failing = withChat(() =>
      withoutEnd(async function* () {
        yield "One";
        throw new BitnetError("internal", "a worker died");
      }),
    );
    const { status, body } = await post(handlerOf({}, failing), CHAT, { messages: said, stream: true });
    const events = String(body).trim().split("\n\n");
    expect(status).toBe(200);
    expect(events).toHaveLength(3); // the role, the word, the error
    expect(JSON.parse(events[2]!.slice("data: ".length))).toMatchObject({ error: { type: "server_error" } });
  });
});

describe("a slow reader", () => {
  /** An answer without an end, and how many of its pieces were asked for. */
  function endless(): { readonly model: ServedModel; readonly asked: () => number; readonly signal: () => AbortSignal } {
    let asked = 0;
    let signal: AbortSignal;
    const served = withChat(() =>
      withoutEnd(async function* () {
        for (;;) {
          asked++;
          yield "word ".repeat(2000);
        }
      }),
    );
    const chat: ServedModel["chat"] = (messages, options) => {
      signal = options!.signal as AbortSignal;
      return served.chat(messages, options);
    };
    return { model: { ...served, chat }, asked: () => asked, signal: () => signal };
  }

  it("pulls what it reads, and no more; leaving ends the work", async () => {
    const { model, asked, signal } = endless();
    const body = JSON.stringify({ messages: said, stream: true });
    const response = await handlerOf(
      {},
      model,
    )(new Request(`http://localhost${CHAT}`, { method: "POST", body, headers: { "content-type": "application/json" } }));
    const reader = response.body!.getReader();
    for (let i = 0; i < 5; i++) await reader.read();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(asked()).toBeLessThan(10);
    await reader.cancel();
    expect(signal().aborted).toBe(true);
  });

  it("over a connection, too; one that reads nothing is cut off", async () => {
    const { model, asked, signal } = endless();
    const server = await listen(handlerOf({}, model), { host: "127.0.0.1", port: 0, stallMs: 300 });
    try {
      const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
      const body = JSON.stringify({ messages: said, stream: true });
      socket.pause();
      socket.on("error", () => {}); // cut off
      socket.write(
        `POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
      let before = -1;
      while (asked() === 0 || asked() > before) {
        before = asked();
        await new Promise((resolve) => setTimeout(resolve, 100)); // until what the system buffers is full
      }
      expect(before).toBeLessThan(5_000); // 50 MB
      while (!signal().aborted) await new Promise((resolve) => setTimeout(resolve, 20));
      const after = asked();
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(asked()).toBe(after);
      socket.destroy();
    } finally {
      await server.close(0);
    }
  });
});

it("the page loads nothing, and its policy lets nothing run but what is in it", async () => {
  const { headers, body } = await ask(handlerOf(), "/");
  const html = String(body);
  const policy = headers.get("content-security-policy")!;
  for (const element of ["script", "style"]) {
    const inside = [...html.matchAll(new RegExp(`<${element}>(.*?)</${element}>`, "gs"))].map(([, text]) => text!);
    expect(inside).toHaveLength(1);
    expect(policy).toContain(`${element}-src 'sha256-${createHash("sha256").update(inside[0]!).digest("base64")}';`);
  }
  expect(policy).toMatch(/^default-src 'none';/);
  expect(policy).not.toContain("unsafe");
  expect(html).not.toMatch(/innerHTML|insertAdjacent|document\.write|eval\(|https?:|\son\w+=|\sstyle=/);
});

it("a server that stops: streams end with a finish reason, new requests are refused, the health says so", async () => {
  const stopping = new AbortController();
  const handler = handlerOf({ stopping: stopping.signal, streamGraceMs: 20 });
  const init = { method: "POST", headers: { "content-type": "application/json" } };
  const long = { messages: said, seed: 3, max_tokens: 3000, temperature: 2, top_k: 0 };
  const response = await handler(
    new Request(`http://localhost${CHAT}`, { ...init, body: JSON.stringify({ ...long, n: 8, stream: true }) }),
  );
  const plain = post(handler, CHAT, { messages: said, seed: 3, max_tokens: 60 });
  stopping.abort();
  const text = await response.text();
  expect(text.match(/"finish_reason":"(?:length|stop)"/g)).toHaveLength(8);
  expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
  const { body } = await plain;
  const whole = await post(handlerOf(), CHAT, { messages: said, seed: 3, max_tokens: 60 });
  expect((body as { choices: unknown }).choices).toEqual((whole.body as { choices: unknown }).choices);
  expect(await post(handler, CHAT, { messages: said })).toMatchObject({ status: 503, body: { error: { code: "stopping" } } });
  expect(await ask(handler, "/health")).toMatchObject({ status: 503, body: { status: "stopping" } });
});

it("metrics are in Prometheus's form, and count what was done", async () => {
  const handler = handlerOf();
  await post(handler, CHAT, { messages: said, max_tokens: 2 });
  await post(handler, CHAT, "{");
  await ask(handler, "/no/such");
  const text = String((await ask(handler, "/metrics")).body);
  for (const line of text.trimEnd().split("\n"))
    expect(line).toMatch(/^(?:# (?:HELP|TYPE) bitnet_\w+ .+|bitnet_\w+(?:\{(?:\w+="[^"]*",?)+\})? [\d.e+-]+)$/);
  const { generatedTokens } = model.stats;
  for (const line of [
    `bitnet_generated_tokens_total{model="stories"} ${generatedTokens}`,
    `bitnet_responses_total{route="${CHAT}",status="200"} 1`,
    `bitnet_responses_total{route="${CHAT}",status="400"} 1`,
    'bitnet_responses_total{route="other",status="404"} 1',
    "bitnet_answer_seconds_count 1",
    'bitnet_first_token_seconds_bucket{le="+Inf"} 1',
  ]) {
    expect(text.split("\n")).toContain(line);
  }
});

describe("node:http", () => {
  it("answers odd requests, and goes on", async () => {
    const server = await listen(handlerOf({ maxBodyBytes: 10_000 }), { host: "127.0.0.1", port: 0 });
    try {
      const { port } = new URL(server.url);
      const raw = (text: string): Promise<string> =>
        new Promise((resolve) => {
          let answer = "";
          const socket = connect(Number(port), "127.0.0.1", () => socket.write(text));
          socket.setEncoding("latin1").on("data", (part: string) => {
            answer += part;
          });
          socket.on("close", () => resolve(answer)).on("error", () => {});
        });
      const end = "Connection: close\r\n\r\n";
      const mistakes: [request: string, status: number][] = [
        [`GET / HTTP/1.1\r\n${end}`, 400], // no host
        [`GET / HTTP/1.1\r\nHost: a b\r\n${end}`, 400],
        [`GET http://example.com/health HTTP/1.1\r\nHost: localhost\r\n${end}`, 400],
        [`OPTIONS * HTTP/1.1\r\nHost: localhost\r\n${end}`, 400],
        [`TRACE / HTTP/1.1\r\nHost: localhost\r\n${end}`, 400],
        [`GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ${"a".repeat(20_000)}\r\n${end}`, 431],
        [`POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n${end}`, 400],
        [`GET //example.com/health HTTP/1.1\r\nHost: localhost\r\n${end}`, 404],
        [`GET /health HTTP/1.1\r\nHost: localhost\r\n${end}`, 200],
        [`GET /health?a=${"%00".repeat(10)} HTTP/1.0\r\n\r\n`, 200],
      ];
      for (const [text, status] of mistakes) expect([text, Number((await raw(text)).split(" ")[1])]).toEqual([text, status]);
      const large = await fetch(`${server.url}${CHAT}`, {
        method: "POST",
        body: "a".repeat(30_000),
        headers: { "content-type": "application/json" },
      });
      expect(large.status).toBe(413);
      expect((await fetch(`${server.url}/health`)).status).toBe(200);
    } finally {
      await server.close(0);
    }
  });

  it("a connection that was opened and never used does not keep a server from closing", async () => {
    const server = await listen(handlerOf(), { host: "127.0.0.1", port: 0 });
    const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
    await new Promise((resolve) => socket.once("connect", resolve));
    const start = performance.now();
    await server.close(0);
    expect(performance.now() - start).toBeLessThan(5_000); // headers are awaited for ten seconds
    socket.destroy();
  });

  it("a client that leaves in the middle of its request costs nothing", async () => {
    const server = await listen(handlerOf(), { host: "127.0.0.1", port: 0 });
    try {
      const half = httpRequest(`${server.url}${CHAT}`, {
        method: "POST",
        headers: { "content-type": "application/json", "content-length": 100 },
      });
      half.on("error", () => {});
      half.write('{"messages":');
      await new Promise((resolve) => setTimeout(resolve, 20));
      half.destroy();
      expect((await fetch(`${server.url}/health`)).status).toBe(200);
      expect(model.stats.running).toBe(0);
    } finally {
      await server.close(0);
    }
  });
});
