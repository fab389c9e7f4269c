// How much of the context and of the memory is in use, and how fast answers come: as pictures with their words.
import { el, say, svg } from "../dom.js";
import { bytes, count, seconds, short, t } from "../language.js";

const MEMORY = ["weights", "kv_cache", "scratch", "program"];
const CURVE = { width: 120, height: 30, samples: 40 };

// What the pictures show: of the last answer of what is shown, and of the server.
function figures(app) {
  const { answering } = app;
  const last = app.conversation.path.findLast(({ role, usage }) => role === "assistant" && usage);
  const usage = answering?.node.usage ?? last?.usage ?? null;
  const speed = answering ? answering.tokensPerSecond : last?.timings?.decode_tokens_per_second || null;
  return {
    usage,
    speed,
    context: app.context,
    timings: last?.timings ?? null,
    memory: app.status.props?.memory ?? null,
  };
}

function watch(app, update) {
  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      update(figures(app));
    }, 120);
  };
  for (const name of ["answer", "conversation", "status", "models", "settings"]) app.on(name, soon);
  update(figures(app));
}

// For the bar above the conversation: a ring, a bar and a number, which open the whole picture.
export function compactMeters(app, open) {
  const ring = ringPicture();
  const context = el("span", { class: "figure" });
  const memory = barPicture();
  const memoryText = el("span", { class: "figure" });
  const speed = el("span", { class: "figure speed" });
  const button = el(
    "button",
    { class: "meters", type: "button", on: { click: open } },
    el("span", { class: "meter" }, ring.element, context),
    el("span", { class: "meter wide-only" }, memory.element, memoryText),
    el("span", { class: "meter wide-only" }, speed),
  );
  watch(app, (found) => {
    const words = [contextWords(found), memoryWords(found), speedWords(found)].filter(Boolean);
    const label = `${t("settings")}: ${words.join("; ")}`;
    if (button.getAttribute("aria-label") !== label) button.setAttribute("aria-label", label);
    button.title = words.join("\n");
    ring.show(found.context ? (found.usage?.total_tokens ?? 0) / found.context : 0);
    say(context, found.context ? `${short(found.usage?.total_tokens ?? 0)} / ${short(found.context)}` : "–");
    memory.show(memoryParts(found));
    say(memoryText, found.memory ? bytes(found.memory.resident) : "–");
    say(speed, found.speed ? t("perSecond", count(found.speed, found.speed < 100 ? 1 : 0)) : t("perSecond", "–"));
  });
  return button;
}

// For the settings: all of it, with what each colour is.
export function meterSection(app) {
  const context = measure(t("context"));
  const memory = measure(t("memory"));
  const speed = { head: el("span"), curve: curvePicture(), note: el("p", { class: "note" }) };
  const element = el(
    "section",
    { class: "measures" },
    el("h3", {}, t("now")),
    context.element,
    memory.element,
    el(
      "div",
      { class: "measure" },
      el("div", { class: "measure-head" }, el("span", {}, t("speed")), speed.head),
      speed.curve.element,
      speed.note,
    ),
  );
  watch(app, (found) => {
    const { usage } = found;
    context.show(
      found.context ? `${count(usage?.total_tokens ?? 0)} / ${count(found.context)}` : "–",
      contextParts(found),
      contextWords(found),
    );
    const { memory: used } = found;
    memory.show(used ? `${bytes(used.resident)} / ${bytes(used.budget)}` : "–", memoryParts(found), memoryWords(found));
    memory.mark(used ? used.resident / used.budget : null);
    say(speed.head, found.speed ? t("perSecond", count(found.speed, 1)) : "–");
    speed.curve.show(app.answering?.speeds ?? null, found.speed);
    const first = found.timings && found.timings.queue_seconds + found.timings.prefill_seconds;
    say(speed.note, first ? t("firstToken", seconds(first * 1000)) : "");
  });
  return element;
}

// ---- what is shown: parts {kind, share, size} of a whole, and words ----

