import { createPublicKey, generateKeyPairSync, sign, verify } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { keyId, openEnvelope, PAYLOAD_TYPE, preAuthEncoding, readKey, signWithKey, signWithSigstore } from "./signature.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-signature-"));
afterAll(() => rmSync(folder, { recursive: true }));

const STATEMENT = Buffer.from('{"_type":"https://in-toto.io/Statement/v1"}');

it("encodes what is signed as the specification of DSSE does: its test vector, with its signature", () => {
  const encoded = preAuthEncoding("http://example.com/HelloWorld", Buffer.from("hello world"));
  expect(Buffer.from(encoded).toString()).toBe("DSSEv1 29 http://example.com/HelloWorld 11 hello world");
  // From protocol.md of secure-systems-lab/dsse: a key on P-256, by its coordinates, and the signature as two numbers.
  const coordinate = (decimal: string): string => Buffer.from(BigInt(decimal).toString(16).padStart(64, "0"), "hex").toString("base64url");
  const x = coordinate("46950820868899156662930047687818585632848591499744589407958293238635476079160");
  const y = coordinate("5640078356564379163099075877009565129882514886557779369047442380624545832820");
  const key = createPublicKey({ key: { kty: "EC", crv: "P-256", x, y }, format: "jwk" });
  const signature = Buffer.from("A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA==", "base64");
  expect(verify("sha256", encoded, { key, dsaEncoding: "ieee-p1363" }, signature)).toBe(true);
  expect(
    verify(
      "sha256",
      preAuthEncoding("http://example.com/HelloWorld", Buffer.from("hello World")),
      { key, dsaEncoding: "ieee-p1363" },
      signature,
    ),
  ).toBe(false);
});

const KEYS = { ed25519: generateKeyPairSync("ed25519"), p256: generateKeyPairSync("ec", { namedCurve: "prime256v1" }) };

it.each(Object.entries(KEYS))("signs with %s, on one line, and only its own key opens it", async (name, { privateKey, publicKey }) => {
  writeFileSync(join(folder, name), privateKey.export({ type: "pkcs8", format: "pem" }));
  const { kind, data } = await (await signWithKey(join(folder, name)))(STATEMENT);
  expect(kind).toBe("envelope");
  const line = Buffer.from(data).toString();
  expect(line).toMatch(/^\{.*\}\n$/);
  const envelope = JSON.parse(line) as { payload: string; payloadType: string; signatures: { keyid: string; sig: string }[] };
  expect(envelope).toEqual({
    payload: STATEMENT.toString("base64"),
    payloadType: "application/vnd.in-toto+json",
    signatures: [{ keyid: keyId(publicKey), sig: expect.any(String) }],
  });
  // As another program would check it.
  const signed = Buffer.from(`DSSEv1 28 application/vnd.in-toto+json ${STATEMENT.length} ${STATEMENT}`);
  expect(verify(name === "ed25519" ? null : "sha256", signed, publicKey, Buffer.from(envelope.signatures[0]!.sig, "base64"))).toBe(true);

  expect(Buffer.from(openEnvelope(data, publicKey).payload).equals(STATEMENT)).toBe(true);
  const { publicKey: another } = generateKeyPairSync("ed25519");
  expect(() => openEnvelope(data, another)).toThrow(`it has no valid signature of the key ${keyId(another)}`);
  // The private key's file will do for the public one.
  expect(keyId(await readKey(join(folder, name), "public"))).toBe(keyId(publicKey));
  const changed = (edit: object): Buffer => Buffer.from(`${JSON.stringify({ ...envelope, ...edit })}\n`);
  const [own] = envelope.signatures;
  for (const edit of [
    { payload: Buffer.from("{}").toString("base64") },
    { signatures: [] },
    { signatures: [own, own] },
    { signatures: [{ ...own, keyid: "another" }] },
    { signatures: [{ ...own, sig: "" }] },
    { payloadType: "text/plain" },
    { payload: `${envelope.payload}=` },
    { payload: 1 },
    { signatures: "x" },
    { more: 1 },
  ])
    expect(() => openEnvelope(changed(edit), publicKey), JSON.stringify(edit)).toThrow();
  for (const text of ["", "{}", "null", "[]\n", line.repeat(2), line.replace("{", "{ "), line.trim()])
    expect(() => openEnvelope(Buffer.from(text), publicKey), text).toThrow("it is not one DSSE envelope on one line");
});

it("a signature of another type of payload is none", async () => {
  const { privateKey, publicKey } = KEYS.ed25519;
  const sig = sign(null, preAuthEncoding("text/plain", STATEMENT), privateKey).toString("base64");
  const envelope = { payload: STATEMENT.toString("base64"), payloadType: PAYLOAD_TYPE, signatures: [{ keyid: "", sig }] };
  expect(() => openEnvelope(Buffer.from(`${JSON.stringify(envelope)}\n`), publicKey)).toThrow("no valid signature");
});

it("keys that can't be used are refused in one sentence", async () => {
  const pem = (name: string, text: string | Buffer): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "secp256k1" });
  await expect(signWithKey(pem("curve", privateKey.export({ type: "pkcs8", format: "pem" })))).rejects.toMatchObject({
    code: "usage",
    message: expect.stringMatching(/curve has a key of type ec secp256k1, but it must be Ed25519, or ECDSA on P-256$/),
  });
  const locked = KEYS.ed25519.privateKey.export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" });
  for (const text of [locked, "", "x", KEYS.ed25519.publicKey.export({ type: "spki", format: "pem" })]) {
    await expect(signWithKey(pem("none", text))).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("has no private key in PEM form that can be read"),
    });
  }
  await expect(signWithKey(join(folder, "missing"))).rejects.toMatchObject({ code: "io" });
});

// A network and an identity are not to be had in tests: the client is replaced. That it is not installed is as it is here.
it("Sigstore signs through its client, if it is installed and there is an identity", async () => {
  await expect(signWithSigstore()).rejects.toMatchObject({
    code: "usage",
    message: expect.stringMatching(/^signing with Sigstore needs the package sigstore, which is not installed: install it /),
  });
  const asked: unknown[] = [];
  const signed = await (
    await signWithSigstore(async (...args) => {
      asked.push(args);
      return { mediaType: "application/vnd.dev.sigstore.bundle.v0.3+json" };
    })
  )(STATEMENT);
  expect(asked).toEqual([[STATEMENT, PAYLOAD_TYPE]]);
  expect(signed.kind).toBe("sigstore");
  const failing = (error: object) => signWithSigstore(() => Promise.reject(Object.assign(new Error("no route to host"), error)));
  await expect((await failing({}))(STATEMENT)).rejects.toMatchObject({ code: "io", message: "Sigstore did not sign: no route to host" });
  await expect((await failing({ code: "IDENTITY_TOKEN_READ_ERROR" }))(STATEMENT)).rejects.toMatchObject({
    message: expect.stringContaining("there is no identity: set SIGSTORE_ID_TOKEN"),
  });
});
