/**
 * Program: carries standard input and output over one of CRI's streaming URLs, as kubectl does with exec, attach and
 * port-forward. It runs in the network namespace in which containerd listens, and its exit status is the program's.
 *
 *     node stream.ts exec ws://127.0.0.1:1234/exec/TOKEN [COLUMNSxROWS]
 *     node stream.ts port-forward ws://127.0.0.1:1234/portforward/TOKEN PORT
 *
 * Each message begins with the number of its channel (Kubernetes' "v4.channel.k8s.io").
 */
import { readFileSync } from 'node:fs';

/** Channels of exec and attach: input, both outputs, the end as a Status, changes of the terminal's size. */
const [STDIN, STDOUT, STDERR, ERROR, RESIZE] = [0, 1, 2, 3, 4];
/** Channels of port-forward, of one port. */
const [DATA, FAILURE] = [0, 1];
/** On each of them the first message is the port's number. */
const PORT_BYTES = 2;

interface Status {
  readonly status?: string;
  readonly message?: string;
  readonly details?: { readonly causes?: readonly { readonly reason?: string; readonly message?: string }[] };
}

const [kind = '', url = '', last = ''] = process.argv.slice(2);
const target = kind === 'port-forward' ? `${url}?port=${last}` : url;
const socket = new WebSocket(target.replace(/^http/, 'ws'), ['v4.channel.k8s.io']);
socket.binaryType = 'arraybuffer';
const input = readFileSync(0);

const send = (channel: number | undefined, bytes: Uint8Array): void =>
  socket.send(Buffer.concat([Uint8Array.of(channel ?? 0), bytes]));

socket.addEventListener('open', () => {
  const [columns, rows] = last.split('x').map(Number);
  if (kind === 'exec' && rows !== undefined)
    send(RESIZE, Buffer.from(JSON.stringify({ Width: columns, Height: rows })));
  if (input.length > 0) send(kind === 'exec' ? STDIN : DATA, input);
});
socket.addEventListener('error', () => fail('the connection failed'));
// A forwarded connection ends when the server has closed it.
socket.addEventListener('close', () => {
  if (kind !== 'port-forward') fail('the connection ended without a status');
});
let seen = 0;
socket.addEventListener('message', ({ data }: MessageEvent) => {
  const message = Buffer.from(data as ArrayBuffer);
  const [channel, bytes] = [message[0], message.subarray(1)];
  if (kind === 'port-forward') forwarded(channel, bytes);
  else if (channel === STDOUT) process.stdout.write(bytes);
  else if (channel === STDERR) process.stderr.write(bytes);
  else if (channel === ERROR && bytes.length > 0) end(JSON.parse(bytes.toString()) as Status);
});

function forwarded(channel: number | undefined, bytes: Buffer): void {
  if (seen++ < 2 && bytes.length === PORT_BYTES) return;
  if (channel === FAILURE) fail(bytes.toString());
  else process.stdout.write(bytes);
}

function end({ status, message = '', details }: Status): void {
  if (status === 'Success') process.exit(0);
  const code = details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message;
  if (code === undefined) fail(message);
  process.exit(Number(code));
}

function fail(message: string): never {
  process.stderr.write(`stream: ${message}\n`);
  process.exit(125);
}
