/** What is written to a terminal: widths, and emphasis where somebody looks at it. */

const isLookedAt = process.stdout.isTTY && process.env.NO_COLOR === undefined;

const styled =
  (code: number) =>
  (text: string): string =>
    isLookedAt ? `\u001B[${code}m${text}\u001B[0m` : text;
export const strong = styled(1);
export const dim = styled(2);

/** How wide lines may be. */
export const terminalWidth = (): number => (process.stdout.isTTY ? Math.max(80, process.stdout.columns) : 120);

/** Breaks a text into lines at its spaces. A word that is longer than a line keeps one of its own. */
export function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
