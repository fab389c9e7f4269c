// An answer on its way: what comes of it goes into its node; whoever shows it hears "change" and "end".
import { ApiError } from "./api.js";

const SAMPLE_MS = 400; // of the curve of its speed

export class Answering extends EventTarget {
  #stop = new AbortController();
  #firstAt = null; // when the first token came, and how many there were then
  #firstTokens = 0;
  #sampled = { at: 0, tokens: 0 };

  constructor(node) {
    super();
    this.node = node;
    this.startedAt = performance.now();
    this.thoughtSince = null;
    this.speeds = []; // tokens a second, one each SAMPLE_MS
    this.tokensPerSecond = null;
  }

  get isReading() {
    return this.#firstAt === null; // the queue and the prompt
  }

  // Ends when the answer has ended, however it did: node.finish and node.error say how.
  async run(api, body) {
    const { node } = this;
    try {
      for await (const chunk of api.chat(body, this.#stop.signal)) this.#take(chunk);
      node.finish ??= "stop";
    } catch (error) {
      if (error.name === "AbortError") {
        node.finish = "stopped";
      } else {
        const known = error instanceof ApiError ? error : new ApiError("failed", String(error.message));
        node.finish = "error";
        node.error = { kind: known.kind, message: known.message, retryAfter: known.retryAfter };
      }
    }
    this.#endThought();
    this.dispatchEvent(new Event("change"));
    this.dispatchEvent(new Event("end"));
  }

  stop() {
    this.#stop.abort();
  }

  #take(chunk) {
    const { node } = this;
    node.model = chunk.model;
    if (chunk.usage) this.#count(chunk.usage);
    if (chunk.timings) node.timings = chunk.timings;
    for (const choice of chunk.choices) {
      const { reasoning_content: thought, content, tool_calls: calls } = choice.delta;
      if (thought) {
        this.thoughtSince ??= performance.now();
        node.reasoning += thought;
      }
      if (content) {
        this.#endThought();
        node.content += content;
      }
      for (const call of calls ?? []) this.#call(call);
      if (choice.finish_reason) node.finish = choice.finish_reason;
    }
    this.dispatchEvent(new Event("change"));
  }

  #call(delta) {
    this.#endThought();
    const calls = (this.node.calls ??= []);
    if (delta.id) {
      calls.push({ id: delta.id, type: "function", function: { name: delta.function.name, arguments: "" } });
    }
    calls[delta.index].function.arguments += delta.function.arguments ?? "";
  }

  #endThought() {
    if (this.thoughtSince === null) return;
    this.node.reasoningMs = (this.node.reasoningMs ?? 0) + performance.now() - this.thoughtSince;
    this.thoughtSince = null;
  }

  #count(usage) {
    this.node.usage = usage;
    const now = performance.now();
    const tokens = usage.completion_tokens;
    if (!tokens) return;
    if (this.#firstAt === null) {
      this.#firstAt = now;
      this.#firstTokens = tokens;
      this.#sampled = { at: now, tokens };
      return;
    }
    if (now > this.#firstAt) this.tokensPerSecond = ((tokens - this.#firstTokens) * 1000) / (now - this.#firstAt);
    const { at, tokens: before } = this.#sampled;
    if (now - at >= SAMPLE_MS) {
      this.speeds.push(((tokens - before) * 1000) / (now - at));
      this.#sampled = { at: now, tokens };
    }
  }
}
