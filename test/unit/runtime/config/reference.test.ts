import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { reference } from '../../../../runtime/config/reference.ts';

const PAGE = join(import.meta.dirname, '../../../../docs/configuration.md');

test('the page ends with the reference as the schema has it, every key with a sentence', async () => {
  const page = readFileSync(PAGE, 'utf8');
  const mark = page.indexOf(' -->\n', page.indexOf('<!-- keys:')) + ' -->\n'.length;
  const prose = page.slice(0, mark);
  expect(prose).toContain('## Keys');
  await expect(`${prose}${reference()}`).toMatchFileSnapshot(PAGE);
  for (const line of reference()
    .split('\n')
    .filter((text) => text.startsWith('| `'))) {
    expect(line).toMatch(/\| [A-Z`][^|]*\. \|$/);
  }
});
