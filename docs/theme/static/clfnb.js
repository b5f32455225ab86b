// What scrolls sideways can be reached by the keyboard.
const scrolling = () => {
  for (const box of document.querySelectorAll("pre, .table-wrapper, .output.text_html, .math, .cell_output")) {
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

// Diagrams are drawn once one comes near the window, and again when the colours change. Without this script they stay text.
const library = new URL("mermaid.tiny.js", document.currentScript.src);
const colour = (name) => getComputedStyle(document.body).getPropertyValue(`--color-${name}`).trim();

const draw = async (boxes) => {
  const dark = document.body.dataset.theme === "dark"
    || (document.body.dataset.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  mermaid.initialize({
    startOnLoad: false,
    securityLevel: "strict",
    theme: "base",
    themeVariables: {
      darkMode: dark,
      fontFamily: getComputedStyle(document.body).fontFamily,
      fontSize: "15px",
      background: colour("background-primary"),
      primaryColor: colour("background-secondary"),
      primaryTextColor: colour("foreground-primary"),
      primaryBorderColor: colour("brand-primary"),
      secondaryColor: colour("background-secondary"),
      secondaryTextColor: colour("foreground-primary"),
      tertiaryColor: colour("background-primary"),
      tertiaryTextColor: colour("foreground-primary"),
      tertiaryBorderColor: colour("foreground-border"),
      lineColor: colour("foreground-secondary"),
      textColor: colour("foreground-primary"),
      edgeLabelBackground: colour("background-primary"),
      noteBkgColor: colour("background-secondary"),
      noteTextColor: colour("foreground-primary"),
    },
  });
  for (const [number, box] of boxes.entries()) {
    const { svg } = await mermaid.render(`diagram-${number}`, box.dataset.source);
    box.innerHTML = svg;
    box.classList.add("drawn");
    const drawing = box.querySelector("svg");
    drawing.style.minWidth = `${0.7 * drawing.viewBox.baseVal.width}px`; // smaller it could not be read: it scrolls
  }
  scrolling();
};

addEventListener("DOMContentLoaded", () => {
  const boxes = [...document.querySelectorAll("pre.mermaid")];
  for (const box of boxes) box.dataset.source = box.textContent;
  let last = Promise.resolve();
  const again = () => { last = last.then(() => draw(boxes)); };
  const load = () => {
    const script = document.createElement("script");
    script.src = library;
    script.onload = () => {
      again();
      new MutationObserver(again).observe(document.body, { attributeFilter: ["data-theme"] });
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    };
    document.head.append(script);
  };
  const near = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    load();
  }, { rootMargin: "400px" });
  for (const box of boxes) near.observe(box);
});
