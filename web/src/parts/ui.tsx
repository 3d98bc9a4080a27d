// Small controls that all pages share.

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { code, linkState, notice, open } from "../core/session";
import { parse, short } from "../core/format";

const ICONS = {
  play: <path class="solid" d="M4.5 2.6v10.8L13.2 8z" />,
  pause: <path class="solid" d="M4 3h2.8v10H4zM9.2 3H12v10H9.2z" />,
  step: <path d="M4 3.5v9L9.5 8zM12 3.5v9" />,
  episode: <path d="M2.5 3.5v9L7 8zM8 3.5v9L12.5 8zM14 3.5v9" />,
  fork: (
    <>
      <circle cx="4" cy="3.4" r="1.7" />
      <circle cx="4" cy="12.6" r="1.7" />
      <circle cx="12" cy="5" r="1.7" />
      <path d="M4 5.1v5.8M12 6.7c0 3-5 2.2-7.2 4.3" />
    </>
  ),
  share: <path d="M6.5 9.5l3-3M7 4.8l1.6-1.6a2.9 2.9 0 014.1 4.1L11.2 9M9 11.2l-1.6 1.6a2.9 2.9 0 01-4.1-4.1L4.8 7" />,
  help: <path d="M5.8 6a2.2 2.2 0 114 1.2c-.7.8-1.8 1-1.8 2.3M8 12.4v.1" />,
  moon: <path d="M13 9.6A5.6 5.6 0 116.4 3 4.4 4.4 0 0013 9.6z" />,
  sun: (
    <>
      <circle cx="8" cy="8" r="2.8" />
      <path d="M8 1.6v1.2M8 13.2v1.2M1.6 8h1.2M13.2 8h1.2M3.5 3.5l.8.8M11.7 11.7l.8.8M12.5 3.5l-.8.8M4.3 11.7l-.8.8" />
    </>
  ),
  table: <path d="M2 3.5h12v9H2zM2 6.6h12M2 9.6h12M6.5 3.5v9" />,
  copy: <path d="M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z" />,
  close: <path d="M4 4l8 8M12 4l-8 8" />,
  hand: <path d="M5.5 8.5v-5a1 1 0 012 0v4-5.500a1 1 0 012 0v5.5-4.500a1 1 0 012 0v6.500c0 3-1.7 4-4 4-2.4 0-3.4-1.2-5-4.500a1 1 0 011.7-1z" />,
  down: <path d="M8 2.500v8M4.8 7.500L8 10.700l3.2-3.200M3 13.500h10" />,
};

export function Icon({ name }: { name: keyof typeof ICONS }) {
  return (
    <svg viewBox="0 0 16 16" aria-hidden="true">
      {ICONS[name]}
    </svg>
  );
}

type ButtonProps = Omit<JSX.IntrinsicElements["button"], "icon" | "ref"> & {
  icon?: keyof typeof ICONS;
  hint?: string;
  look?: string;
};

