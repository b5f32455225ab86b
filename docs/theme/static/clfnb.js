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
