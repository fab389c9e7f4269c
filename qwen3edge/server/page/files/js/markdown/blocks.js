// Markdown's blocks: paragraphs, headings, code, lists, quotes, tables, rules, formulas. HTML is text like any other.
//
// Each line is looked at once for each container that it stands in, and containers are at most MOST_DEPTH deep, so that
// no text takes longer than its length allows.

const MOST_DEPTH = 16;
const MOST_COLUMNS = 64;

// Blocks: {type, start, ...}, start: where it begins in the text (only of the outermost ones).
//   paragraph {text}   heading {level, text}   code {text, language}   math {text}   rule {}
//   quote {blocks}   list {ordered, first, loose, items: [{task, blocks}]}   table {align, head, rows}
export function parseBlocks(text) {
  const lines = text.split("\n");
  const starts = [];
  let at = 0;
  for (const line of lines) {
    starts.push(at);
    at += line.length + 1;
  }
  return blocksOf(lines.map(plainLine), 0, starts);
}

function plainLine(line) {
  const bare = line.endsWith("\r") ? line.slice(0, -1) : line;
  return bare.includes("\t") ? bare.replaceAll("\t", "    ") : bare;
}

function blocksOf(lines, depth, starts = null) {
  const blocks = [];
  let index = 0;
  while (index < lines.length) {
    if (isBlank(lines[index])) {
      index += 1;
      continue;
    }
    const found = blockAt(lines, index, depth);
    if (starts) found.block.start = starts[index];
    blocks.push(found.block);
    index = found.end;
  }
  return blocks;
}

function blockAt(lines, index, depth) {
  const line = lines[index];
  return (
    indentedCode(lines, index) ??
    fencedCode(lines, index) ??
    heading(line, index) ??
    math(lines, index) ??
    (isRule(line) ? { block: { type: "rule" }, end: index + 1 } : null) ??
    (depth < MOST_DEPTH ? (quote(lines, index, depth) ?? list(lines, index, depth)) : null) ??
    table(lines, index) ??
    paragraph(lines, index, depth)
  );
}

// ---- what begins a block, and so ends a paragraph ----

function isBlank(line) {
  return line.trim() === "";
}

function indentOf(line) {
  let spaces = 0;
  while (line[spaces] === " ") spaces += 1;
  return spaces;
}

