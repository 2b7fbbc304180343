// Looks at pages in a browser and says what it saw: `node visit.mjs PLAN.json`, JSON on standard output.
// The plan names the browser, the folder of node packages, and visits: a page, a width, a theme.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const plan = JSON.parse(readFileSync(process.argv[2], "utf8"));
const require = createRequire(join(plan.packages, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const LIMIT = 60_000;

async function look(visit) {
  const context = await browser.newContext({
    viewport: { width: visit.width, height: 900 },
    colorScheme: visit.theme,
    reducedMotion: "reduce",
    javaScriptEnabled: visit.scripts ?? true,
    acceptDownloads: true,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT);
  const seen = { ...visit, said: [], asked: [] };
  page.on("console", (message) => seen.said.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => seen.said.push(`error: ${error.message}`));
  page.on("request", (request) => seen.asked.push(request.url()));
  await page.goto(pathToFileURL(visit.page).href);
  if (visit.scripts ?? true) await drawn(page);
  for (const step of visit.steps) {
    try {
      seen[step] = await steps[step](page);
    } catch (error) {
      seen[step] = { failed: String(error) }; // other steps and visits say what they saw
    }
  }
  await context.close();
  return seen;
}

function drawn(page) {
  return page.waitForFunction(() => document.documentElement.dataset.drawn === "yes");
}

const settled = () => window.tileskipViews.layers.runAsync().then(() => true);

const steps = {
  // How wide the page is, and what sticks out of the window without a box of its own that scrolls.
  measure: (page) =>
    page.evaluate(() => {
      const scrolls = (element) =>
        element && element !== document.body &&
        (["auto", "scroll", "hidden"].includes(getComputedStyle(element).overflowX) ||
          scrolls(element.parentElement));
      const out = [...document.querySelectorAll("main *")].filter(
        (element) => element.getBoundingClientRect().right > window.innerWidth + 1 && !scrolls(element),
      );
      return {
        window: window.innerWidth,
        page: document.documentElement.scrollWidth,
        out: out.map((element) => element.outerHTML.slice(0, 120)),
      };
    }),

  // The rows of every data set of every chart, as the charts hold them, and how many marks there are.
  charts: (page) =>
    page.evaluate(() =>
      Object.fromEntries(
        Object.entries(window.tileskipViews).map(([name, view]) => {
          const spec = JSON.parse(document.getElementById("specs").textContent)[name];
          const sets = Object.keys(spec.datasets).map((set) => [set, view.data(set)]);
          const marks = document.querySelectorAll(`#chart-${name} svg path, #chart-${name} svg line`);
          return [name, { data: Object.fromEntries(sets), marks: marks.length }];
        }),
      ),
    ),

  axe: async (page) => {
    await page.evaluate(axe);
    const found = await page.evaluate(() =>
      window.axe.run(document, { resultTypes: ["violations"], rules: { "color-contrast-enhanced": { enabled: false } } }),
    );
    return {
      passes: found.passes.length,
      violations: found.violations.map((one) => ({
        id: one.id,
        help: one.help,
        nodes: one.nodes.map((node) => node.html.slice(0, 200)),
      })),
    };
  },

  hostile: (page) =>
    page.evaluate(() => ({
      ran: window.hostile ?? null,
      elements: document.querySelectorAll("img[src=x], [onerror]").length,
      comments: (() => {
        const walker = document.createTreeWalker(document, NodeFilter.SHOW_COMMENT);
        let count = 0;
        while (walker.nextNode()) count += 1;
        return count;
      })(),
      scripts: document.scripts.length,
      text: document.body.innerText,
      cells: [...document.querySelectorAll("tbody th")].map((cell) => cell.textContent),
    })),

  // What the pointer shows over the first point of the first chart.
  tooltip: async (page) => {
    const point = page.locator("#tradeoff svg .mark-symbol.role-mark path").last();
    await point.scrollIntoViewIfNeeded();
    await point.hover({ force: true });
    const box = page.locator("#vg-tooltip-element.visible");
    await box.waitFor();
    return { text: await box.innerText(), elements: await box.locator("img, script").count() };
  },

  // The switch: what it does, and what a second visit finds.
  theme: async (page) => {
    const look = () =>
      page.evaluate(() => ({
        page: getComputedStyle(document.body).backgroundColor,
        axis: getComputedStyle(document.querySelector("#tradeoff .role-axis-label text")).fill,
        pressed: document.getElementById("theme").getAttribute("aria-pressed"),
      }));
    const before = await look();
    await page.click("#theme");
    const after = await look();
    await page.reload();
    await drawn(page);
    return { before, after, again: await look() };
  },

  // Tab from the top: each place with what shows that it has the focus.
  keyboard: async (page) => {
    const places = [];
    for (let index = 0; index < 200; index += 1) {
      await page.keyboard.press("Tab");
      const place = await page.evaluate(() => {
        const it = document.activeElement;
        if (!it || it === document.body) return null;
        const shown = it.matches("label input") ? it.nextElementSibling : it;
        const style = getComputedStyle(shown);
        const box = shown.getBoundingClientRect();
        const hidden = box.bottom < 0 || box.top > window.innerHeight || box.width < 2;
        return {
          name: (it.getAttribute("aria-label") || it.textContent || it.value || "").trim().slice(0, 60),
          tag: it.tagName.toLowerCase(),
          id: it.id,
          href: it.getAttribute("href"),
          outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
          hidden,
        };
      });
      if (place === null) break;
      places.push(place);
      if (index === 0) {
        await page.keyboard.press("Enter");
        place.leads = await page.evaluate(() => document.activeElement.id);
        await page.evaluate(() => document.querySelector(".skip").focus());
      }
    }
    return places;
  },

  // The window becomes narrow: charts follow, and long names lose their middle.
  resize: async (page) => {
    const look = () =>
      page.evaluate(() => ({
        letters: window.tileskipViews.turns.signal("axisLetters"),
        chart: document.querySelector("#chart-turns svg").getBoundingClientRect().width,
        box: document.querySelector("#chart-turns").clientWidth,
        names: [...document.querySelectorAll("#chart-turns .role-axis-label text")].map((one) => one.textContent),
      }));
    const before = await look();
    await page.setViewportSize({ width: 340, height: 800 });
    await page.waitForFunction((was) => window.tileskipViews.turns.signal("axisLetters") !== was, before.letters);
    await page.waitForFunction(() => {
      const chart = document.querySelector("#chart-turns svg");
      return chart && chart.getBoundingClientRect().width <= document.querySelector("#chart-turns").clientWidth;
    });
    return { before, after: await look() };
  },

  // Arrow keys on the chart's radio buttons.
  controls: async (page) => {
    const order = () =>
      page.evaluate(() =>
        [...document.querySelectorAll("#chart-layers .role-axis-label text")]
          .filter((text) => text.getAttribute("text-anchor") === "end")
          .map((text) => [text.textContent, text.getBoundingClientRect().top])
          .sort((one, two) => one[1] - two[1])
          .map(([name]) => name),
      );
    const of = () => page.evaluate(() => window.tileskipViews.layers.signal("shown"));
    const before = { order: await order(), shown: await of() };
    await page.focus("input[name=layers-order]:checked");
    await page.keyboard.press("ArrowRight");
    await page.waitForFunction(() => window.tileskipViews.layers.signal("order") === 1);
    await page.evaluate(settled);
    const sorted = await order();
    await page.focus("input[name=layers-shown]:checked");
    await page.keyboard.press("ArrowRight");
    await page.evaluate(settled);
    return { before, sorted, shown: await of() };
  },

  download: async (page) => {
    const [file] = await Promise.all([page.waitForEvent("download"), page.click("button[data-document]")]);
    return { name: file.suggestedFilename(), text: readFileSync(await file.path(), "utf8") };
  },

  print: async (page) => {
    await page.emulateMedia({ media: "print" });
    const found = await page.evaluate(() => {
      const shown = (selector) =>
        [...document.querySelectorAll(selector)].filter((one) => one.getClientRects().length > 0).length;
      return {
        background: getComputedStyle(document.body).backgroundColor,
        ink: getComputedStyle(document.body).color,
        buttons: shown("button"),
        links: shown("nav a"),
        charts: shown(".drawn svg"),
      };
    });
    const pdf = await page.pdf({ format: "A4" });
    return { ...found, pdf: pdf.length };
  },

  plain: (page) =>
    page.evaluate(() => 0).catch(() => 0).then(async () => ({
      notice: await page.locator("noscript").allInnerTexts(),
      controls: await page.locator("#theme").isVisible(),
    })),

  tables: (page) =>
    page.evaluate(() =>
      [...document.querySelectorAll("figure.chart")].map((figure) => ({
        id: figure.id,
        rows: figure.querySelectorAll("details table tbody tr").length,
        label: figure.querySelector("[role=img]").getAttribute("aria-label"),
      })),
    ),
};

const browser = await chromium.launch({
  executablePath: plan.browser,
  args: ["--no-sandbox"],
  timeout: LIMIT,
});
const done = [];
for (const visit of plan.visits) done.push(await look(visit));
await browser.close();
process.stdout.write(JSON.stringify(done));
