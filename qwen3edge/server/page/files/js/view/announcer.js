// What a screen reader says of an answer that comes: whole sentences, now and then, and that it has ended.
import { el } from "../dom.js";
import { count, t } from "../language.js";

const EVERY_MS = 3000;
const KEPT_MS = 20_000; // until what was said leaves the page
const SENTENCE = /[.!?\n][\s)"'*]|[。！？\n]/g;

export class Announcer {
  #node = null; // that is spoken of
  #said = 0; // letters of its content
  #saidAt = 0;
  #thinking = false;

  constructor(app) {
    this.app = app;
    this.element = el("div", { class: "unseen", "aria-live": "polite", "aria-atomic": "false" });
    app.on("answer", () => this.#update());
  }

  #update() {
    const { answering } = this.app;
    if (answering === null) {
      this.#end();
      return;
    }
    if (answering.node !== this.#node) {
      this.#node = answering.node;
      this.#said = 0;
      this.#thinking = false;
      this.#saidAt = performance.now();
    }
    if (answering.thoughtSince !== null && !this.#thinking) {
      this.#thinking = true;
      this.#say(t("thinkingNow"));
    }
    if (performance.now() - this.#saidAt < EVERY_MS) return;
    const rest = this.#node.content.slice(this.#said);
    const last = [...rest.matchAll(SENTENCE)].at(-1);
    if (last) this.#speak(rest.slice(0, last.index + last[0].length));
  }

  #end() {
    const node = this.#node;
    if (!node) return;
    this.#node = null;
    this.#speak(node.content.slice(this.#said));
    if (node.finish === "error") return; // an alert says it
    this.#say(node.finish === "stopped" ? t("stoppedNow") : t("finished", count(node.usage?.completion_tokens ?? 0)));
  }

  #speak(text) {
    this.#said += text.length;
    this.#saidAt = performance.now();
    const plain = text.replace(/[*`#|>]+/g, " ").trim();
    if (plain) this.#say(plain);
  }

  #say(text) {
    const line = el("p", {}, text);
    this.element.append(line);
    setTimeout(() => line.remove(), KEPT_MS);
  }
}
