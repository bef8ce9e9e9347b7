/**
 * Every file that a program maps when it starts: itself, its loader, its libraries and theirs. The answer is kept in a
 * file and holds as long as no file of it has changed. It runs nothing: asking the loader would execute the program.
 */
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, realpath, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { type ElfNeeds, parseElfNeeds } from './elf.ts';

/** Where a loader looks without being told, in its order, and what ld.so.conf adds on known distributions. */
const DEFAULT_DIRECTORIES = [
  '/lib/x86_64-linux-gnu',
  '/usr/lib/x86_64-linux-gnu',
  '/lib64',
  '/usr/lib64',
  '/lib',
  '/usr/lib',
  '/usr/local/lib/x86_64-linux-gnu',
  '/usr/local/lib',
];
const LD_SO_CONF = '/etc/ld.so.conf';
const MAX_FILES = 256;
const MAX_FILE_BYTES = 512 * 1024 * 1024;
/** Segments and dynamic section lie in the file's first part; debug sections need not be read. */
const CACHE_VERSION = 1;

/** A file to be visible in a jail under the path by which the loader asks for it. */
export interface ProgramFile {
  /** Real path on the host. */
  readonly source: string;
  readonly target: string;
}

interface CachedFile extends ProgramFile {
  readonly mtimeMs: number;
  readonly size: number;
}

/**
 * The files of `programs` (executables, and objects that they load later by themselves), without doubles. The answer is
 * kept in `cacheDirectory`, which must be writable for root only. Rejects with NotFound naming the missing library.
 */
export async function programFiles(programs: readonly string[], cacheDirectory: string): Promise<ProgramFile[]> {
  const key = createHash('sha256')
    .update(JSON.stringify([CACHE_VERSION, programs]))
    .digest('hex')
    .slice(0, 32);
  const path = join(cacheDirectory, `${key}.json`);
  const cached = await readCache(path);
  if (cached !== undefined) return cached.map(({ source, target }) => ({ source, target }));
  const files = await resolveFiles(programs);
  const temporary = `${path}.${process.pid}`;
  try {
    await mkdir(cacheDirectory, { recursive: true, mode: 0o700 });
    await writeFile(temporary, JSON.stringify(files), { mode: 0o600 });
    await rename(temporary, path);
  } catch {
    // What cannot be kept is found again the next time.
  }
  return files.map(({ source, target }) => ({ source, target }));
}

/** The kept answer if it still holds. */
async function readCache(path: string): Promise<CachedFile[] | undefined> {
  try {
    const files = JSON.parse(await readFile(path, 'utf8')) as CachedFile[];
    const current = await Promise.all(files.map(({ target }) => stat(target)));
    const same = files.every((file, index) => {
      const now = current[index];
      return now !== undefined && now.mtimeMs === file.mtimeMs && now.size === file.size;
    });
    return same ? files : undefined;
  } catch {
    // Missing, unreadable or of another form: it is made anew.
    return undefined;
  }
}

async function resolveFiles(programs: readonly string[]): Promise<CachedFile[]> {
  const directories = [...(await configuredDirectories()), ...DEFAULT_DIRECTORIES];
  const found = new Map<string, CachedFile>();
  const byName = new Map<string, string>();
  const queue = [...programs];
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    if (found.has(path)) continue;
    if (found.size >= MAX_FILES) {
      throw new TskataError(Code.ResourceExhausted, `find libraries of ${programs[0]}: more than ${MAX_FILES} files`);
    }
    const { file, needs } = await readProgram(path);
    found.set(path, file);
    if (needs.interpreter !== undefined) queue.push(needs.interpreter);
    for (const name of needs.needed) {
      // As the loader does it: a library that is loaded already under this name is not looked for again.
      if (byName.has(name)) continue;
      const library = await findLibrary(name, expandOrigin(needs.searchPath, file.source), directories);
      if (library === undefined) throw new TskataError(Code.NotFound, `find library ${name} of ${path}: no such file`);
      byName.set(name, library);
      queue.push(library);
    }
  }
  return [...found.values()];
}

async function readProgram(path: string): Promise<{ file: CachedFile; needs: ElfNeeds }> {
  const source = await realpath(path).catch(() => {
    throw new TskataError(Code.NotFound, `find program ${path}: no such file`);
  });
  const handle = await open(source, 'r');
  try {
    const { mtimeMs, size } = await handle.stat();
    if (size > MAX_FILE_BYTES) throw new TskataError(Code.InvalidArgument, `read ELF file ${source}: too large`);
    return { file: { source, target: path, mtimeMs, size }, needs: parseElfNeeds(await handle.readFile(), source) };
  } finally {
    await handle.close();
  }
}

function expandOrigin(searchPath: readonly string[], source: string): string[] {
  return searchPath.map((path) => path.replace(/\$ORIGIN|\$\{ORIGIN\}/g, dirname(source)));
}

async function findLibrary(
  name: string,
  searchPath: readonly string[],
  directories: readonly string[],
): Promise<string | undefined> {
  if (name.includes('/')) return name;
  for (const directory of [...searchPath, ...directories]) {
    const path = join(directory, name);
    const info = await stat(path).catch(() => undefined);
    if (info?.isFile()) return path;
  }
  return undefined;
}

/** Directories of ld.so.conf and of the files that it includes one level deep, which is what distributions do. */
async function configuredDirectories(): Promise<string[]> {
  const lines = async (path: string): Promise<string[]> => {
    const text = await readFile(path, 'utf8').catch(() => '');
    return text.split('\n').map((line) => line.replace(/#.*/, '').trim());
  };
  const directories: string[] = [];
  for (const line of await lines(LD_SO_CONF)) {
    const include = /^include\s+(\/.*)\/\*\.conf$/.exec(line)?.[1];
    if (include !== undefined) {
      const names = (await readdir(include).catch(() => [])).filter((name) => name.endsWith('.conf')).sort();
      for (const name of names) directories.push(...(await lines(join(include, name))));
    } else directories.push(line);
  }
  return directories.filter((line) => line.startsWith('/'));
}
