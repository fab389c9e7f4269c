// The settings of the conversation that is shown, beside the pictures of how the server is.
import { el, say } from "../dom.js";
import { count, t } from "../language.js";
import { BUDGETS, parsedForm, parsedTools, SAMPLING } from "../request.js";
import { iconButton, textButton } from "./buttons.js";
import { meterSection } from "./meters.js";

const TOOL_EXAMPLE = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather in a city",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];
const FORM_EXAMPLE = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" }, city: { type: "string" } },
  required: ["name", "age", "city"],
};

export class Panel {
  #updates = [];

  constructor(app, layout) {
    this.app = app;
    const close = iconButton("close", t("close"), () => layout.close("panel"));
    close.dataset.first = "";
    this.element = el(
      "aside",
      { class: "panel", "aria-label": t("settings") },
      el("div", { class: "head" }, el("h2", {}, t("settings")), close),
      el(
        "div",
        { class: "sections" },
        meterSection(app),
        this.#thinking(),
        this.#system(),
        this.#sampling(),
        this.#tools(),
        this.#form(),
      ),
    );
    for (const name of ["settings", "models", "status"]) app.on(name, () => this.#update());
    this.#update();
  }

  #update() {
    for (const update of this.#updates) update(this.app.settings);
  }

  #change(changes) {
    this.app.changeSettings(changes);
  }

  #thinking() {
    const change = () => this.#change({ thinking: toggle.input.checked });
    const toggle = switchOf(t("thinkFirst"), change);
    const slide = () => this.#change({ budget: BUDGETS[slider.value] });
    const slider = el("input", {
      type: "range",
      id: "budget",
      min: 0,
      max: BUDGETS.length - 1,
      step: 1,
      on: { input: slide },
    });
    const shown = el("output", { for: "budget" });
    const budget = el(
      "div",
      { class: "field" },
      el("div", { class: "measure-head" }, el("label", { for: "budget" }, t("budget")), shown),
      slider,
    );
    const none = el("p", { class: "note" }, t("noThinking"));
    this.#updates.push(({ thinking, budget: tokens }) => {
      const cannot = this.app.modelProps?.thinks === false;
      none.hidden = !cannot;
      toggle.element.hidden = cannot;
      budget.hidden = cannot || !thinking;
      toggle.input.checked = thinking;
      slider.value = BUDGETS.indexOf(tokens);
      const text = tokens === null ? t("noLimit") : t("tokens", count(tokens));
      say(shown, text);
      slider.setAttribute("aria-valuetext", text);
    });
    return el("section", {}, el("h3", {}, t("thinkingTitle")), none, toggle.element, budget);
  }

  #system() {
    const change = () => this.#change({ system: area.value });
    const area = el("textarea", {
      class: "grows",
      rows: 3,
      id: "system",
      placeholder: t("systemPlaceholder"),
      on: { input: change },
    });
    this.#updates.push(({ system }) => {
      if (area.value !== system) area.value = system;
    });
    return el("section", {}, el("h3", {}, el("label", { for: "system" }, t("system"))), area);
  }

  #sampling() {
    const fields = Object.entries(SAMPLING).map(([name, range]) => this.#number(name, range));
    const reset = textButton(t("reset"), () => this.#change({ sampling: {} }), "quiet");
    this.#updates.push(({ sampling }) => {
      reset.hidden = !Object.keys(sampling).length;
    });
    const head = el("div", { class: "measure-head" }, el("h3", {}, t("sampling")), reset);
    return el(
      "section",
      {},
      head,
      el("p", { class: "note" }, t("samplingNote")),
      el("div", { class: "numbers" }, fields),
    );
  }

  #number(name, { min, max, step }) {
    const change = () => {
      const { [name]: _, ...others } = this.app.settings.sampling;
      const value = input.valueAsNumber;
      const valid = Number.isFinite(value) && value >= min && value <= max && (step < 1 || Number.isInteger(value));
      input.setAttribute("aria-invalid", input.value !== "" && !valid);
      this.#change({ sampling: valid ? { ...others, [name]: value } : others });
    };
    const input = el("input", {
      type: "number",
      inputmode: "decimal",
      id: name,
      min,
      max,
      step: step < 1 ? "any" : step,
      on: { input: change },
    });
    this.#updates.push(({ sampling, thinking }) => {
      if (document.activeElement !== input) {
        input.value = sampling[name] ?? "";
        input.setAttribute("aria-invalid", false);
      }
      const props = this.app.modelProps;
      const own = props?.sampling?.[thinking && props.thinks ? "thinking" : "direct"]?.[name];
      const free = { max_tokens: t("untilContext"), seed: t("random") };
      const shown = own === undefined ? free[name] : Number(own.toPrecision(6)); // a file holds float32
      input.placeholder = shown ?? "";
    });
    return el("div", { class: "number" }, el("label", { for: name }, t(name)), input);
  }

  #tools() {
    const choice = el(
      "select",
      {
        id: "choice",
        on: { change: () => this.#change({ tools: { ...this.app.settings.tools, choice: choice.value } }) },
      },
      ["auto", "required", "none"].map((each) => el("option", { value: each }, t(`choice_${each}`))),
    );
    const more = el("div", { class: "number" }, el("label", { for: "choice" }, t("choice")), choice);
    this.#updates.push(({ tools }) => {
      choice.value = tools.choice;
    });
    return this.#json(
      "tools",
      { title: t("tools"), on: t("toolsOn"), label: t("toolsJson"), parse: parsedTools, example: TOOL_EXAMPLE },
      more,
    );
  }

  #form() {
    return this.#json("form", {
      title: t("form"),
      on: t("formOn"),
      label: t("formJson"),
      parse: parsedForm,
      example: FORM_EXAMPLE,
    });
  }

  // A switch, and below it a box of JSON that is checked as it is written.
  #json(name, { title, on, label, parse, example }, ...more) {
    const settings = () => this.app.settings[name];
    const toggle = switchOf(on, () => this.#change({ [name]: { ...settings(), on: toggle.input.checked } }));
    const area = el("textarea", {
      class: "code-area grows",
      id: `${name}-json`,
      rows: 6,
      spellcheck: "false",
      "aria-describedby": `${name}-error`,
      on: { input: () => this.#change({ [name]: { ...settings(), json: area.value } }) },
    });
    const error = el("p", { class: "error", id: `${name}-error`, role: "status" });
    const fill = textButton(
      t("example"),
      () => this.#change({ [name]: { ...settings(), json: JSON.stringify(example, null, 2) } }),
      "quiet",
    );
    const head = el("div", { class: "measure-head" }, el("label", { for: area.id }, label), fill);
    const box = el("div", { class: "field" }, head, area, error, more);
    this.#updates.push(() => {
      const { on: isOn, json } = settings();
      toggle.input.checked = isOn;
      box.hidden = !isOn;
      if (area.value !== json) area.value = json;
      fill.hidden = json.trim() !== "";
      const wrong = json.trim() ? parse(json).error : null;
      say(error, wrong ? t("notJson", wrong) : "");
      area.setAttribute("aria-invalid", wrong !== null);
    });
    return el("section", {}, el("h3", {}, title), toggle.element, box);
  }
}

function switchOf(label, change) {
  const input = el("input", { type: "checkbox", role: "switch", on: { change } });
  return { input, element: el("label", { class: "switch" }, el("span", {}, label), input) };
}
