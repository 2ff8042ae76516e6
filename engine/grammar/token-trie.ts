/**
 * A vocabulary's tokens by their bytes. Nodes lie in the order of a walk that visits a node before what is below it, so that a subtree is a
 * stretch of the arrays.
 */
export class TokenTrie {
  /** Number of ids. */
  readonly vocabulary: number;
  /** Words of a mask: one bit an id. */
  readonly words: number;
  readonly nodes: number;
  /** [nodes] the byte that leads to it; of the root, node 0, none */
  readonly byte: Uint8Array;
  /** [nodes] */
  readonly depth: Uint16Array;
  /** [nodes] the first node that is not below it */
  readonly end: Int32Array;
  /** [nodes + 1] where its tokens are in `ids`, up to those of the next node */
  readonly tokens: Int32Array;
  /** Ids by bytes; some have the same. */
  readonly ids: Int32Array;
  /** Depth of the deepest node. */
  readonly longest: number;
  /** [256] 1: a token has this byte alone */
  readonly single = new Uint8Array(256);
  readonly #bytesOf: (id: number) => Uint8Array | undefined;

  /** @param bytesOf a token's bytes, at most 65,535; none or undefined: it is never allowed */
  constructor(vocabulary: number, bytesOf: (id: number) => Uint8Array | undefined) {
    this.vocabulary = vocabulary;
    this.words = Math.ceil(vocabulary / 32);
    this.#bytesOf = bytesOf;
    const keys: string[] = []; // a character a byte: strings are compared quickly
    const ids: number[] = [];
    let total = 1;
    for (let id = 0; id < vocabulary; id++) {
      const bytes = bytesOf(id);
      if (bytes === undefined || bytes.length === 0) continue;
      keys[id] = String.fromCharCode(...bytes);
      ids.push(id);
      total += bytes.length;
      if (bytes.length === 1) this.single[bytes[0]!] = 1;
    }
    ids.sort((a, b) => (keys[a]! < keys[b]! ? -1 : keys[a]! > keys[b]! ? 1 : a - b));
    const byte = new Uint8Array(total);
    const depth = new Uint16Array(total);
    const tokens = new Int32Array(total + 1);
    let nodes = 1;
    let before = "";
    let longest = 0;
    ids.forEach((id, index) => {
      const key = keys[id]!;
      let common = 0;
      while (common < before.length && before.charCodeAt(common) === key.charCodeAt(common)) common++;
      for (let at = common; at < key.length; at++) {
        byte[nodes] = key.charCodeAt(at);
        depth[nodes] = at + 1;
        tokens[nodes++] = index;
      }
      longest = Math.max(longest, key.length);
      before = key;
    });
    this.nodes = nodes;
    this.byte = byte.slice(0, nodes);
    this.depth = depth.slice(0, nodes);
    this.tokens = tokens.slice(0, nodes + 1);
    this.tokens[nodes] = ids.length;
    // A node's own tokens end where those of the next node begin: each was noted with the first token at or below it.
    this.ids = Int32Array.from(ids);
    this.longest = longest;
    this.end = new Int32Array(nodes);
    const open: number[] = [];
    for (let node = 0; node <= nodes; node++) {
      while (open.length > 0 && (node === nodes || this.depth[open.at(-1)!]! >= this.depth[node]!)) this.end[open.pop()!] = node;
      if (node < nodes) open.push(node);
    }
  }

  /** Ids of the tokens that begin with a byte. */
  beginning(byte: number): Int32Array {
    let node = 1;
    while (node < this.nodes && this.byte[node] !== byte) node = this.end[node]!;
    return node < this.nodes ? this.ids.subarray(this.tokens[node]!, this.tokens[this.end[node]!]!) : this.ids.subarray(0, 0);
  }

  /** A token's bytes; undefined: it is never allowed. */
  bytes(id: number): Uint8Array | undefined {
    return this.#bytesOf(id);
  }
}
