import type { VirtualClock } from './clock.ts';

export interface Grant {
  readonly token: string;
  readonly until: number;
  readonly sub: string;
  /** Patterns that may not be subscribed to. */
  readonly denies: readonly string[];
  revoked: boolean;
}

export interface Refusal {
  code: 'unauthorized' | 'expired' | 'forbidden';
  message: string;
}

const refusal = (code: Refusal['code']): Refusal => ({ code, message: `the token is ${code}` });

/** Makes tokens, and knows what becomes of them: PROTOCOL.md section 2.5, in virtual time. */
export class Issuer {
  /** Of the tokens that are made from now on. */
  life = 60_000;
  denies: readonly string[] = [];
  sub = 'ann';
  /** So long an attachment goes on after its grant has ended. */
  grace = 10_000;
  readonly made: Grant[] = [];
  /** What was shown. */
  readonly shown = new Set<string | undefined>();
  readonly #clock: VirtualClock;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  readonly issue = (): string => {
    const token = `secret-${this.made.length + 1}-${Math.floor(this.#clock.random() * 1e9)}`;
    this.made.push({ token, until: this.#clock.now() + this.life, sub: this.sub, denies: this.denies, revoked: false });
    return token;
  };

  /** What the token grants, or why nothing. */
  read(token: string | undefined): Grant | Refusal {
    this.shown.add(token);
    const grant = this.made.find((g) => g.token === token);
    if (!grant || grant.revoked) return refusal('unauthorized');
    return this.#clock.now() >= grant.until ? refusal('expired') : grant;
  }

  expiresIn({ until }: Grant): number {
    return Math.max(until - this.#clock.now(), 1);
  }

  /** Revokes all that were made. */
  revoke(): void {
    for (const grant of this.made) grant.revoked = true;
  }
}

export const isRefusal = (answer: Grant | Refusal): answer is Refusal => 'code' in answer;

export const notGranted: Refusal = { code: 'forbidden', message: 'not granted' };

/** As HTTP and WebSockets say it. */
export const statuses = { unauthorized: 401, expired: 401, forbidden: 403 } as const;
export const closes = { unauthorized: 4401, expired: 4419, forbidden: 4403 } as const;
