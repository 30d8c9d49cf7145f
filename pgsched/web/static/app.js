// What every page does. All of it is a help: without scripts the pages work, with times in UTC.
import { showTimes } from "./times.js";
import { listenToKeys } from "./keys.js";
import { follow } from "./live.js";
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
      // Storage may be forbidden: then the choice is good for this page.
    }
    name();
  });
}

// The word for what was done is in the address; a reload should not say it again.
function forgetNotice() {
  const address = new URL(location.href);
  if (!address.searchParams.has("did")) return;
  address.searchParams.delete("did");
  address.searchParams.delete("n");
  history.replaceState(null, "", address);
}

forgetNotice();
offerTheme();
showTimes(document);
addCopyButtons(document);
helpWithTimeFields();
helpWithForms();
listenToKeys();
follow((part) => {
  showTimes(part);
  addCopyButtons(part);
});
