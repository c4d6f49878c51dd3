import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { artefacts } from '../stand/process.ts';

/** A table in Markdown: printed, and kept under artefacts. */
export class Table {
  readonly #head: readonly string[];
  readonly #rows: { place: number; cells: readonly string[] }[] = [];

  constructor(...head: string[]) {
    this.#head = head;
  }

  /** add puts a row at its place, whenever it comes. */
  add(place: number, ...cells: string[]): void {
    this.#rows.push({ place, cells });
  }

  /** write names the file by the title. */
  write(name: string, title: string): void {
    const rows = this.#rows.toSorted((a, b) => a.place - b.place).map(({ cells }) => cells);
    const lines = [this.#head, this.#head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
    const text = `# ${title}\n\n${lines.join('\n')}\n`;
    mkdirSync(artefacts, { recursive: true });
    writeFileSync(join(artefacts, `${name}.md`), text);
    console.log(`\n${text}`);
  }
}
