// As host.c, from Node by koffi: the header's own declarations are all that it is told.
//
//     node host.mjs LIBRARY HEADER KOFFI
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [library, header, place] = process.argv.slice(2);
const koffi = createRequire(import.meta.url)(place);
const lib = koffi.load(library);
const free = lib.func("void plue_free(void *memory)");
koffi.alias("plue_session_t", "uintptr_t"); // handles are numbers
koffi.alias("plue_session_observer_t", "uintptr_t");
koffi.disposable("owned", "str", free); // a text that is copied and freed

// Every function that takes no callback.
const functions = {};
const text = readFileSync(header, "utf8").replace(/\/\*[\s\S]*?\*\//g, "");
for (const [, kind, name, given] of text.matchAll(/^PLUE_API\s+(.*?)(plue_\w+)\(([^)]*)\)/gm)) {
  if (/callback|cleaner|\(/.test(given) || name === "plue_json_each") continue;
  const kept = kind.trim() === "char *" ? "owned " : kind;
  const call = lib.func(`${kept}${name}(${given})`);
  const isHandle = kind.includes("_t") && !kind.includes("int");
  functions[name] = { call, kind: kind.trim(), isHandle };
}

const lastError = () => JSON.parse(functions.plue_get_last_error_json.call()).error ?? null;
const lastCode = () => functions.plue_get_last_error_code.call();

function perform({ id, call: name, arguments: given }) {
  const { call, kind, isHandle } = functions[`plue_${name}`];
  const value = call(...given.map((argument) => argument ?? null).map((argument, place) => {
    return argument === null && isNumber(name, place) ? 0 : argument;
  }));
  const failed = kind === "int" ? value === -1 : kind !== "void" && !value;
  const error = failed && lastCode() ? lastError() : null;
  const told = value === undefined || (isHandle && !value) ? null : value;
  return { id, at: 0, error, value: typeof told === "bigint" ? Number(told) : told };
}

// A NULL handle is 0; a NULL text is null.
function isNumber(name, place) {
  const parameters = new RegExp(`plue_${name}\\(([^)]*)\\)`).exec(text)[1].split(",");
  return /plue_session_(observer_)?t\b/.test(parameters[place]);
}

for await (const line of createInterface({ input: process.stdin }))
  process.stdout.write(JSON.stringify(perform(JSON.parse(line))) + "\n");
