// Above the conversation: the list's switch, the model, how full and how fast it is, the settings' switch.
import { el } from "../dom.js";
import { t } from "../language.js";
import { iconButton } from "./buttons.js";
import { compactMeters } from "./meters.js";

export class TopBar {
  constructor(app, layout) {
    this.app = app;
    this.picker = el("select", {
      class: "picker",
      on: { change: () => app.changeSettings({ model: this.picker.value }) },
    });
    const label = el("label", { class: "model" }, el("span", { class: "unseen" }, t("model")), this.picker);
    const meters = compactMeters(app, () => layout.toggle("panel"));
    const list = iconButton("menu", t("list"), () => layout.toggle("sidebar"));
    const add = iconButton("plus", t("newConversation"), () => app.create());
    const settings = iconButton("sliders", t("settings"), () => layout.toggle("panel"));
    const told = () => {
      list.setAttribute("aria-expanded", layout.open.sidebar);
      settings.setAttribute("aria-expanded", layout.open.panel);
      add.hidden = layout.open.sidebar;
    };
    layout.onChange(told);
    this.element = el("header", { class: "topbar" }, list, add, label, el("span", { class: "gap" }), meters, settings);
    for (const name of ["models", "settings", "status"]) app.on(name, () => this.#update());
    this.#update();
  }

  #update() {
    const { app, picker } = this;
    const loaded = app.status.props?.models ?? {};
    const options = app.models.map(({ id }) => {
      const away = loaded[id] && !loaded[id].loaded;
      return { id, label: away ? t("notLoaded", id) : id };
    });
    const shown = JSON.stringify(options);
    if (shown !== this.shown) {
      this.shown = shown;
      picker.replaceChildren(...options.map(({ id, label }) => el("option", { value: id }, label)));
      picker.disabled = options.length === 0;
    }
    if (app.model) picker.value = app.model;
  }
}
