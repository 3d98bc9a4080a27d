// The connection to the server: requests and their replies, numbered messages, resumption after a drop.

import { decode, encode } from "@msgpack/msgpack";
import { type Inspection, type Message, type Reply, type Request, VERSION } from "../messages";

export type LinkState = "waiting" | "open" | "lost";

type Answer = Reply | Inspection;
type Without<T> = T extends { id: number } ? Omit<T, "id"> : never;
export type Asked = Without<Exclude<Request, { type: "hello" }>>;

export interface Listener {
  state(state: LinkState): void;
  /** Begin anew: what is known is of another session. */
  forget(): void;
  /** The connection stands, or stands again. */
  ready(resumed: boolean): void;
  message(message: Exclude<Message, { type: "welcome" }>): void;
}

/** What an unanswered request is answered with when the session that it was for is gone. */
export class Lost extends Error {}

export class Link {
  private socket: WebSocket | null = null;
  private session = "";
  private seq = 0;
  private tries = 0;
  private welcomed = false;
  // Several tabs may share a session, each with ids of its own.
  private next = 1 + Math.floor(Math.random() * 2 ** 40);
  private readonly asked = new Map<number, { sent: Asked; wired: boolean; done: (answer: Answer) => void; failed: (error: Error) => void }>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly url: string,
    private readonly token: string,
    private readonly listener: Listener,
    private readonly open: (url: string) => WebSocket = (to) => new WebSocket(to),
  ) {}

  connect(): void {
    this.listener.state("waiting");
    const socket = this.open(this.url);
    this.socket = socket;
    this.welcomed = false;
    socket.binaryType = "arraybuffer";
    // Before anything is awaited: the first message may come at once.
    socket.onmessage = ({ data }) => {
      if (socket === this.socket && data instanceof ArrayBuffer) this.take(decode(new Uint8Array(data)) as Message);
    };
    socket.onopen = () => {
      const resume = this.session ? { session: this.session, seq: this.seq } : null;
      socket.send(encode({ type: "hello", id: this.next++, v: VERSION, token: this.token, resume }));
    };
    socket.onclose = () => {
      if (socket !== this.socket) return;
      this.socket = null;
      this.welcomed = false;
      this.listener.state("lost");
      this.timer = setTimeout(() => this.connect(), Math.min(4000, 250 * 2 ** this.tries++));
    };
  }

  close(): void {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  /** Send a request; its answer, good or bad. Requests made while the connection is down wait for it. */
  ask(sent: Asked): Promise<Answer> {
    return new Promise((done, failed) => {
      const id = this.next++;
      this.asked.set(id, { sent, wired: false, done, failed });
      this.flush();
    });
  }

  private flush(): void {
    if (!this.welcomed || !this.socket) return;
    for (const [id, entry] of this.asked) {
      if (!entry.wired) this.socket.send(encode({ ...entry.sent, id }));
      entry.wired = true;
    }
  }

  private take(message: Message): void {
    if (message.type === "welcome") {
      this.tries = 0;
      const kept = message.resumed && message.session === this.session;
      const first = this.session === "";
      this.session = message.session;
      if (!kept) {
        this.seq = 0;
        if (!first) {
          this.listener.forget();
          for (const { failed } of this.asked.values()) failed(new Lost("the session is gone"));
          this.asked.clear();
        }
      }
      this.welcomed = true;
      this.listener.state("open");
      this.flush();
      this.listener.ready(kept);
      return;
    }
    // A refusal of what could not be read has no number.
    if ("seq" in message && message.seq > 0) {
      if (message.seq <= this.seq) return;
      this.seq = message.seq;
    }
    if (message.type === "reply" || message.type === "inspection") {
      this.asked.get(message.id)?.done(message);
      this.asked.delete(message.id);
    }
    this.listener.message(message);
  }
}
