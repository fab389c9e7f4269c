// The conversation that is shown: its turns, kept up while an answer comes.
import { el } from "../dom.js";
import { icon } from "../icons.js";
import { t } from "../language.js";
import { Turn } from "./turn.js";

const NEAR_END = 80; // pixels from the end, within which the page follows what comes
const SHARE = 4; // an update that took 20 ms is not done again for 80

export class Thread {
  #turns = new Map(); // by their nodes' ids
  #shown = null; // conversation
  #follows = true;
  #waiting = false; // for an update
  #notBefore = 0;

  constructor(app) {
    this.app = app;
    this.list = el("ol", { class: "turns" });
    this.start = el("div", { class: "start" });
    this.scroller = el(
      "div",
      {
        class: "scroller",
        tabindex: "0",
        role: "region",
        "aria-label": t("conversation"),
        on: { scroll: () => this.#scrolled() },
      },
      this.start,
      this.list,
    );
    this.toEnd = el(
      "button",
      {
        class: "to-end icon-button",
        type: "button",
        "aria-label": t("toEnd"),
        title: t("toEnd"),
        hidden: true,
        on: { click: () => this.#scrollToEnd() },
      },
      icon("down"),
    );
    this.element = el("div", { class: "thread" }, this.scroller, this.toEnd);
    app.on("conversation", () => this.#render());
    app.on("answer", () => this.#soon());
    app.on("models", () => this.#renderStart());
    this.#render();
  }

  #render() {
    const { conversation } = this.app;
    if (conversation !== this.#shown) {
      this.#turns.clear();
      this.#shown = conversation;
      this.#follows = true;
    }
    const { path } = conversation;
    const turns = path.map((node) => {
      if (!this.#turns.has(node.id)) this.#turns.set(node.id, new Turn(this.app, node));
      return this.#turns.get(node.id);
    });
    const elements = turns.map((turn) => turn.element);
    const same =
      elements.length === this.list.children.length && elements.every((each, at) => each === this.list.children[at]);
    if (!same) this.list.replaceChildren(...elements);
    for (const turn of turns) turn.update();
    this.#renderStart();
    if (path.at(-1)?.finish === null) this.#follows = true;
    if (this.#follows) this.#scrollToEnd();
  }

  // What a conversation begins with: some questions to try.
  #renderStart() {
    const { app } = this;
    this.start.hidden = !app.conversation.isEmpty;
    if (this.start.hidden || this.start.childElementCount) return;
    const ask = (text) => {
      app.draft = text;
      app.emit("draft");
    };
    const examples = t("examples").map(({ title, text }) =>
      el(
        "li",
        {},
        el("button", { type: "button", on: { click: () => ask(text) } }, el("strong", {}, title), el("span", {}, text)),
      ),
    );
    this.start.append(
      el("h2", {}, t("welcome")),
      el("p", {}, t("welcomeNote")),
      el("ul", { class: "examples" }, examples),
    );
  }

  // At most once a frame, and no more often than the time that it takes allows.
  #soon() {
    if (this.#waiting) return;
    this.#waiting = true;
    const wait = Math.max(0, this.#notBefore - performance.now());
    setTimeout(() => requestAnimationFrame(() => this.#updateLast()), wait);
  }

  #updateLast() {
    this.#waiting = false;
    const began = performance.now();
    const turn = this.#turns.get(this.app.conversation.last?.id);
    turn?.update();
    if (this.#follows) this.#scrollToEnd();
    const now = performance.now();
    this.#notBefore = now + (now - began) * SHARE;
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    this.#follows = scrollHeight - scrollTop - clientHeight < NEAR_END;
    this.toEnd.hidden = this.#follows;
  }

  #scrollToEnd() {
    this.#follows = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }
}
