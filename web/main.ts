/** The page that shows the engine: a model is chosen, then talked to. Everything runs in the page. What people and models write is put into it as text only. */
import {
  type ChatMessage,
  download,
  type FilePath,
  type Generation,
  listDownloads,
  loadModel,
  type Model,
  removeDownload,
} from "../engine/web.js";
import { isolate } from "./isolation.js";
import { prove, type Receipt, readReceipt, receiptLoad, replay, type Traced, writtenOn } from "./prove.js";

/** Elements of index.html. */
function at<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}
const choose = at("choose");
const log = at("log");
const chat = at<HTMLFormElement>("chat");
const message = at<HTMLTextAreaElement>("message");
const send = at<HTMLButtonElement>("send");
const stop = at<HTMLButtonElement>("stop");
const status = at("status");
const change = at<HTMLButtonElement>("change");
const fresh = at<HTMLButtonElement>("fresh");
const files = at<HTMLInputElement>("files");
const url = at<HTMLInputElement>("url");
const receipts = at<HTMLInputElement>("receipts");
const working = at("working");
const progress = at<HTMLProgressElement>("progress");
const progressText = at("progress-text");

let model: Model | undefined;
/** Where it came from: undefined for the embedded one. */
let modelPath: string | undefined;
/** A receipt whose model is not here yet: the next one that is opened replays it. */
let waiting: Receipt | undefined;
/** What the model is and runs on, for the status. */
let about = "";
let messages: ChatMessage[] = [];
let answering: AbortController | undefined;
let loading: AbortController | undefined;

function say(text: string, isError = false): void {
  status.textContent = text;
  status.classList.toggle("error", isError);
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

/** Progress of what takes long. @param total undefined: nobody knows */
function showProgress(what: string, done: number, total: number | undefined): void {
  if (total === undefined) progress.removeAttribute("value");
  else progress.value = total === 0 ? 0 : done / total;
  progressText.textContent = `${what} ${megabytes(done)}${total === undefined ? "" : ` of ${megabytes(total)}`}`;
}

/** Loads a model, from a download if it is at a URL, and opens the conversation; or replays the receipt that waits for one. */
async function open(source: FilePath | undefined): Promise<void> {
  const receipt = waiting;
  loading = new AbortController();
  const { signal } = loading;
  working.hidden = false;
  for (const button of choose.querySelectorAll("button")) button.disabled = button.id !== "cancel";
  say("");
  try {
    if (typeof source === "string") {
      await download(source, { signal, onProgress: ({ done, total }) => showProgress("Downloading", done, total) });
    }
    progress.removeAttribute("value");
    progressText.textContent = "Opening";
    const options = receipt && receiptLoad(receipt);
    const opened = await loadModel(source, {
      ...options,
      signal,
      onProgress: ({ done, total }) => showProgress("Loading", done, total),
    });
    if (receipt) return await showReplay(receipt, opened, signal);
    model = opened;
    modelPath = source === undefined ? undefined : opened.path;
    const { tier, threads } = model.kernels; // not `describe()`: its hash of a large file takes many seconds
    about = `${threads === 1 ? "1 thread" : `${threads} threads`}, ${tier} kernels, ${megabytes(model.memoryBytes)} of memory`;
    choose.hidden = true;
    for (const element of [log, chat, change, fresh]) element.hidden = false;
    begin();
  } catch (error) {
    say(signal.aborted ? "" : (error as Error).message, true);
  } finally {
    waiting = undefined;
    working.hidden = true;
    for (const button of choose.querySelectorAll("button")) button.disabled = false;
    loading = undefined;
    await showDownloads();
  }
}

/** Replays a receipt, says what came of it, and closes the model. */
async function showReplay(receipt: Receipt, opened: Model, signal: AbortSignal): Promise<void> {
  progress.removeAttribute("value");
  progressText.textContent = "Replaying";
  try {
    const { difference, tier, threads } = await replay(receipt, opened, signal);
    if (difference !== undefined) return say(`The receipt does not hold: ${difference}`, true);
    const here = `${tier} kernels, ${threads === 1 ? "1 thread" : `${threads} threads`}`;
    say(`Match: ${receipt.steps.length} steps, the same to the bit. Written ${writtenOn(receipt)}; replayed here, ${here}.`);
  } finally {
    await opened.close();
  }
}

/** Replays the receipt in a file: at once if its model is here. */
async function verify(file: File): Promise<void> {
  try {
    const receipt = await readReceipt(file);
    const { path } = receipt.model;
    waiting = receipt;
    if (path === null) return await open(undefined);
    if ((await listDownloads()).some((one) => one.url === path && one.sha256 !== undefined)) return await open(path);
    say(`The receipt is of ${nameOf(path)}: open that model, and it is replayed.`);
  } catch (error) {
    say((error as Error).message, true);
  }
}

/** Under an answer: what makes its receipt, and saves it. */
function offerProof(under: HTMLElement, result: Traced): void {
  const of = model!;
  const path = modelPath;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Prove it";
  button.addEventListener("click", async () => {
    button.disabled = true;
    say("making the receipt: the whole model is read for its hash");
    try {
      const receipt = await prove(of, result, path);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([`${JSON.stringify(receipt, undefined, 2)}\n`], { type: "application/json" }));
      link.download = `receipt-${receipt.digest.slice(0, 8)}.json`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // when it surely is saved
      say(`${link.download} is saved: “Verify a receipt” in another tab, or bitnet verify on a command line, replays it to the bit`);
    } catch (error) {
      say((error as Error).message, true);
    }
    button.disabled = false;
  });
  under.append(button);
  button.scrollIntoView({ block: "end" });
}

