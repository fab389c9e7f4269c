// The server, as the page asks it. Paths are relative, so that a proxy may put the page below a path of its own.
import { eventData } from "./events.js";

const KEY = "qwen3edge.key";
const PATIENCE_MS = 8000; // with a server that takes a request and says nothing

// What went wrong. kind: "gone" (no answer at all), "key", "busy", "stopping", "context" (the prompt does not fit),
// "refused" (any other 4xx), "failed". retryAfter: seconds or null.
export class ApiError extends Error {
  constructor(kind, message, { status = 0, code = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { kind, status, code, retryAfter });
  }

  static of(status, error, headers) {
    const code = error?.code ?? null;
    const kinds = { 401: "key", 429: "busy", 503: "stopping" };
    const other = status >= 500 ? "failed" : "refused";
    const kind = code === "context_length_exceeded" ? "context" : (kinds[status] ?? other);
    const wait = Number.parseInt(headers?.get("retry-after") ?? "", 10);
    const retryAfter = Number.isFinite(wait) ? wait : null;
    return new ApiError(kind, error?.message ?? `HTTP ${status}`, { status, code, retryAfter });
  }
}

export class Api {
  #key = "";

  constructor() {
    try {
      this.#key = sessionStorage.getItem(KEY) ?? "";
    } catch {
      // A browser that keeps nothing asks again after a reload.
    }
  }

  set key(key) {
    this.#key = key;
    try {
      sessionStorage.setItem(KEY, key);
    } catch {
      // As above.
    }
  }

  async models() {
    return (await (await this.#ask("v1/models", { signal: AbortSignal.timeout(PATIENCE_MS) })).json()).data;
  }

  async props() {
    return (await this.#ask("props", { signal: AbortSignal.timeout(PATIENCE_MS) })).json();
  }

  // Yields the chunks of one answer. Raises ApiError, and AbortError where the signal says stop.
  async *chat(body, signal) {
    const response = await this.#ask("v1/chat/completions", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        ...body,
        stream: true,
        stream_options: { include_usage: true, continuous_usage_stats: true },
      }),
      signal,
    });
    let whole = false;
    try {
      for await (const data of eventData(response.body)) {
        whole = data === "[DONE]";
        if (whole) return;
        const chunk = JSON.parse(data);
        if (chunk.error) throw ApiError.of(statusOf(chunk.error), chunk.error);
        yield chunk;
      }
    } catch (error) {
      if (error instanceof ApiError || error.name === "AbortError") throw error;
      throw new ApiError("gone", String(error.message));
    }
    if (!whole) throw new ApiError("gone", "the stream ended early");
  }

  async #ask(path, options = {}) {
    const headers = { ...options.headers };
    if (this.#key) headers.Authorization = `Bearer ${this.#key}`;
    let response;
    try {
      response = await fetch(new URL(path, document.baseURI), { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError("gone", String(error.message));
    }
    if (response.ok) return response;
    const body = await response.json().catch(() => null);
    throw ApiError.of(response.status, body?.error, response.headers);
  }
}

// Of an error that comes within a stream, whose status was 200.
function statusOf(error) {
  const known = { rate_limit_error: 429, service_unavailable_error: 503, invalid_request_error: 400 };
  return known[error.type] ?? 500;
}
