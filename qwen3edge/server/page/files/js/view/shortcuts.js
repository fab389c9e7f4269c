// Keys that do something wherever the focus is. All but Escape come with Alt, so that none is typed by accident.
import { el } from "../dom.js";
import { t } from "../language.js";
import { textButton } from "./buttons.js";
import { dialog } from "./dialogs.js";

// code: the key's place on the keyboard, whatever letter it bears; run(app, layout).
const COMMANDS = [
  { code: "KeyN", key: "N", text: "newConversation", run: (app) => [app.create(), focus("#question")] },
  { code: "KeyI", key: "I", text: "toQuestion", run: () => focus("#question") },
  { code: "KeyR", key: "R", text: "again", run: (app) => again(app) },
  { code: "KeyE", key: "E", text: "editLast", run: () => clickLast(".user .edit") },
  { code: "KeyC", key: "C", text: "copyLast", run: () => clickLast(".assistant .copy") },
  { code: "KeyT", key: "T", text: "thoughtsLast", run: () => clickLast(".thoughts summary") },
  { code: "KeyL", key: "L", text: "list", run: (app, layout) => layout.toggle("sidebar") },
  { code: "KeyS", key: "S", text: "settings", run: (app, layout) => layout.toggle("panel") },
  { code: "KeyK", key: "K", text: "shortcuts", run: () => showShortcuts() },
];

const SHORTCUTS = [
  { keys: ["Enter"], text: "send" },
  { keys: ["Shift", "Enter"], text: "newLine" },
  { keys: ["Esc"], text: "stopOrClose" },
  ...COMMANDS.map(({ key, text }) => ({ keys: ["Alt", key], text })),
];

export function showShortcuts() {
  const rows = SHORTCUTS.map(({ keys, text }) => {
    const shown = keys.flatMap((key, at) => [at ? " + " : null, el("kbd", {}, key)]);
    return el("tr", {}, el("td", {}, shown), el("td", {}, t(text)));
  });
  const head = el(
    "tr",
    { class: "unseen" },
    el("th", { scope: "col" }, t("keys")),
    el("th", { scope: "col" }, t("what")),
  );
  const table = el("table", { class: "shortcuts" }, el("thead", {}, head), el("tbody", {}, rows));
  const made = dialog(t("shortcuts"), table);
  made.append(textButton(t("close"), () => made.close(), "primary"));
}

// layout(): the one that is there now.
export function listenToKeys(app, layout) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      if (!layout().closeAbove()) app.stop();
      return;
    }
    if (!event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const command = COMMANDS.find(({ code }) => code === event.code);
    if (!command) return;
    event.preventDefault();
    command.run(app, layout());
  });
}

function again(app) {
  const last = app.conversation.last;
  if (last?.role === "assistant") app.answerAgain(last);
}

function focus(selector) {
  document.querySelector(selector)?.focus();
}

function clickLast(selector) {
  [...document.querySelectorAll(selector)].at(-1)?.click();
}
