// Markdown as elements, kept up while more of it comes: blocks that are done are not touched again.
import { el, say, unseen } from "../dom.js";
import { icon } from "../icons.js";
import { t } from "../language.js";
import { parseBlocks } from "./blocks.js";
import { highlighted } from "./highlight.js";
import { parseInline } from "./inline.js";

// Shows a text that grows. Its last block may still change as more comes, and so may those that begin in its last two
// lines, which may yet belong to what is above them; all others are settled.
export class Markdown {
  #settled = 0; // letters of the text
  #text = "";
  #tail = []; // elements of the blocks that are not settled

  // element: the page's place for it. copyCode(text): called by the buttons of code.
  constructor(element, copyCode) {
    this.element = element;
    this.copyCode = copyCode;
  }

  update(text) {
    if (text === this.#text) return;
    if (!text.startsWith(this.#text)) {
      this.element.replaceChildren();
      this.#settled = 0;
      this.#tail = [];
    }
    this.#text = text;
    const rest = text.slice(this.#settled);
    const blocks = parseBlocks(rest);
    const elements = blocks.map((block) => this.#block(block));
    for (const each of this.#tail) each.remove();
    this.element.append(...elements);
    const lastLines = rest.lastIndexOf("\n", rest.lastIndexOf("\n") - 1);
    const open = Math.max(
      0,
      blocks.findLastIndex(({ start }) => start <= lastLines),
    );
    this.#tail = elements.slice(open);
    this.#settled += blocks[open]?.start ?? 0;
  }

  #block(block) {
    switch (block.type) {
      case "code":
        return this.#code(block);
      case "heading":
        // The page's own headings stand above those of a text.
        return el(`h${Math.min(block.level + 2, 6)}`, { class: `h${block.level}` }, inline(block.text));
      case "rule":
        return el("hr");
      case "math":
        return el("pre", { class: "math", tabindex: "0" }, block.text);
      case "quote":
        return el(
          "blockquote",
          {},
          block.blocks.map((each) => this.#block(each)),
        );
      case "list":
        return this.#list(block);
      case "table":
        return table(block);
      default:
        return el("p", {}, inline(block.text));
    }
  }

  #code({ text, language }) {
    const copy = el("button", { class: "quiet", type: "button" }, icon("copy"), el("span", {}, t("copy")));
    copy.addEventListener("click", async () => {
      await this.copyCode(text);
      say(copy.lastChild, t("copied"));
      setTimeout(() => say(copy.lastChild, t("copy")), 2000);
    });
    return el(
      "figure",
      { class: "code" },
      el("figcaption", {}, el("span", {}, language || t("code")), copy),
      el("pre", { tabindex: "0", "aria-label": t("codeOf", language) }, el("code", {}, coloured(text, language))),
    );
  }

  #list({ ordered, first, loose, items }) {
    const entries = items.map(({ task, blocks }) => {
      const content = blocks.flatMap((block) =>
        block.type === "paragraph" && !loose ? inline(block.text) : [this.#block(block)],
      );
      const box =
        task === null ? [] : [unseen(t(task ? "taskDone" : "taskOpen")), el("i", { class: task ? "box done" : "box" })];
      return el("li", { class: task === null ? null : "task" }, box, content);
    });
    return el(ordered ? "ol" : "ul", { start: ordered && first !== 1 ? first : null }, entries);
  }
}

function table({ align, head, rows }) {
  const cell = (tag, text, column) =>
    el(tag, { class: align[column] || null, scope: tag === "th" ? "col" : null }, inline(text));
  const row = (tag, texts) =>
    el(
      "tr",
      {},
      texts.map((text, column) => cell(tag, text, column)),
    );
  const body = rows.map((texts) => row("td", texts));
  const whole = el("table", {}, el("thead", {}, row("th", head)), el("tbody", {}, body));
  return el("div", { class: "table", tabindex: "0", role: "region", "aria-label": t("table") }, whole);
}

function coloured(code, language) {
  return highlighted(code, language).map(([kind, text]) => (kind ? el("span", { class: `code-${kind}` }, text) : text));
}

function inline(text) {
  return elements(parseInline(text));
}

function elements(nodes) {
  return nodes.map((node) => {
    if (typeof node === "string") return document.createTextNode(node);
    if (node.type === "break") return el("br");
    if (node.type === "code") return el("code", {}, node.text);
    if (node.type === "math") return el("code", { class: "math" }, node.text);
    if (node.type !== "link") return el(node.type, {}, elements(node.children));
    // An image is not fetched: whoever wants to see it follows the link.
    const label = node.children.length ? elements(node.children) : [document.createTextNode(node.href)];
    const attributes = { href: node.href, title: node.href, target: "_blank", rel: "noopener noreferrer" };
    return el("a", node.image ? { ...attributes, class: "image" } : attributes, label);
  });
}
