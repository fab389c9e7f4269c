// What the page is about: the server, the conversations, the answers on their way. Views hear of changes by name:
//   list (of conversations), conversation (that is shown), settings (its), models, status (of the server), answer (as it
//   comes in the conversation that is shown), draft (of a question), key (the server wants one), notice.
import { Answering } from "./answer.js";
import { Api } from "./api.js";
import { Conversation } from "./conversation.js";
import { t } from "./language.js";
import { remember, remembered } from "./preferences.js";
import { requestBody, settingsOf, wrongJson } from "./request.js";
import { Status } from "./status.js";
import { Store } from "./store.js";

const SAVE_MS = 1500; // between what is kept of an answer that still comes

export class App {
  #listeners = [];
  #answers = new Map(); // by their conversations
  #saves = new Map(); // of conversations that will be saved soon

  constructor() {
    this.api = new Api();
    this.status = new Status(
      this.api,
      () => this.emit("status"),
      (error) => this.fail(error),
    );
    this.store = new Store((id) => this.#changedElsewhere(id));
    this.list = [];
    this.models = [];
    this.conversation = Conversation.create(settingsOf(remembered("settings", null)));
    this.draft = ""; // of a question
    this.notice = null; // {text, action: {label, run}}
  }

  // ---- views ----

  on(name, listener) {
    this.#listeners.push({ name, listener });
  }

  forgetViews() {
    this.#listeners = [];
  }

  emit(name) {
    for (const each of this.#listeners.filter((each) => each.name === name)) each.listener();
  }

  tell(text, action = null) {
    this.notice = text === null ? null : { text, action };
    this.emit("notice");
  }

  // An error that belongs to no answer.
  fail(error) {
    if (error.kind === "key") this.emit("key");
    else if (error.kind !== "gone") this.tell(error.message); // status shows that the server is gone
  }

  // ---- the server ----

  async start() {
    await this.store.open();
    await this.#relist();
    if (!this.store.lasts) this.tell(t("notKept"));
    addEventListener("hashchange", () => this.#openAddressed());
    addEventListener("pagehide", () => this.#saveAll());
    await this.#openAddressed();
    await this.connect();
  }

  async connect() {
    this.status.watch();
    try {
      this.models = await this.api.models();
      this.emit("models");
    } catch (error) {
      this.fail(error);
    }
  }

  async unlock(key) {
    this.api.key = key;
    await this.connect();
  }

  // The name of the model that answers next; null before the server has told which there are.
  get model() {
    const names = this.models.map((each) => each.id);
    return names.includes(this.settings.model) ? this.settings.model : (names[0] ?? null);
  }

  get modelProps() {
    return this.status.props?.models[this.model] ?? null;
  }

  // Tokens of the context of that model; null if nobody knows.
  get context() {
    return this.modelProps?.context ?? this.models.find((each) => each.id === this.model)?.context_length ?? null;
  }

  // ---- conversations ----

  get settings() {
    return this.conversation.settings;
  }

  changeSettings(changes) {
    Object.assign(this.conversation.settings, changes);
    remember("settings", this.conversation.settings);
    if (!this.conversation.isEmpty) this.#saveSoon(this.conversation);
    this.emit("settings");
  }

  create() {
    this.#show(Conversation.create(settingsOf(this.settings)));
    history.pushState(null, "", "#");
  }

  async open(id) {
    const running = this.#answers.get(id)?.conversation;
    const record = running ? null : await this.store.read(id);
    if (!running && !record) return;
    const conversation = running ?? new Conversation({ ...record, settings: settingsOf(record.settings) });
    if (!running) breakOff(conversation);
    this.#show(conversation);
    if (location.hash !== `#${id}`) history.pushState(null, "", `#${id}`);
  }

  async rename(id, title) {
    await this.#with(id, (conversation) => Object.assign(conversation, { title, named: true }));
  }

  async remove(id) {
    this.list = this.list.filter((each) => each.id !== id); // so that its answer is not kept when it ends
    this.#answers.get(id)?.answering.stop();
    this.#forget(id);
    const record = id === this.conversation.id ? this.conversation.record : await this.store.read(id);
    await this.store.remove(id);
    if (id === this.conversation.id) this.create();
    await this.#relist();
    this.tell(t("deleted", record.title || t("untitled")), {
      label: t("undo"),
      run: async () => {
        await this.store.save(record);
        await this.#relist();
        await this.open(id);
      },
    });
  }

  // A conversation that is shown, or one of the list.
  async read(id) {
    if (id === this.conversation.id) return this.conversation;
    return new Conversation(await this.store.read(id));
  }

  // ---- turns ----

  // The answer that comes in the conversation that is shown, if one does.
  get answering() {
    return this.#answers.get(this.conversation.id)?.answering ?? null;
  }

  // Whether a question may be asked now; says why not.
  mayAsk() {
    if (this.answering || !this.model) return false;
    const wrong = wrongJson(this.settings);
    if (wrong) this.tell(t("wrongJson", t(wrong)));
    return !wrong;
  }

  send(text) {
    this.#ask(this.conversation.add(this.conversation.last, { role: "user", content: text }));
  }

  // The question again, in other words: a branch.
  edit(node, text) {
    this.#ask(this.conversation.add(this.conversation.parentOf(node), { role: "user", content: text }));
  }

  answerAgain(node) {
    if (this.mayAsk()) this.#ask(this.conversation.parentOf(node));
  }

  sendResults(node, results) {
    if (this.mayAsk()) this.#ask(this.conversation.add(node, { role: "tool", results }));
  }

  stop() {
    this.answering?.stop();
  }

  choose(node, index) {
    this.conversation.choose(node, index);
    this.#saveSoon(this.conversation);
    this.emit("conversation");
  }

  #ask(parent) {
    const { conversation } = this;
    const node = conversation.add(parent, {
      role: "assistant",
      content: "",
      reasoning: "",
      reasoningMs: null,
      calls: null,
      model: this.model,
      finish: null,
      usage: null,
      timings: null,
      error: null,
    });
    const body = requestBody(conversation.before(node), { ...this.settings, model: this.model }, this.modelProps);
    const answering = new Answering(node);
    this.#answers.set(conversation.id, { conversation, answering });
    answering.addEventListener("change", () => {
      this.#saveSoon(conversation);
      if (conversation === this.conversation) this.emit("answer");
    });
    answering.addEventListener("end", () => this.#ended(conversation, node));
    history.replaceState(null, "", `#${conversation.id}`);
    this.#save(conversation).then(() => this.#relist());
    this.status.hurry(true);
    this.emit("conversation");
    answering.run(this.api, body);
  }

  #ended(conversation, node) {
    this.#answers.delete(conversation.id);
    this.status.hurry(this.#answers.size > 0);
    if (node.error?.kind === "key") this.emit("key");
    if (node.error?.kind === "gone") this.status.lost();
    if (this.list.some((each) => each.id === conversation.id)) this.#save(conversation);
    if (conversation === this.conversation) {
      this.emit("answer");
      this.emit("conversation");
    }
  }

  #show(conversation) {
    this.conversation = conversation;
    for (const name of ["conversation", "settings", "list"]) this.emit(name);
  }

  async #openAddressed() {
    const id = location.hash.slice(1);
    if (id && id !== this.conversation.id) await this.open(id);
    else if (!id && !this.conversation.isEmpty) this.#show(Conversation.create(settingsOf(this.settings)));
  }

  async #with(id, change) {
    const conversation = await this.read(id);
    change(conversation);
    await this.#save(conversation);
    await this.#relist();
  }

  async #relist() {
    this.list = await this.store.list();
    this.emit("list");
  }

  // ---- keeping ----

  #saveSoon(conversation) {
    if (this.#saves.has(conversation.id)) return;
    const timer = setTimeout(() => this.#save(conversation), SAVE_MS);
    this.#saves.set(conversation.id, { conversation, timer });
  }

  async #save(conversation) {
    this.#forget(conversation.id);
    try {
      await this.store.save(conversation.record);
    } catch (error) {
      this.tell(t("notSaved", error?.message ?? ""));
    }
  }

  #forget(id) {
    clearTimeout(this.#saves.get(id)?.timer);
    this.#saves.delete(id);
  }

  #saveAll() {
    for (const { conversation } of this.#saves.values()) this.#save(conversation);
  }

  async #changedElsewhere(id) {
    await this.#relist();
    if (id === this.conversation.id && !this.answering && this.list.some((each) => each.id === id)) await this.open(id);
  }
}

// Answers that came when the page was left.
function breakOff(conversation) {
  for (const node of Object.values(conversation.nodes)) {
    if (node.role === "assistant" && node.finish === null) node.finish = "stopped";
  }
}
