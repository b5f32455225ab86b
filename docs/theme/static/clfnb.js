// What scrolls sideways can be reached by the keyboard.
const scrolling = () => {
  for (const box of document.querySelectorAll("pre, .table-wrapper, .output.text_html, .math")) {
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0;
      if (!box.matches("pre")) {
        box.setAttribute("role", "region");
        box.setAttribute("aria-label", "scrolls sideways");
      }
    } else if (box.tabIndex === 0) {
      box.removeAttribute("tabindex");
      box.removeAttribute("role");
      box.removeAttribute("aria-label");
    }
  }
};
addEventListener("load", scrolling);
addEventListener("resize", scrolling);

// On paper every folded answer is open, also where the style sheet alone cannot do it.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details:not([open])")) {
    folded.open = true;
    folded.dataset.print = "";
  }
});
addEventListener("afterprint", () => {
  for (const opened of document.querySelectorAll("details[data-print]")) {
    opened.open = false;
    delete opened.dataset.print;
  }
});
