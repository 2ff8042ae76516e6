import fc from "fast-check";
import { expect, it } from "vitest";
import { nameText, parseName, requireName } from "./names.js";
import { bytesInWords, inOneLine, isSafePath } from "./paths.js";

const hub = (repository: string, more: object = {}) => ({ kind: "hub", repository, revision: "main", file: undefined, ...more });

it("reads names of repositories, and spells them in one way", () => {
  const rows: [text: string, name: object, spelled: string][] = [
    ["microsoft/bitnet-b1.58-2B-4T-gguf", hub("microsoft/bitnet-b1.58-2B-4T-gguf"), "microsoft/bitnet-b1.58-2B-4T-gguf"],
    ["hf:a/b", hub("a/b"), "a/b"],
    ["a/b@main", hub("a/b"), "a/b"],
    ["a/b@refs/pr/1", hub("a/b", { revision: "refs/pr/1" }), "a/b@refs/pr/1"],
    ["a/b:x.gguf", hub("a/b", { file: "x.gguf" }), "a/b:x.gguf"],
    ["hf:a/b@v1:sub/x y@2.gguf", hub("a/b", { revision: "v1", file: "sub/x y@2.gguf" }), "a/b@v1:sub/x y@2.gguf"],
    ["hf:some/model.gguf", hub("some/model.gguf"), "some/model.gguf"],
    ["https://huggingface.co/a/b", hub("a/b"), "a/b"],
    ["https://huggingface.co/a/b/tree/v1/", hub("a/b", { revision: "v1" }), "a/b@v1"],
    ["https://huggingface.co/a/b/blob/main/x.gguf?download=true", hub("a/b", { file: "x.gguf" }), "a/b:x.gguf"],
    [
      "https://huggingface.co/a/b/resolve/refs%2Fpr%2F1/s/x.gguf",
      hub("a/b", { revision: "refs/pr/1", file: "s/x.gguf" }),
      "a/b@refs/pr/1:s/x.gguf",
    ],
    [
      "https://x.org/m/a%20b.GGUF?key=secret#top",
      { kind: "url", url: "https://x.org/m/a%20b.GGUF?key=secret", file: "a b.GGUF" },
      "https://x.org/m/a%20b.GGUF",
    ],
  ];
  for (const [text, name, spelled] of rows) {
    expect(parseName(text), text).toEqual(name);
    expect(nameText(parseName(text)!)).toBe(spelled);
  }
  expect(parseName("http://own.hub/base/a/b/tree/x", "http://own.hub/base")).toEqual(hub("a/b", { revision: "x" }));
});

it("takes what has not their form for paths", () => {
  for (const text of [
    ...[
      "model.gguf",
      "dir/model.gguf",
      "a/b.safetensors",
      "./a/b",
      "../a",
      "/a/b",
      "a/b/c",
      "a\\b",
      "C:/x",
      "C:\\x\\y",
      "a",
      "",
      "-a/b",
      "a/.b",
      "a/b--c",
      "a/b..c",
      "a//b",
      "a /b",
    ],
    ...["file:///x/y", "x".repeat(3000), "a/b\n"],
  ]) {
    expect(parseName(text), text).toBeUndefined();
    expect(() => requireName(text)).toThrow(
      expect.objectContaining({ code: "usage", message: expect.stringContaining("is no name of a model") }),
    );
  }
});

it("refuses names that can't be used, and shows no secret", () => {
  const rows: [text: string, said: RegExp][] = [
    ["hf:a", /must have the form hf:owner\/name/],
    ["a/b@../x", /"\.\.\/x" is no name of a branch/],
    ["a/b@-x", /no name of a branch/],
    ["a/b:../x.gguf", /"\.\.\/x\.gguf" is no path of a file/],
    ["a/b:/x.gguf", /no path of a file/],
    ["a/b:x\u001b[2J.gguf", /"x\\u001b\[2J\.gguf" is no path/],
    ["https://u:secret@x.org/m.gguf", /^https:\/\/x\.org\/m\.gguf: a URL with a user name/],
    ["https://x.org/m.bin?key=secret", /^https:\/\/x\.org\/m\.bin: only \.gguf files/],
    ["https://x.org/%ff.gguf", /only \.gguf files/],
    ["https://x.org/..%2fm.gguf", /only \.gguf files/],
    ["https://", /not a valid URL/],
    ["https://huggingface.co/docs", /only \.gguf files/],
  ];
  for (const [text, said] of rows) {
    expect(() => parseName(text), text).toThrow(expect.objectContaining({ code: "usage", message: expect.stringMatching(said) }));
    expect(() => parseName(text)).not.toThrow(/secret/);
  }
});

it("no text makes it fail otherwise, and what it spells means the same again", () => {
  const part = fc.stringMatching(/^[\w.:@/%-]{0,12}$/);
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: "binary" }),
        fc.tuple(fc.constantFrom("", "hf:", "https://h/"), part, fc.constantFrom("/", ""), part).map((parts) => parts.join("")),
      ),
      (text) => {
        let name: ReturnType<typeof parseName>;
        try {
          name = parseName(text);
        } catch (error) {
          expect(error).toMatchObject({ code: "usage", message: expect.stringMatching(/^[^\p{Cc}]+$/u) });
          return;
        }
        if (name?.kind === "hub") expect(parseName(`hf:${nameText(name)}`)).toEqual(name);
        if (name) expect(name.file === undefined || isSafePath(name.file)).toBe(true);
      },
    ),
  );
});

it("tells safe paths from hostile ones", () => {
  for (const path of ["a", "a/b.gguf", ".hidden", "模型.gguf", "a b", "console.gguf", `${"x".repeat(200)}`])
    expect(isSafePath(path), path).toBe(true);
  for (const path of [
    ...["", "/a", "a/", "a//b", "..", "a/../b", ".", "a/./b", "a\\b", "c:x", "a\0", "a\n", "a\u202eb", "a?", "a*", "<a", "a|b", 'a"'],
    ...["a.", "a ", " a", "CON", "con.gguf", "a/nul.json", "LPT1", "x".repeat(201), "é".repeat(101), `${"a/".repeat(8)}a`],
  ]) {
    expect(isSafePath(path), path).toBe(false);
  }
});

it("shows foreign texts on one line, and bytes in words", () => {
  expect(inOneLine('a"\u001b\n\u202eb')).toBe("a\\u0022\\u001b\\u000a\\u202eb");
  expect(inOneLine("x".repeat(200))).toBe(`${"x".repeat(120)}…`);
  const words = [0, 999, 1000, 9999, 99_999, 999_499, 999_500, 12_345_678, 999_908_608, 1_187_801_280].map(bytesInWords);
  expect(words).toEqual(["0 bytes", "999 bytes", "1.00 kB", "10.00 kB", "100.0 kB", "999 kB", "1.00 MB", "12.3 MB", "1.00 GB", "1.19 GB"]);
});
