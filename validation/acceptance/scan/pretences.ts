import type ts from "typescript";
import { type Fault, isShipped, type Source } from "./source.js";

// Code that pretends to compute, or whose result hangs on something else than its input. Each rule is about the syntax tree, so none can tell what a
// formula means: that is what the tests prove, and how well is what `npm run mutate` measures.

const isEngine = (path: string): boolean => isShipped(path) && /^(?:engine|kernels)\//.test(path);
/** What a logit or a chosen token is computed by: functions that differ between JavaScript engines are not exact enough. */
const isExact = (path: string): boolean =>
  isEngine(path) && /^(?:kernels|engine\/(?:packing|compute|network|sampling)|engine\/[^/]+$)/.test(path);
/** Files whose business it is. */
const MAY_TIME = /^engine\/(?:generation\/(?:worker|model|jobs)|compute\/tier|host\/node\/files|host\/web\/store-\w+)\.ts$/;
const MAY_WAIT = /^engine\/host\/(?:inline\/threads|node\/files|web\/store(?:-\w+)?)\.ts$/;
const MAY_DRAW = /^engine\/host\/node\/files\.ts$/; // names of temporary files
const MAY_START = /^engine\/host\/node\//;
/** A page's files are at URLs. */
const MAY_ASK = /^engine\/host\/web\/(?:files|kernel-files|store|store-worker)\.ts$/;

const INEXACT = /^Math\.(?:a?(?:sin|cos|tan)h?|atan2|exp|expm1|log|log2|log10|log1p|pow|cbrt|hypot)$/;
const CHANCE =
  /^(?:Math\.random|(?:crypto\.|webcrypto\.|globalThis\.crypto\.)*(?:randomUUID|randomBytes|randomInt|randomFillSync|randomFill|getRandomValues))$/;
const CLOCK = /^(?:Date\.now|performance\.(?:now|mark|timeOrigin)|process\.(?:hrtime(?:\.bigint)?|uptime|cpuUsage))$/;
const WAIT = /^(?:setTimeout|setInterval|setImmediate|Atomics\.wait|Atomics\.waitAsync)$/;
const REMOTE = /^(?:fetch|XMLHttpRequest|WebSocket|EventSource)$/;
const MACHINE = /^(?:process\.(?:env|argv|pid|ppid|cwd|execArgv|title)|navigator\.userAgent)$/;
const COMPILES = /^(?:eval|Function|globalThis\.(?:eval|Function))$/;
/** Modules of Node that answer in place of the engine, or run what nobody reads. */
const MODULES = /^(?:node:)?(?:https?2?|net|tls|dgram|dns|vm|inspector|repl|child_process|timers(?:\/promises)?)(?:$|\/)/;
const MAY_IMPORT: ReadonlyMap<string, RegExp> = new Map([
  ["node:child_process", /^engine\/host\/node\/v8-flags\.ts$/], // asks Node for its flags
  ["node:timers/promises", MAY_WAIT],
]);

/** Variables that may be looked at outside of the engine. */
const VARIABLES = /^(?:BITNET_\w+|npm_\w+|NO_COLOR|FORCE_COLOR|TERM|PATH)$/;
/** Files that pass the whole environment on. */
const PASS_ENVIRONMENT = /^(?:cli\/|hub\/settings\.ts$|validation\/records\/run\.ts$)/;

/** Words of a name that says itself that it only pretends. */
const PRETENDS =
  /^(?:mock|mocks|mocked|fake|fakes|faked|stub|stubs|stubbed|dummy|dummies|simulate|simulated|simulates|simulation|simulator|pretend|pretended)$/;

/** More literals in one table than any of the engine's own has outside of its alphabets and names of formats. */
const MOST_LITERALS = 48;
const TABLES = /^engine\/(?:text|container|errors\.ts)/;

