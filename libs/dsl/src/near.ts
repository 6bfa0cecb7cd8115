/** The name that was probably meant: the same but for case, `-` and `_`, or one slip of the finger away. */
export function near(wanted: string, known: ReadonlySet<string>): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[-_]/g, '');
  const names = [...known].slice(0, 500);
  const like = names.find((one) => plain(one) === plain(wanted)) ?? names.find((one) => oneSlip(one, wanted));
  return like === undefined ? undefined : `did you mean "${like}"?`;
}

/** One letter more, less, other, or two swapped; short names would match anything. */
function oneSlip(a: string, b: string): boolean {
  if (Math.min(a.length, b.length) < 3 || Math.abs(a.length - b.length) > 1) return false;
  let at = 0;
  while (at < a.length && a[at] === b[at]) at += 1;
  if (a.length === b.length)
    return (
      a.slice(at + 1) === b.slice(at + 1) ||
      (a[at] === b[at + 1] && a[at + 1] === b[at] && a.slice(at + 2) === b.slice(at + 2))
    );
  const [short, long] = a.length < b.length ? [a, b] : [b, a];
  return short.slice(at) === long.slice(at + 1);
}
