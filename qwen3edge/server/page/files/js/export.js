// A conversation as a file: all of it as JSON, or what is shown of it as Markdown.
import { el } from "./dom.js";
import { t } from "./language.js";
import { messagesOf } from "./request.js";

// messages: the branch that is shown, as a request has it; conversation: all branches.
export function asJson(conversation) {
  const messages = messagesOf(conversation.path, conversation.settings.system);
  return JSON.stringify({ format: "qwen3edge conversation", messages, conversation: conversation.record }, null, 2);
}

export function asMarkdown(conversation) {
  const parts = [`# ${conversation.title || t("untitled")}`];
  if (conversation.settings.system.trim()) parts.push(`## ${t("system")}`, conversation.settings.system.trim());
  for (const node of conversation.path) {
    parts.push(
      `## ${node.role === "user" ? t("you") : node.role === "tool" ? t("results") : node.model || t("model")}`,
    );
    if (node.reasoning) parts.push(quoted(node.reasoning.trim()));
    if (node.content) parts.push(node.content.trim());
    for (const { function: called } of node.calls ?? []) parts.push(fenced(`${called.name} ${called.arguments}`));
    for (const { name, content } of node.results ?? []) parts.push(`${name}:`, fenced(content));
  }
  return `${parts.join("\n\n")}\n`;
}

export function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// Of letters that every system allows in a name.
export function fileName(conversation, ending) {
  const plain = conversation.title
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .slice(0, 60)
    .replace(/^-|-$/g, "");
  return `${plain || "conversation"}.${ending}`;
}

function quoted(text) {
  return text.replace(/^/gm, "> ");
}

function fenced(text) {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}\n${text}\n${fence}`;
}
