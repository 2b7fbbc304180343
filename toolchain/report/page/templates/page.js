// What moves on the page: the switch of colours, the charts and their controls, downloads.
(() => {
  "use strict";
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const root = document.documentElement;
  const narrow = () => window.innerWidth < 560;

  // --- light and dark ---
  const button = document.getElementById("theme");
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => root.dataset.theme || (preferred.matches ? "dark" : "light");
  const tell = () => {
    const dark = theme() === "dark";
    button.setAttribute("aria-pressed", String(dark));
  };
  button.addEventListener("click", () => {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    try { localStorage.setItem("tileskip-theme", root.dataset.theme); } catch { /* forbidden */ }
    tell();
  });
  preferred.addEventListener("change", tell);
  tell();

  // --- charts ---
  const specs = read("specs");
  const views = {};
  window.tileskipViews = views;
  // Room for names: in the legend, and at an axis. Those that are longer lose their middle.
  const LETTER = 7;
  const fitted = (name, width) => {
    const spec = structuredClone(specs[name]);
    const config = read("configuration");
    const { legend, entry } = spec.usermeta;
    config.legend.columns = Math.max(1, Math.floor(width / Math.max(entry, 90)));
    if (legend > width) config.legend.layout = { top: { direction: "vertical" } };
    const room = { axisLetters: narrow() ? (0.4 * window.innerWidth) / LETTER : 38, legendLetters: (width - 30) / LETTER };
    for (const one of spec.params) if (one.name in room) one.value = Math.floor(room[one.name]);
    return { spec, config };
  };
  const draw = async (name) => {
    const place = document.getElementById(`chart-${name}`);
    const kept = views[name];
    const values = {};
    if (kept) for (const one of ["shown", "order"]) try { values[one] = kept.signal(one); } catch { /* has none */ }
    if (kept) kept.finalize();
    const { spec, config } = fitted(name, place.clientWidth - 60);
    const done = await vegaEmbed(place, spec, {
      actions: false, ast: true, config, defaultStyle: false, renderer: "svg",
      tooltip: { disableDefaultStyle: true, theme: "page" },
    });
    views[name] = done.view;
    for (const [one, value] of Object.entries(values)) done.view.signal(one, value);
    await done.view.runAsync();
  };
  let drawing = Promise.resolve();
  let drawnAt = 0;
  const drawAll = () => {
    drawnAt = window.innerWidth;
    drawing = drawing.then(async () => {
      for (const name of Object.keys(specs)) await draw(name);
      root.dataset.drawn = "yes";
    });
  };
  drawAll();
  // Vega follows the width by itself; legends and names are laid out anew where it changes much.
  let waiting = 0;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (Math.abs(window.innerWidth - drawnAt) > 60) drawAll();
    }, 200);
  });
  for (const input of document.querySelectorAll("input[data-chart]")) {
    input.addEventListener("change", () => {
      const view = views[input.dataset.chart];
      if (view && input.checked) view.signal(input.dataset.parameter, Number(input.value)).runAsync();
    });
  }

  // --- downloads and copies ---
  for (const link of document.querySelectorAll("button[data-document]")) {
    link.addEventListener("click", () => {
      const url = URL.createObjectURL(new Blob([read(link.dataset.document)], { type: "application/json" }));
      const anchor = document.createElement("a");
      anchor.href = url;
      anchor.download = link.dataset.file;
      anchor.click();
      setTimeout(() => URL.revokeObjectURL(url), 1000);
    });
  }
})();
