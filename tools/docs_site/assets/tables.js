// Lets the keyboard scroll what is wider than the window: the theme wraps each table in a region that only a mouse reaches.
addEventListener("load", () => {
  for (const region of document.querySelectorAll(".md-typeset__scrollwrap")) {
    region.tabIndex = 0;
    region.setAttribute("role", "group");
    region.setAttribute("aria-label", "Table");
  }
});
