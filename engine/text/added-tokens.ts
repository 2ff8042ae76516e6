/** Longest text of a token that is looked for in text: each place of the text may be compared with so many units. Real ones have some 40. */
export const maxAddedLength = 256;
/** Units of all of them together, as each may cost a node. LLaMA-3's 256 have 8,000. */
export const maxAddedTotal = 2 ** 18;

interface Node {
  id: number | undefined;
  readonly next: Map<number, Node>; // by UTF-16 unit
}

/** Finds tokens written out in text: the first that begins, of several there the longest. */
export class AddedTokens {
  private readonly root: Node = { id: undefined, next: new Map() };

  constructor(tokens: Iterable<readonly [text: string, id: number]>) {
    for (const [text, id] of tokens) {
      let node = this.root;
      for (let i = 0; i < text.length; i++) {
        const code = text.charCodeAt(i);
        let child = node.next.get(code);
        if (child === undefined) {
          child = { id: undefined, next: new Map() };
          node.next.set(code, child);
        }
        node = child;
      }
      node.id = id;
    }
  }

  /** Calls `text` for each stretch [start, end) without tokens and `token` for each token, in order. */
  scan(input: string, text: (start: number, end: number) => void, token: (id: number) => void): void {
    let start = 0;
    for (let i = 0; i < input.length; ) {
      let id: number | undefined;
      let end = i;
      let node = this.root.next.get(input.charCodeAt(i));
      for (let j = i + 1; node !== undefined; node = node.next.get(input.charCodeAt(j++))) {
        if (node.id !== undefined) [id, end] = [node.id, j];
      }
      if (id === undefined) {
        i++;
        continue;
      }
      if (start < i) text(start, i);
      token(id);
      start = i = end;
    }
    if (start < input.length) text(start, input.length);
  }
}
