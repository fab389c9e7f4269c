// Markdown within a block: emphasis, code, links, formulas. Nothing takes longer than its length allows.

const MOST_DEPTH = 24; // of elements within each other
const MOST_ADDRESS = 2048;
const MOST_BRACKETS = 32; // within an address
const ESCAPED = new Set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~");
const PLAIN = /[^\\`*_~[\]!<&\n$]+/y;
const BARE_ADDRESS = /https?:\/\/[^\s<>"'`\u3000-\u303f\uff00-\uffef]+/g;
const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&nbsp;": "\u00a0" };
const CJK = /[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]/;
const PUNCTUATION = /[\p{P}\p{S}]/u;

// Nodes: a string, or {type, children}: strong, em, del, link {href}, or {type, text}: code, math; or {type: "break"}.
export function parseInline(text) {
  return new Inline(text).nodes();
}

// An address that a link may have, as the browser reads it; else null.
export function safeAddress(address) {
  if (!URL.canParse(address)) return null;
  const url = new URL(address);
  return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
}

class Inline {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.parts = []; // strings, nodes, and marks {opens, closes, left}
    this.marks = []; // of emphasis that may still be closed, or close
    this.brackets = []; // that may still become links
    this.runs = null; // of backticks, by their length
    this.without = new Set(); // ends of formulas that do not come any more
  }

  nodes() {
    while (this.at < this.text.length) this.#next();
    this.#emphasize(0);
    return built(this.parts);
  }

  #next() {
    const { text } = this;
    PLAIN.lastIndex = this.at;
    const plain = PLAIN.exec(text);
    if (plain) {
      this.parts.push(plain[0]);
      this.at += plain[0].length;
      return;
    }
    const letter = text[this.at];
    if (letter === "\n") this.#put({ type: "break" }, 1);
    else if (letter === "\\") this.#escape();
    else if (letter === "`") this.#code();
    else if (letter === "$") this.#formula("$$", "$$") || this.#put("$", 1);
    else if (letter === "&") this.#entity();
    else if (letter === "<") this.#angle();
    else if (letter === "[") this.#openBracket(1);
    else if (letter === "!") text[this.at + 1] === "[" ? this.#openBracket(2) : this.#put("!", 1);
    else if (letter === "]") this.#closeBracket();
    else this.#mark(letter);
  }

  #put(part, length) {
    this.parts.push(part);
    this.at += length;
    return true;
  }

  #escape() {
    const next = this.text[this.at + 1];
    if (next === "(" && this.#formula("\\(", "\\)")) return;
    if (next === "[" && this.#formula("\\[", "\\]")) return;
    if (next === "\n") this.#put({ type: "break" }, 2);
    else if (ESCAPED.has(next)) this.#put(next, 2);
    else this.#put("\\", 1);
  }

  // A formula stays as it was written: the page draws none, and must not eat its signs.
  #formula(open, close) {
    if (!this.text.startsWith(open, this.at) || this.without.has(close)) return false;
    const end = this.text.indexOf(close, this.at + open.length);
    if (end < 0) this.without.add(close);
    if (end <= this.at + open.length) return false;
    const text = this.text.slice(this.at, end + close.length);
    return this.#put({ type: "math", text }, text.length);
  }

  #code() {
    let length = 1;
    while (this.text[this.at + length] === "`") length += 1;
    const end = this.#runAfter(this.at + length, length);
    if (end === null) {
      this.#put("`".repeat(length), length);
      return;
    }
    let text = this.text.slice(this.at + length, end).replaceAll("\n", " ");
    if (text.startsWith(" ") && text.endsWith(" ") && text.trim()) text = text.slice(1, -1);
    this.#put({ type: "code", text }, end + length - this.at);
  }

  // Where the next run of so many backticks begins. Runs are found once; each is passed over once.
  #runAfter(from, length) {
    if (this.runs === null) {
      this.runs = new Map();
      for (const { 0: run, index } of this.text.matchAll(/`+/g)) {
        if (!this.runs.has(run.length)) this.runs.set(run.length, { places: [], next: 0 });
        this.runs.get(run.length).places.push(index);
      }
    }
    const found = this.runs.get(length);
    if (!found) return null;
    while (found.next < found.places.length && found.places[found.next] < from) found.next += 1;
    return found.places[found.next] ?? null;
  }

  #entity() {
    const found = /&(?:amp|lt|gt|quot|#39|nbsp);/y;
    found.lastIndex = this.at;
    const name = found.exec(this.text)?.[0];
    this.#put(name ? ENTITIES[name] : "&", name ? name.length : 1);
  }

  // <https://…> is a link, <br> ends a line; all else is text.
  #angle() {
    const found = /<(?:br ?\/?|((?:https?:\/\/|mailto:)[^\s<>]{1,2048}))>/iy;
    found.lastIndex = this.at;
    const [whole, address] = found.exec(this.text) ?? [];
    const href = address && safeAddress(address);
    if (!whole || (address && !href)) this.#put("<", 1);
    else if (address) this.#put({ type: "link", href, children: [address.replace(/^mailto:/i, "")] }, whole.length);
    else this.#put({ type: "break" }, whole.length);
  }

  // ---- links ----

  #openBracket(length) {
    const part = { mark: true, opens: [], closes: [], left: length === 2 ? "![" : "[" };
    this.brackets.push({ part, marks: this.marks.length });
    this.#put(part, length);
  }

  #closeBracket() {
    const bracket = this.brackets.pop();
    const target = bracket && this.text[this.at + 1] === "(" ? this.#address(this.at + 2) : null;
    if (!target) {
      this.#put("]", 1);
      return;
    }
    this.#emphasize(bracket.marks);
    const href = safeAddress(target.address);
    const image = bracket.part.left === "![";
    const close = { mark: true, opens: [], closes: [], left: "" };
    bracket.part.left = "";
    if (href) {
      bracket.part.opens.push({ type: "link", href, image, children: [] });
      close.closes.push(true);
      this.brackets = []; // no link stands in a link
    }
    this.#put(close, target.end - this.at);
  }

  // (address "title") from behind its bracket on: balanced, on one line, and not too long.
  #address(from) {
    const { text } = this;
    const most = Math.min(text.length, from + MOST_ADDRESS);
    let at = from;
    let address;
    if (text[at] === "<") {
      const end = text.slice(at, most).search(/[>\n]/);
      if (end < 0 || text[at + end] !== ">") return null;
      address = text.slice(at + 1, at + end);
      at += end + 1;
    } else {
      let depth = 0;
      for (; at < most && text[at] > " "; at += 1) {
        if (text[at] === "(" && ++depth > MOST_BRACKETS) return null;
        if (text[at] === ")" && --depth < 0) break;
      }
      address = text.slice(from, at);
    }
    const rest = /^(?:[ \n]+(?:"[^"\n]*"|'[^'\n]*'|\([^()\n]*\)))?[ \n]*\)/.exec(text.slice(at, most));
    return rest && address ? { address, end: at + rest[0].length } : null;
  }

  // ---- emphasis, by CommonMark's rules ----

  #mark(letter) {
    const { text, at } = this;
    let length = 1;
    while (text[at + length] === letter) length += 1;
    const before = at === 0 ? " " : [...text.slice(Math.max(at - 2, 0), at)].at(-1);
    const after = at + length >= text.length ? " " : String.fromCodePoint(text.codePointAt(at + length));
    const beginsWord = flanks(after, before);
    const endsWord = flanks(before, after);
    const inner = letter === "_"; // never within a word
    const part = { mark: true, opens: [], closes: [], left: letter.repeat(length), letter, length };
    part.canOpen = beginsWord && (!inner || !endsWord || isPunctuation(before));
    part.canClose = endsWord && (!inner || !beginsWord || isPunctuation(after));
    part.original = length;
    const useful = letter !== "~" || length === 2;
    if (useful && (part.canOpen || part.canClose)) this.marks.push(part);
    this.#put(part, length);
  }

  // Pairs the marks from `bottom` on, and takes them away.
  #emphasize(bottom) {
    const open = []; // marks that may open, the nearest last
    const floor = new Map(); // below which a kind of closer has found no opener
    for (const mark of this.marks.splice(bottom)) {
      const kind = `${mark.letter}${mark.canOpen}${mark.original % 3}`;
      while (mark.canClose && mark.length) {
        let index = open.length - 1;
        const lowest = floor.get(kind) ?? 0;
        while (index >= lowest && !pairs(open[index], mark)) index -= 1;
        if (index < lowest) {
          floor.set(kind, open.length);
          break;
        }
        const opener = open[index];
        open.length = index + 1;
        for (const [name, height] of floor) if (height > open.length) floor.set(name, open.length);
        const used = mark.letter === "~" || (opener.length > 1 && mark.length > 1) ? 2 : 1;
        const type = mark.letter === "~" ? "del" : used === 2 ? "strong" : "em";
        opener.opens.unshift({ type, children: [] });
        mark.closes.push(true);
        for (const each of [opener, mark]) {
          each.length -= used;
          each.left = each.letter.repeat(each.length);
        }
        if (!opener.length) open.pop();
      }
      if (mark.canOpen && mark.length) open.push(mark);
    }
  }
}

function pairs(opener, closer) {
  if (opener.letter !== closer.letter) return false;
  if (!opener.canClose && !closer.canOpen) return true;
  return (opener.original + closer.original) % 3 !== 0 || (opener.original % 3 === 0 && closer.original % 3 === 0);
}

// Whether marks beside `inside` belong to it, with `outside` on their other side. Beside Chinese, Japanese and Korean
// there are no spaces, so that **注意：**之后 is bold, too.
function flanks(inside, outside) {
  if (/\s/.test(inside)) return false;
  return (
    !isPunctuation(inside) || CJK.test(inside) || /\s/.test(outside) || isPunctuation(outside) || CJK.test(outside)
  );
}

function isPunctuation(letter) {
  return PUNCTUATION.test(letter);
}

// The tree of the parts. Elements that stand too deep are left out, with their text kept.
function built(parts) {
  const root = { children: [] };
  const stack = [root];
  let tooDeep = 0;
  const top = () => stack.at(-1).children;
  const text = (letters) => {
    if (!letters) return;
    const into = top();
    if (typeof into.at(-1) === "string") into.push(into.pop() + letters);
    else into.push(letters);
  };
  for (const part of parts) {
    if (typeof part === "string") {
      text(part);
    } else if (!part.mark) {
      top().push(part);
    } else {
      for (let left = part.closes.length; left > 0; left -= 1) {
        if (tooDeep) tooDeep -= 1;
        else stack.pop();
      }
      text(part.left);
      for (const element of part.opens) {
        if (tooDeep || stack.length > MOST_DEPTH) {
          tooDeep += 1;
        } else {
          top().push(element);
          stack.push(element);
        }
      }
    }
  }
  return linked(root.children, false);
}

// Addresses in plain text become links, too; not within links.
function linked(nodes, inLink) {
  return nodes.flatMap((node) => {
    if (typeof node === "string") return inLink ? [node] : bareLinks(node);
    if (node.children) node.children = linked(node.children, inLink || node.type === "link");
    return [node];
  });
}

function bareLinks(text) {
  const found = [];
  let from = 0;
  for (const { 0: whole, index } of text.matchAll(BARE_ADDRESS)) {
    if (whole.length > MOST_ADDRESS) continue;
    let address = whole;
    while (/[.,;:!?)\]}*_~]$/.test(address) && !(address.endsWith(")") && isBalanced(address))) {
      address = address.slice(0, -1);
    }
    const href = safeAddress(address);
    if (!href) continue;
    if (index > from) found.push(text.slice(from, index));
    found.push({ type: "link", href, children: [address] });
    from = index + address.length;
  }
  if (from < text.length) found.push(text.slice(from));
  return found;
}

function isBalanced(address) {
  return address.split("(").length === address.split(")").length;
}
