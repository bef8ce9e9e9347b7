/** Answers that are kept in a file as long as their key is the same. Knows nothing of what is asked. */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { z } from 'zod';

/**
 * The answer kept in `file` under `key`, or a new one from `make`, which is kept. A file that is missing or of another
 * form is no error; two makers at once both write a whole file.
 */
export async function kept<T>(file: string, key: string, schema: z.ZodType<T>, make: () => Promise<T>): Promise<T> {
  const record = z.strictObject({ version: z.literal(1), key: z.string(), value: schema });
  const text = await readFile(file, 'utf8').catch(() => '');
  const found = record.safeParse(parse(text));
  if (found.success && found.data.key === key) return found.data.value;
  const value = await make();
  const temporary = `${file}.${process.pid}`;
  try {
    await writeFile(temporary, JSON.stringify({ version: 1, key, value }), { mode: 0o600 });
    await rename(temporary, file);
  } catch {
    // What cannot be kept is found again the next time.
  }
  return value;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
