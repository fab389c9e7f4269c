// Why an answer is not whole, and what can be done.
import { el } from "../dom.js";
import { icon } from "../icons.js";
import { count, t } from "../language.js";
import { textButton } from "./buttons.js";

// An element, or null where nothing is wrong.
export function problem(app, node) {
  if (node.finish === "stopped") return note(t("stopped"));
  if (node.finish === "length") return note(cutText(app, node));
  return node.error ? failure(app, node) : null;
}

function note(text) {
  return el("p", { class: "note" }, text);
}

function cutText(app, node) {
  const context = app.status.props?.models[node.model]?.context ?? app.context;
  const full = node.usage && context && node.usage.total_tokens >= context;
  return full ? t("cutByContext", count(context)) : t("cutByLimit");
}

function failure(app, node) {
  const { kind, message, retryAfter } = node.error;
  const again = textButton(t("tryAgain"), () => app.answerAgain(node), "primary");
  const buttons = [again];
  if (kind === "context") {
    again.className = "plain";
    buttons.unshift(textButton(t("newWithQuestion"), () => startOver(app, node), "primary"));
  }
  if (["busy", "stopping"].includes(kind) && retryAfter) countDown(again, retryAfter);
  const own = kind === "gone" || kind === "key" ? null : el("p", { class: "said" }, message); // the server's words
  return el(
    "div",
    { class: "failure", role: "alert" },
    icon("warning"),
    el(
      "div",
      {},
      el("strong", {}, t(`failed_${kind}`)),
      own,
      el("p", {}, t(`todo_${kind}`)),
      el("div", { class: "buttons" }, buttons),
    ),
  );
}

// The question that did not fit any more, in a conversation of its own.
function startOver(app, node) {
  const question = app.conversation.before(node).findLast(({ role }) => role === "user");
  app.create();
  app.draft = question?.content ?? "";
  app.emit("draft");
}

function countDown(button, wait) {
  const label = button.textContent;
  const tick = (left) => {
    button.disabled = left > 0;
    button.textContent = left > 0 ? t("tryAgainIn", left) : label;
    if (left > 0) setTimeout(() => tick(left - 1), 1000);
  };
  tick(Math.min(wait, 120));
}
