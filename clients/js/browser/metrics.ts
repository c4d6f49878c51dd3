// What the gateway counts.

/** gauge reads one of the gateway's metrics: the sum over its labels. */
export async function gauge(base: string, name: string): Promise<number> {
  const text = await (await fetch(`${base}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}

/** settles waits until the gauge shows the value: the gateway does not tell when somebody is gone. */
export async function settles(base: string, name: string, value: number): Promise<void> {
  const limit = AbortSignal.timeout(10_000);
  for (;;) {
    const now = await gauge(base, name);
    if (now === value) return;
    if (limit.aborted) throw new Error(`${name} is ${now}, not ${value}`);
    await new Promise((tick) => setTimeout(tick, 20));
  }
}
