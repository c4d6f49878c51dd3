/** Channel names and patterns, PROTOCOL.md section 1.1. */

const patternShape = /^(?:(?:\*|[\w:@=+~-]+)\.){0,15}(?:>|\*|[\w:@=+~-]+)$/;
const maxLength = 200;

export function isChannel(text: string): boolean {
  return isPattern(text) && !hasWildcard(text);
}

export function isPattern(text: string): boolean {
  return text.length <= maxLength && patternShape.test(text);
}

export function hasWildcard(pattern: string): boolean {
  return /[*>]/.test(pattern);
}

/** Whether the channel is one of the pattern's. Both are taken to be valid. */
export function matches(pattern: string, channel: string): boolean {
  return pattern === channel || (hasWildcard(pattern) && overlap(pattern, channel));
}

/** Whether some channel is matched by both patterns. Both are taken to be valid. */
export function overlap(a: string, b: string): boolean {
  const left = a.split('.');
  const right = b.split('.');
  for (let i = 0; i < left.length && i < right.length; i++) {
    const l = left[i];
    const r = right[i];
    if (l === '>' || r === '>') return true;
    if (l !== r && l !== '*' && r !== '*') return false;
  }
  return left.length === right.length;
}
