// What the page has to say besides answers: that the server is gone, and what just happened.
import { el } from "../dom.js";
import { icon } from "../icons.js";
import { t } from "../language.js";
import { iconButton, textButton } from "./buttons.js";

const SHOWN_MS = 12_000;

export class Notices {
  #timer = null;

  constructor(app) {
    this.app = app;
    this.gone = el("div", { class: "gone", role: "alert" });
    this.told = el("div", { class: "told", role: "status" });
    this.element = el("div", { class: "notices" }, this.gone, this.told);
    app.on("status", () => this.#updateGone());
    app.on("notice", () => this.#updateTold());
    this.#updateGone();
    this.#updateTold();
  }

  #updateGone() {
    const { gone } = this.app.status;
    if (gone === this.gone.childElementCount > 0) return;
    const retry = textButton(t("tryAgain"), () => this.app.connect(), "quiet");
    this.gone.replaceChildren(...(gone ? [icon("warning"), el("span", {}, t("gone")), retry] : []));
    if (!gone && !this.app.models.length) this.app.connect();
  }

  #updateTold() {
    const { notice } = this.app;
    clearTimeout(this.#timer);
    const away = () => this.app.tell(null);
    if (!notice) {
      this.told.replaceChildren();
      return;
    }
    const { text, action } = notice;
    const run = () => {
      away();
      action.run();
    };
    this.told.replaceChildren(
      el(
        "div",
        { class: "toast" },
        el("span", {}, text),
        action ? textButton(action.label, run, "quiet") : "",
        iconButton("close", t("close"), away),
      ),
    );
    this.#timer = setTimeout(away, SHOWN_MS);
  }
}