/** Three words or more: a prompt. */
const SENTENCE = /[\p{L}\d',]+ +[\p{L}\d',]+ +[\p{L}\d',]+/u;
/** Four ids or more, as a text. */
const IDS = /^\[?-?\d+(?:[,\s]+-?\d+){3,}\]?$/;
const HASH = /^(?:0x)?[\da-f]{16,}$/i;
const COMPARES = /^(?:includes|startsWith|endsWith|indexOf|lastIndexOf|has|get|match|test|search|localeCompare|equals)$/;

/** Words of a name: fakeLogits, FAKE_LOGITS and fake-logits are two. */
export function pretendingWord(name: string): string | undefined {
  return name
    .replace(/([a-z\d])([A-Z])/g, "$1 $2")
    .replace(/([A-Z])([A-Z][a-z])/g, "$1 $2")
    .split(/[^A-Za-z]+/)
    .find((word) => PRETENDS.test(word.toLowerCase()));
}

/** Pretended implementations in a source. */
export function pretences(source: Source): Fault[] {
  const { path } = source;
  if (!isShipped(path)) return [];
  const found: Fault[] = [];
  const inPath = pretendingWord(path);
  if (inPath !== undefined) found.push(source.fault(0, `is named as a pretence: ${inPath}`));
  for (const node of source.nodes()) {
    const what =
      named(source, node) ?? swallowed(source, node) ?? environment(source, node) ?? hollowCheck(source, node) ?? unwritten(source, node);
    if (what !== undefined) found.push(source.fault(node, what));
    if (!isEngine(path)) continue;
    const inEngine = global(source, node) ?? imported(source, node) ?? answer(source, node) ?? table(source, node);
    if (inEngine !== undefined) found.push(source.fault(node, inEngine));
  }
  return found;
}

/**
 * The same in a bundle, where rooms are mixed: what no part of it may have.
 * @param engine there is nothing but the engine in it, for Node or for web pages, which fetch their files
 */
export function pretencesInBundle(source: Source, engine: "node" | "web" | undefined): Fault[] {
  const { ts } = source;
  const found: Fault[] = [];
  for (const node of source.nodes()) {
    const what = named(source, node);
    if (what !== undefined) found.push(source.fault(node, what));
    if (!engine) continue;
    const name = isWhole(source, node) ? source.dotted(node) : undefined;
    if (name === "Math.random") found.push(source.fault(node, `leaves it to chance: ${name}`));
    if (COMPILES.test(name ?? "") || (engine === "node" && REMOTE.test(name ?? "")))
      found.push(source.fault(node, `runs what nobody can read here: ${name}`));
    if (ts.isStringLiteralLike(node) && HASH.test(node.text)) found.push(source.fault(node, "knows a hash"));
  }
  return found;
}

/** Whether a chain of names is not part of a longer one, and uses what it names. */
function isWhole({ ts }: Source, node: ts.Node): boolean {
  if (!ts.isIdentifier(node) && !ts.isPropertyAccessExpression(node) && !ts.isElementAccessExpression(node)) return false;
  const { parent } = node;
  if (ts.isIdentifier(node)) {
    // What only has the name: a member, a key, a declaration, a type.
    if ((ts.isPropertyAccessExpression(parent) || ts.isQualifiedName(parent)) && parent.getLastToken() === node) return false;
    if ("name" in parent && parent.name === node) return false;
    if ("propertyName" in parent && parent.propertyName === node) return false;
    if (ts.isTypeReferenceNode(parent) || ts.isTypeQueryNode(parent) || ts.isExpressionWithTypeArguments(parent)) return false;
  }
  return true;
}

/** What a name of the language or of the system gives: chance, clocks, the machine. */
function global(source: Source, node: ts.Node): string | undefined {
  const { ts, path } = source;
  if (ts.isNewExpression(node) || ts.isCallExpression(node)) {
    const { expression, arguments: args } = node;
    const now = source.dotted(expression) === "Date" && (args === undefined || args.length === 0 || ts.isCallExpression(node));
    if (now && !MAY_TIME.test(path)) return "hangs on the clock: Date";
  }
  if (ts.isBinaryExpression(node) && /^\*\*=?$/.test(node.operatorToken.getText(source.file)) && isExact(path)) {
    const both = [node.left, node.right].every(
      (side) => ts.isNumericLiteral(side) || (ts.isPrefixUnaryExpression(side) && ts.isNumericLiteral(side.operand)),
    );
    return both ? undefined : "uses **: not the same bits on every machine";
  }
  if (!isWhole(source, node)) return undefined;
  const name = source.dotted(node);
  if (name === undefined) return undefined;
  if (
    /^(?:Math|performance|process|crypto)$/.test(name) &&
    !ts.isPropertyAccessExpression(node.parent) &&
    !ts.isTypeOfExpression(node.parent)
  ) {
    const key = ts.isElementAccessExpression(node.parent) ? source.constant(node.parent.argumentExpression) : undefined;
    if (key === undefined) return `takes ${name} as a whole: name what is used`;
  }
  if (isExact(path) && INEXACT.test(name)) return `uses ${name}: not the same bits on every machine`;
  if (CHANCE.test(name) && !MAY_DRAW.test(path)) return `leaves it to chance: ${name}`;
  if (CLOCK.test(name) && !MAY_TIME.test(path)) return `hangs on the clock: ${name}`;
  if (WAIT.test(name) && !MAY_WAIT.test(path)) return `waits: ${name}`;
  if (REMOTE.test(name) && !MAY_ASK.test(path)) return `asks somebody else: ${name}`;
  if (MACHINE.test(name) && !(name === "process.execArgv" && MAY_START.test(path))) return `hangs on the machine: ${name}`;
  if (COMPILES.test(name)) return `runs what nobody can read here: ${name}`;
  if (name === "globalThis" && ts.isElementAccessExpression(node.parent)) return "takes a global by a computed name";
  return undefined;
}

function imported(source: Source, node: ts.Node): string | undefined {
  const { ts, path } = source;
  const specifier =
    ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
      ? node.moduleSpecifier
      : ts.isCallExpression(node) && (node.expression.kind === ts.SyntaxKind.ImportKeyword || source.dotted(node.expression) === "require")
        ? node.arguments[0]
        : undefined;
  const name = specifier && source.constant(specifier);
  if (name?.endsWith(".json")) return `imports data: ${name}`;
  if (name === undefined || !MODULES.test(name) || MAY_IMPORT.get(name)?.test(path)) return undefined;
  return `imports ${name}`;
}

/** A prompt or a hash that is compared with: a table of answers of one row. */
function answer(source: Source, node: ts.Node): string | undefined {
  const { ts } = source;
  if (ts.isRegularExpressionLiteral(node))
    return SENTENCE.test(node.text) && /^engine\/(?!compute|container|host)/.test(source.path)
      ? `knows a prompt: ${node.text.slice(0, 40)}`
      : undefined;
  const known = source.constant(node);
  if (known === undefined || source.constant(node.parent) !== undefined) return undefined;
  if (HASH.test(known)) return `knows a hash: ${known.slice(0, 24)}`;
  if (/(?:^|\/)golden\/|references\.json$/.test(known)) return `reads what tests compare with: ${known.slice(0, 40)}`;
  if (known.length > 80 && !/\s/.test(known) && !TABLES.test(source.path)) return `has data in a text: ${known.slice(0, 24)}…`;
  if (!SENTENCE.test(known) && !IDS.test(known)) return undefined;
  const { parent } = node;
  const compared =
    (ts.isBinaryExpression(parent) && /^[!=]==?$/.test(parent.operatorToken.getText(source.file))) ||
    ts.isCaseClause(parent) ||
    (ts.isPropertyAssignment(parent) && parent.name === node) ||
    ts.isComputedPropertyName(parent) ||
    (ts.isElementAccessExpression(parent) && parent.argumentExpression === node) ||
    (ts.isCallExpression(parent) && ts.isPropertyAccessExpression(parent.expression) && COMPARES.test(parent.expression.name.text)) ||
    (isRow(source, parent) && (parent as ts.ArrayLiteralExpression).elements[0] === node);
  return compared ? `knows a prompt: "${known.slice(0, 40)}"` : undefined;
}

/** A row of `new Map([…])`. */
function isRow({ ts }: Source, node: ts.Node): boolean {
  const rows = node.parent;
  return ts.isArrayLiteralExpression(node) && ts.isArrayLiteralExpression(rows) && ts.isNewExpression(rows.parent);
}

/** A literal with more numbers and texts in it than the engine has anywhere. */
function table(source: Source, node: ts.Node): string | undefined {
  const { ts, path } = source;
  if (TABLES.test(path)) return undefined;
  const isTable = (one: ts.Node): boolean => ts.isArrayLiteralExpression(one) || ts.isObjectLiteralExpression(one);
  const isCall = (ts.isCallExpression(node) && /Array\.of$/.test(source.dotted(node.expression) ?? "")) || undefined;
  if (!isTable(node) && !isCall) return undefined;
  for (let above = node.parent; above; above = above.parent) if (isTable(above)) return undefined;
  let literals = 0;
  for (const inside of source.nodes(node))
    if (ts.isNumericLiteral(inside) || ts.isStringLiteralLike(inside) || ts.isBigIntLiteral(inside)) literals++;
  return literals > MOST_LITERALS ? `has a table of ${literals} numbers or texts` : undefined;
}

/** A declared name, or one put together from parts. */
function named(source: Source, node: ts.Node): string | undefined {
  const { ts } = source;
  if (
    ts.isElementAccessExpression(node) &&
    ts.isBinaryExpression(node.argumentExpression) &&
    source.constant(node.argumentExpression) !== undefined
  )
    return `puts a name together from parts: ${source.constant(node.argumentExpression)}`;
  const name = ts.isIdentifier(node) || ts.isPrivateIdentifier(node) ? node : undefined;
  if (!name || !("name" in name.parent) || name.parent.name !== name || ts.isPropertyAccessExpression(name.parent)) return undefined;
  const word = pretendingWord(name.text);
  return word === undefined ? undefined : `pretends to be something: ${name.text}`;
}

/** An error that nobody will hear of, unless a comment says why. */
function swallowed(source: Source, node: ts.Node): string | undefined {
  const { ts } = source;
  const isEmpty = (block: ts.Node): boolean => ts.isBlock(block) && block.statements.length === 0 && !hasComment(source, block);
  if (ts.isCatchClause(node) && isEmpty(node.block) && !source.hasReason(node)) return "swallows an error: say why in a comment";
  if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression) || node.expression.name.text !== "catch")
    return undefined;
  const [handler] = node.arguments;
  if (!handler || !ts.isArrowFunction(handler) || handler.parameters.length > 0) return undefined;
  // What is kept of it is looked at.
  const top = ts.isAwaitExpression(node.parent) ? node.parent.parent : node.parent;
  if (!ts.isExpressionStatement(top) && !ts.isVoidExpression(top)) return undefined;
  const nothing = isEmpty(handler.body) || source.dotted(handler.body) === "undefined" || handler.body.kind === ts.SyntaxKind.NullKeyword;
  if (!nothing || source.hasReason(node.expression.name)) return undefined;
  return "swallows an error: say why in a comment";
}

