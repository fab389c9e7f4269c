// What is asked of the server: from the turns that are shown and the settings beside them.

export const SAMPLING = {
  temperature: { min: 0, max: 100, step: 0.05 },
  top_p: { min: 0, max: 1, step: 0.01 },
  top_k: { min: 0, max: 2 ** 31 - 1, step: 1 },
  min_p: { min: 0, max: 1, step: 0.01 },
  presence_penalty: { min: -2, max: 2, step: 0.1 },
  frequency_penalty: { min: -2, max: 2, step: 0.1 },
  repetition_penalty: { min: 0.01, max: 100, step: 0.01 },
  max_tokens: { min: 1, max: 2 ** 31 - 1, step: 1 },
  seed: { min: 0, max: Number.MAX_SAFE_INTEGER, step: 1 },
};

// Of thoughts, in tokens; the last has no limit.
export const BUDGETS = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, null];

export const DEFAULTS = {
  model: null, // the first
  thinking: true,
  budget: null,
  system: "",
  sampling: {}, // what differs from the model's own
  tools: { on: false, json: "", choice: "auto" },
  form: { on: false, json: "" },
};

// Settings that were kept, with what has come since.
export function settingsOf(kept) {
  const merged = { ...structuredClone(DEFAULTS), ...structuredClone(kept ?? {}) };
  for (const name of ["tools", "form", "sampling"]) merged[name] = { ...DEFAULTS[name], ...merged[name] };
  return merged;
}

// A JSON text that stands in the settings: its value or what is wrong with it.
export function parsedTools(json) {
  return checked(json, (value) => {
    const listed = Array.isArray(value) ? value : [value];
    if (!listed.every(isObject)) throw new Error("[{…}]");
    // A bare function is as good: {"name": …, "parameters": …}.
    return listed.map((each) => (each.type === undefined && each.name ? { type: "function", function: each } : each));
  });
}

export function parsedForm(json) {
  return checked(json, (value) => {
    if (!isObject(value)) throw new Error("{…}");
    return value;
  });
}

// Which JSON of the settings cannot be sent: "tools", "form", or null.
export function wrongJson({ tools, form }) {
  if (tools.on && tools.json.trim() && parsedTools(tools.json).error) return "tools";
  return form.on && form.json.trim() && parsedForm(form.json).error ? "form" : null;
}

// props: of the model, as /props has them; null if it is not known yet.
export function requestBody(path, settings, props) {
  const body = { model: settings.model, messages: messagesOf(path, settings.system), ...settings.sampling };
  if (props?.thinks !== false) {
    // A wish: a model that has no switch for it follows as far as it can.
    body.reasoning_effort = settings.thinking ? "high" : "none";
    if (settings.thinking && settings.budget !== null) body.thinking_budget = settings.budget;
  }
  if (settings.tools.on && settings.tools.json.trim()) {
    body.tools = parsedTools(settings.tools.json).value;
    body.tool_choice = settings.tools.choice;
  }
  if (settings.form.on && settings.form.json.trim()) {
    const schema = parsedForm(settings.form.json).value;
    body.response_format = { type: "json_schema", json_schema: { name: "answer", schema } };
  }
  return body;
}

export function messagesOf(path, system) {
  const messages = path.flatMap(turnMessages);
  return system.trim() ? [{ role: "system", content: system }, ...messages] : messages;
}

function turnMessages(node) {
  if (node.role === "user") return [{ role: "user", content: node.content }];
  if (node.role === "tool") {
    return node.results.map(({ id, content }) => ({ role: "tool", tool_call_id: id, content }));
  }
  if (!node.content && !node.calls?.length) return []; // it failed, or was stopped before it said anything
  const message = { role: "assistant", content: node.content || null };
  if (node.reasoning) message.reasoning_content = node.reasoning;
  if (node.calls?.length) message.tool_calls = node.calls;
  return [message];
}

function checked(json, check) {
  try {
    return { value: check(JSON.parse(json)), error: null };
  } catch (error) {
    return { value: null, error: error.message };
  }
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
