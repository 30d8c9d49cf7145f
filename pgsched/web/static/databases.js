// The first page of several databases: how each fares is asked for anew while somebody looks.

const SECONDS = 10;

async function renew() {
  const cards = document.querySelector(".database-cards");
  if (document.hidden || cards.contains(document.activeElement)) return; // nothing moves under the hand
  let text;
  try {
    const answer = await fetch(location.href);
    if (!answer.ok || answer.redirected) return;
    text = await answer.text();
  } catch {
    return; // the server is away: what is shown stays until it is back
  }
  const found = new DOMParser().parseFromString(text, "text/html").querySelector(".database-cards");
  if (found && found.innerHTML !== cards.innerHTML) cards.replaceChildren(...found.children);
}

setInterval(renew, SECONDS * 1000);
