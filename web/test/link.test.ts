import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode } from "@msgpack/msgpack";
import { Link, Lost } from "../src/core/link";
import type { Message } from "../src/messages";

/** A socket that a test answers for. */
class Wire {
  binaryType = "";
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: ArrayBuffer }) => void) | null = null;
  sent: Record<string, unknown>[] = [];
  send(bytes: Uint8Array) {
    this.sent.push(decode(bytes) as Record<string, unknown>);
  }
  close() {}
  say(message: unknown) {
    const bytes = encode(message);
    this.onmessage?.({ data: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer });
  }
}

function connected() {
  const wires: Wire[] = [];
  const log: string[] = [];
  const got: Message[] = [];
  const link = new Link(
    "ws://here",
    "secret",
    {
      state: (s) => log.push(s),
      forget: () => log.push("forget"),
      ready: (resumed) => log.push(`ready ${resumed}`),
      message: (m) => got.push(m),
    },
    () => {
      const wire = new Wire();
      wires.push(wire);
      return wire as unknown as WebSocket;
    },
  );
  link.connect();
  return { link, wires, log, got };
}

const welcome = (session: string, resumed = false) => ({ type: "welcome", v: 1, session, version: "0", resumed });
const reply = (seq: number, id: number, ok = true) => ({ type: "reply", seq, id, ok, error: ok ? "" : "no", data: {}, code: null });

test("a message that comes at once, before the socket is open to us, is not lost", () => {
  const { wires, got } = connected();
  assert.ok(wires[0].onmessage, "onmessage is attached when connect returns");
  wires[0].say(welcome("s"));
  wires[0].say({ type: "event", seq: 1, kind: "open", branch: 0, u: 0, text: "", data: {}, code: null });
  assert.equal(got.length, 1);
});

test("hello comes first, with the token; requests wait for the welcome", async () => {
  const { link, wires } = connected();
  const asked = link.ask({ type: "play" });
  wires[0].onopen?.();
  assert.deepEqual(wires[0].sent.map((m) => m.type), ["hello"]);
  assert.equal(wires[0].sent[0].token, "secret");
  wires[0].say(welcome("s"));
  assert.equal(wires[0].sent[1].type, "play");
  wires[0].say(reply(1, wires[0].sent[1].id as number));
  const answer = await asked;
  assert.equal(answer.type === "reply" && answer.ok, true);
});

test("after a drop the last number is told, and what was seen is not taken twice", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { wires, got, log } = connected();
  wires[0].onopen?.();
  wires[0].say(welcome("s"));
  for (const seq of [1, 2, 3]) wires[0].say({ type: "event", seq, kind: "set", branch: 0, u: 0, text: "", data: {}, code: null });
  wires[0].onclose?.();
  t.mock.timers.tick(300);
  assert.equal(wires.length, 2);
  wires[1].onopen?.();
  assert.deepEqual(wires[1].sent[0].resume, { session: "s", seq: 3 });
  wires[1].say(welcome("s", true));
  for (const seq of [2, 3, 4]) wires[1].say({ type: "event", seq, kind: "set", branch: 0, u: 0, text: "", data: {}, code: null });
  assert.equal(got.length, 4);
  assert.ok(!log.includes("forget"));
});

test("another session: all is forgotten, and old requests are given up", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { link, wires, log, got } = connected();
  wires[0].onopen?.();
  wires[0].say(welcome("s"));
  wires[0].say({ type: "event", seq: 9, kind: "set", branch: 0, u: 0, text: "", data: {}, code: null });
  const asked = link.ask({ type: "pause" });
  wires[0].onclose?.();
  t.mock.timers.tick(300);
  wires[1].onopen?.();
  wires[1].say(welcome("other"));
  await assert.rejects(asked, Lost);
  assert.ok(log.includes("forget"));
  wires[1].say({ type: "event", seq: 1, kind: "set", branch: 0, u: 0, text: "", data: {}, code: null });
  assert.equal(got.length, 2);
});

test("replies to another tab are not ours", async () => {
  const { link, wires } = connected();
  wires[0].onopen?.();
  wires[0].say(welcome("s"));
  const asked = link.ask({ type: "play" });
  const id = wires[0].sent[1].id as number;
  wires[0].say(reply(1, id + 1, false));
  wires[0].say(reply(2, id));
  const answer = await asked;
  assert.equal(answer.type === "reply" && answer.ok, true);
});