/** A button; `hint` is its shortcut. */
export function Button({ icon, hint, look = "", children, title, ...rest }: ButtonProps) {
  const bare = children === undefined;
  return (
    <button
      type="button"
      class={`button ${look} ${bare ? "square" : ""}`}
      title={hint ? `${title ?? ""}${title ? " " : ""}(${hint})` : title}
      aria-keyshortcuts={hint}
      {...(bare ? { "aria-label": title } : {})}
      {...rest}
    >
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

interface SegmentsProps<T extends string> {
  label: string;
  options: readonly { value: T; text: ComponentChildren; title?: string; disabled?: boolean }[];
  value: T;
  onChange: (value: T) => void;
}

/** One of a few, all of them visible. */
export function Segments<T extends string>({ label, options, value, onChange }: SegmentsProps<T>) {
  const name = useId();
  return (
    <div class="segments" role="radiogroup" aria-label={label}>
      {options.map((option) => (
        <label key={option.value} title={option.title}>
          <input
            type="radio"
            name={name}
            checked={option.value === value}
            disabled={option.disabled}
            aria-label={option.title}
            onChange={() => onChange(option.value)}
          />
          <span>{option.text}</span>
        </label>
      ))}
    </div>
  );
}

interface SliderProps {
  name: string;
  symbol?: string;
  doc?: string;
  value: number;
  low: number;
  high: number;
  scale?: "linear" | "log";
  step?: number;
  disabled?: boolean;
  note?: string;
  changed?: boolean;
  onInput: (value: number) => void;
}

const STEPS = 1000;

/** A slider with a number that can be typed, also beyond the slider's range. */
export function Slider({ name, symbol, doc, value, low, high, scale = "linear", disabled, note, changed, step, onInput }: SliderProps) {
  const id = useId();
  const [typed, setTyped] = useState<string | null>(null);
  // While a thumb is held, the server's older values must not pull it back.
  const [held, setHeld] = useState<number | null>(null);
  const shown = held ?? value;
  const logged = scale === "log" && low > 0;
  const at = (v: number) => (logged ? (Math.log(v) - Math.log(low)) / (Math.log(high) - Math.log(low)) : (v - low) / (high - low || 1));
  const part = Math.min(1, Math.max(0, at(Math.max(shown, logged ? 1e-300 : -Infinity)))) || 0;
  const from = (p: number) => {
    if (p <= 0) return low;
    if (p >= 1) return high;
    const v = logged ? Math.exp(Math.log(low) + p * (Math.log(high) - Math.log(low))) : low + p * (high - low);
    return step ? Math.round(v / step) * step : Number(v.toPrecision(logged ? 2 : 3));
  };
  const track = useRef<HTMLInputElement>(null);
  useEffect(() => track.current?.style.setProperty("--part", `${part * 100}%`), [part]);
  const commit = () => {
    if (typed === null) return;
    const number = parse(typed);
    if (Number.isFinite(number) && number !== shown) onInput(number);
    setTyped(null);
  };
  return (
    <div class={`slider ${changed ? "changed" : ""}`} title={doc}>
      <label for={id}>
        {symbol && <span class="symbol" aria-hidden="true">{symbol}</span>}
        {name}
      </label>
      <input
        type="text"
        inputMode="decimal"
        aria-label={`${name}, as a number`}
        disabled={disabled}
        value={typed ?? short(shown)}
        onFocus={(e) => e.currentTarget.select()}
        onInput={(e) => setTyped(e.currentTarget.value)}
        onBlur={commit}
        onKeyDown={(e) => {
          if (e.key === "Enter") commit();
          if (e.key === "Escape") setTyped(null);
        }}
      />
      <input
        id={id}
        ref={track}
        type="range"
        min={0}
        max={STEPS}
        step={1}
        disabled={disabled}
        value={Math.round(part * STEPS)}
        aria-valuetext={short(shown)}
        onInput={(e) => {
          const v = from(Number(e.currentTarget.value) / STEPS);
          setHeld(v);
          onInput(v);
        }}
        onKeyDown={(e) => {
          // One of a thousand steps is too fine for keys.
          const by = { ArrowRight: 10, ArrowUp: 10, ArrowLeft: -10, ArrowDown: -10 }[e.key];
          if (!by) return;
          e.preventDefault();
          const v = from(Math.min(STEPS, Math.max(0, Number(e.currentTarget.value) + by)) / STEPS);
          setHeld(v);
          onInput(v);
        }}
        onChange={() => setTimeout(() => setHeld(null), 400)}
        onBlur={() => setHeld(null)}
      />
      {note && <span class="note">{note}</span>}
    </div>
  );
}

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
}

/** A modal dialog: Escape closes it and the focus goes back to where it was. */
export function Dialog({ title, onClose, children }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    const dialog = ref.current;
    if (dialog && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog ref={ref} aria-labelledby={heading} onClose={onClose}>
      <h2 id={heading}>{title}</h2>
      {children}
    </dialog>
  );
}

/** Copies a text and says so. */
export function Copy({ text, what }: { text: string; what: string }) {
  const [done, setDone] = useState(false);
  return (
    <Button
      look="tiny plain"
      icon="copy"
      aria-label={`Copy ${what}`}
      onClick={() => {
        void copy(text).then((worked) => {
          setDone(worked);
          setTimeout(() => setDone(false), 1500);
        });
      }}
    >
      <span aria-live="polite">{done ? "Copied" : "Copy"}</span>
    </Button>
  );
}

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** The last action as a command and as Python. */
export function Said() {
  const now = code.value;
  return (
    <section class="card said" aria-labelledby="said">
      <header>
        <h2 id="said">The same outside of this page</h2>
        {now?.what && <span class="small soft">{now.what}</span>}
      </header>
      {now ? (
        <dl>
          {now.code.cli && (
            <>
              <dt>Command</dt>
              <dd>
                <pre data-testid="cli">{now.code.cli}</pre>
                <Copy text={now.code.cli} what="the command" />
              </dd>
            </>
          )}
          {now.code.python && (
            <>
              <dt>Python</dt>
              <dd>
                <pre data-testid="python">{now.code.python}</pre>
                <Copy text={now.code.python} what="the Python line" />
              </dd>
            </>
          )}
        </dl>
      ) : (
        <p class="soft small">Whatever you do here is shown as a command and as Python.</p>
      )}
    </section>
  );
}

/** What went wrong, where it can be seen and heard. */
export function Notices() {
  const told = notice.value;
  return (
    <div aria-live="assertive" role="status">
      {linkState.value === "lost" && (
        <div class="notice bad">
          <p>The connection to the server is lost. It is tried again by itself; nothing is forgotten.</p>
        </div>
      )}
      {told && (
        <div class={`notice ${told.bad ? "bad" : ""}`}>
          <p>{told.text}</p>
          {told.share && (
            <Button onClick={() => void open({ share: told.share?.replace(/^#?share=/, "") })}>Go on from the last snapshot</Button>
          )}
          <Button look="tiny" icon="close" onClick={() => (notice.value = null)}>
            Close
          </Button>
        </div>
      )}
    </div>
  );
}
