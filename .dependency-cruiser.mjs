// The layers of the project as data: who may import whom. `npm run check` holds them.
const layer = (name, from, to, comment) => ({ name, severity: 'error', comment, from, to });

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    layer('no-cycles', {}, { circular: true }, 'a cycle has no bottom to start reading at'),
    layer(
      'protocol-is-neutral',
      { path: '^agent/protocol/(?!generat)' },
      { pathNot: '^agent/protocol/' },
      'both sides of the contract run it',
    ),
    layer(
      'sys-below-agent',
      { path: '^agent/sys/' },
      { pathNot: '^agent/(sys|protocol)/' },
      'the kernel interface knows no container',
    ),
    layer(
      'agent-has-no-node',
      { path: '^agent/', pathNot: '^agent/(build\\.ts|engine/|protocol/generat)' },
      { dependencyTypes: ['core', 'npm', 'npm-dev'] },
      'nothing under agent imports Node or a package',
    ),
    layer('agent-alone', { path: '^agent/' }, { path: '^(runtime|shim)/' }, 'nothing of the host runs in the guest'),
    layer(
      'helper-is-small',
      { path: '^runtime/helper/' },
      { pathNot: '^(runtime/helper|agent/protocol|agent/sys)/' },
      'native host programs import only protocol and sys',
    ),
    layer(
      'host-not-guest',
      { path: '^(runtime|shim)/', pathNot: '^runtime/(helper|setup|usernet)/' },
      { path: '^agent/(?!protocol/)' },
      'the host speaks to the guest by the contract alone',
    ),
    layer(
      'only-qemu-knows-qemu',
      { path: '^(runtime|shim)/', pathNot: '^(runtime/qemu/|runtime/cli/doctor|shim/commands/serve)' },
      { path: '^runtime/qemu/' },
      'the rest sees the vm interface',
    ),
    layer(
      'only-shim-knows-task',
      { path: '^runtime/', pathNot: '^runtime/cli/' },
      { path: '^shim/' },
      'the command line alone speaks the Task API from here',
    ),
    layer(
      'cli-not-agent',
      { path: '^runtime/(cli/|main\\.ts$)' },
      { path: '^runtime/agent-client/' },
      'only a shim speaks to an agent',
    ),
    layer('shim-not-cli', { path: '^shim/' }, { path: '^runtime/cli/' }, 'the shim has no command line'),
    layer(
      'product-not-test',
      { path: '^(agent|runtime|shim|guest-kernel)/' },
      { path: '^test/' },
      'tests know the product, never the reverse',
    ),
    ...Object.entries({
      execa: '^runtime/host/process\\.ts$',
      pino: '^runtime/host/log\\.ts$',
      'cli-table3': '^runtime/cli/table\\.ts$',
    }).map(([name, home]) =>
      layer(
        `one-home-${name}`,
        { path: '^(runtime|shim)/', pathNot: home },
        { path: `node_modules/${name}/` },
        'one importing file per package',
      ),
    ),
    layer(
      'commander-in-cli',
      { path: '^(runtime|shim)/', pathNot: '^runtime/(cli/|main\\.ts$)' },
      { path: 'node_modules/commander/' },
      'only the command line parses arguments',
    ),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)build/' },
    parser: 'swc',
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
