// The licences of all packages of which something is in the bundle, into one file beside it.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";

const { inputs } = JSON.parse(readFileSync("node_modules/.bundle.json", "utf8"));
const folders = new Set(Object.keys(inputs).map((path) => path.match(/^.*node_modules\/(@[^/]+\/)?[^/]+/)?.[0]).filter(Boolean));
const texts = [...folders].sort().map((path) => {
  const { name, version, license } = JSON.parse(readFileSync(`${path}/package.json`, "utf8"));
  const file = readdirSync(path).find((each) => /^licen[cs]e/i.test(each));
  // Without a file of its own it stands at the end of the README.
  const text = readFileSync(`${path}/${file ?? "README.md"}`, "utf8").split(file ? /^(?!.)/ : /^#*\s*LICENSE.*$/im).at(-1).trim();
  if (!/copyright/i.test(text)) throw new Error(`${name} has no licence text`);
  return `${name} ${version} (${license})\n\n${text}\n`;
});
writeFileSync("../streamer/web/static/vendor/LICENCES.txt", texts.join(`\n${"-".repeat(80)}\n\n`));
