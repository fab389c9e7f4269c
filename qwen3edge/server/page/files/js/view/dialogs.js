// What asks in the page's middle: the server's key, a conversation's name and files.
import { el } from "../dom.js";
import { asJson, asMarkdown, download, fileName } from "../export.js";
import { icon } from "../icons.js";
import { t } from "../language.js";
import { iconButton } from "./buttons.js";

// A dialog that is shown at once. The browser keeps the focus in it, and gives it back.
export function dialog(title, ...content) {
  const heading = el("h2", { id: "dialog-title" }, title);
  const made = el("dialog", { "aria-labelledby": "dialog-title" });
  made.append(
    el(
      "div",
      { class: "head" },
      heading,
      iconButton("close", t("close"), () => made.close()),
    ),
    ...content,
  );
  made.addEventListener("close", () => made.remove());
  made.addEventListener("click", (event) => {
    if (event.target === made) made.close(); // beside it
  });
  document.body.append(made);
  made.showModal();
  return made;
}

export function askKey(app) {
  if (document.querySelector("dialog")) return;
  const input = el("input", { type: "password", id: "key", autocomplete: "off", required: true, spellcheck: "false" });
  const submit = (event) => {
    event.preventDefault();
    made.close();
    app.unlock(input.value.trim());
  };
  const form = el(
    "form",
    { class: "fields", on: { submit } },
    el("label", { for: "key" }, t("key")),
    input,
    el("p", { class: "note" }, t("keyNote")),
    el("button", { class: "primary", type: "submit" }, t("enter")),
  );
  const made = dialog(t("keyTitle"), form);
  input.focus();
}

export function manage(app, id, title) {
  const input = el("input", { type: "text", id: "title", value: title, maxlength: 200, autocomplete: "off" });
  const rename = async (event) => {
    event.preventDefault();
    made.close();
    if (input.value.trim()) await app.rename(id, input.value.trim());
    document.querySelector(`li[data-id="${id}"] .open`)?.focus();
  };
  const save = async (ending, write, type) => {
    const conversation = await app.read(id);
    download(fileName(conversation, ending), write(conversation), type);
  };
  const remove = async () => {
    made.close();
    await app.remove(id);
    document.querySelector(".sidebar .new")?.focus();
  };
  const button = (name, label, click, kind = "plain") =>
    el("button", { class: kind, type: "button", on: { click } }, icon(name), el("span", {}, label));
  const made = dialog(
    t("conversation"),
    el(
      "form",
      { class: "fields", on: { submit: rename } },
      el("label", { for: "title" }, t("title")),
      el("div", { class: "beside" }, input, el("button", { class: "primary", type: "submit" }, t("rename"))),
    ),
    el(
      "div",
      { class: "choices" },
      button("save", t("exportMarkdown"), () => save("md", asMarkdown, "text/markdown")),
      button("save", t("exportJson"), () => save("json", asJson, "application/json")),
      button("bin", t("delete"), remove, "plain danger"),
    ),
  );
  input.select();
}
