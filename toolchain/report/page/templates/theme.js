// Before anything is shown: the choice of an earlier visit. Storage may be forbidden.
(() => {
  try {
    const chosen = localStorage.getItem("tileskip-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch { /* as the system prefers */ }
  document.documentElement.classList.add("scripted");
})();
