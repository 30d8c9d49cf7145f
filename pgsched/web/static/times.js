// Times in the viewer's zone. In rows and among attempts they are relative, with the exact time on hover or when the
// keyboard focus is in the row (app.css); elsewhere they are exact.
const options = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const format = new Intl.DateTimeFormat(undefined, options);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const UTC = ["UTC", "Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu", "UCT", "Universal", "Zulu"];
const UNITS = [["d", 86400000], ["h", 3600000], ["min", 60000], ["s", 1000]];
const RELATIVE = "[data-row] time, .attempts time";

const found = format.resolvedOptions().timeZone;
export const zone = UTC.includes(found) ? "UTC" : found;

export function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const utc = `${at.toISOString().replace("T", " ").replace(/\.\d+Z$/, "")} UTC`;
    const exact = format.format(at);
    if (time.matches(RELATIVE)) {
      time.dataset.exact = exact;
      time.title = zone === "UTC" ? utc : `${exact} = ${utc}`;
      time.textContent = ago(at);
    } else {
      time.title = utc;
      time.textContent = exact;
    }
  }
  for (const mark of root.querySelectorAll("[data-at]")) {
    mark.textContent = clock.format(new Date(mark.dataset.at)) + (mark.dataset.said ? `: ${mark.dataset.said}` : "");
  }
  const place = document.getElementById("zone");
  if (place) place.textContent = zone === "UTC" ? "UTC" : `${zone}; hover over a time to see it in UTC`;
}

export function refreshTimes() {
  for (const time of document.querySelectorAll(RELATIVE)) {
    const text = time.dataset.exact && ago(new Date(time.dateTime));
    if (text && time.textContent !== text) time.textContent = text;
  }
}

// A duration in its largest unit: "3 min".
export function since(milliseconds) {
  const [unit, size] = UNITS.find(([, size]) => milliseconds >= size) ?? UNITS.at(-1);
  return `${Math.floor(milliseconds / size)} ${unit}`;
}

function ago(at) {
  const passed = Date.now() - at.getTime();
  if (Math.abs(passed) < 1000) return "now";
  // Seconds in steps of five: rows that count every second are distracting.
  const whole = Math.abs(passed) < 60000 ? Math.max(Math.floor(Math.abs(passed) / 5000) * 5000, 1000) : Math.abs(passed);
  return passed > 0 ? `${since(whole)} ago` : `in ${since(whole)}`;
}
