/** An optional peer of this package: what is used of it. */
declare module "sigstore" {
  export function attest(payload: Buffer, payloadType: string): Promise<object>;
}
