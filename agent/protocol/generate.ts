/**
 * `npm run proto`: writes the generated TypeScript of every .proto file of the project. With `--check` it writes
 * nothing and fails when a file is not what it would write.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import protobuf from 'protobufjs';
import { emitFile, type Kinds } from './generator/emit.ts';

const ROOT = resolve(import.meta.dirname, '../..');

/** Folders of .proto files, each with the folder of its generated files. */
const FOLDERS = [
  { protos: 'agent/protocol/proto', output: 'agent/protocol/generated' },
  { protos: 'shim/task/proto', output: 'shim/task/generated' },
  { protos: 'test/helpers/cri/proto', output: 'test/helpers/cri/generated' },
  { protos: 'runtime/helper/proto', output: 'runtime/helper/generated' },
] as const;

const KINDS: Kinds = {
  isType: (object) => object instanceof protobuf.Type,
  isEnum: (object) => object instanceof protobuf.Enum,
  isService: (object) => object instanceof protobuf.Service,
  isMap: (field) => field instanceof protobuf.MapField,
};

/** Types, enums and services that are declared in one file, in the order of the file. */
function membersOf(
  namespace: protobuf.NamespaceBase,
  file: string,
  into: protobuf.ReflectionObject[] = [],
): protobuf.ReflectionObject[] {
  for (const object of namespace.nestedArray) {
    const declared =
      object instanceof protobuf.Type || object instanceof protobuf.Enum || object instanceof protobuf.Service;
    if (declared && object.filename === file) into.push(object);
    if (object instanceof protobuf.Namespace) membersOf(object, file, into);
  }
  return into;
}

function generate(protos: string, output: string): Map<string, string> {
  const directory = join(ROOT, protos);
  const files = readdirSync(directory)
    .filter((name) => name.endsWith('.proto'))
    .sort();
  const results = new Map<string, string>();
  for (const name of files) {
    // One root per file: two packages of a folder may use the same names.
    const root = new protobuf.Root();
    root.resolvePath = (_origin, target) => join(directory, basename(target));
    root.loadSync(join(directory, name), { alternateCommentMode: true });
    root.resolveAll();
    const file = join(directory, name);
    const target = join(output, name.replace(/\.proto$/, '.ts'));
    const protocol = relative(join(ROOT, output), join(ROOT, 'agent/protocol'));
    const text = emitFile(
      {
        proto: join(protos, name),
        protocol,
        members: membersOf(root, file),
        moduleOf: (object) =>
          object.filename === file || object.filename === null
            ? undefined
            : `./${basename(object.filename, '.proto')}.ts`,
      },
      KINDS,
    );
    results.set(target, text);
  }
  return results;
}

const checking = process.argv.includes('--check');
let stale = 0;
for (const { protos, output } of FOLDERS) {
  for (const [target, text] of generate(protos, output)) {
    const path = join(ROOT, target);
    if (!checking) {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    } else if (readFileSync(path, 'utf8') !== text) {
      process.stderr.write(`generate: ${target}: it is not what its .proto file says; run \`npm run proto\`\n`);
      stale++;
    }
  }
}
process.exitCode = stale === 0 ? 0 : 1;
