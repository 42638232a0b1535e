// The Coreflow side since TypedSocket 4: SmartServe takes the WebSockets, a TypedRouter the messages. Both are the real
// ones, typedrequest in version 3.3 or 8; what TypedSocket itself adds to them, the two methods for tags, is made again
// here.
import { randomBytes } from 'node:crypto';
import { SmartServe } from '@push.rocks/smartserve';

const answerWithinMs = 20000; // version 8 gives up then, and drops answers that break its rules without a word
const freshId = () => `uni_${randomBytes(12).toString('hex')}`;

// What version 8 of typedrequest checks before it believes an answer; earlier ones believe nearly anything.
function faultsOf(answer, question) {
  if (!question) return ['nobody asked'];
  const faults = [];
  for (const field of ['method', 'requestInstanceId']) {
    if (answer[field] !== question[field]) faults.push(`${field} is another`);
  }
  if (!Object.hasOwn(answer, 'response')) faults.push('response is missing');
  if (answer.error !== undefined && typeof answer.error?.text !== 'string') faults.push('error has no text');
  if (Object.keys(answer.localData ?? {}).some((name) => name !== 'peer')) faults.push('localData was sent');
  if (Object.keys(answer.request ?? {}).length) faults.push('the request came back');
  return faults;
}

function watchAnswers(router, questions, report) {
  const original = router.routeAndAddResponse.bind(router);
  router.routeAndAddResponse = (message, ...rest) => {
    if (message?.correlation?.phase === 'response') {
      const id = message.correlation.id;
      report(faultsOf(message, questions.get(id)));
      questions.delete(id);
    }
    return original(message, ...rest);
  };
}

// Version 8 takes what the transport knows from the side, never from the message, and lets a guard see each answer: this
// one refuses those that claim to be of the transport.
function routeForVersion8(router) {
  router.registerIncomingResponseAuthorityGuard((answer, { wireLocalDataPresent }) => !wireLocalDataPresent);
  return {
    routeAndAddResponse: ({ localData: { peer, ...sent }, ...message }) =>
      router.routeAndAddResponse(Object.keys(sent).length ? { ...message, localData: sent } : message, {
        trustedLocalData: { peer },
      }),
  };
}

export async function start({ port, tag, strict, version8, onTagged, onGone, report }) {
  const { TypedHandler, TypedRequest, TypedRouter, TypedTarget } = await import(
    version8 ? './node_modules/.typedrequest8/index.js' : '@api.global/typedrequest'
  );
  const router = new TypedRouter();
  const questions = new Map();
  if (strict) watchAnswers(router, questions, report);

  const asPeer = (peer) => ({
    id: peer.id,
    drop: () => peer.terminate(),
    call: (method, request) => {
      const target = new TypedTarget({
        typedRouterRef: router,
        responseTimeoutMs: answerWithinMs,
        postMethodWithTypedRouter: async (question) => {
          if (strict) {
            question.requestInstanceId = freshId();
            questions.set(question.correlation.id, { ...question });
          }
          peer.send(JSON.stringify(question));
        },
      });
      return new TypedRequest(target, method).fire(request);
    },
  });

  router.addTypedHandler(new TypedHandler('__typedsocket_setTag', async ({ name, payload }, tools) => {
    const peer = tools.localData.peer;
    peer.tags.add(name);
    peer.data.set(`__typedsocket_tag__${name}`, payload);
    if (name === tag) setImmediate(() => onTagged(asPeer(peer)));
    return { success: true };
  }));
  router.addTypedHandler(new TypedHandler('__typedsocket_removeTag', async ({ name }, tools) => {
    const peer = tools.localData.peer;
    peer.tags.delete(name);
    peer.data.delete(`__typedsocket_tag__${name}`);
    onGone(peer.id);
    return { success: true };
  }));

  const server = new SmartServe({
    port,
    hostname: '127.0.0.1',
    websocket: { typedRouter: version8 ? routeForVersion8(router) : router, onConnectionOpen: () => {}, onConnectionClose: (peer) => onGone(peer.id) },
  });
  await server.start();
}
