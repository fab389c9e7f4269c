// Where a question is written, sent, and its answer stopped.
import { el } from "../dom.js";
import { icon } from "../icons.js";
import { t } from "../language.js";

export class Composer {
  constructor(app, layout) {
    this.app = app;
    this.text = el("textarea", {
      id: "question",
      class: "grows",
      rows: 1,
      value: app.draft,
      placeholder: t("placeholder"),
      "aria-label": t("question"),
      on: { input: () => this.#typed(), keydown: (event) => this.#key(event) },
    });
    const think = () => app.changeSettings({ thinking: !app.settings.thinking });
    this.think = el(
      "button",
      { class: "chip", type: "button", on: { click: think } },
      icon("thought"),
      el("span", {}, t("think")),
    );
    this.tools = el(
      "button",
      { class: "chip", type: "button", on: { click: () => layout.toggle("panel") } },
      icon("tool"),
      el("span", {}, t("tools")),
    );
    this.send = el(
      "button",
      { class: "send", type: "submit", "aria-label": t("send"), title: t("send") },
      icon("send"),
    );
    this.stop = el(
      "button",
      {
        class: "send stop",
        type: "button",
        "aria-label": t("stop"),
        title: t("stop"),
        on: { click: () => app.stop() },
      },
      icon("stop"),
    );
    const submit = (event) => {
      event.preventDefault();
      this.#submit();
    };
    this.element = el(
      "form",
      { class: "composer", on: { submit } },
      el(
        "div",
        { class: "box" },
        this.text,
        el("div", { class: "row" }, this.think, this.tools, el("span", { class: "gap" }), this.send, this.stop),
      ),
      el("p", { class: "note" }, t("composerNote")),
    );
    for (const name of ["conversation", "settings", "models", "status"]) app.on(name, () => this.#update());
    app.on("draft", () => {
      this.text.value = app.draft;
      this.#update();
      this.text.focus();
    });
    this.#update();
  }

  #typed() {
    this.app.draft = this.text.value;
    this.#update();
  }

  #key(event) {
    // Enter also ends a word of an input method, as those for Chinese.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.#submit();
  }

  #submit() {
    const { app } = this;
    const text = app.draft.trim();
    if (!text || !app.mayAsk()) return;
    this.text.value = app.draft = "";
    app.send(text);
    this.text.focus();
  }

  #update() {
    const { app } = this;
    const running = app.answering !== null;
    const hadFocus = document.activeElement === this.stop || document.activeElement === this.send;
    this.send.hidden = running;
    this.stop.hidden = !running;
    this.send.disabled = !app.draft.trim() || !app.model;
    if (hadFocus && document.activeElement !== this.stop && document.activeElement !== this.send) this.text.focus();
    this.think.hidden = app.modelProps?.thinks === false;
    this.think.setAttribute("aria-pressed", app.settings.thinking);
    this.tools.hidden = !app.settings.tools.on;
  }
}
