import { createHash } from "node:crypto";

// The page at `/`: one file without a framework or anything from elsewhere. What people and models write is put into it as text only.

const STYLE = `
:root { color-scheme: light dark; --line: light-dark(#ccc, #444); --soft: light-dark(#f2f2f2, #222); --accent: light-dark(#0b57d0, #8ab4f8);
  --on-accent: light-dark(#fff, #000); --error: light-dark(#b3261e, #f2b8b5); --dim: light-dark(#595959, #aaa); }
* { box-sizing: border-box; }
body { margin: 0; height: 100dvh; display: flex; flex-direction: column; font: 1rem/1.5 system-ui, sans-serif;
  background: light-dark(#fff, #121212); color: light-dark(#111, #eee); }
header, main > *, form > *, #status { width: 100%; max-width: 46rem; margin-inline: auto; padding-inline: 1rem; }
header { display: flex; gap: .75rem; align-items: center; padding-block: .5rem; }
h1 { font-size: 1.1rem; margin: 0; flex: 1; }
main { flex: 1; overflow-y: auto; border-block: 1px solid var(--line); padding-block: 1rem; }
article { margin-block: 0 1rem; }
article h2 { font-size: .85rem; margin: 0; color: var(--dim); }
article p { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
article.user p { background: var(--soft); border-radius: .5rem; padding: .5rem .75rem; }
#status { min-height: 1.5em; font-size: .85rem; color: var(--dim); margin-block: .25rem 0; }
#status.error { color: var(--error); }
form .row { display: flex; gap: .5rem; padding-block: .25rem max(.75rem, env(safe-area-inset-bottom)); align-items: end; }
#key { display: block; padding-block: .25rem; }
[hidden] { display: none !important; }
textarea, input, select, button { font: inherit; color: inherit; background: transparent; border: 1px solid var(--dim); border-radius: .5rem;
  padding: .5rem .75rem; min-height: 2.75rem; }
select { max-width: 50%; min-width: 0; flex-shrink: 1; background: light-dark(#fff, #121212); }
textarea { flex: 1; min-width: 0; resize: none; max-height: 40dvh; field-sizing: content; }
button { cursor: pointer; white-space: nowrap; flex: none; }
button[type=submit] { background: var(--accent); color: var(--on-accent); border-color: transparent; }
button:disabled { opacity: .5; cursor: default; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); padding: 0; }
`;

