import { existsSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, type Model } from "../engine/index.js";
import { createHandler } from "./handler.js";
import { type Listening, listen } from "./node.js";

// The page in a real browser.

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path));
const PHONE = { width: 360, height: 640 };

// Without a browser there is nothing to see it with; CI installs one.
describe.runIf(CHROMIUM !== undefined)("the page to chat, in Chromium", () => {
  let model: Model;
  let server: Listening;
  let browser: Browser;
  const errors: string[] = [];

  beforeAll(async () => {
    model = await loadModel(undefined, { threads: 2 });
    const models = new Map([
      ["stories", model],
      ["the same", model],
    ]);
    server = await listen(createHandler(models, { loopbackOnly: true }), { host: "127.0.0.1", port: 0 });
    const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"];
    browser = await chromium.launch({ executablePath: CHROMIUM!, args });
  });
  afterAll(async () => {
    await browser?.close();
    await server?.close(0);
    await model?.close();
  });

  /** The page, opened; what it reports as an error is noted. */
  async function open(options: Parameters<Browser["newPage"]>[0] = {}): Promise<Page> {
    const page = await browser.newPage(options);
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error") errors.push(message.text());
    });
    await page.goto(server.url);
    return page;
  }

  const answers = (page: Page) => page.locator("article.assistant p");

  it("streams an answer, says how fast it was, and keeps the conversation", async () => {
    const page = await open();
    await page.getByLabel("Model").selectOption("the same");
    await page.getByLabel("Message").fill("Tell me about a dog.");
    await page.keyboard.press("Enter");
    await expect.poll(() => page.locator("#status").textContent(), { timeout: 60_000 }).toMatch(/^\d+ tokens, [\d.]+ tokens\/s/);
    const first = await answers(page).textContent();
    expect(first!.length).toBeGreaterThan(20);
    await page.getByLabel("Message").fill("<b>And a cat?</b>");
    await page.getByRole("button", { name: "Send" }).click();
    await expect.poll(() => answers(page).count(), { timeout: 60_000 }).toBe(2);
    await expect.poll(() => page.locator("#status").textContent(), { timeout: 60_000 }).toMatch(/tokens\/s/);
    expect(await page.locator("article.user p").allTextContents()).toEqual(["Tell me about a dog.", "<b>And a cat?</b>"]);
    await page.getByRole("button", { name: "New chat" }).click();
    expect(await page.locator("article").count()).toBe(0);
    await page.close();
  });

  it("stops a long answer, and the engine with it", async () => {
    const page = await open();
    // An answer without an end: its end is not reached.
    await page.route("**/v1/chat/completions", (route) => {
      const body = { ...route.request().postDataJSON(), max_tokens: 100_000, temperature: 2, top_k: 0 };
      return route.continue({ postData: JSON.stringify(body) });
    });
    await page.getByLabel("Message").fill("Go on and on.");
    await page.keyboard.press("Enter");
    await expect.poll(async () => (await answers(page).textContent())!.length, { timeout: 60_000 }).toBeGreaterThan(10);
    await page.getByRole("button", { name: "Stop" }).click();
    await expect.poll(() => page.locator("#status").textContent()).toMatch(/ · (?:stopped|cut off)$|tokens\/s$/);
    await expect.poll(() => model.stats.running).toBe(0);
    await page.close();
  });

  it.each(["light", "dark"] as const)("fits a phone, in %s colours that can be read", async (colorScheme) => {
    const page = await open({ viewport: PHONE, colorScheme });
    await page.getByLabel("Message").fill("A".repeat(300));
    const { width, colours } = await page.evaluate(() => {
      const { color, backgroundColor } = getComputedStyle(document.body);
      return { width: document.documentElement.scrollWidth, colours: [color, backgroundColor] };
    });
    expect(width).toBe(PHONE.width);
    const [text, background] = colours.map((colour) => Math.max(...colour.match(/\d+/g)!.map(Number))) as [number, number];
    expect(colorScheme === "dark" ? text - background : background - text).toBeGreaterThan(150);
    for (const name of ["Send", "New chat"]) {
      const box = await page.getByRole("button", { name }).boundingBox();
      expect(box!.x + box!.width).toBeLessThanOrEqual(PHONE.width);
      expect(box!.y + box!.height).toBeLessThanOrEqual(PHONE.height);
    }
    await page.close();
  });

  it("reported no error", () => {
    expect(errors).toEqual([]);
  });
});
