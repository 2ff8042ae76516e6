import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  COMMIT,
  endless,
  IMPATIENT,
  pullFrom,
  refuse,
  SMALL,
  sendFile,
  sha256,
  someModel,
  TestHub,
  type Trick,
  temporaryStore,
} from "./hub.test.helper.js";
import { findModel, list, remove, resolve } from "./index.js";
import type { PullProgress } from "./pull.js";

let hub: TestHub;
let store: ReturnType<typeof temporaryStore>;
beforeAll(async () => {
  hub = await TestHub.start();
});
afterAll(() => hub.stop());
beforeEach(() => {
  hub.reset();
  store = temporaryStore();
});
afterEach(() => store.remove());

const DATA = someModel(500_000); // 8 parts
const GGUF = "ggml-model-i2_s.gguf";
const NAME = "owner/name";

const pull = (name = NAME, more = {}, surroundings = SMALL) => pullFrom(hub, store.cache, name, more, surroundings);
/** How a pull ended that should not succeed. */
async function refusal(name = NAME, more = {}, surroundings = SMALL): Promise<{ code: string; message: string }> {
  const error = await pull(name, more, surroundings).then(
    () => new Error("was not refused"),
    (reason: unknown) => reason as Error & { code: string },
  );
  expect(error).toMatchObject({ name: "BitnetError" });
  expect(error.message).toMatch(/^[^\n]{10,600}[^.\n]$/);
  expect(error.message).not.toContain("hf_secret");
  return error as Error & { code: string };
}
const unfinished = async () => (await list({ cache: store.cache })).unfinished;
/** Bodies that were asked for. */
const bodies = () => hub.seen.filter(({ server }) => server === "files");