function contextParts({ usage, context }) {
  if (!usage || !context) return [];
  const cached = usage.prompt_tokens_details.cached_tokens;
  const thoughts = usage.completion_tokens_details.reasoning_tokens;
  const sizes = { cached, prompt: usage.prompt_tokens - cached, thoughts, answer: usage.completion_tokens - thoughts };
  return Object.entries(sizes).map(([kind, size]) => ({ kind, share: size / context, text: count(size) }));
}

function memoryParts({ memory }) {
  if (!memory) return [];
  const { planned, budget } = memory;
  const sizes = {
    ...planned,
    scratch: planned.scratch + planned.buffers + planned.draft,
    program: planned.program + planned.server,
  };
  return MEMORY.map((kind) => ({ kind, share: sizes[kind] / budget, text: bytes(sizes[kind]) }));
}

function contextWords({ usage, context }) {
  return context ? t("contextWords", count(usage?.total_tokens ?? 0), count(context)) : "";
}

function memoryWords({ memory }) {
  return memory ? t("memoryWords", bytes(memory.resident), bytes(memory.budget)) : "";
}

function speedWords({ speed }) {
  return speed ? t("speedWords", count(speed, 1)) : "";
}

// ---- pictures ----

function ringPicture() {
  const used = svg("circle", { class: "used", cx: 10, cy: 10, r: 7.5, pathLength: 100, "stroke-dasharray": "0 100" });
  const element = svg(
    "svg",
    { class: "ring", viewBox: "0 0 20 20", "aria-hidden": "true" },
    svg("circle", { cx: 10, cy: 10, r: 7.5 }),
    used,
  );
  return {
    element,
    show(share) {
      used.setAttribute("stroke-dasharray", `${Math.min(share, 1) * 100} 100`);
      element.classList.toggle("full", share > 0.9);
    },
  };
}

function barPicture() {
  const element = el("span", { class: "bar", "aria-hidden": "true" });
  const show = (parts) => {
    while (element.childElementCount < parts.length) element.append(el("i"));
    parts.forEach(({ kind, share }, at) => {
      const part = element.children[at];
      part.className = kind;
      part.style.width = `${Math.min(share, 1) * 100}%`;
    });
    for (const extra of [...element.children].slice(parts.length)) extra.remove();
  };
  return { element, show };
}

function measure(title) {
  const head = el("span");
  const bar = barPicture();
  const marker = el("b", { class: "marker", hidden: true });
  const picture = el("div", { class: "picture", role: "img" }, bar.element, marker);
  const legend = el("ul", { class: "legend" });
  const element = el(
    "div",
    { class: "measure" },
    el("div", { class: "measure-head" }, el("span", {}, title), head),
    picture,
    legend,
  );
  return {
    element,
    show(text, parts, words) {
      say(head, text);
      bar.show(parts);
      picture.setAttribute("aria-label", words || title);
      const shown = parts.filter(({ share }) => share > 0);
      const entries = shown.map(({ kind, text: size }) => [kind, `${t(`part_${kind}`)} ${size}`]);
      const state = JSON.stringify(entries);
      if (state === this.state) return;
      this.state = state;
      legend.replaceChildren(...entries.map(([kind, words]) => el("li", {}, el("i", { class: kind }), words)));
    },
    mark(share) {
      marker.hidden = share === null;
      if (share !== null) marker.style.left = `${Math.min(share, 1) * 100}%`;
    },
  };
}

function curvePicture() {
  const { width, height, samples } = CURVE;
  const line = svg("polyline", { points: "" });
  const element = svg(
    "svg",
    { class: "curve", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    line,
  );
  let kept = [];
  return {
    element,
    show(speeds, speed) {
      if (speeds) kept = speeds.slice(-samples);
      else if (!speed) kept = [];
      const most = Math.max(1, ...kept) * 1.15;
      const step = width / Math.max(kept.length - 1, 1);
      const points = kept.map(
        (each, at) => `${(at * step).toFixed(1)},${(height - (each / most) * height).toFixed(1)}`,
      );
      line.setAttribute("points", points.join(" "));
      element.toggleAttribute("hidden", kept.length < 2);
    },
  };
}
