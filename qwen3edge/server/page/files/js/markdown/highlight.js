// Colours for code: comments, texts, numbers and the words of a language, by one rule for all that look alike. What a
// language calls for beyond that stays plain.

const C_LIKE =
  "if else for while do switch case default break continue return try catch finally throw new class struct enum " +
  "interface extends implements public private protected static final const void true false null this super import " +
  "int long short char float double bool boolean unsigned auto namespace using template typename sizeof virtual " +
  "override package func go defer var let type range chan map select nil fn impl trait pub mut match mod use where " +
  "crate self Self async await function export from of in instanceof typeof undefined yield delete readonly";
const PYTHON =
  "and as assert async await break class continue def del elif else except finally for from global if import in is " +
  "lambda None nonlocal not or pass raise return True False try while with yield match case self";
const SHELL =
  "if then else elif fi for in do done while until case esac function return export local echo cd set unset exit sudo";
const SQL =
  "select from where and or not null insert into values update set delete create table drop alter add primary key " +
  "foreign references join left right inner outer on group by order having limit as distinct union case when then " +
  "else end in is like between exists index view";

const HASH = /#[^\n]*/y;
const SLASHES = /\/\/[^\n]*|\/\*(?:[^*]|\*(?!\/))*(?:\*\/)?/y;
const DASHES = /--[^\n]*/y;
const TEXT = /"(?:[^"\\\n]|\\[^])*"?|'(?:[^'\\\n]|\\[^])*'?/y;
const LONG_TEXT = /("""|''')[^]*?(?:\1|$)/y;
const QUASI = /`(?:[^`\\]|\\[^])*`?/y;
const NUMBER = /\d[\w.]*/y;
const WORD = /[\p{L}_$][\p{L}\p{N}_$]*/uy;
const OTHER = /[^\p{L}\p{N}_$"'`#/-]+|[^]/uy;

const C_RULES = { comment: SLASHES, texts: [QUASI, TEXT], words: C_LIKE };
const FAMILIES = [
  [
    "js javascript jsx ts typescript tsx c cpp c++ h hpp cs csharp java kotlin go golang rust rs swift php scala dart",
    C_RULES,
  ],
  ["py python python3", { comment: HASH, texts: [LONG_TEXT, TEXT], words: PYTHON }],
  [
    "sh bash shell zsh console yaml yml toml ini dockerfile make ruby rb r",
    { comment: HASH, texts: [TEXT], words: SHELL },
  ],
  ["sql", { comment: DASHES, texts: [TEXT], words: SQL, anyCase: true }],
  ["json jsonc json5", { comment: SLASHES, texts: [TEXT], words: "true false null" }],
];
const RULES = new Map(FAMILIES.flatMap(([names, rules]) => names.split(" ").map((name) => [name, prepared(rules)])));

function prepared({ comment, texts, words, anyCase = false }) {
  return {
    patterns: [["comment", comment], ...texts.map((each) => ["text", each]), ["number", NUMBER]],
    words: new Set(words.split(" ")),
    anyCase,
  };
}

// Pieces [kind, text] of a code: comment, text, number, word, or null for what is plain.
export function highlighted(code, language) {
  const rules = RULES.get(language.toLowerCase());
  if (!rules) return [[null, code]];
  const pieces = [];
  let at = 0;
  const put = (kind, text) => {
    const last = pieces.at(-1);
    if (last && last[0] === kind) last[1] += text;
    else pieces.push([kind, text]);
    at += text.length;
  };
  while (at < code.length) {
    const word = matched(WORD, code, at);
    if (word) {
      put(rules.words.has(rules.anyCase ? word.toLowerCase() : word) ? "word" : null, word);
      continue;
    }
    const found = rules.patterns.map(([kind, pattern]) => [kind, matched(pattern, code, at)]).find(([, text]) => text);
    if (found) put(...found);
    else put(null, matched(OTHER, code, at));
  }
  return pieces;
}

function matched(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? null;
}
