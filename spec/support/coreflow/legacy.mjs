// The Coreflow side before TypedSocket 4: the real server of version 2, on smartsocket and Socket.IO.
import { createServer } from 'node:http';
import { once } from 'node:events';
import { TypedSocket } from '@apiglobal/typedsocket';
import { TypedRouter } from '@apiglobal/typedrequest';

const pollMs = 20; // it tells nobody when a client tags itself

export async function start({ port, tag, onTagged, onGone }) {
  // By itself it takes port 3000; a server that is handed over may have any.
  const httpServer = createServer((request, response) => response.writeHead(404).end());
  httpServer.listen(port, '127.0.0.1');
  await once(httpServer, 'listening');
  const socket = await TypedSocket.createServer(new TypedRouter(), { startedPromise: Promise.resolve(), httpServer });

  const known = new Set();
  const look = async () => {
    const now = await socket.findAllTargetConnectionsByTag(tag);
    const ids = new Set(now.map((connection) => connection.socket.id));
    for (const id of [...known].filter((each) => !ids.has(each))) {
      known.delete(id);
      onGone(id);
    }
    for (const connection of now.filter((each) => !known.has(each.socket.id))) {
      known.add(connection.socket.id);
      onTagged({
        id: connection.socket.id,
        drop: () => connection.socket.disconnect(true),
        call: (method, request) => socket.createTypedRequest(method, connection).fire(request),
      });
    }
    setTimeout(look, pollMs);
  };
  look();
}
