// A conversation is a tree: what is edited or answered again becomes a branch beside what was there.

let lastId = 0;

// Unique in this browser, and in order of time.
export function newId() {
  lastId = Math.max(Date.now() * 1000, lastId + 1);
  return lastId.toString(36);
}

// A node is one turn: {id, parent, role, time} and
//   user: content
//   assistant: content, reasoning, reasoningMs, calls, model, finish, usage, timings, error
//   tool: results [{id, name, content}]
// finish: null while it runs; "stop", "tool_calls", "length" as the server says it; "stopped" by the user; "error".
export class Conversation {
  constructor(record) {
    Object.assign(this, record);
  }

  static create(settings) {
    return new Conversation({
      id: newId(),
      title: "",
      named: false, // by the user
      updated: Date.now(),
      settings,
      nodes: {},
      children: { "": [] }, // ids by their parent's; "" is before the first
      chosen: {}, // of these the one that is shown
    });
  }

  // For the store, and for its list.
  get record() {
    return { ...this };
  }

  get isEmpty() {
    return this.children[""].length === 0;
  }

  // The nodes that are shown, from the first on.
  get path() {
    const found = [];
    for (let id = this.chosen[""]; id !== undefined; id = this.chosen[id]) found.push(this.nodes[id]);
    return found;
  }

  get last() {
    return this.path.at(-1) ?? null;
  }

  // Up to a node, which is left out.
  before(node) {
    const path = this.path;
    return path.slice(0, path.indexOf(node));
  }

  add(parent, node) {
    const under = parent?.id ?? "";
    const added = { id: newId(), parent: under, time: Date.now(), ...node };
    this.nodes[added.id] = added;
    (this.children[under] ??= []).push(added.id);
    this.chosen[under] = added.id;
    this.updated = added.time;
    if (!this.named && node.role === "user" && !this.title) this.title = titleOf(node.content);
    return added;
  }

  parentOf(node) {
    return this.nodes[node.parent] ?? null;
  }

  // The branches at a node: how many, and which it is, from 0.
  branches(node) {
    const ids = this.children[node.parent];
    return { count: ids.length, index: ids.indexOf(node.id) };
  }

  choose(node, index) {
    this.chosen[node.parent] = this.children[node.parent][index];
  }
}

function titleOf(text) {
  const line = text.trim().split("\n", 1)[0].trim();
  const letters = [...line.slice(0, 200)];
  return letters.length <= 60 ? line : `${letters.slice(0, 59).join("")}…`;
}
