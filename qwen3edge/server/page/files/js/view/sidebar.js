// The list of conversations, and what is of the page as a whole.
import { el } from "../dom.js";
import { icon } from "../icons.js";
import { LANGUAGES, language, setLanguage, t } from "../language.js";
import { setTheme, theme, THEMES } from "../theme.js";
import { iconButton } from "./buttons.js";
import { manage } from "./dialogs.js";
import { showShortcuts } from "./shortcuts.js";

const DAY_MS = 86_400_000;

export class Sidebar {
  // changed(): called when the language has changed.
  constructor(app, layout, changed) {
    Object.assign(this, { app, layout, changed });
    const add = el(
      "button",
      { class: "new", type: "button", "data-first": true, on: { click: () => this.#create() } },
      icon("plus"),
      el("span", {}, t("newConversation")),
    );
    this.list = el("div", { class: "conversations" });
    this.element = el(
      "nav",
      { class: "sidebar", "aria-label": t("list") },
      el(
        "div",
        { class: "brand" },
        el("img", { src: "page/icon.svg", alt: "", width: 26, height: 26 }),
        el("h1", {}, "qwen3edge"),
        iconButton("close", t("close"), () => layout.close("sidebar")),
      ),
      add,
      this.list,
      el(
        "div",
        { class: "foot" },
        this.#themeButton(),
        this.#languageButton(),
        iconButton("keyboard", t("shortcuts"), () => showShortcuts()),
      ),
    );
    app.on("list", () => this.#update());
    this.#update();
  }

  #create() {
    this.app.create();
    this.layout.closeAbove();
    document.querySelector("#question").focus();
  }

  #update() {
    const { app } = this;
    const had = this.list.contains(document.activeElement) ? document.activeElement.closest("li")?.dataset.id : null;
    if (!app.list.length) {
      this.list.replaceChildren(el("p", { class: "nothing" }, t("noConversations")));
      return;
    }
    const groups = Map.groupBy(app.list, ({ updated }) => age(updated));
    const parts = [...groups].flatMap(([name, entries]) => [
      el("h2", {}, t(name)),
      el(
        "ul",
        {},
        entries.map((entry) => this.#entry(entry)),
      ),
    ]);
    this.list.replaceChildren(...parts);
    if (had) this.list.querySelector(`li[data-id="${had}"] button`)?.focus();
  }

  #entry({ id, title }) {
    const { app, layout } = this;
    const name = title || t("untitled");
    const open = async () => {
      await app.open(id);
      layout.closeAbove();
    };
    const current = id === app.conversation.id;
    return el(
      "li",
      { class: current ? "current" : null, "data-id": id },
      el(
        "button",
        { class: "open", type: "button", "aria-current": current ? "page" : null, title: name, on: { click: open } },
        name,
      ),
      iconButton("more", t("manage", name), () => manage(app, id, name)),
    );
  }

  #themeButton() {
    const icons = { auto: "half", light: "sun", dark: "moon" };
    const button = iconButton(icons[theme()], "", () => {
      setTheme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
      told();
    });
    const told = () => {
      const label = t("theme", t(theme()));
      button.replaceChildren(icon(icons[theme()]));
      button.setAttribute("aria-label", label);
      button.title = label;
    };
    told();
    button.classList.add("theme");
    return button;
  }

  #languageButton() {
    const names = Object.keys(LANGUAGES);
    const next = names[(names.indexOf(language()) + 1) % names.length];
    const own = LANGUAGES[next].language;
    const change = () => {
      setLanguage(next);
      this.changed();
      document.querySelector(".sidebar .language")?.focus();
    };
    return el(
      "button",
      { class: "language quiet", type: "button", lang: next === "zh" ? "zh-Hans" : next, on: { click: change } },
      icon("language"),
      el("span", {}, own),
    );
  }
}

function age(time) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (time >= midnight) return "today";
  return time >= midnight - DAY_MS ? "yesterday" : "earlier";
}
