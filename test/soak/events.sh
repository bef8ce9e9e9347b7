#!/bin/sh -e
# Events at full size: a thousand execs and a thousand containers in one sandbox, then thirty sandboxes, some at a time.
cd "$(dirname "$0")/../.."
events() {
	node_modules/.bin/vitest run --config test/vitest.config.ts test/fault/containerd-events.test.ts -t 'execs and'
}
TSKATA_TEST_EXECS=1000 TSKATA_TEST_CONTAINERS=1000 events
TSKATA_TEST_SANDBOXES=30 TSKATA_TEST_EXECS=34 TSKATA_TEST_CONTAINERS=34 events
