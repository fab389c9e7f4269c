// The page's texts in the user's language.
import { remember, remembered } from "./preferences.js";
import { texts as en } from "./texts/en.js";
import { texts as zh } from "./texts/zh.js";

export const LANGUAGES = { en, zh };

let current = "en";

// A text by its name; one with parts is a function of them.
export function t(name, ...parts) {
  const found = LANGUAGES[current][name];
  return typeof found === "function" ? found(...parts) : found;
}

export function language() {
  return current;
}

export function setLanguage(name) {
  remember("language", name);
  applyLanguage();
}

// The one that was chosen; else the first that the browser prefers and the page has.
export function applyLanguage() {
  const wanted = [remembered("language", null), ...navigator.languages].map((each) => each?.slice(0, 2));
  current = wanted.find((each) => each in LANGUAGES) ?? "en";
  document.documentElement.lang = current === "zh" ? "zh-Hans" : "en";
}

export function count(value, digits = 0) {
  return value.toLocaleString(current, { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

// 32,768 as 32.8k: where there is little room.
export function short(value) {
  return value < 1000 ? String(value) : value < 99_950 ? `${count(value / 1000, 1)}k` : `${count(value / 1000)}k`;
}

export function bytes(size) {
  const mebibytes = size / 2 ** 20;
  if (mebibytes < 10) return `${count(mebibytes, 1)} MiB`;
  return mebibytes < 1000 ? `${count(mebibytes)} MiB` : `${count(mebibytes / 1024, 2)} GiB`;
}

export function seconds(milliseconds) {
  const found = milliseconds / 1000;
  return t("seconds", count(found, found < 1 ? 2 : found < 10 ? 1 : 0));
}
