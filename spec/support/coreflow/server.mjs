// A Coreflow for specs: waits for the client with the tag `coretraffic` and pushes the hosts of a file at it.
//
//   node server.mjs PORT FILE [--legacy | --typedrequest8] [--strict] [--vary] [--burst N] [--initial]
//
// FILE holds an IReverseProxyConfig[]. SIGHUP reads it and pushes to the oldest client, as Coreflow does; SIGUSR1 calls
// a method that coretraffic does not have; SIGUSR2 drops every client. --initial pushes to each new client; --burst N
// pushes N times without waiting; --vary adds the host push-<number>.test to each, so that one sees which push is served;
// --typedrequest8 takes that version instead of 3.3; --strict demands of answers to 3.3, too, what 8 does, and tells
// which rule is broken. What happens is told in JSON, a line each, on stdout.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

for (const method of ['log', 'info', 'debug']) console[method] = console.error; // the libraries talk

const { positionals: [port, file], values: options } = parseArgs({
  allowPositionals: true,
  options: {
    legacy: { type: 'boolean' }, typedrequest8: { type: 'boolean' }, strict: { type: 'boolean' }, vary: { type: 'boolean' },
    initial: { type: 'boolean' }, burst: { type: 'string', default: '1' },
  },
});
const tell = (event, more) => process.stdout.write(`${JSON.stringify({ event, ...more })}\n`);
const clients = new Map();
let count = 0;

function nextPush() {
  const hosts = JSON.parse(readFileSync(file, 'utf8'));
  count++;
  return options.vary ? [...hosts, { ...hosts[0], hostName: `push-${count}.test` }] : hosts;
}

async function push(client) {
  const hosts = nextPush();
  const number = count;
  const began = performance.now();
  try {
    const answer = await client.call('updateRouting', { reverseConfigs: hosts });
    tell('answer', { number, status: answer?.status, errorText: answer?.errorText, ms: performance.now() - began });
  } catch (error) {
    tell('failure', { number, text: error?.errorText ?? String(error) });
  }
}

function pushBurst(client) {
  for (let i = 0; i < Number(options.burst); i++) push(client);
}

const { start } = await import(options.legacy ? './legacy.mjs' : './modern.mjs');
await start({
  port: Number(port),
  tag: 'coretraffic',
  strict: options.strict,
  version8: options.typedrequest8,
  report: (faults) => tell(faults.length ? 'fault' : 'envelope', { faults }),
  onGone: (id) => clients.delete(id) && tell('gone', { id }),
  onTagged: (client) => {
    clients.set(client.id, client);
    tell('tagged', { id: client.id });
    if (options.initial) pushBurst(client);
  },
});

function withOldest(use) {
  const [oldest] = clients.values();
  if (oldest) use(oldest);
  else tell('failure', { text: 'no client has the tag' });
}

process.on('SIGHUP', () => withOldest(pushBurst));
process.on('SIGUSR1', () =>
  withOldest((client) =>
    client.call('unknownMethod', {}).then(
      () => tell('answer', { status: 'to an unknown method' }),
      (error) => tell('failure', { text: error?.errorText ?? String(error) }),
    ),
  ),
);
process.on('SIGUSR2', () => clients.forEach((client) => client.drop()));
process.on('SIGTERM', () => process.exit(0));
process.on('unhandledRejection', (error) => tell('failure', { text: String(error) }));
tell('listening', { port: Number(port) });
