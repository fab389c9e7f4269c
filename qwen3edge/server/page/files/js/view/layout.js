// The conversations' list and the settings stand beside the conversation where there is room, else above it.
import { el } from "../dom.js";
import { remember, remembered } from "../preferences.js";

const NARROW = { sidebar: matchMedia("(max-width: 860px)"), panel: matchMedia("(max-width: 1180px)") };

export class Layout {
  #parts = null;
  #openers = {}; // what had the focus before

  constructor(app) {
    this.app = app;
    this.scrim = el("div", { class: "scrim", hidden: true, on: { click: () => this.closeAbove() } });
    this.open = {
      sidebar: !NARROW.sidebar.matches && remembered("sidebar", true),
      panel: !NARROW.panel.matches && remembered("panel", false),
    };
    this.listeners = [];
  }

  // parts: the elements sidebar and panel, and those that they may cover.
  place(parts) {
    this.#parts = parts;
    for (const [name, query] of Object.entries(NARROW)) {
      query.onchange = () => {
        this.open[name] = !query.matches && remembered(name, name === "sidebar");
        this.#apply();
      };
    }
    this.#apply();
  }

  onChange(listener) {
    this.listeners.push(listener);
  }

  toggle(name) {
    if (this.open[name]) this.close(name);
    else this.show(name);
  }

  show(name) {
    this.#openers[name] = document.activeElement;
    if (NARROW[name].matches) this.closeAbove();
    else remember(name, true);
    this.open[name] = true;
    this.#apply();
    this.#parts[name].querySelector("[data-first]")?.focus();
  }

  close(name) {
    const within = this.#parts[name].contains(document.activeElement) || NARROW[name].matches;
    this.open[name] = false;
    if (!NARROW[name].matches) remember(name, false);
    this.#apply();
    const opener = this.#openers[name];
    if (within)
      (opener?.isConnected && opener !== document.body ? opener : document.querySelector("#question"))?.focus();
  }

  // What stands above the conversation. Returns whether something did.
  closeAbove() {
    const above = Object.keys(NARROW).filter((name) => this.#isAbove(name));
    for (const name of above) this.close(name);
    return above.length > 0;
  }

  #isAbove(name) {
    return this.open[name] && NARROW[name].matches;
  }

  #apply() {
    const above = Object.keys(NARROW).find((name) => this.#isAbove(name));
    for (const [name, part] of Object.entries(this.#parts)) {
      if (name in NARROW) part.hidden = !this.open[name];
      part.inert = above !== undefined && name !== above;
    }
    this.scrim.hidden = above === undefined;
    for (const listener of this.listeners) listener();
  }
}
