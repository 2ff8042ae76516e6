import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CHROMIUM, Pages } from "../engine/web.test.helper.js";

// The page as it is put on a host of static files, in a folder, without headers: its service worker isolates it.

const PHONE = { width: 360, height: 640 };

// Without a browser there is nothing to see it with; CI installs one.
describe.runIf(CHROMIUM !== undefined)("the page, in Chromium", () => {
  const folder = mkdtempSync(join(tmpdir(), "bitnet-page-"));
  let pages: Pages;
  let browser: Browser;
  const errors: string[] = [];

  beforeAll(async () => {
    execFileSync(process.execPath, ["scripts/web.mjs", "--out", join(folder, "site")]);
    pages = await Pages.open({ isolated: false, root: folder });
    browser = await chromium.launch({ executablePath: CHROMIUM!, args: ["--no-sandbox", "--disable-gpu", "--disable-quic"] });
  });
  afterAll(async () => {
    await browser?.close();
    pages?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** The page, when it is isolated. */
  async function open(options: Parameters<Browser["newPage"]>[0] = {}): Promise<Page> {
    const page = await browser.newPage(options);
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error") errors.push(message.text());
    });
    await page.goto(`${pages.url}/site/index.html`);
    await page.waitForFunction(() => globalThis.crossOriginIsolated, undefined, { timeout: 60_000 });
    await page.waitForLoadState();
    return page;
  }

  const status = (page: Page) => page.locator("#status").textContent();
  const choose = async (page: Page): Promise<void> => {
    await page.getByRole("button", { name: "Small stories" }).click();
    await expect.poll(() => status(page), { timeout: 60_000 }).toMatch(/relaxed kernels/);
  };

  it("loads the embedded model, answers, and computes on all processors", async () => {
    const page = await open();
    await choose(page);
    const threads = Math.min(availableParallelism(), 16);
    expect(await status(page)).toContain(threads === 1 ? "1 thread," : `${threads} threads,`);
    await page.getByLabel("Message").fill("<b>Tell me</b> about a dog.");
    await page.keyboard.press("Enter");
    await expect.poll(() => status(page), { timeout: 60_000 }).toMatch(/^\d+ tokens, [\d.]+ tokens\/s/);
    expect(await page.locator("article.user p").textContent()).toBe("<b>Tell me</b> about a dog.");
    expect((await page.locator("article.assistant p").textContent())!.length).toBeGreaterThan(20);
    await page.getByRole("button", { name: "New chat" }).click();
    expect(await page.locator("article").count()).toBe(0);
    await page.getByRole("button", { name: "Change model" }).click();
    const name = "ggml-model-i2_s.gguf";
    await page.getByRole("button", { name: `Use: ${name}` }).click();
    await expect.poll(() => status(page), { timeout: 60_000 }).toMatch(/relaxed kernels/);
    await page.getByRole("button", { name: "Change model" }).click();
    await page.getByRole("button", { name: `Remove: ${name}` }).click();
    await expect.poll(() => page.locator("#stored").isVisible(), { timeout: 60_000 }).toBe(false);
    await page.close();
  });

  it("opens files, and says what is wrong with one", async () => {
    const page = await open();
    await page.locator("#files").setInputFiles("README.md");
    await expect.poll(() => status(page), { timeout: 60_000 }).toMatch(/^README\.md/);
    expect(await page.locator("#status.error").count()).toBe(1);
    await page.locator("#files").setInputFiles("models/bitnet-stories-4m/ggml-model-i2_s.gguf");
    await expect.poll(() => status(page), { timeout: 60_000 }).toMatch(/^ggml-model-i2_s\.gguf: .*kernels/);
    await page.close();
  });

  it.each(["light", "dark"] as const)("fits a phone, in %s colours that can be read", async (colorScheme) => {
    const page = await open({ viewport: PHONE, colorScheme });
    await choose(page);
    await page.getByLabel("Message").fill("A".repeat(300));
    const { width, colours } = await page.evaluate(() => {
      const { color, backgroundColor } = getComputedStyle(document.body);
      return { width: document.documentElement.scrollWidth, colours: [color, backgroundColor] };
    });
    expect(width).toBe(PHONE.width);
    const [text, background] = colours.map((colour) => Math.max(...colour.match(/\d+/g)!.map(Number))) as [number, number];
    expect(colorScheme === "dark" ? text - background : background - text).toBeGreaterThan(150);
    await page.close();
  });

  it("reported no error", () => {
    expect(errors).toEqual([]);
  });
});
