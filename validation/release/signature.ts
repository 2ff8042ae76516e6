import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { BitnetError } from "../../engine/errors.js";
import { readWhole } from "../records/files.js";

// The envelope is DSSE v1.0 (https://github.com/secure-systems-lab/dsse), in a bundle of in-toto attestations: JSON lines, one envelope here.

/** Type of a statement in an envelope. */
export const PAYLOAD_TYPE = "application/vnd.in-toto+json";

/** A file beside the statement that signs it. */
export interface Signature {
  readonly kind: "envelope" | "sigstore";
  readonly data: Uint8Array;
}

/** Signs a statement. */
export type Sign = (statement: Uint8Array) => Promise<Signature>;

interface Envelope {
  readonly payload: string;
  readonly payloadType: string;
  readonly signatures: readonly { readonly keyid: string; readonly sig: string }[];
}

/** Longest PEM file that is read. */
const MAX_KEY_BYTES = 2 ** 16;

/** What is signed: the pre-authentication encoding of DSSE, which holds the type too. */
export function preAuthEncoding(type: string, payload: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `), payload]);
}

/** SHA-256 of a public key (SPKI, DER): a hint for people, no proof. */
export function keyId(key: KeyObject): string {
  return createHash("sha256")
    .update(key.export({ type: "spki", format: "der" }))
    .digest("hex");
}

/** Signs with a private key of a PEM file: Ed25519, or ECDSA on P-256. @throws BitnetError usage: it can't be used */
export async function signWithKey(path: string): Promise<Sign> {
  const key = await readKey(path, "private");
  const keyid = keyId(createPublicKey(key));
  return async (statement) => {
    const sig = sign(algorithm(key), preAuthEncoding(PAYLOAD_TYPE, statement), key).toString("base64");
    const envelope: Envelope = {
      payload: Buffer.from(statement).toString("base64"),
      payloadType: PAYLOAD_TYPE,
      signatures: [{ keyid, sig }],
    };
    return { kind: "envelope", data: Buffer.from(`${JSON.stringify(envelope)}\n`) };
  };
}

/** A public key, or the public part of a private one. @throws BitnetError usage: it can't be used */
export async function readKey(path: string, kind: "public" | "private"): Promise<KeyObject> {
  const pem = Buffer.from(await readWhole(path, MAX_KEY_BYTES));
  let key: KeyObject;
  try {
    key = kind === "private" ? createPrivateKey(pem) : createPublicKey(pem);
  } catch (error) {
    throw new BitnetError("usage", `${path} has no ${kind} key in PEM form that can be read: ${(error as Error).message}`, { file: path });
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (type === "ed25519" || (type === "ec" && details?.namedCurve === "prime256v1")) return key;
  throw new BitnetError(
    "usage",
    `${path} has a key of type ${type} ${details?.namedCurve ?? ""}, but it must be Ed25519, or ECDSA on P-256`,
    {
      file: path,
    },
  );
}

/** Ed25519 has its own hash. */
function algorithm(key: KeyObject): "sha256" | null {
  return key.asymmetricKeyType === "ed25519" ? null : "sha256";
}

/**
 * The payload of an envelope, which must have the one form that `signWithKey` gives it, so that no byte of it is free.
 * @param key checks the signatures; undefined: nothing is known of who signed
 * @throws Error: says what is wrong
 */
export function openEnvelope(data: Uint8Array, key: KeyObject | undefined): { readonly payload: Uint8Array; readonly keyid: string } {
  let envelope: Envelope;
  try {
    envelope = JSON.parse(new TextDecoder().decode(data)) as Envelope;
    const { payload, payloadType, signatures } = envelope;
    const again = {
      payload: Buffer.from(payload, "base64").toString("base64"),
      payloadType: String(payloadType),
      signatures: signatures.map(({ keyid, sig }) => ({ keyid: String(keyid), sig: Buffer.from(sig, "base64").toString("base64") })),
    };
    if (!Buffer.from(`${JSON.stringify(again)}\n`).equals(data)) throw new Error("it has another form");
  } catch (error) {
    throw new Error(`it is not one DSSE envelope on one line: ${(error as Error).message}`);
  }
  if (envelope.payloadType !== PAYLOAD_TYPE) throw new Error(`its payload has the type ${envelope.payloadType} instead of ${PAYLOAD_TYPE}`);
  const payload = Buffer.from(envelope.payload, "base64");
  const signed = preAuthEncoding(PAYLOAD_TYPE, payload);
  const [own, more] = envelope.signatures;
  if (own === undefined || more !== undefined) throw new Error(`it has ${envelope.signatures.length} signatures instead of one`);
  if (key !== undefined) {
    // The id is a hint and not signed: the signature decides, but an id that was altered is no reason to look away.
    const good = verify(algorithm(key), signed, key, Buffer.from(own.sig, "base64"));
    if (!good || own.keyid !== keyId(key)) throw new Error(`it has no valid signature of the key ${keyId(key)}`);
  }
  return { payload, keyid: own.keyid };
}

/** `attest` of the package `sigstore`. */
type Attest = (payload: Buffer, type: string) => Promise<object>;

/**
 * Signs with a short-lived certificate of Sigstore, which an identity provider and a network are needed for. The package `sigstore` is loaded only here.
 * @param attest of that package; injected by tests
 * @throws BitnetError usage: there is no such package; io: no identity, or the service does not answer
 */
export async function signWithSigstore(attest?: Attest): Promise<Sign> {
  const call = attest ?? (await loadSigstore());
  return async (statement) => {
    try {
      const bundle = await call(Buffer.from(statement), PAYLOAD_TYPE);
      return { kind: "sigstore", data: Buffer.from(`${JSON.stringify(bundle)}\n`) };
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const identity = "there is no identity: set SIGSTORE_ID_TOKEN, or run in GitHub Actions with the permission id-token: write";
      throw new BitnetError(
        "io",
        `Sigstore did not sign: ${code === "IDENTITY_TOKEN_READ_ERROR" ? identity : message}`,
        {},
        { cause: error },
      );
    }
  };
}

async function loadSigstore(): Promise<Attest> {
  try {
    return (await import("sigstore")).attest;
  } catch (error) {
    const hint = "install it (npm install --no-save sigstore), or give a key (--sign key.pem)";
    throw new BitnetError(
      "usage",
      `signing with Sigstore needs the package sigstore, which is not installed: ${hint}`,
      {},
      { cause: error },
    );
  }
}