describe("a repository with one GGUF", () => {
  beforeEach(() => {
    hub.files.set("README.md", Buffer.from("# Model"));
    hub.files.set(GGUF, DATA);
  });

  it("is downloaded in parts, verified and stored by its content; the token goes to the hub alone", async () => {
    const progress: PullProgress[] = [];
    const stored = await pull(NAME, { onProgress: (one: PullProgress) => progress.push(one) });
    expect(stored).toMatchObject({
      ...{ name: NAME, source: hub.endpoint, revision: COMMIT, main: GGUF, size: DATA.length },
      files: [{ path: GGUF, size: DATA.length, sha256: sha256(DATA), etag: null }],
    });
    expect(readFileSync(stored.path)).toEqual(DATA);
    expect(readdirSync(join(store.cache, "blobs"))).toEqual([sha256(DATA)]);
    expect(readlinkSync(stored.path)).toBe(join("..", "..", "..", "blobs", sha256(DATA)));
    expect(readdirSync(join(store.cache, "partial"))).toEqual([]);
    expect(
      bodies()
        .map(({ range }) => range)
        .sort(),
    ).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((i) => `bytes=${i * 65536}-${Math.min((i + 1) * 65536, DATA.length) - 1}`).sort());
    expect(new Set(hub.seen.map(({ server, authorization }) => `${server} ${authorization}`))).toEqual(
      new Set(["hub Bearer hf_secret", "files undefined"]),
    );
    const dones = progress.map(({ done }) => done);
    expect(dones).toEqual(dones.toSorted((a, b) => a - b));
    expect(progress.at(-1)).toEqual({ file: GGUF, done: DATA.length, total: DATA.length, received: DATA.length, waiting: false });

    // Found again by its name, and by no other.
    const { cache } = store;
    expect(resolve(NAME, { cache })).toBe(stored.path);
    expect(resolve(`hf:${NAME}:${GGUF}`, { cache })).toBe(stored.path);
    expect(findModel(NAME, { cache })).toBe(stored.path);
    expect(findModel("package.json", { cache })).toBe("package.json");
    expect(() => resolve(`${NAME}@other`, { cache })).toThrow(
      /no model is stored under the name owner\/name@other; bitnet pull owner\/name@other/,
    );
    expect(await list({ cache })).toEqual({ cache, models: [stored], unfinished: [], damaged: [] });

    // Pulled again, nothing is downloaded; without its blob, it is.
    hub.seen.length = 0;
    expect(await pull()).toEqual(stored);
    expect(bodies()).toEqual([]);
    rmSync(join(cache, "blobs", sha256(DATA)));
    expect(() => resolve(NAME, { cache })).toThrow(
      /ggml-model-i2_s\.gguf is missing or damaged in the store; bitnet pull owner\/name repairs it/,
    );
    await pull();
    expect(readFileSync(resolve(NAME, { cache }))).toEqual(DATA);

    expect(await remove(NAME, { cache })).toBe(DATA.length);
    expect(await list({ cache })).toMatchObject({ models: [], unfinished: [] });
    expect(readdirSync(join(cache, "blobs"))).toEqual([]);
    await expect(remove(NAME, { cache })).rejects.toMatchObject({ code: "usage", message: expect.stringContaining("no model is stored") });
  });

  it("a new revision takes the place of the old one, and what only the old one had goes", async () => {
    await pull();
    const newer = someModel(100_000);
    hub.files.set(GGUF, newer);
    hub.commit = "f".repeat(40);
    const stored = await pull();
    expect(stored.revision).toBe(hub.commit);
    expect(readFileSync(stored.path)).toEqual(newer);
    expect(readdirSync(join(store.cache, "blobs"))).toEqual([sha256(newer)]);
    expect((await list({ cache: store.cache })).models).toEqual([stored]);
  });

  it("names of one content share it, and removing one leaves it to the other", async () => {
    const { cache } = store;
    await pull();
    hub.seen.length = 0;
    await pull(`${NAME}@v1`);
    expect(bodies()).toEqual([]);
    expect(await remove(NAME, { cache })).toBe(0);
    expect(readFileSync(resolve(`${NAME}@v1`, { cache }))).toEqual(DATA);
    expect(await remove(`${NAME}@v1`, { cache })).toBe(DATA.length);
  });

  it("an abort leaves what is there to the next pull", async () => {
    const abort = new AbortController();
    const reason = new Error("enough");
    const onProgress = ({ done }: PullProgress): void => {
      if (done > 200_000) abort.abort(reason);
    };
    await expect(pull(NAME, { signal: abort.signal, onProgress })).rejects.toBe(reason);
    const [left] = await unfinished();
    expect(left).toMatchObject({ name: NAME, file: GGUF, size: DATA.length, active: false });
    expect(left!.done).toBeGreaterThan(200_000);
    let received = 0;
    const stored = await pull(NAME, {
      onProgress: (one: PullProgress) => {
        received = one.received;
      },
    });
    expect(received).toBe(DATA.length - left!.done);
    expect(readFileSync(stored.path)).toEqual(DATA);
    await expect(pull(NAME, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  it("two pulls at once download it once", async () => {
    let waited = false;
    const watch = (one: PullProgress): void => {
      waited ||= one.waiting;
    };
    const [a, b] = await Promise.all([pull(NAME, { onProgress: watch }), pull(NAME, { onProgress: watch })]);
    expect(a.path).toBe(b.path);
    expect(readFileSync(a.path)).toEqual(DATA);
    expect(waited).toBe(true);
    expect(bodies()).toHaveLength(8);
  });

  it("the disk is asked first", async () => {
    const said = await refusal(NAME, {}, { ...SMALL, freeBytes: async () => 64 * 2 ** 20 + 499_999 });
    expect(said).toMatchObject({
      code: "io",
      message: expect.stringMatching(/500 kB are to be downloaded, but the disk of .* has only 67\.6 MB left.*BITNET_CACHE/),
    });
    expect(bodies()).toEqual([]);
    const broken = { ...SMALL, freeBytes: () => Promise.reject(Object.assign(new Error("x"), { code: "EIO" })) };
    expect(await refusal(NAME, {}, broken)).toMatchObject({ code: "io" });
  });

  it("a damaged record is listed, hides nothing else, and is replaced by a pull", async () => {
    const { cache } = store;
    const stored = await pull();
    const [folder] = readdirSync(join(cache, "models"));
    const record = join(cache, "models", folder!, "model.json");
    writeFileSync(record, readFileSync(record, "utf8").replace(GGUF, "../../escape"));
    expect(await list({ cache })).toMatchObject({ models: [], damaged: [record] });
    expect(() => resolve(NAME, { cache })).toThrow(/no model is stored/);
    expect(await pull()).toMatchObject({ path: stored.path });
    expect(await list({ cache })).toMatchObject({ models: [{ name: NAME }], damaged: [] });
  });

  // ---- Faults of servers: each ends in a resumed download or in one sentence.

  /** On the server of large files, from the n-th request on, or for one. */
  const once = (trick: Trick): void => {
    let used = false;
    hub.trick = (request, response, seen) => {
      if (used || seen.server !== "files") return false;
      used = true;
      return trick(request, response, seen);
    };
  };
  const always = (trick: Trick): void => {
    hub.trick = (request, response, seen) => seen.server === "files" && trick(request, response, seen);
  };
  const part = (request: Parameters<Trick>[0], data = DATA): Buffer => {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range!)!;
    return data.subarray(Number(first), Number(last) + 1);
  };
  /** The headers of a right answer to a range. */
  const head = (request: Parameters<Trick>[0]) => ({
    "content-length": part(request).length,
    "content-range": `${request.headers.range!.replace("=", " ")}/${DATA.length}`,
    etag: `"${sha256(DATA)}"`,
  });
  const tag = `"${sha256(DATA)}"`;

  const surroundingsFor = (what: string) => (/stall|never/.test(what) ? IMPATIENT : SMALL);

  const MENDED: readonly (readonly [what: string, set: () => void])[] = [
    [
      "every connection drops after 20,000 bytes",
      () =>
        always((request, response) => {
          if (part(request).length <= 20_000) return false;
          response.writeHead(206, head(request));
          return response.write(part(request).subarray(0, 20_000), () => response.destroy());
        }),
    ],
    [
      "a body ends early, without a fault of the connection",
      () =>
        once((request, response) => {
          const { "content-length": _, ...headers } = head(request);
          response.writeHead(206, headers).end(part(request).subarray(0, 1000));
          return true;
        }),
    ],
    [
      "a connection is dropped before it answers",
      () =>
        once((request) => {
          request.socket.destroy();
          return true;
        }),
    ],
    ["HTTP 500", () => once((_, response) => refuse(response, 500, {}))],
    ["429 with Retry-After", () => once((_, response) => refuse(response, 429, { "retry-after": "0" }))],
    ["503 with a date", () => once((_, response) => refuse(response, 503, { "retry-after": new Date(0).toUTCString() }))],
    ["a signed address that has run out", () => once((_, response) => refuse(response, 403, {}))],
    [
      "more bytes than were asked for, without an end",
      () =>
        once((request, response) => {
          const { "content-length": _, ...headers } = head(request);
          response.writeHead(206, headers);
          response.write(part(request), () => endless(response, Buffer.alloc(10_000)));
          return true;
        }),
    ],
    [
      "a connection that stalls",
      () => once((request, response) => response.writeHead(206, head(request)).write(part(request).subarray(0, 500))),
    ],
    ["a server that never answers", () => once(() => true)],
    [
      "a slow connection that never stops",
      () =>
        once((request, response) => {
          response.writeHead(206, head(request));
          let at = 0;
          const timer = setInterval(() => {
            if (response.destroyed) clearInterval(timer);
            else response.write(part(request).subarray(at, ++at));
          }, 20);
          return true;
        }),
    ],
    [
      "another range than was asked for",
      () =>
        once((request, response) =>
          response.writeHead(206, { ...head(request), "content-range": `bytes 7-65542/${DATA.length}` }).end(part(request)),
        ),
    ],
    [
      "no range at all in a 206",
      () => once((request, response) => response.writeHead(206, { "content-length": 65536, etag: tag }).end(part(request))),
    ],
    [
      "a body that is compressed although that was not asked for",
      () => once((request, response) => response.writeHead(206, { ...head(request), "content-encoding": "gzip" }).end(part(request))),
    ],
    ["no support of ranges", () => always((_, response) => response.writeHead(200, { "content-length": DATA.length }).end(DATA))],
    [
      "no support of ranges, no length, and a drop",
      () => {
        let drops = 2;
        always((_, response) => {
          response.writeHead(200);
          if (drops-- > 0) response.write(DATA.subarray(0, 300_000), () => response.destroy());
          else response.end(DATA);
          return true;
        });
      },
    ],
    [
      "ranges that end after the first answers",
      () => {
        let count = 0;
        always((_, response) => count++ > 3 && response.writeHead(200, { "content-length": DATA.length, etag: tag }).end(DATA));
      },
    ],
    [
      "another ETag in the midst, once",
      () => {
        let count = 0;
        always((request, response) => ++count === 4 && response.writeHead(206, { ...head(request), etag: '"other"' }).end(part(request)));
      },
    ],
    ["a weak ETag", () => always((request, response) => response.writeHead(206, { ...head(request), etag: 'W/"x"' }).end(part(request)))],
    [
      "a file of another size, once",
      () =>
        once((request, response) =>
          response.writeHead(206, { ...head(request), "content-range": "bytes 0-65535/99999" }).end(part(request)),
        ),
    ],
    ["HTTP 416, once", () => once((_, response) => refuse(response, 416, {}))],
  ];
  it.each(MENDED)("mends: %s", async (what, set) => {
    set();
    const stored = await pull(NAME, {}, surroundingsFor(what));
    expect(readFileSync(stored.path)).toEqual(DATA);
    expect(readdirSync(join(store.cache, "partial"))).toEqual([]);
  });

  const wrong = Buffer.from(DATA);
  wrong[300_000]! ^= 1;
  const REFUSED: readonly (readonly [what: string, set: () => void, code: string, said: RegExp])[] = [
    [
      "wrong bytes",
      () => always((request, response) => response.writeHead(206, head(request)).end(part(request, wrong))),
      "file",
      /owner\/name: ggml-model-i2_s\.gguf: the bytes from 127\.0\.0\.1:\d+ are not those of the file: SHA-256 [\da-f]{64} instead of [\da-f]{64}; .*nothing was stored$/,
    ],
    ["wrong bytes without ranges", () => always((_, response) => response.writeHead(200).end(wrong)), "file", /are not those of the file/],
    [
      "a file of another size",
      () => always((_, response) => response.writeHead(200, { "content-length": 1000 }).end(DATA.subarray(0, 1000))),
      "network",
      /sends a file of 1000 bytes, but the hub says that it has 500000; 4 tries in a row failed/,
    ],
    [
      "an endless body without ranges",
      () =>
        always((_, response) => {
          response.writeHead(200);
          endless(response, Buffer.alloc(100_000));
          return true;
        }),
      "network",
      /sends more bytes than it says; 4 tries in a row failed/,
    ],
    [
      "drops again and again",
      () => always((_, response) => response.destroy()),
      "network",
      /the connection broke off; 4 tries in a row failed: try again later$/,
    ],
    [
      "fails again and again",
      () => always((_, response) => refuse(response, 502, {})),
      "network",
      /failed \(HTTP 502\); 4 tries in a row failed/,
    ],
    ["stalls again and again", () => always(() => true), "network", /127\.0\.0\.1:\d+ sends next to nothing; 4 tries in a row failed/],
    [
      "another ETag each time",
      () => {
        let count = 0;
        always((request, response) => response.writeHead(206, { ...head(request), etag: `"${count++}"` }).end(part(request)));
      },
      "network",
      /the file changes on 127\.0\.0\.1:\d+ while it is downloaded; try again later/,
    ],
    [
      "429 with a long wait",
      () => always((_, response) => refuse(response, 429, { "retry-after": "3600" })),
      "network",
      /asks to wait 3600 seconds \(HTTP 429\); try again later$/,
    ],
    [
      "429 of the hub's kind",
      () => always((_, response) => refuse(response, 429, { ratelimit: '"api";r=0;t=55' })),
      "network",
      /asks to wait 55 seconds/,
    ],
    [
      "redirects in a circle",
      () => always((request, response) => response.writeHead(302, { location: request.url! }).end()),
      "network",
      /redirects more than 10 times/,
    ],
    [
      "a redirect to a file",
      () => always((_, response) => response.writeHead(302, { location: "file:///etc/passwd" }).end()),
      "network",
      /redirects to "file:\/\/\/etc\/passwd", which can't be followed/,
    ],
    [
      "a redirect with a password",
      () => always((_, response) => response.writeHead(302, { location: "http://a:b@c/" }).end()),
      "network",
      /can't be followed/,
    ],
    ["HTTP 410", () => always((_, response) => refuse(response, 410, {})), "usage", /has nothing of this name \(HTTP 410\)/],
    ["HTTP 418", () => always((_, response) => refuse(response, 418, {})), "network", /does not send it \(HTTP 418\)/],
  ];
  it.each(REFUSED)("refuses in one sentence: %s", async (what, set, code, said) => {
    set();
    expect(await refusal(NAME, {}, surroundingsFor(what))).toEqual(expect.objectContaining({ code, message: expect.stringMatching(said) }));
    expect(existsSync(join(store.cache, "models"))).toBe(false);
    expect((await unfinished()).every(({ active }) => !active)).toBe(true);
    // What is kept after a fault is worth keeping: the next pull succeeds.
    hub.trick = () => false;
    expect(readFileSync((await pull()).path)).toEqual(DATA);
  });

  it("an earlier run's wrong bytes are thrown away, and the file comes anew", async () => {
    always((request, response) => {
      if (/bytes=4/.test(request.headers.range!)) return refuse(response, 500, {});
      response.writeHead(206, head(request)).end(part(request, wrong));
      return true;
    });
    await refusal();
    expect((await unfinished())[0]!.done).toBeGreaterThan(300_000);
    hub.trick = () => false;
    hub.seen.length = 0;
    expect(readFileSync((await pull()).path)).toEqual(DATA);
    expect(bodies().length).toBeGreaterThan(8);
  });

  const ANSWERS: readonly (readonly [
    status: number,
    headers: Record<string, string>,
    token: string | undefined,
    code: string,
    said: RegExp,
  ])[] = [
    [401, {}, "hf_secret", "network", /does not allow it with this token \(HTTP 401\); check HF_TOKEN/],
    [403, {}, "hf_secret", "network", /does not allow it with this token \(HTTP 403\)/],
    [403, { "x-error-code": "GatedRepo" }, "hf_secret", "network", /accept its terms: do so on the model's page, then set HF_TOKEN/],
    [404, { "x-error-code": "RepoNotFound" }, "hf_secret", "usage", /has nothing of this name \(HTTP 404\)/],
    [404, { "x-error-code": "RevisionNotFound" }, "hf_secret", "usage", /no such revision/],
    [429, { "retry-after": "9999999" }, "hf_secret", "network", /asks to wait 9999999 seconds \(HTTP 429\); try again later$/],
    [500, { "x-error-message": "evil" }, "hf_secret", "network", /failed \(HTTP 500\); 4 tries in a row failed/],
  ];
  it.each(ANSWERS)("the hub's list of files answers %d %j", async (status, headers, token, code, said) => {
    hub.trick = (_, response, { server }) => server === "hub" && response.writeHead(status, headers).end();
    expect(await refusal(NAME, { token })).toEqual(expect.objectContaining({ code, message: expect.stringMatching(said) }));
  });

  const LISTS: readonly (readonly [what: string, body: string, said: RegExp])[] = [
    ["no JSON", "<html>", /does not answer as a hub does: its list of files is no JSON; check HF_ENDPOINT/],
    ["nesting without end", "[".repeat(1e6), /no JSON/],
    ["null", "null", /names no commit/],
    ["a commit that is a path", '{"sha":"../../x","siblings":[]}', /names no commit/],
    ["no list", `{"sha":"${COMMIT}","siblings":{}}`, /has no list of files/],
    ["too many files", `{"sha":"${COMMIT}","siblings":[${'{"rfilename":"a"},'.repeat(20_001)}1]}`, /has no list of files/],
    ["no files", `{"sha":"${COMMIT}","siblings":[]}`, /no model that can be run/],
    [
      "only hostile names",
      `{"sha":"${COMMIT}","siblings":[{"rfilename":"../../x.gguf","size":1},{"rfilename":"/etc/x.gguf","size":1},{"rfilename":"a\\u001b[2J.gguf","size":1},{"rfilename":5},null]}`,
      /no model that can be run/,
    ],
    ["a size that can't be", `{"sha":"${COMMIT}","siblings":[{"rfilename":"a.gguf","size":-1}]}`, /gives "a\.gguf" a size that can't be/],
    ["a file of a petabyte", `{"sha":"${COMMIT}","siblings":[{"rfilename":"a.gguf","size":1e15}]}`, /a size that can't be/],
  ];
  it.each(LISTS)("the hub's list is %s", async (_, body, said) => {
    hub.trick = (_, response, { server }) => server === "hub" && response.writeHead(200).end(body);
    expect((await refusal()).message).toMatch(said);
  });

  it("where the list has neither sizes nor hashes, the hub's headers have; without any hash it is refused", async () => {
    let hides = false;
    hub.trick = (request, response, { path }) => {
      if (path.startsWith("/api/")) return response.writeHead(200).end(JSON.stringify({ sha: COMMIT, siblings: [{ rfilename: GGUF }] }));
      if (hides && path.includes("/resolve/")) return sendFile(request, response, DATA, '"no hash"');
      return false;
    };
    expect(readFileSync((await pull()).path)).toEqual(DATA);
    await remove(NAME, { cache: store.cache });
    hub.trick = ((before) => (request, response, seen) => {
      if (seen.server === "files") return sendFile(request, response, wrong, '"x"');
      return before(request, response, seen);
    })(hub.trick);
    expect(await refusal()).toMatchObject({ code: "file" });
    hides = true;
    expect(await refusal()).toMatchObject({
      code: "network",
      message: expect.stringMatching(/does not say which hash the file has, so it can't be verified/),
    });
  });

  it("a list without an end is cut off", async () => {
    hub.trick = (_, response) => {
      response.writeHead(200);
      endless(response, " ".repeat(2 ** 20));
      return true;
    };
    expect((await refusal()).message).toMatch(/the answer has more than 16777216 bytes, which is the limit/);
  });

  it("a host that does not exist, and one that refuses", async () => {
    const gone = await TestHub.start();
    const { endpoint } = gone;
    await gone.stop();
    expect(await refusal(NAME, { endpoint })).toMatchObject({
      code: "network",
      message: expect.stringMatching(/127\.0\.0\.1:\d+: the connection was refused; 4 tries/),
    });
    expect(await refusal(NAME, { endpoint: "ftp://x" })).toMatchObject({ code: "usage" });
    expect(await refusal(NAME, { token: "a\nb" })).toMatchObject({
      code: "usage",
      message: expect.stringMatching(/^token contains no valid token/),
    });
    expect(await refusal(NAME, { tokn: "x" })).toMatchObject({ code: "usage", message: expect.stringContaining("did you mean token?") });
  });

  it("a redirect elsewhere and back loses the token", async () => {
    hub.trick = (request, response, { server, path }) => {
      if (server === "files") return response.writeHead(302, { location: `${hub.endpoint}/back` }).end();
      return path === "/back" && sendFile(request, response, DATA, tag);
    };
    await pull();
    expect(hub.seen.filter(({ path }) => path === "/back").every(({ authorization }) => authorization === undefined)).toBe(true);
  });
});

describe("the URL of a file", () => {
  const url = (): string => `${hub.elsewhere}/model.gguf?download=true`;
  beforeEach(() => hub.files.set("model.gguf", DATA));

  it("is pulled, and again only if it has changed; the hub's token is not sent", async () => {
    const stored = await pull(url());
    expect(stored).toMatchObject({
      name: `${hub.elsewhere}/model.gguf`,
      source: hub.elsewhere,
      main: "model.gguf",
      files: [{ etag: `"${sha256(DATA)}"` }],
    });
    expect(readFileSync(stored.path)).toEqual(DATA);
    expect(hub.seen.every(({ authorization }) => authorization === undefined)).toBe(true);
    hub.seen.length = 0;
    expect(await pull(url())).toEqual(stored);
    expect(hub.seen).toHaveLength(1);
    const other = someModel(70_000);
    hub.files.set("model.gguf", other);
    expect(readFileSync((await pull(url())).path)).toEqual(other);
    expect(readFileSync(resolve(url(), { cache: store.cache }))).toEqual(other);
  });

  it("that changes in the midst is begun anew, with its new size", async () => {
    const other = someModel(400_000);
    let count = 0;
    hub.trick = () => {
      if (++count === 4) hub.files.set("model.gguf", other);
      return false;
    };
    expect(readFileSync((await pull(url())).path)).toEqual(other);
  });

  it("without an ETag comes in one go, and from its beginning after a fault", async () => {
    let drops = 2;
    hub.trick = (request, response) => {
      if (request.headers.range === "bytes=0-0") return response.writeHead(206, { "content-range": `bytes 0-0/${DATA.length}` }).end("G");
      response.writeHead(200, { "content-length": DATA.length });
      if (drops-- > 0) response.write(DATA.subarray(0, 100_000), () => response.destroy());
      else response.end(DATA);
      return true;
    };
    const { path } = await pull(url());
    expect(readFileSync(path)).toEqual(DATA);
    expect(hub.seen.slice(1).map(({ range }) => range)).toEqual([undefined, undefined, undefined]);
  });

  it("says what is wrong: no length, not there, no ranges and wrong", async () => {
    hub.trick = (_, response) => response.writeHead(200).end("?");
    expect(await refusal(url())).toMatchObject({
      code: "network",
      message: expect.stringMatching(/does not say how long the file is, so it can't be pulled/),
    });
    hub.trick = (_, response) => refuse(response, 401, {});
    expect(await refusal(url())).toMatchObject({ code: "network", message: expect.stringMatching(/does not allow it \(HTTP 401\)$/) });
    hub.trick = () => false;
    expect(await refusal(`${hub.elsewhere}/none.gguf`)).toMatchObject({ code: "usage", message: expect.stringMatching(/HTTP 404/) });
  });

  it("of one part is the URL of all", async () => {
    const parts = [1, 2, 3].map((i) => [`m-0000${i}-of-00003.gguf`, someModel(1000 * i)] as const);
    for (const [name, data] of parts) hub.files.set(name, data);
    const stored = await pull(`${hub.elsewhere}/m-00002-of-00003.gguf`);
    expect(stored.main).toBe("m-00001-of-00003.gguf");
    for (const [name, data] of parts) expect(readFileSync(join(stored.path, "..", name))).toEqual(data);
  });
});

describe("SafeTensors", () => {
  const text = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
  beforeEach(() => {
    hub.files.set("config.json", text({ a: 1 }));
    hub.files.set("tokenizer.json", text({ b: 2 }));
    hub.files.set("pytorch_model.bin", Buffer.from("no"));
    hub.files.set("additional_chat_templates/tool_use.jinja", Buffer.from("{{ x }}"));
    hub.files.set("generation_config.json", Buffer.alloc(0));
  });

  it("comes with what the engine reads beside it, small files verified by Git's hash", async () => {
    hub.files.set("model.safetensors", DATA);
    const stored = await pull();
    expect(stored.main).toBe("model.safetensors");
    expect(stored.files.map(({ path }) => path).sort()).toEqual([
      "additional_chat_templates/tool_use.jinja",
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
    ]);
    for (const { path, sha256: hash } of stored.files) {
      const at = join(stored.path, "..", path);
      expect(lstatSync(at).isSymbolicLink()).toBe(true);
      expect(sha256(readFileSync(at))).toBe(hash);
      expect(readFileSync(at)).toEqual(hub.files.get(path));
    }
    await remove(NAME, { cache: store.cache });
    hub.trick = (_, response, { path }) => path.endsWith("/config.json") && response.writeHead(200).end('{"a":2}');
    expect(await refusal()).toMatchObject({ code: "file", message: expect.stringMatching(/config\.json: .* Git's hash/) });
  });

  it("takes all shards that the index lists", async () => {
    const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    for (const [i, name] of shards.entries()) hub.files.set(name, someModel(1000 + i));
    hub.files.set("model.safetensors.index.json", text({ weight_map: { a: shards[0], b: shards[1], c: shards[0] } }));
    const stored = await pull();
    expect(stored.main).toBe("model.safetensors.index.json");
    expect(stored.files.map(({ path }) => path)).toEqual(expect.arrayContaining([...shards, "config.json"]));
    hub.files.delete(shards[1]!);
    hub.commit = "e".repeat(40);
    expect(await refusal()).toMatchObject({
      code: "usage",
      message: expect.stringMatching(/lists a shard, but the repository does not have "model-00002-of-00002\.safetensors"/),
    });
    for (const bad of ['{"weight_map":{"a":"../x.safetensors"}}', '{"weight_map":[]}', "[", '{"weight_map":{"a":1}}']) {
      hub.files.set("model.safetensors.index.json", Buffer.from(bad));
      expect(await refusal()).toMatchObject({ code: "file", message: expect.stringContaining("is no index of shards") });
    }
  });
});
