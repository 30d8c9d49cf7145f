// The first page of several databases: their states are reloaded while the page is visible.

const SECONDS = 10;

async function renew() {
  const cards = document.querySelector(".database-cards");
  if (document.hidden || cards.contains(document.activeElement)) return; // nothing moves under the pointer
  let text;
  try {
    const answer = await fetch(location.href);
    if (!answer.ok || answer.redirected) return;
    text = await answer.text();
  } catch {
    return; // the server is unavailable: the page stays as it is until the server is back
  }
  const found = new DOMParser().parseFromString(text, "text/html").querySelector(".database-cards");
  if (found && found.innerHTML !== cards.innerHTML) cards.replaceChildren(...found.children);
}

setInterval(renew, SECONDS * 1000);
