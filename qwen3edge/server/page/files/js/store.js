// Conversations, kept in this browser. Where it keeps nothing (some private windows) they last as long as the page.

const LIST = "list"; // {id, title, updated}: what the list shows, so that it is read without the conversations
const WHOLE = "conversations";

export class Store {
  #database = null;
  #kept = new Map(); // in place of a database
  #channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("qwen3edge.conversations") : null;

  // changed(id): another window has changed that conversation.
  constructor(changed) {
    this.#channel?.addEventListener("message", (event) => changed(event.data));
  }

  // Whether what is saved outlasts the page.
  get lasts() {
    return this.#database !== null;
  }

  async open() {
    try {
      const request = indexedDB.open("qwen3edge", 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore(LIST, { keyPath: "id" });
        request.result.createObjectStore(WHOLE, { keyPath: "id" });
      };
      this.#database = await done(request);
      this.#database.onversionchange = () => this.#database.close();
    } catch {
      this.#database = null;
    }
  }

  // The last changed first.
  async list() {
    const found = this.#database
      ? await done(this.#database.transaction(LIST).objectStore(LIST).getAll())
      : [...this.#kept.values()].map(entry);
    return found.sort((a, b) => b.updated - a.updated);
  }

  async read(id) {
    if (!this.#database) return structuredClone(this.#kept.get(id) ?? null);
    return (await done(this.#database.transaction(WHOLE).objectStore(WHOLE).get(id))) ?? null;
  }

  async save(record) {
    if (this.#database) {
      await this.#change((list, whole) => {
        list.put(entry(record));
        whole.put(record);
      });
    } else {
      this.#kept.set(record.id, structuredClone(record));
    }
    this.#channel?.postMessage(record.id);
  }

  async remove(id) {
    if (this.#database) {
      await this.#change((list, whole) => {
        list.delete(id);
        whole.delete(id);
      });
    } else {
      this.#kept.delete(id);
    }
    this.#channel?.postMessage(id);
  }

  #change(work) {
    const transaction = this.#database.transaction([LIST, WHOLE], "readwrite");
    work(transaction.objectStore(LIST), transaction.objectStore(WHOLE));
    return new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  }
}

function entry({ id, title, updated }) {
  return { id, title, updated };
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = request.onblocked = () => reject(request.error);
  });
}
