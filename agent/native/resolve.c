/*
 * Owns the walk to a path inside an untrusted root: the kernel resolves (openat2, RESOLVE_IN_ROOT, no magic links), and
 * what is missing is made one component at a time by descriptor, never following a symbolic link on the way. A dangling
 * link is followed by text from the root again, a bounded number of times, so that its target is made inside the root.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "plan.h"

#define MAX_LINKS 40
/* A rename elsewhere makes the kernel answer EAGAIN for a path with "..". */
#define MAX_RACES 1000
/* A component that comes and goes between two of our calls. */
#define MAX_CHANGES 100

static int open_in_root(int root, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)(unsigned int)(flags | O_PATH | O_CLOEXEC),
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    long result;
    int races = 0;

    do {
        result = syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
    } while (result < 0 && errno == EAGAIN && ++races < MAX_RACES);
    return result < 0 ? -errno : (int)result;
}

static int check_leaf(int fd, enum leaf_kind leaf)
{
    struct stat status;

    if (leaf == LEAF_ANY)
        return fd;
    if (fstat(fd, &status)) {
        int error = errno;
        close(fd);
        return -error;
    }
    if (leaf == LEAF_DIRECTORY && !S_ISDIR(status.st_mode)) {
        close(fd);
        return -ENOTDIR;
    }
    if (leaf == LEAF_FILE && S_ISDIR(status.st_mode)) {
        close(fd);
        return -EISDIR;
    }
    return fd;
}

/* Length of the longest existing prefix of whole components; its descriptor in `*fd`. */
static int longest_prefix(int root, char *path, size_t *length, int *fd)
{
    size_t end = strlen(path);

    for (;;) {
        char saved = path[end];
        path[end] = 0;
        *fd = open_in_root(root, path, 0);
        path[end] = saved;
        if (*fd >= 0) {
            *length = end;
            return 0;
        }
        if (*fd != -ENOENT || end == 0)
            return *fd;
        while (end > 0 && path[end - 1] == '/')
            end--;
        while (end > 0 && path[end - 1] != '/')
            end--;
        while (end > 0 && path[end - 1] == '/')
            end--;
    }
}

/* Puts "prefix/target/rest" (or "/target/rest" for an absolute target) into `path`. */
static int splice_link(char *path, size_t prefix, int parent, const char *name, const char *rest)
{
    char target[PATH_MAX], joined[PATH_MAX];
    ssize_t length = readlinkat(parent, name, target, sizeof target - 1);
    int needed;

    if (length < 0)
        return -errno;
    target[length] = 0;
    if (target[0] == '/')
        needed = snprintf(joined, sizeof joined, "%s/%s", target, rest);
    else
        needed = snprintf(joined, sizeof joined, "%.*s/%s/%s", (int)prefix, path, target, rest);
    if (needed < 0 || (size_t)needed >= sizeof joined)
        return -ENAMETOOLONG;
    while (needed > 1 && joined[needed - 1] == '/')
        joined[--needed] = 0;
    memcpy(path, joined, (size_t)needed + 1);
    return 0;
}

/* Makes one component below `parent`: 0, or -errno. */
static int make_component(int parent, const char *name, int is_leaf, enum leaf_kind leaf, unsigned int mode)
{
    int fd;

    if (is_leaf && leaf == LEAF_FILE) {
        fd = openat(parent, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, mode & 0666);
        if (fd < 0)
            return -errno;
        close(fd);
        return 0;
    }
    return mkdirat(parent, name, mode) ? -errno : 0;
}

/*
 * Makes the components from `at` on. Returns the leaf's descriptor, -errno, or -EAGAIN when `path` was rewritten (a
 * dangling link) or changed under us and is to be resolved again. Closes `parent`.
 */
static int make_rest(int parent, char *path, size_t at, enum leaf_kind leaf, unsigned int mode, int *links)
{
    for (;;) {
        char name[NAME_MAX + 1];
        size_t start = at, end;
        struct stat status;
        int result, next, is_leaf;

        while (path[start] == '/')
            start++;
        end = start + strcspn(path + start, "/");
        if (end - start > NAME_MAX) {
            close(parent);
            return -ENAMETOOLONG;
        }
        memcpy(name, path + start, end - start);
        name[end - start] = 0;
        is_leaf = path[end + strspn(path + end, "/")] == 0;
        /* Nothing can be above what does not exist. */
        if (!strcmp(name, "..") || !strcmp(name, "")) {
            close(parent);
            return -ENOENT;
        }
        if (!strcmp(name, ".")) {
            if (is_leaf)
                return check_leaf(parent, leaf);
            at = end;
            continue;
        }
        result = make_component(parent, name, is_leaf, leaf, mode);
        if (result < 0 && result != -EEXIST) {
            close(parent);
            return result;
        }
        next = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0 || fstat(next, &status)) {
            result = errno == ENOENT ? -EAGAIN : -errno;
            if (next >= 0)
                close(next);
            close(parent);
            return result;
        }
        if (S_ISLNK(status.st_mode)) {
            result = ++*links > MAX_LINKS ? -ELOOP : splice_link(path, at, parent, name, path + end + strspn(path + end, "/"));
            close(next);
            close(parent);
            return result < 0 ? result : -EAGAIN;
        }
        close(parent);
        if (is_leaf)
            return check_leaf(next, leaf);
        parent = next;
        at = end;
    }
}

int resolve_in_root(int root, const char *wanted, enum leaf_kind leaf, int create, unsigned int mode)
{
    char path[PATH_MAX];
    size_t prefix;
    int fd, result, links = 0, changes = 0;
    mode_t mask;

    if (strlen(wanted) >= sizeof path)
        return -ENAMETOOLONG;
    strcpy(path, wanted);
    /* A directory is asked for as one: that makes the kernel mount what is announced there, of a share. */
    fd = open_in_root(root, path, leaf == LEAF_DIRECTORY ? O_DIRECTORY : 0);
    if (fd >= 0)
        return check_leaf(fd, leaf);
    if (fd != -ENOENT || !create)
        return fd;
    mask = umask(0);
    do {
        result = longest_prefix(root, path, &prefix, &fd);
        if (result < 0)
            break;
        if (path[prefix + strspn(path + prefix, "/")] == 0)
            result = check_leaf(fd, leaf);
        else
            result = make_rest(fd, path, prefix, leaf, mode, &links);
    } while (result == -EAGAIN && ++changes < MAX_CHANGES);
    umask(mask);
    return result;
}