function fenceOf(line) {
  const found = /^ {0,3}(`{3,}|~{3,})/.exec(line);
  if (!found) return null;
  const information = line.slice(found[0].length);
  if (found[1][0] === "`" && information.includes("`")) return null;
  return { mark: found[1][0], length: found[1].length, indent: indentOf(line), information: information.trim() };
}

function isRule(line) {
  const bare = line.replaceAll(" ", "");
  if (bare.length < 3 || indentOf(line) > 3 || !"-*_".includes(bare[0])) return false;
  return bare === bare[0].repeat(bare.length);
}

function markerOf(line) {
  const found = /^( {0,3})([-*+]|\d{1,9}[.)])(?= |$)/.exec(line);
  if (!found) return null;
  const [before, , mark] = found;
  const after = line.slice(before.length);
  const spaces = isBlank(after) ? 1 : indentOf(after);
  const ordered = mark.length > 1;
  return {
    kind: mark.at(-1), // lists of another mark are other lists
    ordered,
    number: ordered ? Number.parseInt(mark, 10) : null,
    content: before.length + (spaces > 4 ? 1 : spaces),
  };
}

function beginsBlock(lines, index, depth) {
  const line = lines[index];
  if (fenceOf(line) || heading(line, index) || isRule(line)) return true;
  if (depth < MOST_DEPTH) {
    if (/^ {0,3}>/.test(line)) return true;
    const marker = markerOf(line);
    if (marker && !isBlank(line.slice(marker.content)) && (!marker.ordered || marker.number === 1)) return true;
  }
  return isTable(lines, index);
}

// ---- the blocks ----

function fencedCode(lines, index) {
  const fence = fenceOf(lines[index]);
  if (!fence) return null;
  const text = [];
  let end = index + 1;
  for (; end < lines.length; end += 1) {
    const line = lines[end];
    const bare = line.trim();
    const closes = bare.length >= fence.length && bare === fence.mark.repeat(bare.length) && indentOf(line) <= 3;
    if (closes) break;
    text.push(line.slice(Math.min(indentOf(line), fence.indent)));
  }
  const language = fence.information.split(" ", 1)[0].slice(0, 40);
  if (end === lines.length && text.at(-1) === "") text.pop(); // it still grows
  return { block: { type: "code", text: text.join("\n"), language }, end: end + 1 };
}

function indentedCode(lines, index) {
  let end = index;
  while (end < lines.length && (indentOf(lines[end]) >= 4 || isBlank(lines[end]))) end += 1;
  while (end > index && isBlank(lines[end - 1])) end -= 1;
  if (end === index) return null;
  const text = lines.slice(index, end).map((line) => line.slice(4));
  return { block: { type: "code", text: text.join("\n"), language: "" }, end };
}

function heading(line, index) {
  const found = /^ {0,3}(#{1,6})(?= |$)/.exec(line);
  if (!found) return null;
  let text = line.slice(found[0].length).trim();
  let end = text.length;
  while (text[end - 1] === "#") end -= 1;
  if (end === 0 || text[end - 1] === " ") text = text.slice(0, end).trim();
  return { block: { type: "heading", level: found[1].length, text }, end: index + 1 };
}

// On one line, or from a line with the mark alone on to its end; a blank line ends it, too, so that what stands below
// never depends on what has not come yet.
function math(lines, index) {
  const first = lines[index].trim();
  const close = { $$: "$$", "\\[": "\\]" }[first.slice(0, 2)];
  if (!close) return null;
  let end = index + 1;
  if (first.length === 2) {
    while (end < lines.length && !isBlank(lines[end]) && !lines[end].trimEnd().endsWith(close)) end += 1;
    if (end < lines.length && !isBlank(lines[end])) end += 1;
  } else if (first.length < 5 || !first.endsWith(close)) {
    return null;
  }
  return { block: { type: "math", text: lines.slice(index, end).join("\n").trim() }, end };
}

function quote(lines, index, depth) {
  const inner = [];
  let end = index;
  for (; end < lines.length; end += 1) {
    const found = /^ {0,3}> ?/.exec(lines[end]);
    if (found) {
      inner.push(lines[end].slice(found[0].length));
    } else if (inner.length && !isBlank(lines[end]) && !isBlank(inner.at(-1)) && !beginsBlock(lines, end, depth)) {
      inner.push(lines[end]);
    } else {
      break;
    }
  }
  return end === index ? null : { block: { type: "quote", blocks: blocksOf(inner, depth + 1) }, end };
}

function list(lines, index, depth) {
  const first = markerOf(lines[index]);
  if (!first) return null;
  const items = [];
  let loose = false;
  let end = index;
  while (end < lines.length) {
    const marker = markerOf(lines[end]);
    if (!marker || marker.kind !== first.kind || isRule(lines[end])) break;
    const item = itemAt(lines, end, marker, depth);
    items.push(item.item);
    const next = item.end;
    loose ||= item.loose || (next > item.lastText + 1 && markerOf(lines[next] ?? "")?.kind === first.kind);
    end = next;
  }
  if (!items.length) return null;
  return { block: { type: "list", ordered: first.ordered, first: first.number, loose, items }, end };
}

function itemAt(lines, index, marker, depth) {
  const inner = [lines[index].slice(marker.content)];
  let end = index + 1;
  let lastText = index;
  let fence = fenceOf(inner[0]); // within code a line is only code
  for (; end < lines.length; end += 1) {
    const line = lines[end];
    if (isBlank(line)) {
      if (end > lastText + 1 && lastText === index && isBlank(inner[0])) break; // an empty item
      inner.push("");
      continue;
    }
    const indent = indentOf(line);
    // Two spaces are enough for a list within a list: that is how models write, whatever the mark above.
    const nested = indent >= Math.min(marker.content, 2) && markerOf(line.trimStart()) !== null;
    if (indent >= marker.content || (nested && !fence)) {
      inner.push(line.slice(Math.min(indent, marker.content)));
    } else if (end === lastText + 1 && !fence && !markerOf(line) && !beginsBlock(lines, end, depth)) {
      inner.push(line);
    } else {
      break;
    }
    lastText = end;
    const mark = fenceOf(inner.at(-1));
    if (mark) fence = fence === null ? mark : mark.mark === fence.mark && mark.length >= fence.length ? null : fence;
  }
  const text = inner.slice(0, lastText - index + 1);
  const task = /^\[([ xX])\] /.exec(text[0]);
  if (task) text[0] = text[0].slice(4);
  const blocks = blocksOf(text, depth + 1);
  const loose = blocks.length > 1 && text.some((line, at) => at > 0 && isBlank(line)) && blocks[1].type === "paragraph";
  return { item: { task: task ? task[1] !== " " : null, blocks }, end, lastText, loose };
}

function isTable(lines, index) {
  if (index + 1 >= lines.length || !lines[index].includes("|")) return false;
  const align = alignments(lines[index + 1]);
  return align !== null && align.length === cells(lines[index]).length && align.length <= MOST_COLUMNS;
}

function table(lines, index) {
  if (!isTable(lines, index)) return null;
  const align = alignments(lines[index + 1]);
  const rows = [];
  let end = index + 2;
  for (; end < lines.length && !isBlank(lines[end]) && lines[end].includes("|"); end += 1) {
    const row = cells(lines[end]).slice(0, align.length);
    while (row.length < align.length) row.push("");
    rows.push(row);
  }
  return { block: { type: "table", align, head: cells(lines[index]), rows }, end };
}

function alignments(line) {
  if (!line.includes("-") || !line.includes("|")) return null;
  const found = cells(line).map((cell) => {
    if (!/^:?-+:?$/.test(cell)) return null;
    const left = cell.startsWith(":");
    return cell.endsWith(":") ? (left ? "center" : "right") : left ? "left" : "";
  });
  return found.includes(null) ? null : found;
}

// Between bars; one that is escaped, or stands in code, is part of its cell.
function cells(line) {
  const found = [];
  let cell = "";
  let inCode = false;
  const bare = line.trim();
  for (let at = bare[0] === "|" ? 1 : 0; at < bare.length; at += 1) {
    const letter = bare[at];
    if (letter === "\\" && bare[at + 1] === "|") {
      cell += "|";
      at += 1;
    } else if (letter === "|" && !inCode) {
      found.push(cell.trim());
      cell = "";
    } else {
      if (letter === "`") inCode = !inCode && bare.includes("`", at + 1);
      cell += letter;
    }
  }
  if (cell.trim() || !bare.endsWith("|")) found.push(cell.trim());
  return found;
}

function paragraph(lines, index, depth) {
  let end = index + 1;
  for (; end < lines.length && !isBlank(lines[end]); end += 1) {
    const under = /^ {0,3}(={3,}|-{3,}) *$/.exec(lines[end]);
    if (under) {
      const text = lines.slice(index, end).join("\n").trim();
      return { block: { type: "heading", level: under[1][0] === "=" ? 1 : 2, text }, end: end + 1 };
    }
    if (beginsBlock(lines, end, depth)) break;
  }
  const text = lines.slice(index, end).map((line) => line.trimStart());
  return { block: { type: "paragraph", text: text.join("\n").trimEnd() }, end };
}
