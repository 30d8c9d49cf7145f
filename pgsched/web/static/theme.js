// Before anything is drawn: the palette that the viewer chose, if any.
(function () {
  try {
    const chosen = localStorage.getItem("pgsched-theme");
    if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
  } catch {
    // Storage may be forbidden: then the system's palette is used.
  }
})();