const hasComment = ({ comments }: Source, node: ts.Node): boolean =>
  comments.some(({ start, end, text }) => start > node.pos && end < node.end && text !== "");

/** Variables that only tests know could make a run come out well. */
function environment(source: Source, node: ts.Node): string | undefined {
  const { ts, path } = source;
  if (isEngine(path) || !isWhole(source, node) || source.dotted(node) !== "process.env") return undefined;
  const { parent } = node;
  const variable = ts.isPropertyAccessExpression(parent)
    ? parent.name.text
    : ts.isElementAccessExpression(parent)
      ? source.constant(parent.argumentExpression)
      : undefined;
  if (variable === undefined ? PASS_ENVIRONMENT.test(path) : VARIABLES.test(variable)) return undefined;
  return `hangs on the environment: ${variable ?? "process.env as a whole"}`;
}

/** A check that passes whatever there is, or because something failed. */
function hollowCheck(source: Source, node: ts.Node): string | undefined {
  const { ts, path } = source;
  const isPass = (one: ts.Node): boolean => ts.isCallExpression(one) && source.dotted(one.expression) === "pass";
  const passes =
    isPass(node) ||
    (ts.isPropertyAssignment(node) && node.name.getText(source.file) === "status" && source.constant(node.initializer) === "PASS");
  if (!path.startsWith("validation/") || !passes) return undefined;
  let above = node.parent;
  while (above && !ts.isCatchClause(above) && !ts.isFunctionLike(above)) above = above.parent;
  if (!above) return undefined;
  if (ts.isCatchClause(above)) return "passes because something failed";
  const parameters = new Set(above.parameters.map(({ name }) => name.getText(source.file)));
  const looks = source
    .nodes(above)
    .some(
      (one) =>
        (ts.isCallExpression(one) && !isPass(one)) || (ts.isIdentifier(one) && !ts.isParameter(one.parent) && parameters.has(one.text)),
    );
  return looks ? undefined : "passes without looking at anything";
}

/** What says itself that it is not there yet. */
function unwritten(source: Source, node: ts.Node): string | undefined {
  const known =
    source.ts.isThrowStatement(node.parent ?? node) || source.ts.isNewExpression(node.parent ?? node) ? source.constant(node) : undefined;
  return /\b(?:not (?:yet )?implemented|unimplemented)\b/i.test(known ?? "") ? "is not written yet" : undefined;
}
