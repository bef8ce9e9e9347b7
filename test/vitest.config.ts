/** Test runner settings: one process at a time, because VM tests share two cores; files fail on what they leave behind. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    include: ['test/**/*.test.ts'],
    // They run inside the KVM host, with settings of their own: npm run test:kvm.
    exclude: ['test/kvm/guest/**'],
    setupFiles: ['test/helpers/left-behind.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    teardownTimeout: 20_000,
    coverage: {
      provider: 'v8',
      include: ['agent/**/*.ts', 'runtime/**/*.ts', 'shim/**/*.ts'],
      exclude: ['**/generated/**'],
      // 'json' is what the KVM tier adds its own to.
      reporter: ['text-summary', 'json-summary', 'json'],
      reportsDirectory: 'coverage',
    },
  },
});
