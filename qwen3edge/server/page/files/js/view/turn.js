// One turn: a question, an answer with its thoughts and calls, or the results of calls.
import { el, say } from "../dom.js";
import { icon } from "../icons.js";
import { count, seconds, t } from "../language.js";
import { Markdown } from "../markdown/render.js";
import { copyButton, copyText, iconButton, textButton } from "./buttons.js";
import { Calls } from "./calls.js";
import { problem } from "./problem.js";

export class Turn {
  constructor(app, node) {
    this.app = app;
    this.node = node;
    this.actions = el("div", { class: "actions" });
    const kinds = { user: () => this.#question(), assistant: () => this.#answer(), tool: () => this.#results() };
    const names = { user: t("you"), assistant: node.model ?? t("model"), tool: t("results") };
    this.element = el(
      "li",
      { class: `turn ${node.role}` },
      el("h2", { class: "unseen" }, names[node.role]),
      kinds[node.role](),
    );
  }

  // What has come since.
  update() {
    if (this.node.role === "assistant") this.#updateAnswer();
    this.#updateActions();
  }

  // ---- a question ----

  #question() {
    this.bubble = el("div", { class: "bubble" }, this.node.content);
    this.place = el("div", { class: "place" }, this.bubble);
    return [this.place, this.actions];
  }

  #edit() {
    const area = el("textarea", { class: "grows", value: this.node.content, "aria-label": t("edit"), rows: 2 });
    const close = () => {
      this.place.replaceChildren(this.bubble);
      this.actions.hidden = false;
      this.actions.querySelector(".edit")?.focus();
    };
    const submit = (event) => {
      event?.preventDefault();
      if (!area.value.trim() || !this.app.mayAsk()) return;
      close();
      this.app.edit(this.node, area.value.trim());
      document.querySelector("#question").focus();
    };
    const keydown = (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") {
        event.preventDefault();
        close();
      } else if (event.key === "Enter" && !event.shiftKey) {
        submit(event);
      }
    };
    area.addEventListener("keydown", keydown);
    const buttons = el(
      "div",
      { class: "buttons" },
      textButton(t("cancel"), close),
      el("button", { class: "primary", type: "submit" }, t("askAgain")),
    );
    this.place.replaceChildren(
      el("form", { class: "editing", on: { submit } }, area, el("p", { class: "note" }, t("editNote")), buttons),
    );
    this.actions.hidden = true;
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }

  // ---- an answer ----

  #answer() {
    const { app, node } = this;
    this.summary = el("span", { class: "label" });
    this.thoughtText = el("div", { class: "markdown" });
    this.thoughts = el(
      "details",
      { class: "thoughts", hidden: true },
      el("summary", {}, icon("thought"), this.summary, icon("right")),
      this.thoughtText,
    );
    this.content = el("div", { class: "markdown" });
    this.thoughtMarkdown = new Markdown(this.thoughtText, copyText);
    this.contentMarkdown = new Markdown(this.content, copyText);
    this.thoughts.addEventListener("toggle", () => this.#updateThoughts());
    this.calls = new Calls(app, node);
    this.waiting = el("p", { class: "waiting", hidden: true });
    this.problem = el("div", { class: "problem", hidden: true });
    return [this.thoughts, this.content, this.calls.element, this.waiting, this.problem, this.actions];
  }

  #updateAnswer() {
    const { app, node } = this;
    const answering = app.answering?.node === node ? app.answering : null;
    this.element.classList.toggle("running", answering !== null);
    this.#updateThoughts(answering);
    this.contentMarkdown.update(node.content);
    this.calls.update(answering !== null);
    const silent = answering !== null && !node.content && !node.reasoning && !node.calls;
    this.waiting.hidden = !silent;
    if (silent) say(this.waiting, t("reading"));
    if (answering === null) this.#updateProblem();
  }

  #updateThoughts(answering = this.app.answering?.node === this.node ? this.app.answering : null) {
    const { node, thoughts } = this;
    thoughts.hidden = !node.reasoning;
    if (thoughts.hidden) return;
    const since = answering?.thoughtSince ?? null;
    const spent = (node.reasoningMs ?? 0) + (since === null ? 0 : performance.now() - since);
    thoughts.classList.toggle("now", since !== null);
    say(this.summary, since === null ? t("thought", seconds(spent)) : t("thinking", seconds(spent)));
    if (thoughts.open) this.thoughtMarkdown.update(node.reasoning); // what is folded costs nothing
  }

  #updateProblem() {
    const found = problem(this.app, this.node);
    this.problem.hidden = found === null;
    if (found && !this.problem.childElementCount) this.problem.append(found);
  }

  // ---- results ----

  #results() {
    const cards = this.node.results.map(({ name, content }) =>
      el(
        "div",
        { class: "call" },
        el("div", { class: "call-head" }, icon("done"), el("span", {}, t("resultOf", name))),
        el("pre", { tabindex: "0" }, content),
      ),
    );
    return [...cards, this.actions];
  }

  // ---- what can be done with a turn ----

  #updateActions() {
    const { app, node, actions } = this;
    const running = app.answering?.node === node;
    const { count: branches, index } = app.conversation.branches(node);
    const state = JSON.stringify([running, app.answering === null, branches, index, node.finish]);
    if (state === this.state) return;
    this.state = state;
    const had = actions.contains(document.activeElement) ? document.activeElement.className : null;
    const parts = [];
    if (branches > 1) parts.push(this.#branchSwitch(branches, index));
    if (node.role === "user") {
      parts.push(copyButton(t("copyQuestion"), t("copied"), () => node.content));
      if (!app.answering)
        parts.push(
          named(
            iconButton("edit", t("edit"), () => this.#edit()),
            "edit",
          ),
        );
    } else if (node.role === "assistant" && !running) {
      if (node.content)
        parts.push(
          named(
            copyButton(t("copyAnswer"), t("copied"), () => node.content),
            "copy",
          ),
        );
      if (!app.answering)
        parts.push(
          named(
            iconButton("again", t("again"), () => app.answerAgain(node)),
            "again",
          ),
        );
      if (node.usage) parts.push(el("span", { class: "figures" }, figures(node)));
    }
    actions.replaceChildren(...parts);
    if (had) [...actions.querySelectorAll("button")].find((each) => each.className === had)?.focus();
  }

  #branchSwitch(branches, index) {
    const go = (to) => this.app.choose(this.node, to);
    const left = named(
      iconButton("left", t("branchBefore"), () => go(index - 1)),
      "before",
    );
    const right = named(
      iconButton("right", t("branchAfter"), () => go(index + 1)),
      "after",
    );
    left.disabled = index === 0;
    right.disabled = index === branches - 1;
    return el(
      "span",
      { class: "branches", role: "group", "aria-label": t("branches") },
      left,
      el("span", {}, t("branch", index + 1, branches)),
      right,
    );
  }
}

function named(button, name) {
  button.classList.add(name);
  return button;
}

function figures({ usage, timings }) {
  const parts = [t("tokens", count(usage.completion_tokens))];
  const speed = timings?.decode_tokens_per_second;
  if (speed) parts.push(t("perSecond", count(speed, speed < 100 ? 1 : 0)));
  return parts.join(" · ");
}
