/** A static program by which two containers find out whether they see one file or two of one name. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../runtime/host/process.ts';

/**
 * listen PATH: binds a unix socket, says "listening", prints what one client sends.
 * send PATH WORD: sends it.
 * map FILE: maps it shared, to read, says "mapped", waits until its first byte is 'x', says "seen".
 * poke FILE: maps it shared and sets its first byte to 'x'.
 * lock FILE: takes flock, says "held", waits. try FILE: "busy" or "free".
 */
const SOURCE = `
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
static int fail(const char *what) { perror(what); return 1; }
int main(int count, char **words) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  setvbuf(stdout, NULL, _IOLBF, 0);
  strncpy(address.sun_path, words[2], sizeof address.sun_path - 1);
  if (!strcmp(words[1], "listen")) {
    char bytes[64] = "";
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(fd, (void *)&address, sizeof address) || listen(fd, 1)) return fail("listen");
    puts("listening");
    int client = accept(fd, NULL, NULL);
    if (read(client, bytes, sizeof bytes - 1) < 0) return fail("read");
    return puts(bytes) < 0;
  }
  if (!strcmp(words[1], "send")) {
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (void *)&address, sizeof address)) return fail("connect");
    return write(fd, words[3], strlen(words[3])) < 0;
  }
  int writes = words[1][0] == 'p';
  int fd = open(words[2], writes ? O_RDWR : O_RDONLY);
  if (fd < 0) return fail("open");
  if (!strcmp(words[1], "map") || !strcmp(words[1], "poke")) {
    volatile char *bytes = mmap(NULL, 4096, writes ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) return fail("mmap");
    if (writes) { bytes[0] = 'x'; return 0; }
    puts("mapped");
    while (bytes[0] != 'x') usleep(10000);
    return puts("seen") < 0;
  }
  int held = flock(fd, LOCK_EX | LOCK_NB) == 0;
  puts(held ? words[1][0] == 'l' ? "held" : "free" : "busy");
  if (words[1][0] == 'l') pause();
  return 0;
}
`;

/** Compiles it to `directory`/meet. */
export async function writeMeetProgram(directory: string): Promise<void> {
  const source = join(directory, 'meet.c');
  writeFileSync(source, SOURCE);
  await run('gcc', ['-static', '-o', join(directory, 'meet'), source], { timeoutMs: 60_000 });
}
