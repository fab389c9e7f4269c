// Buttons that look alike everywhere.
import { el } from "../dom.js";
import { icon } from "../icons.js";

export function iconButton(name, label, click) {
  return el(
    "button",
    { class: "icon-button", type: "button", "aria-label": label, title: label, on: { click } },
    icon(name),
  );
}

export function textButton(label, click, kind = "plain") {
  return el("button", { class: kind, type: "button", on: { click } }, label);
}

// To the clipboard; also where the page is not served safely enough for the browser's own way.
export async function copyText(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return;
    } catch {
      // It is not allowed here.
    }
  }
  const before = document.activeElement;
  const area = el("textarea", { class: "unseen", value: text, "aria-hidden": "true" });
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
  before?.focus();
}

// A button that copies and says so. text(): what.
export function copyButton(label, copied, text) {
  const button = iconButton("copy", label, async () => {
    await copyText(text());
    button.replaceChildren(icon("done"));
    button.setAttribute("aria-label", copied);
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.setAttribute("aria-label", label);
    }, 2000);
  });
  return button;
}
