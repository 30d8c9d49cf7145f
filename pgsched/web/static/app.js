// Scripts of every page. All of them are optional: without scripts the pages work, with times in UTC.
import { showTimes } from "./times.js";
import { listenToKeys } from "./keys.js";
import { helpWithGraphs, keepGraphs } from "./graph.js";
import { helpWithPayloads } from "./payload.js";
import { follow } from "./live.js";
import { helpWithSearch } from "./search.js";
import { followBulkChange } from "./bulk.js";
import { showMoments } from "./moments.js";
import { helpWithForms, addCopyButtons } from "./forms.js";
import { helpWithTimeFields } from "./time_fields.js";

function offerTheme() {
  const button = document.getElementById("theme");
  if (!button) return;
  const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const name = () => { button.querySelector("span").textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  name();
  button.addEventListener("click", () => {
    const next = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("pgsched-theme", next);
    } catch {
      // Storage may be forbidden: then the choice applies to this page only.
    }
    name();
  });
}

offerTheme();
showTimes(document);
showMoments(document);
helpWithGraphs(document);
addCopyButtons(document);
helpWithTimeFields();
helpWithForms();
helpWithPayloads();
listenToKeys();
helpWithSearch(showTimes);
followBulkChange();
follow((part) => {
  showTimes(part);
  showMoments(part);
  keepGraphs(part);
  addCopyButtons(part);
});
