// The tool calls of an answer, and boxes for what the tools returned.
import { el, say } from "../dom.js";
import { icon } from "../icons.js";
import { t } from "../language.js";
import { copyButton } from "./buttons.js";

export class Calls {
  #form = null;

  constructor(app, node) {
    Object.assign(this, { app, node });
    this.cards = el("div", { class: "calls" });
    this.element = el("div", {}, this.cards);
  }

  update(running) {
    const calls = this.node.calls ?? [];
    calls.forEach((call, at) => {
      if (!this.cards.children[at]) this.cards.append(card(call));
      say(this.cards.children[at].querySelector("pre"), indented(call.function.arguments));
    });
    const open =
      !running && calls.length > 0 && this.app.conversation.last === this.node && this.node.finish !== "error";
    if (open && !this.#form) this.#form = this.#results(calls);
    if (!open) this.#form = null;
    this.element.replaceChildren(this.cards, ...(this.#form ? [this.#form] : []));
  }

  #results(calls) {
    const areas = calls.map(({ function: called }) =>
      el("textarea", {
        class: "code-area grows",
        rows: 2,
        spellcheck: "false",
        "aria-label": t("resultFor", called.name),
        placeholder: t("resultFor", called.name),
      }),
    );
    const submit = (event) => {
      event.preventDefault();
      const results = calls.map(({ id, function: called }, at) => ({
        id,
        name: called.name,
        content: areas[at].value,
      }));
      this.app.sendResults(this.node, results);
      document.querySelector("#question").focus();
    };
    return el(
      "form",
      { class: "results", on: { submit } },
      el("p", { class: "note" }, t("resultsNote")),
      areas,
      el("div", { class: "buttons" }, el("button", { class: "primary", type: "submit" }, t("sendResults"))),
    );
  }
}

function card({ function: called }) {
  const head = el(
    "div",
    { class: "call-head" },
    icon("tool"),
    el("span", {}, t("calls", called.name)),
    copyButton(t("copyCall"), t("copied"), () => called.arguments),
  );
  return el("div", { class: "call" }, head, el("pre", { tabindex: "0", "aria-label": t("argumentsOf", called.name) }));
}

function indented(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}
