// Puts the page together. A change of the language puts it together again.
import { App } from "./app.js";
import { el } from "./dom.js";
import { applyLanguage, t } from "./language.js";
import { applyTheme } from "./theme.js";
import { Announcer } from "./view/announcer.js";
import { Composer } from "./view/composer.js";
import { askKey } from "./view/dialogs.js";
import { Layout } from "./view/layout.js";
import { Notices } from "./view/notices.js";
import { Panel } from "./view/panel.js";
import { listenToKeys } from "./view/shortcuts.js";
import { Sidebar } from "./view/sidebar.js";
import { Thread } from "./view/thread.js";
import { TopBar } from "./view/topbar.js";

const app = new App();
const place = document.querySelector("#page");
let layout = null;

function mount() {
  applyLanguage();
  document.title = t("name");
  app.forgetViews();
  layout = new Layout(app);
  const sidebar = new Sidebar(app, layout, mount);
  const panel = new Panel(app, layout);
  const main = el(
    "main",
    { class: "main" },
    new TopBar(app, layout).element,
    new Notices(app).element,
    new Thread(app).element,
    new Composer(app, layout).element,
  );
  const skip = el("a", { class: "skip", href: "#question" }, t("skip"));
  skip.addEventListener("click", (event) => {
    event.preventDefault(); // an address is a conversation's
    document.querySelector("#question").focus();
  });
  place.replaceChildren(skip, sidebar.element, main, panel.element, layout.scrim, new Announcer(app).element);
  layout.place({ skip, sidebar: sidebar.element, main, panel: panel.element });
  app.on("key", () => askKey(app));
}

applyTheme();
mount();
listenToKeys(app, () => layout);
// On a phone it would bring up the keyboard before anything was read.
if (matchMedia("(hover: hover)").matches) document.querySelector("#question").focus();
app.start();
