// How the server is: what /props says, asked for from time to time; and whether it answers at all.

const IDLE_MS = 10_000;
const BUSY_MS = 1500; // while an answer comes
const GONE_MS = 2500;

export class Status {
  #timer = null;
  #busy = false;

  // changed: called after each answer of the server. failed(error): what else than silence went wrong.
  constructor(api, changed, failed) {
    Object.assign(this, { api, changed, failed });
    this.props = null;
    this.gone = false;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.#timer !== null) this.watch();
    });
  }

  // Asks now, and goes on.
  async watch() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    try {
      this.props = await this.api.props();
      this.gone = false;
    } catch (error) {
      this.gone = error.kind === "gone";
      this.failed(error);
      if (error.kind === "key") this.#timer = null; // until there is one
    }
    this.changed();
    if (this.#timer !== null) this.#again();
  }

  hurry(busy) {
    this.#busy = busy;
    if (this.#timer !== null) this.watch();
  }

  lost() {
    this.gone = true;
    this.watch();
  }

  #again() {
    clearTimeout(this.#timer);
    const wait = this.gone ? GONE_MS : this.#busy ? BUSY_MS : IDLE_MS;
    this.#timer = setTimeout(() => (document.hidden ? this.#again() : this.watch()), wait);
  }
}
