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
  const settings = (width, needed) => {
    const config = read("configuration");
    config.axisY = { labelLimit: narrow() ? 0.4 * window.innerWidth : 260 };
    config.legend.columns = Math.max(1, Math.floor(width / 190));
    config.legend.labelLimit = Math.min(240, width / config.legend.columns - 30);
    if (needed > width) config.legend.layout = { top: { direction: "vertical" } };
    return config;
  };
  const draw = async (name) => {
    const place = document.getElementById(`chart-${name}`);
    const kept = views[name];
    const values = {};
    if (kept) for (const one of ["shown", "order"]) try { values[one] = kept.signal(one); } catch { /* has none */ }
    if (kept) kept.finalize();
    const done = await vegaEmbed(place, specs[name], {
      actions: false, ast: true, config: settings(place.clientWidth - 60, specs[name].usermeta.legend), defaultStyle: false, renderer: "svg",
      tooltip: { disableDefaultStyle: true, theme: "page" },
    });
    views[name] = done.view;
    for (const [one, value] of Object.entries(values)) done.view.signal(one, value);
    await done.view.runAsync();
  };
  const drawAll = async () => {
    for (const name of Object.keys(specs)) await draw(name);
    root.dataset.drawn = "yes";
  };
  drawAll();
  let was = narrow();
  window.addEventListener("resize", () => {
    if (was !== narrow()) { was = narrow(); drawAll(); }
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
