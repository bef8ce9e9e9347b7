/** Test runner settings inside the KVM host, where every process starts slowly: one worker, one file after the other. */
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { KvmHostReporter } from './reporter.ts';

export default defineConfig({
  // The checkout is under an overlay in memory; what vite keeps goes there and is gone with the host.
  cacheDir: '/tmp/vite',
  test: {
    root: join(import.meta.dirname, '../../..'),
    include: ['test/kvm/guest/*.test.ts'],
    pool: 'threads',
    maxWorkers: 1,
    fileParallelism: false,
    isolate: false,
    testTimeout: 240_000,
    hookTimeout: 240_000,
    teardownTimeout: 20_000,
    // The emulated hardware has lost guests (README.md): a test that needed another attempt is printed with what it met.
    retry: 2,
    // Of files that a test has loaded: to look at all others would take minutes here. See ../results.ts for the rest.
    coverage: {
      provider: 'v8',
      include: ['agent/**/*.ts', 'runtime/**/*.ts', 'shim/**/*.ts'],
      exclude: ['**/generated/**'],
      reporter: ['json'],
      reportsDirectory: '/run/results/coverage',
    },
    reporters: [new KvmHostReporter()],
  },
});