/** A new conversation. */
function begin(): void {
  answering?.abort();
  messages = [];
  log.replaceChildren();
  say(`${nameOf(model!.path)}: ${about}`);
  message.focus();
}

const nameOf = (path: string): string => decodeURIComponent(path.slice(path.lastIndexOf("/") + 1));

/** What was downloaded before. */
async function showDownloads(): Promise<void> {
  const downloads = await listDownloads();
  at("stored").hidden = downloads.length === 0;
  at("downloads").replaceChildren(
    ...downloads.map((one) => {
      const row = document.createElement("li");
      const name = document.createElement("span");
      const [use, remove] = [document.createElement("button"), document.createElement("button")];
      const isWhole = one.sha256 !== undefined;
      name.className = "name";
      name.textContent = `${nameOf(one.url)}, ${isWhole ? megabytes(one.done) : `${megabytes(one.done)} so far`}`;
      name.title = one.url;
      for (const [button, text] of [
        [use, isWhole ? "Use" : "Go on"],
        [remove, "Remove"],
      ] as const) {
        button.type = "button";
        button.textContent = text;
        button.setAttribute("aria-label", `${text}: ${nameOf(one.url)}`);
      }
      use.addEventListener("click", () => void open(one.url));
      remove.addEventListener("click", () => {
        removeDownload(one.url).then(showDownloads, (error: Error) => say(error.message, true));
      });
      row.append(name, use, remove);
      return row;
    }),
  );
}

/** A message in the conversation. @returns where its text is put */
function show(role: "user" | "assistant", text: string): HTMLElement {
  const article = document.createElement("article");
  const [heading, paragraph] = [document.createElement("h2"), document.createElement("p")];
  article.className = role;
  heading.textContent = role === "user" ? "You" : "Model";
  paragraph.textContent = text;
  article.append(heading, paragraph);
  log.append(article);
  article.scrollIntoView({ block: "end" });
  return paragraph;
}

/** The next answer: in the model's chat template, or what follows all that was said where it has none. */
function answerOf(signal: AbortSignal): Generation {
  const current = model!;
  const options = { signal, temperature: 0.7, topK: 40, trace: true };
  if (current.chatTemplate) return current.chat(messages, options);
  return current.generate(messages.map(({ content }) => content).join("\n"), options);
}

async function answer(): Promise<void> {
  const conversation = messages; // not that of a new chat that begins meanwhile
  const controller = new AbortController();
  answering = controller;
  send.hidden = true;
  stop.hidden = false;
  say("thinking");
  const paragraph = show("assistant", "");
  log.setAttribute("aria-busy", "true");
  let text = "";
  try {
    const generation = answerOf(controller.signal);
    for await (const piece of generation) {
      text += piece;
      if (conversation !== messages) break;
      paragraph.textContent = text;
      paragraph.scrollIntoView({ block: "end" });
    }
    const result = await generation.result();
    const { ids, stopReason, timings, trace } = result;
    const cut = stopReason === "length" ? " · cut off" : "";
    say(
      `${ids.length} tokens, ${timings.decodeTokensPerSecond.toFixed(1)} tokens/s · first token after ${timings.firstTokenMs.toFixed(0)} ms · ${about}${cut}`,
    );
    if (trace && stopReason !== "aborted" && conversation === messages) offerProof(paragraph.parentElement!, { ...result, trace });
  } catch (error) {
    say(controller.signal.aborted ? "stopped" : (error as Error).message, !controller.signal.aborted);
  }
  log.removeAttribute("aria-busy");
  send.hidden = false;
  stop.hidden = true;
  answering = undefined;
  if (conversation !== messages) return say(`${nameOf(model!.path)}: ${about}`);
  if (text !== "") messages.push({ role: "assistant", content: text });
  else {
    paragraph.parentElement!.remove();
    messages.pop(); // asked again as it is, or changed
  }
  message.focus();
}

function submit(): void {
  const content = message.value.trim();
  if (content === "" || answering) return;
  message.value = "";
  messages.push({ role: "user", content });
  show("user", content);
  void answer();
}

chat.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
message.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
stop.addEventListener("click", () => answering?.abort());
fresh.addEventListener("click", begin);
change.addEventListener("click", async () => {
  answering?.abort();
  const old = model;
  model = undefined;
  for (const element of [log, chat, change, fresh]) element.hidden = true;
  choose.hidden = false;
  say("");
  await old?.close();
  await showDownloads();
});
at("embedded").addEventListener("click", () => void open(undefined));
at("file").addEventListener("click", () => files.click());
files.addEventListener("change", () => {
  const [first, ...more] = files.files ?? [];
  if (first) void open(more.length === 0 ? first : [first, ...more]);
  files.value = "";
});
at("receipt").addEventListener("click", () => receipts.click());
receipts.addEventListener("change", () => {
  const [first] = receipts.files ?? [];
  if (first) void verify(first);
  receipts.value = "";
});
at("by-url").addEventListener("submit", (event) => {
  event.preventDefault();
  void open(url.value);
});
at("cancel").addEventListener("click", () => loading?.abort());

await isolate();
await showDownloads();