const SCRIPT = `
"use strict";
const at = (id) => document.getElementById(id);
const [form, input, log, status, send, stop, fresh, model, keyRow, key] =
  ["form", "input", "log", "status", "send", "stop", "fresh", "model", "key", "key-value"].map(at);
let messages = [];
let answering;

function say(text, isError) {
  status.textContent = text;
  status.classList.toggle("error", Boolean(isError));
}

function show(role, text) {
  const article = document.createElement("article");
  const heading = document.createElement("h2");
  const paragraph = document.createElement("p");
  article.className = role;
  heading.textContent = role === "user" ? "You" : "Model";
  paragraph.textContent = text;
  article.append(heading, paragraph);
  log.append(article);
  log.scrollTop = log.scrollHeight;
  return paragraph;
}

async function ask(path, init = {}) {
  const headers = { "content-type": "application/json" };
  if (key.value !== "") headers.authorization = "Bearer " + key.value;
  const response = await fetch(path, { ...init, headers });
  if (response.ok) return response;
  if (response.status === 401) {
    keyRow.hidden = false;
    key.focus();
  }
  const body = await response.json().catch(() => undefined);
  throw new Error(body?.error?.message ?? "the server answered with status " + response.status);
}

async function listModels() {
  const { data } = await (await ask("v1/models")).json();
  model.replaceChildren(...data.map(({ id }) => new Option(id, id)));
  model.hidden = data.length < 1;
}

/** Calls back for each event of a stream, until its end. */
async function read(response, onEvent) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\\n\\n");
    rest = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ") || event === "data: [DONE]") continue;
      const body = JSON.parse(event.slice(6));
      if (body.error) throw new Error(body.error.message);
      onEvent(body);
    }
  }
}

async function answer() {
  const conversation = messages; // not that of a new chat that begins meanwhile
  answering = new AbortController();
  send.hidden = true;
  stop.hidden = false;
  say("waiting for the answer");
  const paragraph = show("assistant", "");
  log.setAttribute("aria-busy", "true");
  let text = "";
  let tokens = 0;
  let first;
  let reason;
  try {
    const body = JSON.stringify({ model: model.value || undefined, messages, stream: true, stream_options: { include_usage: true } });
    const response = await ask("v1/chat/completions", { method: "POST", body, signal: answering.signal });
    await read(response, ({ choices, usage }) => {
      const choice = choices[0];
      if (choice?.delta.content) {
        first ??= performance.now();
        tokens++;
        const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
        text += choice.delta.content;
        paragraph.textContent = text;
        if (follows) log.scrollTop = log.scrollHeight;
      }
      reason = choice?.finish_reason ?? reason;
      tokens = usage?.completion_tokens ?? tokens;
    });
    say(speed(tokens, first) + (reason === "length" ? " · cut off" : ""));
  } catch (error) {
    if (answering.signal.aborted) say(speed(tokens, first) + " · stopped");
    else say(error.message, true);
  }
  log.removeAttribute("aria-busy");
  if (conversation !== messages) say("");
  else if (text === "") {
    paragraph.parentElement.remove();
    const { content } = messages.pop(); // asked again as it is, or changed
    log.lastElementChild.remove();
    if (input.value === "") input.value = content;
  } else messages.push({ role: "assistant", content: text });
  answering = undefined;
  send.hidden = false;
  stop.hidden = true;
  if (keyRow.hidden || key.value !== "") input.focus();
}

function speed(tokens, first) {
  const seconds = (performance.now() - first) / 1000;
  const rate = tokens > 1 && seconds > 0 ? ", " + ((tokens - 1) / seconds).toFixed(1) + " tokens/s" : "";
  return tokens + (tokens === 1 ? " token" : " tokens") + rate;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const content = input.value.trim();
  if (content === "" || answering) return;
  input.value = "";
  messages.push({ role: "user", content });
  show("user", content);
  answer();
});
input.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") answering?.abort();
});
stop.addEventListener("click", () => answering?.abort());
fresh.addEventListener("click", () => {
  answering?.abort();
  messages = [];
  log.replaceChildren();
  say("");
  input.focus();
});
key.addEventListener("change", () => listModels().then(() => say("")).catch((error) => say(error.message, true)));
listModels().catch((error) => say(error.message, true));
`;

const BODY = `
<header><h1>bitnet</h1><label class="unseen" for="model">Model</label><select id="model" hidden></select><button type="button" id="fresh">New chat</button></header>
<main id="log" role="log" aria-label="Conversation" tabindex="0"></main>
<p id="status" role="status"></p>
<form id="form">
<label id="key" hidden>API key <input id="key-value" type="password" autocomplete="off"></label>
<div class="row"><label class="unseen" for="input">Message</label><textarea id="input" rows="1" placeholder="Message" autofocus></textarea><button type="submit" id="send">Send</button><button type="button" id="stop" hidden>Stop</button></div>
</form>
`;

export const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>bitnet</title>
<link rel="icon" href="data:,">
<style>${STYLE}</style>
</head>
<body>${BODY}<script>${SCRIPT}</script></body>
</html>
`;

const hash = (text: string): string => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/** Nothing runs, and nothing is loaded, but what is in the page; no other page may show it in a frame. */
const POLICY = [
  "default-src 'none'",
  `script-src ${hash(SCRIPT)}`,
  `style-src ${hash(STYLE)}`,
  "connect-src 'self'",
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

export const pagePolicy = { "content-security-policy": POLICY, "referrer-policy": "no-referrer" } as const;
