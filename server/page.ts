import { createHash } from "node:crypto";

const STYLE = "body { font: 1em system-ui; }";
const SCRIPT = "";

const hash = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/** The page at `/`. */
export const page = `<!doctype html><html lang="en"><title>bitnet</title><style>${STYLE}</style><script>${SCRIPT}</script></html>`;

export const pagePolicy = {
  "content-security-policy": `default-src 'none'; style-src ${hash(STYLE)}; script-src ${hash(SCRIPT)}`,
} as const;
