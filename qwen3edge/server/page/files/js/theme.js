// Dark or light: as the system says, unless the user chose.
import { remember, remembered } from "./preferences.js";

export const THEMES = ["auto", "light", "dark"];

export function theme() {
  const found = remembered("theme", "auto");
  return THEMES.includes(found) ? found : "auto";
}

export function setTheme(name) {
  remember("theme", name);
  applyTheme();
}

export function applyTheme() {
  document.documentElement.dataset.theme = theme();
}
