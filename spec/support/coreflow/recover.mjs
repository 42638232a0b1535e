// Makes node_modules/.typedrequest8 of version 8.0.3 of typedrequest. The registry does not have that version by
// itself, but the bundle of dees-comms 1.1.0 is built with it and brings its source along, in its source map.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import ts from 'typescript';

const version = '8.0.3';
const bundle = new URL('node_modules/@design.estate/dees-comms/dist_bundle/bundle.js.map', import.meta.url);
const folder = new URL('node_modules/.typedrequest8/', import.meta.url);
const inside = `/@api.global+typedrequest@${version}/node_modules/@api.global/typedrequest/ts/`;

const { sources, sourcesContent } = JSON.parse(readFileSync(bundle, 'utf8'));
const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 };
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder);
writeFileSync(new URL('package.json', folder), JSON.stringify({ name: 'typedrequest', version, type: 'module' }));
let count = 0;
sources.forEach((source, i) => {
  const [before, name] = source.split(inside);
  if (!name || before.includes('\0')) return;
  const { outputText } = ts.transpileModule(sourcesContent[i], { compilerOptions: options, fileName: name });
  writeFileSync(new URL(name.replace(/\.ts$/, '.js'), folder), outputText);
  count++;
});
if (count < 10) throw new Error(`only ${count} files of typedrequest ${version} found in the source map`);
